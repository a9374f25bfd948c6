// Which workers may execute a run, and which of them should: pure rules over what the database says about both.
import type { WorkerStrategy } from '@oncejob/protocol'
import { below, type Random } from '../kernel/random.ts'

/** What a worker last said about its machine. */
export interface Metrics {
  readonly cpuCores: number
  /** Load average of the last minute; negative when the worker cannot know it. */
  readonly cpuLoad: number
  readonly freeMemoryGb: number
  readonly freeDiskGb: number
}

/** A live worker session, as far as choosing needs it. */
export interface SessionFacts {
  readonly id: number
  readonly name: string
  readonly address: string | null
  readonly processors: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  /** Null when the worker reports none. */
  readonly metrics: Metrics | null
  /** How many runs it takes at once, and how many it has. */
  readonly slots: number
  readonly running: number
}

/** What a job asks of its workers. Jobs that ask the same share one route. */
export interface RouteFacts {
  readonly id: number
  readonly processor: string
  readonly labels: Readonly<Record<string, string>>
  /** Names or addresses; empty: any worker. */
  readonly designated: readonly string[]
  readonly minFreeCpuCores: number
  readonly minFreeMemoryGb: number
  readonly minFreeDiskGb: number
  /** 0: no limit. */
  readonly maxWorkers: number
  readonly strategy: WorkerStrategy
}

/** The first thing that keeps a session from the runs of a route, in the order in which they are checked. */
export type Obstacle =
  | { readonly kind: 'processor' }
  | { readonly kind: 'label'; readonly label: string }
  | { readonly kind: 'designated' }
  | { readonly kind: 'resource'; readonly resource: 'cpuCores' | 'memoryGb' | 'diskGb' }

const missingLabel = (route: RouteFacts, session: SessionFacts): string | undefined =>
  Object.entries(route.labels)
    .filter(([key, value]) => !(Object.hasOwn(session.labels, key) && session.labels[key] === value))
    .map(([key, value]) => `${key}=${value}`)[0]

const isDesignated = (route: RouteFacts, session: SessionFacts): boolean =>
  route.designated.length === 0 ||
  route.designated.includes(session.name) ||
  (session.address !== null && route.designated.includes(session.address))

// A worker that cannot tell its load is trusted (PowerJob's rule); one that tells nothing passes only where nothing is asked.
const hasCpu = (least: number, metrics: Metrics | null): boolean =>
  least === 0 || (metrics !== null && (metrics.cpuLoad < 0 || metrics.cpuCores - metrics.cpuLoad >= least))
const hasMemory = (least: number, metrics: Metrics | null): boolean =>
  least === 0 || (metrics !== null && metrics.freeMemoryGb >= least)
const hasDisk = (least: number, metrics: Metrics | null): boolean =>
  least === 0 || (metrics !== null && metrics.freeDiskGb >= least)

/** What keeps the session from executing runs of the route; undefined when nothing does. Free slots do not matter here. */
export const obstacle = (route: RouteFacts, session: SessionFacts): Obstacle | undefined => {
  if (!session.processors.includes(route.processor)) return { kind: 'processor' }
  const label = missingLabel(route, session)
  if (label !== undefined) return { kind: 'label', label }
  if (!isDesignated(route, session)) return { kind: 'designated' }
  if (!hasCpu(route.minFreeCpuCores, session.metrics)) return { kind: 'resource', resource: 'cpuCores' }
  if (!hasMemory(route.minFreeMemoryGb, session.metrics)) return { kind: 'resource', resource: 'memoryGb' }
  if (!hasDisk(route.minFreeDiskGb, session.metrics)) return { kind: 'resource', resource: 'diskGb' }
  return undefined
}

/** True when the session may execute runs of the route, apart from `maxWorkers`, which only all sessions together decide. */
export const mayRun = (route: RouteFacts, session: SessionFacts): boolean => obstacle(route, session) === undefined

/**
 * The sessions that may execute runs of the route. With `maxWorkers` these are the ones that came first
 * (lowest session ids), so that every server chooses the same without asking another.
 */
export const eligibleSessions = (route: RouteFacts, sessions: readonly SessionFacts[]): SessionFacts[] => {
  const able = sessions.filter((session) => mayRun(route, session)).toSorted((a, b) => a.id - b.id)
  return route.maxWorkers > 0 ? able.slice(0, route.maxWorkers) : able
}

const usedShare = (session: SessionFacts): number => session.running / session.slots

// PowerJob's score: memory counts double; an unknown load counts as one free core.
const health = ({ metrics }: SessionFacts): number => {
  if (metrics === null) return 0
  const freeCores = metrics.cpuLoad < 0 ? 1 : metrics.cpuCores - metrics.cpuLoad
  return 2 * metrics.freeMemoryGb + freeCores
}

const shuffled = (sessions: readonly SessionFacts[], random: Random): SessionFacts[] => {
  const rest = [...sessions]
  const out: SessionFacts[] = []
  while (rest.length > 0) out.push(...rest.splice(below(random, rest.length), 1))
  return out
}

/** The sessions in the order in which they should be given runs. Ties go to the less loaded, then to the older session. */
export const rank = (strategy: WorkerStrategy, sessions: readonly SessionFacts[], random: Random): SessionFacts[] => {
  const byLoad = (a: SessionFacts, b: SessionFacts): number => usedShare(a) - usedShare(b) || a.id - b.id
  switch (strategy) {
    case 'random':
      return shuffled(sessions, random)
    case 'least-loaded':
      return sessions.toSorted(byLoad)
    case 'health-first':
      return sessions.toSorted((a, b) => health(b) - health(a) || byLoad(a, b))
  }
}
