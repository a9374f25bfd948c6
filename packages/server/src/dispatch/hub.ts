// Hints inside this server and between servers: who should look at the database now. Never needed for correctness.
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import type { Service } from '../kernel/service.ts'
import type { Db } from '../storage/db.ts'

/** Runs became ready for an app; runs ended; sessions should hear of a stop; jobs or schedules changed; delayed runs came in. */
export interface Hint {
  readonly ready?: readonly number[]
  readonly ended?: readonly number[]
  readonly sessions?: readonly number[]
  readonly jobs?: readonly number[]
  readonly later?: true
}

export interface Hub extends Service {
  /** Tells listeners here at once, and those on other servers soon. */
  tell(hint: Hint): void
  /** Calls `heard` for every hint. `everything`: hints may have been missed, look at all. */
  on(heard: (hint: Hint | 'everything') => void): void
}

const channel = 'oncejob_hints'
// one NOTIFY takes a database-wide lock at commit: coalesce, and keep payloads well below the limit of 8,000 bytes
const flushMs = 10
const maxIdsPerPayload = 400

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  /** True while another server is alive: a server alone notifies nobody. */
  readonly others: () => boolean
  /** Tells this server's own hints from those of others. */
  readonly origin: string
}

const kinds = ['ready', 'ended', 'sessions', 'jobs'] as const

/** Splits gathered ids into payloads. */
const payloadsOf = (origin: string, ids: Record<(typeof kinds)[number], Set<number>>, later: boolean): string[] => {
  const payloads: string[] = []
  for (const kind of kinds) {
    const list = [...ids[kind]]
    for (let from = 0; from < list.length; from += maxIdsPerPayload) {
      payloads.push(JSON.stringify({ origin, [kind]: list.slice(from, from + maxIdsPerPayload) }))
    }
  }
  if (later) payloads.push(JSON.stringify({ origin, later: true }))
  return payloads
}

const isIds = (value: unknown): value is number[] => Array.isArray(value) && value.every((id) => typeof id === 'number')

const parse = (payload: string, origin: string): Hint | undefined => {
  const read: unknown = JSON.parse(payload)
  if (typeof read !== 'object' || read === null || ('origin' in read && read.origin === origin)) return undefined
  return {
    ...('ready' in read && isIds(read.ready) && { ready: read.ready }),
    ...('ended' in read && isIds(read.ended) && { ended: read.ended }),
    ...('sessions' in read && isIds(read.sessions) && { sessions: read.sessions }),
    ...('jobs' in read && isIds(read.jobs) && { jobs: read.jobs }),
    ...('later' in read && read.later === true && { later: true as const }),
  }
}

/** Creates the hub. On the embedded database, which has one server, nothing is ever sent. */
export const createHub = (needs: Needs): Hub => {
  const { db, clock, log, origin } = needs
  const listeners: ((hint: Hint | 'everything') => void)[] = []
  const gathered = {
    ready: new Set<number>(),
    ended: new Set<number>(),
    sessions: new Set<number>(),
    jobs: new Set<number>(),
  }
  let later = false
  let callOff: (() => void) | undefined
  let unlisten: (() => Promise<void>) | undefined
  let sending: Promise<void> = Promise.resolve()

  const spread = (hint: Hint | 'everything'): void => listeners.forEach((heard) => heard(hint))
  const flush = (): void => {
    callOff = undefined
    const payloads = payloadsOf(origin, gathered, later)
    for (const kind of kinds) gathered[kind].clear()
    later = false
    sending = sending
      .then(() => db.notify(channel, payloads))
      // bounded: a hint that is lost costs a second, polling finds what it spoke of
      .catch((error: unknown) => log.debug({ err: error }, 'hint was not sent'))
  }
  const gather = (hint: Hint): void => {
    for (const kind of kinds) for (const id of hint[kind] ?? []) gathered[kind].add(id)
    later ||= hint.later === true
    callOff ??= clock.after(flushMs, flush)
  }
  const hear = (payload: string): void => {
    const hint = parse(payload, origin)
    if (hint !== undefined) spread(hint)
  }
  return {
    name: 'hub',
    on: (heard) => listeners.push(heard),
    tell: (hint) => {
      spread(hint)
      if (db.kind === 'postgres' && needs.others()) gather(hint)
    },
    start: async () => {
      unlisten ??= await db.listen(channel, hear, () => spread('everything'))
    },
    stop: async () => {
      callOff?.()
      callOff = undefined
      await sending
      await unlisten?.()
      unlisten = undefined
    },
  }
}
