// Matches ready runs with polls that wait for them: claims for all waiting sessions of an app at once.
import type { Clock, Millis } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import type { Random } from '../kernel/random.ts'
import { duty, type Duty } from '../kernel/service.ts'
import { rank, type RouteFacts } from '../runs/eligibility.ts'
import { claimRuns, type ClaimedRow } from '../storage/claim.ts'
import type { Db } from '../storage/db.ts'
import { routesWithReady } from '../storage/sessions.ts'
import type { Directory, KnownSession } from './directory.ts'
import type { Hub } from './hub.ts'
import type { Metrics } from './metrics.ts'

/** Why a wait ended: runs were claimed, the session should look for stops, or nothing happened. */
export type WaitEnd =
  /** `askedMs`: when the claim began, by the clock that only grows. */
  | { readonly kind: 'runs'; readonly rows: ClaimedRow[]; readonly askedMs: Millis }
  | { readonly kind: 'look' }
  | { readonly kind: 'nothing' }

export interface Dispatcher {
  readonly duty: Duty
  /** Waits for runs for a session, up to `free` of them. An aborted wait may still have been given runs: see sessions.ts. */
  wait(session: KnownSession, free: number, waitMs: number, signal: AbortSignal): Promise<WaitEnd>
  /** Ends the wait of a session before its time; what a claim under way brings for it still arrives. */
  release(sessionId: number): void
}

interface Waiting {
  readonly session: KnownSession
  readonly free: number
  readonly end: (end: WaitEnd) => void
  /** Ends it as if its time was over. */
  readonly expire: () => void
  /** Its time is over, but a claim under way may still bring runs for it. */
  expired: boolean
}

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly directory: Directory
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly metrics: Metrics
}

// bounds the work of one statement, and how long its locks are held
const maxSlots = 500

/** Polls that may execute the same routes, and whose jobs choose workers the same way, are served by one statement. */
interface Group {
  readonly strategy: RouteFacts['strategy']
  readonly routeIds: number[]
  readonly polls: Waiting[]
}

const groupsOf = (polls: readonly Waiting[], directory: Directory): Group[] => {
  const groups = new Map<string, Group>()
  for (const poll of polls) {
    const byStrategy = Map.groupBy(directory.routesFor(poll.session), (route) => route.strategy)
    for (const [strategy, routes] of byStrategy) {
      const routeIds = routes.map((route) => route.id)
      const key = `${strategy}:${routeIds.join()}`
      const group = groups.get(key) ?? { strategy, routeIds, polls: [] }
      group.polls.push(poll)
      groups.set(key, group)
    }
  }
  return [...groups.values()]
}

/** One entry per free slot: every session's first slot in order of rank, then every second one … */
const slotsOf = (group: Group, random: Random): number[] => {
  const free = new Map(group.polls.map((poll) => [poll.session.id, poll.free]))
  const order = rank(
    group.strategy,
    group.polls.map((poll) => poll.session),
    random,
  )
  const slots: number[] = []
  for (let round = 0; slots.length < maxSlots; round += 1) {
    const before = slots.length
    for (const session of order)
      if ((free.get(session.id) ?? 0) > round && slots.length < maxSlots) slots.push(session.id)
    if (slots.length === before) break
  }
  return slots
}

/** The polls that wait, one per session. */
const createPolls = (clock: Clock, isBusy: (appId: number) => boolean) => {
  const waiting = new Map<number, Waiting>()
  const add = (session: KnownSession, free: number, waitMs: number, signal: AbortSignal): Promise<WaitEnd> =>
    new Promise((resolve) => {
      const end = (how: WaitEnd): void => {
        if (waiting.get(session.id) !== poll) return
        waiting.delete(session.id)
        callOff()
        signal.removeEventListener('abort', nothing)
        resolve(how)
      }
      const nothing = (): void => end({ kind: 'nothing' })
      const expire = (): void => {
        // the claim under way may be for this poll: it ends the poll, with runs or without
        if (isBusy(session.appId)) poll.expired = true
        else nothing()
      }
      const poll: Waiting = { session, free, end, expire, expired: false }
      // a newer poll of the same session stands for the older one
      waiting.get(session.id)?.end({ kind: 'nothing' })
      const callOff = clock.after(waitMs, expire)
      waiting.set(session.id, poll)
      signal.addEventListener('abort', nothing, { once: true })
      if (signal.aborted) nothing()
    })
  const ofApp = (appId: number): Waiting[] => [...waiting.values()].filter((poll) => poll.session.appId === appId)
  return { waiting, add, ofApp }
}

/** Creates the dispatcher; its duty looks every half second for what no hint told. */
export const createDispatcher = (needs: Needs): Dispatcher => {
  const { db, hub, directory, clock, random, log, metrics } = needs
  const busy = new Set<number>()
  const again = new Set<number>()
  const { waiting, add, ofApp } = createPolls(clock, (appId) => busy.has(appId))

  const claimGroup = async (group: Group): Promise<void> => {
    const polls = group.polls.filter((poll) => waiting.get(poll.session.id) === poll && !poll.expired)
    const slots = slotsOf({ ...group, polls }, random)
    if (slots.length === 0) return
    const startedMs = clock.monotonic()
    const rows = await claimRuns(db, slots, group.routeIds)
    metrics.claimed(rows.length, clock.monotonic() - startedMs)
    for (const [sessionId, mine] of Map.groupBy(rows, (row) => row.session_id)) {
      // a poll that went away meanwhile: its attempts are found by the session's next poll
      waiting.get(sessionId)?.end({ kind: 'runs', rows: mine, askedMs: startedMs })
    }
  }
  const serve = async (appId: number): Promise<void> => {
    if (busy.has(appId)) {
      again.add(appId)
      return
    }
    busy.add(appId)
    try {
      do {
        again.delete(appId)
        const polls = ofApp(appId).filter((poll) => poll.free > 0 && !poll.expired)
        for (const group of groupsOf(polls, directory)) await claimGroup(group)
      } while (again.has(appId))
    } catch (error) {
      // top of a loop: the duty tries again
      log.warn({ app: appId, err: error }, 'claim failed')
    } finally {
      busy.delete(appId)
      for (const poll of ofApp(appId)) if (poll.expired) poll.end({ kind: 'nothing' })
    }
  }
  const look = async (): Promise<void> => {
    const routes = new Map<number, number>()
    for (const { session } of waiting.values())
      for (const route of directory.routesFor(session)) routes.set(route.id, session.appId)
    if (routes.size === 0) return
    const ready = await routesWithReady(db, [...routes.keys()])
    for (const appId of new Set(ready.map((row) => routes.get(row.route_id))))
      if (appId !== undefined) void serve(appId)
  }
  const watch = duty({ name: 'dispatch', clock, log, everyMs: 500, runOnce: look })
  hub.on((hint) => {
    if (hint === 'everything') {
      watch.wake()
      for (const poll of waiting.values()) poll.end({ kind: 'look' })
      return
    }
    for (const appId of hint.ready ?? []) void serve(appId)
    for (const sessionId of hint.sessions ?? []) waiting.get(sessionId)?.end({ kind: 'look' })
  })
  return {
    duty: watch,
    release: (sessionId) => waiting.get(sessionId)?.expire(),
    wait: (session, free, waitMs, signal) => {
      const end = add(session, free, waitMs, signal)
      if (free > 0 && !signal.aborted) void serve(session.appId)
      return end
    },
  }
}
