// Sessions of native workers: opening, polling (renewal, hand-over, stops), leaving.
import {
  Refusal,
  type Assignment,
  type PollAnswer,
  type PollInput,
  type SessionInput,
  type SessionOpened,
  type StopOrder,
} from '@oncejob/protocol'
import { dateOf, type Clock } from '../kernel/clock.ts'
import { jsonValue } from '../kernel/json.ts'
import type { Log } from '../kernel/log.ts'
import { attemptsOf, type ClaimedRow } from '../storage/claim.ts'
import type { Db } from '../storage/db.ts'
import { endSession, insertSession, sessionById, type SessionRow } from '../storage/sessions.ts'
import { sessionOf, type Directory, type KnownSession } from './directory.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Metrics } from './metrics.ts'
import { createMemories, type Memories, type Memory } from './session-memory.ts'

export interface SessionTimes {
  /** A session that is not renewed for so long is over. */
  readonly leaseMs: number
  /** Its runs are taken back so long after that. */
  readonly graceMs: number
  /** A Java worker that no server has heard for so long is lost. */
  readonly javaSilenceMs: number
}

interface Needs {
  readonly db: Db
  readonly directory: Directory
  readonly dispatcher: Dispatcher
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly times: SessionTimes
  readonly maxResultBytes: number
  /** Takes back the attempts of sessions that have ended, now. */
  readonly takeBack: () => Promise<void>
}

const isoOf = (ms: number): string => dateOf(ms).toISOString()

/** A stable name for "this piece of work", whatever the attempt: for keys of calls to others. */
const idempotencyKey = (runId: number): string => `oncejob-run-${runId}`

const assignment = (row: ClaimedRow): Assignment => ({
  runId: row.run_id,
  lease: row.lease,
  attempt: row.number,
  jobId: row.job_id,
  job: row.name,
  processor: row.processor,
  jobParams: jsonValue(row.job_params),
  params: jsonValue(row.params),
  fireAt: row.fire_ms === null ? null : isoOf(row.fire_ms),
  createdAt: isoOf(row.created_ms),
  dueAt: isoOf(row.due_ms),
  priority: row.priority,
  timeoutMs: row.timeout_ms,
  idempotencyKey: idempotencyKey(row.run_id),
  logLevel: row.log_level,
  guarantee: row.guarantee,
})

interface Check {
  readonly stops: StopOrder[]
  /** Hand-overs that did not arrive: the same leases once more. */
  readonly again: ClaimedRow[]
}

/** Compares the leases that a worker names with those that the database knows (the truth). */
const compare = (
  held: PollInput['held'],
  attempts: readonly (ClaimedRow & { stop: boolean; late: boolean })[],
): Check => {
  const current = new Map(attempts.map((attempt) => [attempt.lease, attempt]))
  const named = new Set(held.map((one) => one.lease))
  const stops: StopOrder[] = []
  for (const { runId, lease } of held) {
    const attempt = current.get(lease)
    if (attempt === undefined) stops.push({ runId, lease, reason: 'lost' })
    else if (attempt.stop) stops.push({ runId, lease, reason: 'stop' })
    else if (attempt.late) stops.push({ runId, lease, reason: 'timeout' })
  }
  return { stops, again: attempts.filter((attempt) => !named.has(attempt.lease)) }
}

/** Opens sessions; the lease of a new one runs from its opening. */
const opening = (needs: Needs, memories: Memories, pollMs: number) => {
  const { db, directory, log, times, maxResultBytes } = needs
  return async (appId: number, input: SessionInput): Promise<SessionOpened> => {
    const { name, processors, slots, labels = {}, metrics = null, address = null, pid = null, version = null } = input
    const id = await insertSession(
      db,
      { appId, name, address, pid, version, processors, labels, slots, metrics },
      times.leaseMs,
    )
    directory.put({
      id,
      appId,
      name,
      address,
      processors,
      labels,
      metrics,
      slots,
      running: 0,
      draining: false,
      java: false,
    })
    memories.opened(id)
    log.info({ session: id, app: appId, worker: name }, 'worker session opened')
    return { sessionId: id, leaseMs: times.leaseMs, graceMs: times.graceMs, pollMs, maxResultBytes }
  }
}

/** A session of the app, ended or not. @throws Refusal WORKER_NOT_FOUND */
const storedSession = async (
  db: Db,
  appId: number,
  sessionId: number,
): Promise<SessionRow & { readonly ended: boolean }> => {
  const row = await sessionById(db, sessionId)
  if (row !== undefined && row.app_id === appId) return row
  throw new Refusal('WORKER_NOT_FOUND', `This app has no worker session ${sessionId}.`)
}

/** Creates the session part of the core. */
export const createSessions = (needs: Needs) => {
  const { db, directory, dispatcher, log, metrics, times } = needs
  const pollMs = Math.max(50, Math.floor(times.leaseMs / 3))
  const memories = createMemories(needs)

  const known = async (appId: number, sessionId: number): Promise<KnownSession> => {
    const session = directory.session(sessionId)
    if (session !== undefined && session.appId === appId) return session
    const row = await storedSession(db, appId, sessionId)
    if (row.ended) throw ended(sessionId)
    const fresh = sessionOf(row)
    directory.put(fresh)
    return fresh
  }
  const ended = (sessionId: number): Refusal => {
    memories.forget(sessionId)
    directory.remove(sessionId)
    return new Refusal(
      'SESSION_ENDED',
      `Session ${sessionId} has ended: open a new one. Its leases are no longer current.`,
    )
  }
  const check = async (sessionId: number, input: PollInput, memory: Memory): Promise<Check> => {
    memories.checked(memory)
    const result = compare(input.held, await attemptsOf(db, sessionId))
    if (result.again.length > 0) {
      metrics.duplicatesRefused('redelivery', result.again.length)
      log.info({ session: sessionId, runs: result.again.length }, 'hand-over repeated with the same leases')
    }
    return result
  }
  const answer = (memory: Memory, rows: readonly ClaimedRow[], stops: StopOrder[]): PollAnswer => {
    memory.given = rows.map((row) => row.lease)
    return { runs: rows.map(assignment), stops }
  }
  const poll = async (appId: number, sessionId: number, input: PollInput, signal: AbortSignal): Promise<PollAnswer> => {
    const session = await known(appId, sessionId)
    const memory = memories.of(sessionId)
    if (!(await memories.renew(session, input, memory))) throw ended(sessionId)
    await memories.keepProgress(input, memory)
    if (memories.mustCheck(input, memory)) {
      const { stops, again } = await check(sessionId, input, memory)
      if (stops.length > 0 || again.length > 0) return answer(memory, again, stops)
    }
    const current = directory.session(sessionId) ?? session
    const free = input.draining === true ? 0 : input.free
    const end = await dispatcher.wait(current, free, Math.min(input.waitMs ?? pollMs, pollMs), signal)
    if (signal.aborted) memory.doubtful = true
    if (end.kind === 'runs') return answer(memory, end.rows, [])
    if (end.kind === 'nothing') return answer(memory, [], [])
    const { stops, again } = await check(sessionId, input, memory)
    return answer(memory, again, stops)
  }

  return {
    open: opening(needs, memories, pollMs),
    poll,
    leave: async (appId: number, sessionId: number): Promise<void> => {
      const { name } = await storedSession(db, appId, sessionId)
      const done = await endSession(db, sessionId)
      memories.forget(sessionId)
      directory.remove(sessionId)
      if (done.length > 0) log.info({ session: sessionId, worker: name }, 'worker session left')
      await needs.takeBack()
    },
    /** Leases whose end was recorded through this server: their absence from a poll is no lost hand-over. */
    noteDone: memories.noteDone,
  }
}
