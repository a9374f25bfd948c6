// Promises about what people see of runs, attempts, waiting and workers, on a real database.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import type { JobInput, RunState } from '@oncejob/protocol'
import { whyWaiting } from '../runs/why.ts'
import { createJobsService } from '../scheduling/jobs-service.ts'
import { allRoutes } from './routes.ts'
import { getRun, listAttempts, listRuns, type RunListing } from './runs-read.ts'
import { sql } from './sql.ts'
import { waitingOf } from './waiting-read.ts'
import { listWorkers, sessionsInTime, workerById } from './workers-read.ts'

let database: TestDatabase
let appId: number
let otherAppId: number

const one = async <R>(statement: ReturnType<typeof sql>): Promise<R> => {
  const [row] = await database.db.query<R>(statement)
  if (row === undefined) throw new Error('the statement returned no row')
  return row
}
const makeApp = async (name: string): Promise<number> =>
  (
    await one<{ id: number }>(sql`
    insert into oncejob.app (namespace_id, name) select id, ${name} from oncejob.namespace where name = 'default' returning id`)
  ).id

beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

let apps = 0
beforeEach(async () => {
  apps += 1
  appId = await makeApp(`app-${apps}`)
  otherAppId = await makeApp(`other-${apps}`)
})

const makeJob = async (change: Partial<JobInput> = {}, app = appId) => {
  const service = createJobsService({ db: database.db, hints: { jobChanged: () => undefined } })
  return service.create({ appId: app, actor: 'tester' }, { name: 'mail', processor: 'send', ...change })
}
type Job = Awaited<ReturnType<typeof makeJob>>

interface RunFacts {
  readonly app?: number
  readonly ended?: RunState
  readonly result?: string
  readonly error?: string
  readonly params?: string
  readonly scheduleId?: number
  readonly requestKey?: string
  readonly createdAt?: string
  readonly sessionId?: number
}
const makeRun = async (job: Job, facts: RunFacts = {}): Promise<number> => {
  const state = facts.ended ?? 'open'
  return (
    await one<{ id: number }>(sql`
    insert into oncejob.run (id, app_id, job_id, schedule_id, fire_at, request_key, params, priority, created_at, due_at, state, ended_at,
      attempts, result, error, session_id)
    values (nextval('oncejob.run_id_seq'), ${facts.app ?? appId}, ${job.id}, ${facts.scheduleId ?? null},
      ${facts.scheduleId === undefined ? null : '2026-01-01T00:00:00Z'}, ${facts.requestKey ?? null}, ${facts.params ?? null}, 3,
      ${facts.createdAt ?? '2026-01-01T00:00:00Z'}, '2026-01-01T00:00:01Z', ${state},
      ${state === 'open' ? null : '2026-01-01T00:00:09Z'}, ${state === 'open' ? 0 : 1}, ${facts.result ?? null}, ${facts.error ?? null},
      ${facts.sessionId ?? null})
    returning id`)
  ).id
}
const makeReady = async (
  job: Job,
  facts: { priority?: number; runAt?: string; routeId?: number } = {},
): Promise<number> => {
  const runId = await makeRun(job)
  await database.db.query(sql`
    insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows)
    values (${runId}, ${facts.routeId ?? job.routeId}, ${-(facts.priority ?? 0)}, ${facts.runAt ?? '2026-01-01T00:00:00Z'}, ${job.id}, 0, false)`)
  return runId
}
const makeLater = async (job: Job, facts: { inMs?: number; attempts?: number } = {}): Promise<number> => {
  const runId = await makeRun(job)
  await database.db.query(sql`
    insert into oncejob.run_later (run_id, route_id, priority, run_at, job_id, attempts, follows, needs_slot)
    values (${runId}, ${job.routeId}, 0, now() + ${facts.inMs ?? 3_600_000}::bigint * interval '1 ms', ${job.id}, ${facts.attempts ?? 0}, false, false)`)
  return runId
}
const makeBlocked = async (job: Job): Promise<number> => {
  const runId = await makeRun(job)
  await database.db.query(sql`
    insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows)
    values (${runId}, ${job.routeId}, 0, now(), ${job.id}, 0, true)`)
  return runId
}
interface SessionInput {
  readonly app?: number
  readonly name?: string
  readonly processors?: string[]
  readonly labels?: Record<string, string>
  readonly slots?: number
  readonly draining?: boolean
  readonly late?: boolean
  readonly ended?: boolean
}
const makeSession = async (facts: SessionInput = {}): Promise<number> => {
  const endedAt = facts.ended === true ? sql`now()` : sql`null::timestamptz`
  return (
    await one<{ id: number }>(sql`
    insert into oncejob.worker_session (app_id, name, address, processors, labels, slots, draining, metrics, expires_at, ended_at, end_reason)
    values (${facts.app ?? appId}, ${facts.name ?? 'w1'}, '10.0.0.1:1', ${facts.processors ?? ['send']},
      ${JSON.stringify(facts.labels ?? {})}::text::jsonb, ${facts.slots ?? 2}, ${facts.draining ?? false},
      '{"cpuCores":4,"cpuLoad":0.5,"freeMemoryGb":2,"freeDiskGb":3}',
      now() + ${facts.late === true ? -1000 : 600_000}::bigint * interval '1 ms', ${endedAt}, ${facts.ended === true ? 'lost' : null})
    returning id`)
  ).id
}
const makeAttempt = async (
  job: Job,
  sessionId: number,
  facts: { runId?: number; number?: number; progress?: string } = {},
): Promise<number> => {
  const runId = facts.runId ?? (await makeRun(job))
  await database.db.query(sql`
    insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows, claimed_at, progress, stop_requested_at)
    values (${runId}, nextval('oncejob.lease_seq'), ${sessionId}, ${appId}, ${job.id}, ${facts.number ?? 1}, false, '2026-01-01T00:00:05Z',
      ${facts.progress ?? null}::text::jsonb, null)`)
  return runId
}
const clearHot = () =>
  database.db.script(`delete from oncejob.run_ready; delete from oncejob.run_later; delete from oncejob.run_blocked;
    delete from oncejob.run_slot; delete from oncejob.attempt; delete from oncejob.worker_session`)

describe('one run', () => {
  it('an open run without an attempt waits, with one it runs, with its worker, progress and start', async () => {
    const job = await makeJob()
    const waiting = await makeReady(job)
    expect(await getRun(database.db, appId, waiting)).toMatchObject({
      state: 'waiting',
      worker: null,
      startedAt: null,
      attempts: 0,
    })
    const running = await makeAttempt(job, await makeSession(), { number: 3, progress: '{"percent": 5}' })
    expect(await getRun(database.db, appId, running)).toEqual({
      id: running,
      app: `app-${apps}`,
      jobId: job.id,
      job: 'mail',
      state: 'running',
      trigger: 'call',
      fireAt: null,
      requestKey: null,
      key: null,
      params: null,
      priority: 3,
      createdAt: '2026-01-01T00:00:00.000Z',
      dueAt: '2026-01-01T00:00:01.000Z',
      queueDeadlineAt: null,
      startedAt: '2026-01-01T00:00:05.000Z',
      endedAt: null,
      attempts: 3,
      worker: 'w1',
      progress: { percent: 5, note: null },
      stopRequested: false,
      guarantee: 'at-least-once',
      decidedBy: null,
      result: null,
      resultTruncated: false,
      error: null,
    })
  })

  it('params, result and error are JSON again', async () => {
    const job = await makeJob()
    const succeeded = await makeRun(job, { ended: 'succeeded', result: '{"a":[1]}', params: '"text"' })
    expect(await getRun(database.db, appId, succeeded)).toMatchObject({
      state: 'succeeded',
      result: { a: [1] },
      params: 'text',
      error: null,
    })
    const failed = await makeRun(job, {
      ended: 'failed',
      error: '{"code":"BOOM","message":"no","stack":"at x"}',
      scheduleId: 1,
    })
    expect(await getRun(database.db, appId, failed)).toMatchObject({
      state: 'failed',
      trigger: 'schedule',
      fireAt: '2026-01-01T00:00:00.000Z',
      error: { code: 'BOOM', message: 'no', stack: 'at x' },
    })
  })

  it('a run of another app is not there, one of a deleted job is', async () => {
    const job = await makeJob()
    const runId = await makeRun(job)
    await database.db.query(sql`update oncejob.job set deleted_at = now() where id = ${job.id}`)
    expect(await getRun(database.db, otherAppId, runId)).toBeUndefined()
    expect(await getRun(database.db, appId, runId)).toMatchObject({ job: 'mail' })
  })

  it('attempts come in order, the live one last and without an end', async () => {
    const job = await makeJob()
    const sessionId = await makeSession()
    const runId = await makeAttempt(job, sessionId, { number: 2 })
    const { lease } = await one<{ lease: number }>(sql`select lease from oncejob.attempt where run_id = ${runId}`)
    await database.db.query(sql`
      insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, ended_at, outcome, error)
      values (${runId}, 1, ${lease - 1}, 999999999, '2026-01-01T00:00:02Z', '2026-01-01T00:00:03Z', 'failed', '{"code":"X","message":"m"}')`)
    expect(await listAttempts(database.db, runId)).toEqual([
      {
        number: 1,
        lease: lease - 1,
        worker: null,
        startedAt: '2026-01-01T00:00:02.000Z',
        endedAt: '2026-01-01T00:00:03.000Z',
        outcome: 'failed',
        error: { code: 'X', message: 'm' },
      },
      {
        number: 2,
        lease,
        worker: 'w1',
        startedAt: '2026-01-01T00:00:05.000Z',
        endedAt: null,
        outcome: null,
        error: null,
      },
    ])
  })
})

describe('lists of runs', () => {
  const ids = async (change: Partial<RunListing> = {}): Promise<number[]> =>
    (await listRuns(database.db, { appId, limit: 100, ...change })).map(({ id }) => id)
  const paged = async (change: Partial<RunListing>): Promise<number[]> => {
    const seen: number[] = []
    for (;;) {
      const page = await ids({ ...change, limit: 2, beforeId: seen.at(-1) })
      seen.push(...page)
      if (page.length < 2) return seen
    }
  }
  const make = async () => {
    const job = await makeJob()
    const sessionId = await makeSession()
    const succeeded = await makeRun(job, { ended: 'succeeded' })
    const ready = await makeReady(job)
    const failed = await makeRun(job, { ended: 'failed' })
    const running = await makeAttempt(job, sessionId)
    const later = await makeLater(job)
    const blocked = await makeBlocked(job)
    const canceled = await makeRun(job, { ended: 'canceled' })
    const foreign = await makeJob({}, otherAppId)
    await makeRun(foreign, { app: otherAppId })
    return { job, succeeded, ready, failed, running, later, blocked, canceled }
  }
  const states = (...wanted: RunState[]): Partial<RunListing> => ({ states: wanted })

  it('the runs of the app, newest first, each once over the pages', async () => {
    const made = await make()
    const all = [made.canceled, made.blocked, made.later, made.running, made.failed, made.ready, made.succeeded]
    expect(await ids()).toEqual(all)
    expect(await paged({})).toEqual(all)
    expect(await ids({ limit: 3 })).toEqual(all.slice(0, 3))
  })

  it('every choice of states gives exactly the runs in them, over pages too', async () => {
    const made = await make()
    const choices: [Partial<RunListing>, number[]][] = [
      [states('running'), [made.running]],
      [states('waiting'), [made.blocked, made.later, made.ready]],
      [states('waiting', 'running'), [made.blocked, made.later, made.running, made.ready]],
      [states('failed', 'canceled'), [made.canceled, made.failed]],
      [states('failed', 'running'), [made.running, made.failed]],
      [states('waiting', 'succeeded'), [made.blocked, made.later, made.ready, made.succeeded]],
      [states('stopped'), []],
      [states('unknown'), []],
      [states(), [made.canceled, made.blocked, made.later, made.running, made.failed, made.ready, made.succeeded]],
    ]
    for (const [choice, expected] of choices) {
      expect(await ids(choice)).toEqual(expected)
      expect(await paged(choice)).toEqual(expected)
    }
    const seen = await listRuns(database.db, { appId, limit: 100, states: ['waiting', 'running'] })
    expect(seen.map(({ state }) => state)).toEqual(['waiting', 'waiting', 'running', 'waiting'])
  })

  it('filters narrow by job, trigger, time and request key', async () => {
    const a = await makeJob({ name: 'a' })
    const b = await makeJob({ name: 'b' })
    const first = await makeRun(a, { createdAt: '2026-02-01T00:00:00Z', requestKey: 'key-00001' })
    const second = await makeRun(b, { createdAt: '2026-02-02T00:00:00Z', scheduleId: 4 })
    const third = await makeRun(a, { createdAt: '2026-02-03T00:00:00Z' })
    expect(await ids({ jobId: a.id })).toEqual([third, first])
    expect(await ids({ trigger: 'schedule' })).toEqual([second])
    expect(await ids({ trigger: 'call' })).toEqual([third, first])
    expect(await ids({ requestKey: 'key-00001' })).toEqual([first])
    const at = (text: string): number => new Date(text).getTime()
    expect(await ids({ fromMs: at('2026-02-02T00:00:00Z') })).toEqual([third, second])
    expect(await ids({ fromMs: at('2026-02-01T00:00:00.001Z'), toMs: at('2026-02-02T00:00:00Z') })).toEqual([second])
  })
})

describe('why a run waits', () => {
  const why = async (runId: number) => {
    const waiting = await waitingOf(database.db, appId, runId)
    return waiting === undefined ? [] : whyWaiting(waiting)
  }
  beforeEach(clearHot)

  it('a run that does not wait has no reasons', async () => {
    const job = await makeJob()
    expect(await why(await makeRun(job, { ended: 'succeeded' }))).toEqual([])
    expect(await why(await makeAttempt(job, await makeSession()))).toEqual([])
  })

  it('not due, due for another attempt, due and about to be moved', async () => {
    const job = await makeJob()
    expect(await why(await makeLater(job))).toMatchObject([{ code: 'NOT_DUE', dueAt: expect.stringMatching(/Z$/) }])
    expect(await why(await makeLater(job, { attempts: 2 }))).toMatchObject([{ code: 'RETRY_LATER' }])
    expect(await why(await makeLater(job, { inMs: -1000 }))).toMatchObject([{ code: 'ABOUT_TO_START' }])
  })

  it('the limit of the job, and the runs that hold it', async () => {
    const job = await makeJob({ maxConcurrentRuns: 2 })
    const runId = await makeBlocked(job)
    expect(await why(runId)).toMatchObject([{ code: 'ABOUT_TO_START' }])
    for (const holder of [71, 72])
      await database.db.query(sql`insert into oncejob.run_slot values (${holder}, ${job.id})`)
    expect(await why(runId)).toEqual([{ code: 'LIMIT_REACHED', says: expect.any(String), limit: 2, heldBy: [71, 72] }])
  })

  it('no worker of the app, only late, ended, draining ones or those of others', async () => {
    const runId = await makeReady(await makeJob())
    await makeSession({ app: otherAppId })
    await makeSession({ late: true })
    await makeSession({ ended: true })
    expect(await why(runId)).toMatchObject([{ code: 'NO_WORKER', says: 'The app has no live worker.' }])
    await makeSession({ draining: true })
    expect(await why(runId)).toMatchObject([{ code: 'NO_WORKER', says: expect.stringContaining('draining') }])
  })

  it('the label that no worker has', async () => {
    const runId = await makeReady(await makeJob({ workers: { labels: { zone: 'eu' } } }))
    await makeSession({ labels: { zone: 'us' } })
    expect(await why(runId)).toMatchObject([{ code: 'NO_WORKER_WITH_LABEL', label: 'zone=eu' }])
  })

  it('busy workers, and how many runs are before it', async () => {
    const job = await makeJob()
    const twin = await makeJob({ name: 'twin', processor: 'other' })
    const sessionId = await makeSession({ slots: 1 })
    await makeAttempt(job, sessionId)
    const urgent = await makeReady(job, { priority: 5 })
    await makeReady(twin)
    const older = await makeReady(job, { runAt: '2025-01-01T00:00:00Z' })
    const first = await makeReady(job)
    const second = await makeReady(job)
    const ahead = async (runId: number) => (await why(runId)).map(({ code, ahead: n }) => [code, n])
    expect(await ahead(urgent)).toEqual([['WORKERS_BUSY', 0]])
    expect(await ahead(older)).toEqual([['WORKERS_BUSY', 1]])
    expect(await ahead(first)).toEqual([['WORKERS_BUSY', 2]])
    expect(await ahead(second)).toEqual([['WORKERS_BUSY', 3]])
    await makeSession({ name: 'w2' })
    expect(await ahead(second)).toEqual([['ABOUT_TO_START', 3]])
  })
})

describe('workers', () => {
  beforeEach(clearHot)

  it('shows what each session is and how many runs it has', async () => {
    const job = await makeJob()
    const live = await makeSession({ labels: { a: 'b' } })
    await makeAttempt(job, live)
    await makeAttempt(job, live)
    expect(await workerById(database.db, appId, live)).toEqual({
      sessionId: live,
      app: `app-${apps}`,
      name: 'w1',
      address: '10.0.0.1:1',
      pid: null,
      version: null,
      state: 'live',
      endReason: null,
      processors: ['send'],
      labels: { a: 'b' },
      slots: 2,
      running: 2,
      metrics: { cpuCores: 4, cpuLoad: 0.5, freeMemoryGb: 2, freeDiskGb: 3 },
      startedAt: expect.stringMatching(/Z$/),
      expiresAt: expect.stringMatching(/Z$/),
      endedAt: null,
    })
    expect(await workerById(database.db, otherAppId, live)).toBeUndefined()
  })

  it('lists those that have not ended, or all, newest first, over pages', async () => {
    const ended = await makeSession({ ended: true })
    const late = await makeSession({ late: true })
    const draining = await makeSession({ draining: true })
    const live = await makeSession()
    await makeSession({ app: otherAppId })
    const seen = async (state: 'live' | 'all', limit: number, beforeId?: number) =>
      (await listWorkers(database.db, appId, { state, limit, beforeId })).map((worker) => [
        worker.sessionId,
        worker.state,
      ])
    expect(await seen('live', 10)).toEqual([
      [live, 'live'],
      [draining, 'draining'],
      [late, 'late'],
    ])
    expect(await seen('all', 2)).toEqual([
      [live, 'live'],
      [draining, 'draining'],
    ])
    expect(await seen('all', 2, draining)).toEqual([
      [late, 'late'],
      [ended, 'ended'],
    ])
  })

  it('only sessions that are renewed in time can be given runs', async () => {
    await makeSession({ ended: true })
    await makeSession({ late: true })
    const live = await makeSession()
    expect(await sessionsInTime(database.db, appId)).toMatchObject([
      { id: live, running: 0, draining: false, slots: 2 },
    ])
  })
})

describe('routes', () => {
  it('an app’s routes are listed with what they ask for', async () => {
    const job = await makeJob({
      workers: { labels: { a: 'b' }, designated: ['y', 'x'], minFreeCpuCores: 0.5, maxWorkers: 3, strategy: 'random' },
    })
    const routes = await allRoutes(database.db)
    expect(routes.filter((route) => route.appId === appId)).toEqual([
      {
        id: job.routeId,
        appId,
        processor: 'send',
        labels: { a: 'b' },
        designated: ['x', 'y'],
        minFreeCpuCores: 0.5,
        minFreeMemoryGb: 0,
        minFreeDiskGb: 0,
        maxWorkers: 3,
        strategy: 'random',
        java: null,
      },
    ])
  })
})
