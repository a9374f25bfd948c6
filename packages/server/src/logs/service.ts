// Run logs: lines from workers go in by groups, readers page through them or follow them live.
import { isEnded, Refusal, runStates } from '@oncejob/protocol'
import type { EndedRunState, LogLine, LogPage, WorkerLogInput } from '@oncejob/protocol'
import { batcher } from '../kernel/batch.ts'
import type { Clock, Millis } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import type { Db } from '../storage/db.ts'
import { appendLines, readLines, readLogHead } from '../storage/logs.ts'
import type { LogHead, LogLimits, NewLine, StoredLine } from '../storage/logs.ts'

export interface LogsOptions extends LogLimits {
  /** How often a follower looks again by itself, in ms: lines may come through another server. */
  readonly pollMs: Millis
  /** A follower waits so long after the end of a run for its last lines, in ms. */
  readonly settleMs: Millis
  /** Requests that one statement stores together. */
  readonly maxGroup: number
}

export const defaultLogsOptions: LogsOptions = {
  maxLines: 10_000,
  maxBytes: 1_048_576,
  pollMs: 500,
  settleMs: 500,
  maxGroup: 16,
}

export interface LogsNeeds {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly metrics?: { logged(lines: number): void }
}

/** What a follower gets: lines in order, and last the state in which the run ended. */
export type LogEvent = LogLine | { readonly end: EndedRunState }

/** The lines of one request. `worker`: who wrote them, where that need not be the worker of the attempt. */
export interface LogInput extends WorkerLogInput {
  readonly worker?: string
}

export interface Logs {
  /**
   * Stores the lines of one request and resolves once they are committed. `accepted` counts the lines of
   * attempts of this app, also those a full log had no room for; `ignored` the others.
   */
  append(appId: number, input: LogInput): Promise<{ readonly accepted: number; readonly ignored: number }>
  /** Lines after the number `after`, at most `limit`. @throws Refusal RUN_NOT_FOUND */
  page(appId: number, runId: number, after: number, limit: number): Promise<LogPage>
  /**
   * All lines after the number `after`, those to come included, then the end; stops early when `signal` aborts.
   * @throws Refusal RUN_NOT_FOUND
   */
  follow(appId: number, runId: number, after: number, signal: AbortSignal): AsyncIterable<LogEvent>
}

const followBatch = 1000
// Year 9999: what a worker's broken clock says must still be a time.
const latestAtMs = 253_402_300_799_999

const leaseKey = (lease: { readonly appId: number; readonly runId: number; readonly lease: number }): string =>
  `${lease.appId}/${lease.runId}/${lease.lease}`

const toLine = ({ worker, ...line }: StoredLine): LogLine => ({
  ...line,
  at: line.at.toISOString(),
  ...(worker === null ? {} : { worker }),
})

const notFound = (runId: number): Refusal =>
  new Refusal('RUN_NOT_FOUND', `there is no run ${runId} in this app; runs older than the retention are gone`)

const endOf = (head: LogHead): EndedRunState | undefined => {
  const state = runStates.find((known) => known === head.state)
  return state !== undefined && isEnded(state) ? state : undefined
}

/** Local hints: an append on this server wakes the followers of the run at once. */
const createHints = () => {
  const byRun = new Map<number, Set<() => void>>()
  return {
    stored: (runIds: Iterable<number>): void => {
      for (const runId of runIds) for (const wake of byRun.get(runId) ?? []) wake()
    },
    listen: (runId: number, wake: () => void): (() => void) => {
      const wakes = byRun.get(runId) ?? new Set()
      byRun.set(runId, wakes.add(wake))
      return () => {
        wakes.delete(wake)
        if (wakes.size === 0) byRun.delete(runId)
      }
    },
  }
}

/** A pause that a hint ends early, also one that came before the pause. */
const createBell = (clock: Clock) => {
  let rung = false
  let ring: (() => void) | undefined
  return {
    ring: (): void => {
      rung = true
      ring?.()
    },
    pause: async (ms: Millis, signal: AbortSignal): Promise<void> => {
      if (!rung) {
        const woken = new AbortController()
        ring = () => woken.abort()
        await clock.sleep(ms, AbortSignal.any([signal, woken.signal]))
        ring = undefined
      }
      rung = false
    },
  }
}

export const createLogs = (needs: LogsNeeds, given: Partial<LogsOptions> = {}): Logs => {
  const options = { ...defaultLogsOptions, ...given }
  const { db, clock, log } = needs
  const hints = createHints()
  // what arrives while one statement is under way goes with the next: a caller waits for one at most
  const store = batcher<readonly NewLine[], ReadonlySet<string>>({
    maxSize: options.maxGroup,
    run: async (requests) => {
      const known = await appendLines(db, requests.flat(), options)
      needs.metrics?.logged(requests.reduce((lines, request) => lines + request.length, 0))
      hints.stored(new Set(known.map((lease) => lease.runId)))
      const keys = new Set(known.map(leaseKey))
      return requests.map(() => keys)
    },
  })

  async function* follow(appId: number, runId: number, after: number, signal: AbortSignal): AsyncGenerator<LogEvent> {
    const bell = createBell(clock)
    const deaf = hints.listen(runId, bell.ring)
    let next = after
    try {
      while (!signal.aborted) {
        const head = await readLogHead(db, appId, runId)
        if (head === undefined) throw notFound(runId)
        const lines = await readLines(db, runId, next, followBatch)
        for (const line of lines) {
          next = line.seq
          yield toLine(line)
        }
        const end = endOf(head)
        const settled = (head.endedAgoMs ?? 0) >= options.settleMs
        if (lines.length === 0 && end !== undefined && settled) {
          yield { end }
          return
        }
        if (lines.length < followBatch) await bell.pause(options.pollMs, signal)
      }
    } finally {
      deaf()
    }
  }

  return {
    follow,
    append: async (appId, input) => {
      const lines = input.entries.map(({ at, text, ...entry }): NewLine => ({
        ...entry,
        appId,
        worker: input.worker ?? null,
        atMs: Math.min(at, latestAtMs),
        // PostgreSQL's text holds every character but this one
        text: text.replaceAll('\u0000', '\uFFFD'),
      }))
      const known = await store(lines)
      const accepted = lines.filter((line) => known.has(leaseKey(line))).length
      if (accepted < lines.length) log.debug({ app: appId, ignored: lines.length - accepted }, 'log lines ignored')
      return { accepted, ignored: lines.length - accepted }
    },
    page: async (appId, runId, after, limit) => {
      const head = await readLogHead(db, appId, runId)
      if (head === undefined) throw notFound(runId)
      const lines = await readLines(db, runId, after, limit)
      return {
        lines: lines.map(toLine),
        next: lines.at(-1)?.seq ?? after,
        complete: endOf(head) !== undefined && lines.length < limit,
        truncated: head.truncated,
      }
    },
  }
}
