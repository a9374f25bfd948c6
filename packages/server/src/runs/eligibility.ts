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
  /** What a Java worker makes of all that itself. */
  readonly score?: number | undefined
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
  /** A Java worker on the PowerJob wire; its name and address are `ip:port`, its tag is the label `tag`. */
  readonly java: boolean
}

/** What a job of the PowerJob wire asks of its workers beyond the rest. */
export interface JavaNeeds {
  /** Only Java workers can execute it. */
  readonly only: boolean
  /** It runs on a short interval: a Java worker repeats it by itself within one long run. */
  readonly frequent: boolean
  /** The words of dispatch strategy SPECIFY: workers that are taken before others; null: none are. */
  readonly specify: string | null
  /** The app's switch: `tagIn` is met by a part of a tag, as PowerJob has it. */
  readonly tagSubstring: boolean
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
  /** Null: jobs of the native API, which Java workers do not execute. */
  readonly java: JavaNeeds | null
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

const tagOf = ({ java, labels }: SessionFacts): string | undefined => (java ? labels['tag'] : undefined)

const isNamed = (names: readonly string[], session: SessionFacts): boolean => {
  const tag = tagOf(session)
  return (
    names.includes(session.name) ||
    (session.address !== null && names.includes(session.address)) ||
    (tag !== undefined && names.includes(tag))
  )
}

const isDesignated = (route: RouteFacts, session: SessionFacts): boolean =>
  route.designated.length === 0 || isNamed(route.designated, session)

// A worker that cannot tell its load is trusted (PowerJob's rule); one that tells nothing passes only where nothing is asked.
const hasCpu = (least: number, { metrics, java }: SessionFacts): boolean => {
  if (least === 0) return true
  if (metrics === null) return false
  if (metrics.cpuLoad < 0) return true
  const free = metrics.cpuCores - metrics.cpuLoad
  // on that wire exactly as much is not enough
  return java ? free > least : free >= least
}
const hasMemory = (least: number, metrics: Metrics | null): boolean =>
  least === 0 || (metrics !== null && metrics.freeMemoryGb >= least)
const hasDisk = (least: number, metrics: Metrics | null): boolean =>
  least === 0 || (metrics !== null && metrics.freeDiskGb >= least)

// a Java worker does not tell what it has: whatever was saved for its kind may be sent to it
const hasProcessor = ({ processor, java }: RouteFacts, session: SessionFacts): boolean =>
  session.java ? java !== null : java?.only !== true && session.processors.includes(processor)

/** What keeps the session from executing runs of the route; undefined when nothing does. Free slots do not matter here. */
export const obstacle = (route: RouteFacts, session: SessionFacts): Obstacle | undefined => {
  if (!hasProcessor(route, session)) return { kind: 'processor' }
  const label = missingLabel(route, session)
  if (label !== undefined) return { kind: 'label', label }
  if (!isDesignated(route, session)) return { kind: 'designated' }
  if (!hasCpu(route.minFreeCpuCores, session)) return { kind: 'resource', resource: 'cpuCores' }
  if (!hasMemory(route.minFreeMemoryGb, session.metrics)) return { kind: 'resource', resource: 'memoryGb' }
  if (!hasDisk(route.minFreeDiskGb, session.metrics)) return { kind: 'resource', resource: 'diskGb' }
  return undefined
}

/** True when the session may execute runs of the route, apart from what only all sessions together decide. */
export const mayRun = (route: RouteFacts, session: SessionFacts): boolean => obstacle(route, session) === undefined

const parts = (list: string): string[] =>
  list
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')

/**
 * Whether a worker is one of those that a job specifies: `tagEquals:x`, `tagIn:x,y`, or a list of tags and addresses.
 * A tag may itself be a list; `tagIn` compares whole parts of it, unless the app wants PowerJob's substrings.
 */
export const isSpecified = ({ specify, tagSubstring }: JavaNeeds, session: SessionFacts): boolean => {
  if (specify === null) return false
  const tag = tagOf(session)
  const [kind, wanted] = /^(tagEquals|tagIn):([^]*)$/.exec(specify.trim())?.slice(1) ?? []
  if (kind === undefined || wanted === undefined) return isNamed(parts(specify), session)
  if (tag === undefined) return false
  if (kind === 'tagEquals') return tag === wanted.trim()
  if (tagSubstring) return tag.includes(wanted)
  const own = new Set([tag, ...parts(tag)])
  return parts(wanted).some((part) => own.has(part))
}

/** Does the route make a choice that only all sessions together decide? */
export const choosesAmongAll = ({ maxWorkers, java }: RouteFacts): boolean =>
  maxWorkers > 0 || java?.frequent === true || (java !== null && java.specify !== null)

/**
 * The sessions that suit the runs of a route. With `maxWorkers` these are the ones that came first (lowest session ids),
 * so that every server chooses the same without asking another. What a Java worker repeats by itself is left to Java
 * workers, while there are any.
 */
export const suitableSessions = <S extends SessionFacts>(route: RouteFacts, sessions: readonly S[]): S[] => {
  const able = sessions.filter((session) => mayRun(route, session)).toSorted((a, b) => a.id - b.id)
  const repeating = route.java?.frequent === true ? able.filter((session) => session.java) : []
  const left = repeating.length > 0 ? repeating : able
  return route.maxWorkers > 0 ? left.slice(0, route.maxWorkers) : left
}

/** The sessions that may be given runs of the route: those that suit it, and of them the ones that its job specifies, if any. */
export const eligibleSessions = <S extends SessionFacts>(route: RouteFacts, sessions: readonly S[]): S[] => {
  const suitable = suitableSessions(route, sessions)
  const { java } = route
  if (java === null || java.specify === null) return suitable
  const specified = suitable.filter((session) => isSpecified(java, session))
  return specified.length > 0 ? specified : suitable
}

const usedShare = (session: SessionFacts): number => session.running / session.slots

// PowerJob's score: memory counts double; an unknown load counts as one free core.
const health = ({ metrics }: SessionFacts): number => {
  if (metrics === null) return 0
  if (metrics.score !== undefined && metrics.score > 0) return metrics.score
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
