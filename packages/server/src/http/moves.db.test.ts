// The table of moves against the server: every state with everything that can be asked of a run or be told about it. What the
// table allows leads where it says; everything else is refused and leaves every row as it was (T-22, S-14).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { runMoves, runStates, type JobInput, type Report, type RunMove, type RunState } from '@oncejob/protocol'
import { configFrom } from '../config.ts'
import { systemClock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { systemRandom } from '../kernel/random.ts'
import { sql } from '../storage/sql.ts'
import { createRig, silence, type Rig } from '../testing/rig.ts'
import { wire, type Wired } from '../wire.ts'
import { ensureAdminToken } from './admin-token.ts'

let database: TestDatabase
let rig: Rig
let http: Wired['http']
let url: string
let token: string

beforeAll(async () => {
  database = await openTestDatabase()
  const { db } = database
  token = (await ensureAdminToken(db, systemRandom)) ?? ''
  const outside = { db, clock: systemClock, random: systemRandom, log: silentLog, name: 'test', version: '0.0.0' }
  http = wire(outside, configFrom({})).http
  url = await http.listen('127.0.0.1', 0)
  // A duty that has looked for lease and grace may end sessions: this one has as soon as it has looked twice.
  rig = await createRig(db, { config: { leaseMs: 500, graceMs: 0 } })
})
afterAll(async () => {
  await http.stop(0)
  await database.close()
})

interface Subject {
  readonly app: string
  readonly appId: number
  readonly sessionId: number
  readonly runId: number
  /** Of its last attempt, or one that nobody ever had. */
  lease: number
}

const policy = { maxLost: 5, max: 5, delayMs: 60_000 }
let made = 0

const subject = async (job: Partial<JobInput>, submit: { delayMs?: number } = {}): Promise<Subject> => {
  made += 1
  const app = `moves-${made}`
  const appId = await rig.app(app)
  const jobId = await rig.job(appId, { retry: policy, ...job })
  const { sessionId } = await rig.worker(appId)
  const runId = await rig.submit(appId, jobId, submit)
  return { app, appId, sessionId, runId, lease: 1_000_000_000 }
}

const claim = async (of: Subject): Promise<void> => {
  const { runs } = await rig.poll(of.appId, of.sessionId)
  const run = runs.find((one) => one.runId === of.runId)
  if (run !== undefined) of.lease = run.lease
}

const report = (of: Subject, said: object): Promise<unknown> =>
  // the shape of each is checked by the routes, and by what the test then finds
  rig.sessions.report(of.appId, { reports: [{ runId: of.runId, lease: of.lease, ...said } as Report] })

const error = { code: 'BROKEN', message: 'it broke' }

const reclaim = async (of: Subject): Promise<void> => {
  await silence(rig.db, of.sessionId)
  await rig.db.query(
    sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${of.sessionId}`,
  )
  await rig.reclaim.takeBack()
}

const ask = async (of: Subject, action: string, body?: object): Promise<{ status: number; code: unknown }> => {
  const answer = await fetch(`${url}/api/v1/runs/${of.runId}/${action}?app=${of.app}`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: answer.status, code: ((await answer.json()) as { code?: unknown }).code }
}

const claimed = async (job: Partial<JobInput> = {}): Promise<Subject> => {
  const of = await subject(job)
  await claim(of)
  return of
}

/** How a run gets into each state, and into each place in which it can be in it. */
const recipes: Record<RunState, Record<string, () => Promise<Subject>>> = {
  waiting: {
    ready: () => subject({}),
    later: () => subject({}, { delayMs: 3_600_000 }),
    blocked: async () => {
      const of = await subject({ maxConcurrentRuns: 1 })
      await claim(of)
      const [{ job_id: jobId }] = (await rig.db.query<{ job_id: number }>(
        sql`select job_id from oncejob.run where id = ${of.runId}`,
      )) as [{ job_id: number }]
      return { ...of, runId: await rig.submit(of.appId, jobId), lease: 1_000_000_000 }
    },
  },
  running: { 'at work': () => claimed(), 'at work, at most once': () => claimed({ guarantee: 'at-most-once' }) },
  unknown: {
    'lost, at most once': async () => {
      const of = await claimed({ guarantee: 'at-most-once' })
      await reclaim(of)
      return of
    },
  },
  succeeded: {
    reported: async () => {
      const of = await claimed()
      await report(of, { outcome: 'succeeded', result: 1 })
      return of
    },
  },
  failed: {
    reported: async () => {
      const of = await claimed()
      await report(of, { outcome: 'failed', error, terminal: true })
      return of
    },
  },
  canceled: {
    asked: async () => {
      const of = await subject({})
      await ask(of, 'cancel')
      return of
    },
  },
  stopped: {
    reported: async () => {
      const of = await claimed()
      await ask(of, 'stop')
      await report(of, { outcome: 'stopped', error })
      return of
    },
  },
}

interface Event {
  /** The move that it asks for in this state. */
  readonly move: (state: RunState, guarantee: string) => RunMove | undefined
  readonly happen: (of: Subject) => Promise<unknown>
  /** Refused calls say so; what is only told is ignored. */
  readonly isCall: boolean
}

const call = (move: RunMove | ((state: RunState) => RunMove), action: string, body?: object): Event => ({
  move: typeof move === 'string' ? () => move : move,
  happen: (of) => ask(of, action, body),
  isCall: true,
})
/** A report counts from whoever holds the lease, and only a running run has one (I4). */
const told = (move: RunMove, said: object): Event => ({
  move: (state) => (state === 'running' ? move : undefined),
  happen: (of) => report(of, said),
  isCall: false,
})

/** Whoever had the run before the one who has it now. */
const stale = (said: object): Event => ({
  move: () => undefined,
  happen: (of) => report({ ...of, lease: of.lease - 1 }, said),
  isCall: false,
})

const events: Record<string, Event> = {
  'POST cancel': call('cancel', 'cancel'),
  'POST stop': call((state) => (state === 'waiting' ? 'cancel' : 'stop'), 'stop'),
  'POST retry': call('retryByHand', 'retry'),
  'POST resolve as succeeded': call('resolveSucceeded', 'resolve', { as: 'succeeded', result: 1 }),
  'POST resolve as failed': call('resolveFailed', 'resolve', { as: 'failed', message: 'it was not' }),
  'POST resolve as retry': call('resolveRetry', 'resolve', { as: 'retry' }),
  'a poll with a free slot': {
    move: () => 'claim',
    // by another worker: the first may be gone
    happen: async (of) => claim({ ...of, sessionId: (await rig.worker(of.appId)).sessionId }),
    isCall: false,
  },
  'a report of success': told('succeed', { outcome: 'succeeded', result: 2 }),
  'a report of failure, terminal': told('fail', { outcome: 'failed', error, terminal: true }),
  'a report of failure, to be retried': told('retryLater', { outcome: 'failed', error }),
  'a report of a stop': told('stop', { outcome: 'stopped', error }),
  'a report that hands back': told('handBack', { outcome: 'handed-back' }),
  'a report of success by another lease': stale({ outcome: 'succeeded', result: 3 }),
  'a report of failure by another lease': stale({ outcome: 'failed', error, terminal: true }),
  'the loss of the worker': {
    move: (_, guarantee) => (guarantee === 'at-most-once' ? 'loseTrack' : 'lose'),
    happen: reclaim,
    isCall: false,
  },
  'the end of its time in the queue': {
    move: () => 'expire',
    happen: async (of) => {
      for (const table of [
        sql`update oncejob.run_ready set expires_at = now() - interval '1 s' where run_id = ${of.runId}`,
        sql`update oncejob.run_later set expires_at = now() - interval '1 s' where run_id = ${of.runId}`,
        sql`update oncejob.run_blocked set expires_at = now() - interval '1 s' where run_id = ${of.runId}`,
      ])
        await rig.db.query(table)
      await rig.expiry.runOnce()
    },
    isCall: false,
  },
}

/** Everything that is known of the run, wherever it stands. Its session may be gone, that is not the run's. */
const snapshot = async ({ runId }: Subject): Promise<string> => {
  const [row] = await rig.db.query<{ all: string }>(sql`
    select json_build_object(
      'run', (select to_json(r) from oncejob.run r where id = ${runId}),
      'ready', (select to_json(p) from oncejob.run_ready p where run_id = ${runId}),
      'later', (select to_json(p) from oncejob.run_later p where run_id = ${runId}),
      'blocked', (select to_json(p) from oncejob.run_blocked p where run_id = ${runId}),
      'undecided', (select to_json(p) from oncejob.run_undecided p where run_id = ${runId}),
      'attempt', (select to_json(p) from oncejob.attempt p where run_id = ${runId}),
      'slot', (select to_json(p) from oncejob.run_slot p where run_id = ${runId}),
      'history', (select json_agg(p order by lease) from oncejob.attempt_log p where run_id = ${runId}))::text as "all"`)
  return row?.all ?? ''
}

const stateOf = async ({ runId }: Subject): Promise<RunState | 'nowhere'> => {
  const [row] = await rig.db.query<{ state: string; running: boolean; undecided: boolean; waits: boolean }>(sql`
    select state, exists (select from oncejob.attempt where run_id = r.id) as running,
      exists (select from oncejob.run_undecided where run_id = r.id) as undecided,
      exists (select from oncejob.run_ready where run_id = r.id union all select from oncejob.run_later where run_id = r.id
        union all select from oncejob.run_blocked where run_id = r.id) as waits
      from oncejob.run r where id = ${runId}`)
  const state = runStates.find((one) => one === row?.state)
  const open = [row?.running ? 'running' : [], row?.undecided ? 'unknown' : [], row?.waits ? 'waiting' : []].flat()
  if (state !== undefined) return open.length === 0 ? state : 'nowhere'
  const [only] = open
  return open.length === 1 ? (runStates.find((one) => one === only) ?? 'nowhere') : 'nowhere'
}

const targetOf = (state: RunState, move: RunMove | undefined): RunState | undefined => {
  if (move === undefined) return undefined
  const moves: Partial<Record<RunMove, RunState>> = runMoves[state]
  return moves[move]
}

/** Calls that name a state as their aim are content when it is there. */
const isThere = (event: string, state: RunState): boolean =>
  (event === 'POST cancel' && state === 'canceled') ||
  (event === 'POST stop' && (state === 'stopped' || state === 'canceled'))

const places = runStates.flatMap((state) => Object.keys(recipes[state]).map((place) => ({ state, place })))
const pairs = places.flatMap(({ state, place }) => Object.keys(events).map((event) => ({ state, place, event })))

describe('a run', () => {
  test.each(pairs)('that is $state ($place), and $event', async ({ state, place, event: name }) => {
    const of = await recipes[state][place]!()
    expect(await stateOf(of)).toBe(state)
    const event = events[name]!
    const move = event.move(state, place.endsWith('at most once') ? 'at-most-once' : 'at-least-once')
    // a run that must wait for its time or for a slot is not there for a poll
    const isHidden = name === 'a poll with a free slot' && (place === 'later' || place === 'blocked')
    const target = isHidden ? undefined : targetOf(state, move)
    const before = await snapshot(of)
    const answer = (await event.happen(of)) as { status: number; code: unknown }
    if (name === 'POST stop' && state === 'running') {
      // no move yet: the worker is asked
      expect([answer.status, await stateOf(of)]).toEqual([200, 'running'])
      expect(JSON.parse(await snapshot(of)).attempt.stop_requested_at).not.toBeNull()
      return
    }
    if (target !== undefined) {
      if (event.isCall) expect(answer.status).toBe(200)
      expect(await stateOf(of)).toBe(target)
      return
    }
    if (event.isCall && isThere(name, state)) expect(answer.status).toBe(200)
    else if (event.isCall) expect([answer.status, answer.code]).toEqual([409, expect.stringMatching(/^RUN_/)])
    // its time in the queue is a fact of the place that the test has changed itself
    if (name !== 'the end of its time in the queue') expect(await snapshot(of)).toBe(before)
    expect(await stateOf(of)).toBe(state)
  })
})

test('every state, and every move of the table, is in these pairs', () => {
  expect(Object.keys(recipes).toSorted()).toEqual([...runStates].toSorted())
  const tried = new Set(
    pairs.flatMap(({ state, place, event }) => {
      const move = events[event]!.move(state, place.endsWith('at most once') ? 'at-most-once' : 'at-least-once')
      return targetOf(state, move) === undefined ? [] : [`${state} ${move}`]
    }),
  )
  const all = runStates.flatMap((state) => Object.keys(runMoves[state]).map((move) => `${state} ${move}`))
  expect(all.filter((one) => !tried.has(one))).toEqual([])
})
