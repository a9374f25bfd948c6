// The life of a run on a real database: submit, claim, report, and everything that can come in between.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from './storage/sql.ts'
import { createRig, silence, type Rig } from './testing/rig.ts'

let database: TestDatabase
let rig: Rig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createRig(database.db)
})
afterAll(() => database.close())

const succeeded = (run: { runId: number; lease: number }, result: unknown = 'done') => ({
  reports: [{ runId: run.runId, lease: run.lease, outcome: 'succeeded' as const, result }],
})
const failed = (run: { runId: number; lease: number }, more: { terminal?: boolean; retryAfterMs?: number } = {}) => ({
  reports: [
    {
      runId: run.runId,
      lease: run.lease,
      outcome: 'failed' as const,
      error: { code: 'BROKEN', message: 'it broke' },
      ...more,
    },
  ],
})
const answersOf = async (answer: Promise<{ answers: { answer: string; code?: string }[] }>) =>
  (await answer).answers.map((one) => one.code ?? one.answer)
/** A worker of its own app with one claimed run. */
const claimed = async (job: Parameters<Rig['job']>[1] = {}) => {
  const appId = await rig.app()
  const jobId = await rig.job(appId, job)
  const { sessionId } = await rig.worker(appId)
  const runId = await rig.submit(appId, jobId, { params: { n: 1 } })
  const { runs } = await rig.poll(appId, sessionId)
  expect(runs.map((run) => run.runId)).toEqual([runId])
  return { appId, jobId, sessionId, runId, run: runs[0]! }
}

describe('a run', () => {
  test('is handed to one worker, and finished by its report', async () => {
    const { appId, run, runId } = await claimed()
    expect(run).toMatchObject({
      attempt: 1,
      processor: 'work',
      params: { n: 1 },
      jobParams: null,
      timeoutMs: null,
      idempotencyKey: `oncejob-run-${runId}`,
    })
    expect(await rig.where(runId)).toMatchObject({ state: 'open', places: ['attempt'] })
    expect(await answersOf(rig.sessions.report(appId, succeeded(run, { sum: 3 })))).toEqual(['accepted'])
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['succeeded'] })
  })
  test('is told as a duplicate when the same report comes again, and changes nothing', async () => {
    const { appId, run, runId } = await claimed()
    await rig.sessions.report(appId, succeeded(run, 1))
    expect(await answersOf(rig.sessions.report(appId, succeeded(run, 2)))).toEqual(['duplicate'])
    const [row] = await rig.db.query<{ result: string }>(sql`select result from oncejob.run where id = ${runId}`)
    expect(row?.result).toBe('1')
  })
  test('that is reported twice in one batch counts once', async () => {
    const { appId, run, runId } = await claimed()
    const twice = { reports: [...succeeded(run, 1).reports, ...succeeded(run, 2).reports, ...failed(run).reports] }
    expect(await answersOf(rig.sessions.report(appId, twice))).toEqual(['accepted', 'duplicate', 'LEASE_LOST'])
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['succeeded'] })
  })
  test('that does not exist, or belongs to another app, is answered as unknown', async () => {
    const { run, runId } = await claimed()
    const other = await rig.app()
    expect(await answersOf(rig.sessions.report(other, succeeded(run)))).toEqual(['RUN_NOT_FOUND'])
    expect(await answersOf(rig.sessions.report(other, succeeded({ runId: 999_999, lease: 1 })))).toEqual([
      'RUN_NOT_FOUND',
    ])
    expect(await rig.where(runId)).toMatchObject({ places: ['attempt'] })
  })
  test('goes to one of many workers that ask at the same moment', async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId)
    const workers = await Promise.all(Array.from({ length: 8 }, () => rig.worker(appId, { slots: 20 })))
    const ids = await Promise.all(Array.from({ length: 60 }, () => rig.submit(appId, jobId)))
    const held = workers.map((): { runId: number; lease: number }[] => [])
    for (let round = 0; round < 50 && held.flat().length < 60; round += 1) {
      const answers = await Promise.all(workers.map((worker, i) => rig.poll(appId, worker.sessionId, held[i], 5)))
      answers.forEach((answer, i) => held[i]!.push(...answer.runs.map(({ runId, lease }) => ({ runId, lease }))))
    }
    expect(
      held
        .flat()
        .map((one) => one.runId)
        .toSorted((a, b) => a - b),
    ).toEqual(ids.toSorted((a, b) => a - b))
    const [leases] = await rig.db.query<{ n: number; distinct: number }>(sql`
select count(*)::int as n, count(distinct lease)::int as distinct from oncejob.attempt where run_id = any(${ids}::bigint[])`)
    expect(leases).toEqual({ n: 60, distinct: 60 })
  })
  test('of higher priority starts first, then the one that was asked for first', async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId)
    const low = await rig.submit(appId, jobId, { priority: -1 })
    const first = await rig.submit(appId, jobId)
    const second = await rig.submit(appId, jobId)
    const high = await rig.submit(appId, jobId, { priority: 5 })
    const { sessionId } = await rig.worker(appId)
    const { runs } = await rig.poll(appId, sessionId)
    expect(runs.map((run) => run.runId)).toEqual([high, first, second, low])
  })
})

describe('a hand-over whose answer was lost', () => {
  test('is repeated with the same lease', async () => {
    const { appId, sessionId, run } = await claimed()
    const again = await rig.poll(appId, sessionId, [])
    expect(again.runs).toEqual([run])
    const named = await rig.poll(appId, sessionId, [run])
    expect(named.runs).toEqual([])
  })
  test('is repeated by another server too', async () => {
    const { appId, sessionId, run } = await claimed()
    const second = await createRig(database.db)
    const again = await second.poll(appId, sessionId, [])
    expect(again.runs).toEqual([run])
  })
})

describe('a lost worker', () => {
  test('gives its runs to another one after lease and grace, and its late report changes nothing', async () => {
    const { appId, sessionId, run, runId } = await claimed()
    await silence(rig.db, sessionId)
    const patient = await createRig(database.db, { config: { leaseMs: 500, graceMs: 0 } })
    await patient.reclaim.runOnce()
    expect(await rig.where(runId), 'a server that has just started waits').toMatchObject({ places: ['attempt'] })
    await expect
      .poll(
        async () => {
          await patient.reclaim.runOnce()
          return (await rig.where(runId)).places
        },
        { timeout: 20_000, interval: 100 },
      )
      .toEqual(['ready'])

    const other = await rig.worker(appId, { name: 'other' })
    const taken = await rig.poll(appId, other.sessionId)
    expect(taken.runs[0]).toMatchObject({ runId, attempt: 2 })
    expect(taken.runs[0]!.lease).toBeGreaterThan(run.lease)
    expect(await answersOf(rig.sessions.report(appId, succeeded(run, 'zombie')))).toEqual(['LEASE_LOST'])
    expect(await answersOf(rig.sessions.report(appId, failed(run)))).toEqual(['LEASE_LOST'])
    expect(await answersOf(rig.sessions.report(appId, succeeded(taken.runs[0]!, 'second')))).toEqual(['accepted'])
    expect(await answersOf(rig.sessions.report(appId, succeeded(run, 'zombie')))).toEqual(['LEASE_LOST'])
    const [row] = await rig.db.query<{ result: string; attempts: number }>(
      sql`select result, attempts from oncejob.run where id = ${runId}`,
    )
    expect(row).toEqual({ result: '"second"', attempts: 2 })
    expect((await rig.where(runId)).attempts).toEqual(['lost', 'succeeded'])
    await expect(rig.poll(appId, sessionId)).rejects.toMatchObject({ code: 'SESSION_ENDED' })
  })
  test('that comes back before its session was ended keeps its runs', async () => {
    const { appId, sessionId, run, runId } = await claimed()
    await silence(rig.db, sessionId)
    const second = await createRig(database.db)
    await second.poll(appId, sessionId, [run])
    await second.reclaim.runOnce()
    expect(await rig.where(runId)).toMatchObject({ places: ['attempt'] })
  })
  test('that leaves gives back what it holds at once', async () => {
    const { appId, sessionId, runId } = await claimed()
    await rig.sessions.leave(appId, sessionId)
    expect(await rig.where(runId)).toMatchObject({ state: 'open', places: ['ready'], attempts: ['lost'] })
  })
  test('fails the run when that happens too often', async () => {
    const { appId, sessionId, runId } = await claimed({ retry: { maxLost: 0 } })
    await rig.sessions.leave(appId, sessionId)
    expect(await rig.where(runId)).toMatchObject({ state: 'failed', places: [], attempts: ['lost'] })
  })
  test('is told that a lease it names is lost', async () => {
    const { appId, sessionId, run } = await claimed()
    const foreign = { runId: run.runId, lease: run.lease + 1_000_000 }
    // within a second the server compares
    await expect
      .poll(async () => (await rig.poll(appId, sessionId, [run, foreign])).stops, { timeout: 20_000, interval: 200 })
      .toEqual([{ ...foreign, reason: 'lost' }])
  })
})

describe('a failed attempt', () => {
  test('ends the run when the job has no retries', async () => {
    const { appId, run, runId } = await claimed()
    await rig.sessions.report(appId, failed(run))
    expect(await rig.where(runId)).toEqual({ state: 'failed', places: [], attempts: ['failed'] })
  })
  test('is tried again after its delay, as the same run', async () => {
    const { appId, run, runId, sessionId } = await claimed({ retry: { max: 1, delayMs: 0 } })
    await rig.sessions.report(appId, failed(run))
    expect(await rig.where(runId)).toMatchObject({ state: 'open', places: ['ready'] })
    const second = (await rig.poll(appId, sessionId)).runs[0]!
    expect(second).toMatchObject({ runId, attempt: 2 })
    await rig.sessions.report(appId, failed(second))
    expect(await rig.where(runId)).toEqual({ state: 'failed', places: [], attempts: ['failed', 'failed'] })
  })
  test('waits as long as the processor asks', async () => {
    const { appId, run, runId } = await claimed({ retry: { max: 3 } })
    await rig.sessions.report(appId, failed(run, { retryAfterMs: 3_600_000 }))
    expect(await rig.where(runId)).toMatchObject({ places: ['later'] })
    await rig.due.runOnce()
    expect(await rig.where(runId)).toMatchObject({ places: ['later'] })
  })
  test('that is terminal is not tried again', async () => {
    const { appId, run, runId } = await claimed({ retry: { max: 3 } })
    await rig.sessions.report(appId, failed(run, { terminal: true }))
    expect(await rig.where(runId)).toMatchObject({ state: 'failed', places: [] })
  })
  test('past its deadline is ended without the worker', async () => {
    const { appId, sessionId, run, runId } = await claimed({ attemptTimeoutMs: 1 })
    await expect
      .poll(
        async () => {
          await rig.overdue.runOnce()
          return (await rig.where(runId)).state
        },
        { timeout: 20_000, interval: 50 },
      )
      .toBe('failed')
    expect((await rig.where(runId)).attempts).toEqual(['timed-out'])
    expect(await answersOf(rig.sessions.report(appId, succeeded(run)))).toEqual(['LEASE_LOST'])
    // within a second the worker hears of it
    await expect
      .poll(async () => (await rig.poll(appId, sessionId, [run])).stops, { timeout: 20_000, interval: 200 })
      .toEqual([{ runId, lease: run.lease, reason: 'lost' }])
  })
  test('that was handed back is ready for others, and no failure', async () => {
    const { appId, run, runId } = await claimed()
    await rig.sessions.report(appId, { reports: [{ runId, lease: run.lease, outcome: 'handed-back' }] })
    expect(await rig.where(runId)).toMatchObject({ state: 'open', places: ['ready'], attempts: ['handed-back'] })
  })
})

describe('steering', () => {
  test('a waiting run is canceled once, and never starts', async () => {
    const appId = await rig.app()
    const runId = await rig.submit(appId, await rig.job(appId), { delayMs: 60_000 })
    expect(await rig.runs.cancel(appId, runId, 'test')).toEqual({ id: runId, state: 'canceled', changed: true })
    expect(await rig.runs.cancel(appId, runId, 'test')).toEqual({ id: runId, state: 'canceled', changed: false })
    expect(await rig.where(runId)).toEqual({ state: 'canceled', places: [], attempts: [] })
    const trail = await rig.db.query<{ actor: string; action: string }>(
      sql`select actor, action from oncejob.audit where target = ${`run/${runId}`}`,
    )
    expect(trail).toEqual([{ actor: 'test', action: 'run.cancel' }])
  })
  test('a running run is asked to stop; its own end as stopped counts', async () => {
    const { appId, sessionId, run, runId } = await claimed({ retry: { max: 5 } })
    await expect(rig.runs.cancel(appId, runId, 'test')).rejects.toMatchObject({ code: 'RUN_RUNNING' })
    const waiting = rig.sessions.poll(
      appId,
      sessionId,
      { free: 5, held: [run].map(({ runId, lease }) => ({ runId, lease })), waitMs: 3000 },
      new AbortController().signal,
    )
    expect(await rig.runs.stop(appId, runId, 'test')).toEqual({ id: runId, state: 'running', changed: true })
    expect((await waiting).stops).toEqual([{ runId, lease: run.lease, reason: 'stop' }])
    // a failure after a stop is a stop
    await rig.sessions.report(appId, failed(run))
    expect(await rig.where(runId)).toEqual({ state: 'stopped', places: [], attempts: ['failed'] })
  })
  test('a running run whose worker does not stop loses its lease', async () => {
    const { appId, run, runId } = await claimed()
    await rig.runs.stop(appId, runId, 'test')
    await expect
      .poll(
        async () => {
          await rig.overdue.runOnce()
          return (await rig.where(runId)).state
        },
        { timeout: 20_000, interval: 50 },
      )
      .toBe('stopped')
    expect(await answersOf(rig.sessions.report(appId, succeeded(run)))).toEqual(['LEASE_LOST'])
  })
  test('a retry by hand leaves the terminal state and keeps the history', async () => {
    const { appId, sessionId, run, runId } = await claimed()
    await expect(rig.runs.retry(appId, runId, 'test')).rejects.toMatchObject({ code: 'RUN_NOT_ENDED' })
    await rig.sessions.report(appId, failed(run))
    const both = await Promise.allSettled([rig.runs.retry(appId, runId, 'test'), rig.runs.retry(appId, runId, 'test')])
    expect(both.filter((one) => one.status === 'fulfilled')).toHaveLength(1)
    const again = (await rig.poll(appId, sessionId)).runs
    expect(again).toMatchObject([{ runId, attempt: 2 }])
    await rig.sessions.report(appId, succeeded(again[0]!))
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['failed', 'succeeded'] })
  })
  test('runs of another app are not there', async () => {
    const { runId } = await claimed()
    const other = await rig.app()
    for (const act of [rig.runs.cancel, rig.runs.stop, rig.runs.retry]) {
      await expect(act(other, runId, 'test')).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' })
    }
  })
})

describe('submitting', () => {
  test('a batch makes all runs or none', async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId)
    const one = {
      appId,
      job: jobId,
      params: null,
      delayMs: null,
      runAtMs: null,
      priority: null,
      queueTimeoutMs: null,
      requestKey: null,
      keyed: null,
      runKey: null,
    }
    expect(new Set((await rig.runs.submitMany([one, one, one])).ids).size).toBe(3)
    await expect(rig.runs.submitMany([one, { ...one, job: 987_654_321 }])).rejects.toMatchObject({
      code: 'JOB_NOT_FOUND',
      facts: { index: 1 },
    })
    const [count] = await rig.db.query<{ n: number }>(
      sql`select count(*)::int as n from oncejob.run where job_id = ${jobId}`,
    )
    expect(count?.n).toBe(3)
  })
  test('a name that moved to another job is found anew', async () => {
    const appId = await rig.app()
    const first = await rig.job(appId, { name: 'report' })
    await rig.submit(appId, 'report')
    await rig.service.patch({ appId, actor: 'test' }, String(first), '*', { name: 'old-report' })
    const second = await rig.job(appId, { name: 'report' })
    const runId = await rig.submit(appId, 'report')
    const [row] = await rig.db.query<{ job_id: number }>(sql`select job_id from oncejob.run where id = ${runId}`)
    expect(row?.job_id).toBe(second)
    await expect(rig.submit(appId, 'nothing')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' })
  })
  test('a delayed run becomes ready when it is due, not before', async () => {
    const appId = await rig.app()
    const runId = await rig.submit(appId, await rig.job(appId), { delayMs: 1500 })
    expect(await rig.where(runId)).toMatchObject({ places: ['later'] })
    expect(await rig.due.runOnce()).toBeLessThanOrEqual(1500)
    await expect
      .poll(
        async () => {
          await rig.due.runOnce()
          return (await rig.where(runId)).places
        },
        { timeout: 20_000, interval: 100 },
      )
      .toEqual(['ready'])
    const [row] = await rig.db.query<{ early: boolean }>(
      sql`select now() < due_at as early from oncejob.run where id = ${runId}`,
    )
    expect(row?.early).toBe(false)
  })
  test('a run without a worker fails at its queue deadline, with the reason', async () => {
    const appId = await rig.app()
    const runId = await rig.submit(appId, await rig.job(appId), { queueTimeoutMs: 0 })
    await rig.expiry.runOnce()
    const [row] = await rig.db.query<{ state: string; error: string }>(
      sql`select state, error from oncejob.run where id = ${runId}`,
    )
    expect(row?.state).toBe('failed')
    expect(JSON.parse(row!.error)).toMatchObject({ code: 'QUEUE_TIMEOUT', message: expect.stringContaining('worker') })
  })
})

describe('an idle server', () => {
  test('sleeps as long as nothing is planned', async () => {
    const idle = await openTestDatabase()
    try {
      const alone = await createRig(idle.db)
      expect(await alone.due.runOnce()).toBe(Infinity)
      expect(await alone.scheduler.runOnce()).toBe(Infinity)
    } finally {
      await idle.close()
    }
  })
})

describe('a job with a limit', () => {
  const open = async (jobId: number) => {
    const [row] = await rig.db.query<{ slots: number; blocked: number }>(sql`
select (select count(*)::int from oncejob.run_slot where job_id = ${jobId}) as slots,
  (select count(*)::int from oncejob.run_blocked where job_id = ${jobId}) as blocked`)
    return row
  }
  test('never has more runs ready or running than that, however many are submitted at once', async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId, { maxConcurrentRuns: 2 })
    const ids = await Promise.all(Array.from({ length: 20 }, () => rig.submit(appId, jobId)))
    expect(await open(jobId)).toEqual({ slots: 2, blocked: 18 })
    const { sessionId } = await rig.worker(appId)
    const done = new Set<number>()
    while (done.size < ids.length) {
      const { runs } = await rig.poll(appId, sessionId)
      expect(runs.length).toBeLessThanOrEqual(2)
      for (const run of runs) {
        await rig.sessions.report(appId, succeeded(run))
        done.add(run.runId)
      }
      await rig.limits.runOnce()
    }
    expect(await open(jobId)).toEqual({ slots: 0, blocked: 0 })
  })
  test('keeps the slot over a retry and gives it back at the end', async () => {
    const { appId, jobId, run, runId } = await claimed({ maxConcurrentRuns: 1, retry: { max: 1, delayMs: 3_600_000 } })
    const next = await rig.submit(appId, jobId)
    await rig.sessions.report(appId, failed(run))
    expect(await rig.where(runId)).toMatchObject({ places: ['later'] })
    await rig.limits.runOnce()
    expect(await rig.where(next)).toMatchObject({ places: ['blocked'] })
    await rig.runs.cancel(appId, runId, 'test')
    await rig.limits.runOnce()
    expect(await rig.where(next)).toMatchObject({ places: ['ready'] })
  })
  test('skip refuses the call, and makes nothing', async () => {
    const { appId, jobId } = await claimed({ schedule: { trigger: { kind: 'none' }, overlap: 'skip' } })
    await expect(rig.submit(appId, jobId)).rejects.toMatchObject({ code: 'RUN_LIMIT', facts: { limit: 1, open: 1 } })
    expect(await open(jobId)).toEqual({ slots: 1, blocked: 0 })
  })
  test('fail makes a run that has failed, with the reason', async () => {
    const { appId, jobId } = await claimed({ schedule: { trigger: { kind: 'none' }, overlap: 'fail' } })
    const runId = await rig.submit(appId, jobId)
    expect(await rig.where(runId)).toEqual({ state: 'failed', places: [], attempts: [] })
  })
  test('replace stops what runs, cancels what waits, and starts the newest', async () => {
    const { appId, jobId, run, runId, sessionId } = await claimed({
      schedule: { trigger: { kind: 'none' }, overlap: 'replace' },
    })
    const second = await rig.submit(appId, jobId)
    const third = await rig.submit(appId, jobId)
    expect(await rig.where(second)).toMatchObject({ state: 'canceled' })
    expect(await rig.where(third)).toMatchObject({ state: 'open', places: ['blocked'] })
    await rig.sessions.report(appId, {
      reports: [{ runId, lease: run.lease, outcome: 'stopped', error: { code: 'STOPPED', message: 'stopped' } }],
    })
    await rig.limits.runOnce()
    expect((await rig.poll(appId, sessionId)).runs.map((one) => one.runId)).toEqual([third])
  })
})

describe('fires', () => {
  const fires = (jobId: number) =>
    rig.db.query<{ outcome: string; run_id: number | null; reason: string | null }>(sql`
select outcome, run_id, reason from oncejob.fire where job_id = ${jobId} order by fire_at`)
  const dueNow = (jobId: number, agoMs = 0) =>
    rig.db.query(
      sql`update oncejob.schedule set next_fire_at = date_trunc('second', now()) - ${agoMs}::bigint * interval '1 ms', version = version + 1 where job_id = ${jobId}`,
    )

  test('are made once by any number of servers that see them due', async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId, { schedule: { trigger: { kind: 'cron', expression: '0 0 * * *' } } })
    await dueNow(jobId)
    const others = await Promise.all([createRig(database.db), createRig(database.db)])
    await Promise.all([rig, ...others].map((server) => server.scheduler.runOnce()))
    const made = await fires(jobId)
    expect(made).toMatchObject([{ outcome: 'fired', reason: null }])
    expect(await rig.where(made[0]!.run_id!)).toMatchObject({ state: 'open', places: ['ready'] })
    const [next] = await rig.db.query<{ later: boolean }>(
      sql`select next_fire_at > now() as later from oncejob.schedule where job_id = ${jobId}`,
    )
    expect(next?.later).toBe(true)
  })
  test('that are late follow the misfire policy, and every occurrence has its row', async () => {
    const appId = await rig.app()
    const once = await rig.job(appId, { schedule: { trigger: { kind: 'fixed-rate', everyMs: 60_000 } } })
    const skip = await rig.job(appId, {
      schedule: { trigger: { kind: 'fixed-rate', everyMs: 60_000 }, misfire: { policy: 'skip' } },
    })
    for (const jobId of [once, skip]) {
      await rig.db
        .query(sql`update oncejob.schedule set anchor_at = date_trunc('second', now()) - interval '3630 seconds',
        next_fire_at = date_trunc('second', now()) - interval '3630 seconds', version = version + 1 where job_id = ${jobId}`)
    }
    await rig.scheduler.runOnce()
    const ofOnce = await fires(once)
    expect(ofOnce).toHaveLength(61)
    expect(ofOnce.filter((fire) => fire.outcome === 'fired')).toHaveLength(1)
    expect(ofOnce.at(-1)?.outcome).toBe('fired')
    expect(ofOnce.slice(0, -1).every((fire) => fire.outcome === 'coalesced' && fire.reason !== null)).toBe(true)
    expect((await fires(skip)).every((fire) => fire.outcome === 'missed')).toBe(true)
  })
  test('of a fixed delay wait for the end of the run before', async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId, { schedule: { trigger: { kind: 'fixed-delay', delayMs: 50 } } })
    await rig.scheduler.runOnce()
    await rig.scheduler.runOnce()
    const [first, ...more] = await fires(jobId)
    expect(more).toEqual([])
    const { sessionId } = await rig.worker(appId)
    const { runs } = await rig.poll(appId, sessionId)
    expect(runs.map((run) => run.runId)).toEqual([first!.run_id])
    await rig.sessions.report(appId, succeeded(runs[0]!))
    await expect
      .poll(
        async () => {
          await rig.limits.runOnce()
          await rig.scheduler.runOnce()
          return (await fires(jobId)).length
        },
        { timeout: 20_000, interval: 50 },
      )
      .toBe(2)
  })
  test('beyond the limit are skipped as rows, failed as runs, or replace', async () => {
    const appId = await rig.app()
    const make = (overlap: 'skip' | 'fail' | 'replace') =>
      rig.job(appId, { schedule: { trigger: { kind: 'cron', expression: '0 0 * * *' }, overlap } })
    const jobs = { skip: await make('skip'), fail: await make('fail'), replace: await make('replace') }
    for (const jobId of Object.values(jobs)) await rig.submit(appId, jobId)
    for (const jobId of Object.values(jobs)) await dueNow(jobId)
    await rig.scheduler.runOnce()
    expect(await fires(jobs.skip)).toMatchObject([
      { outcome: 'skipped', run_id: null, reason: expect.stringContaining('skip') },
    ])
    const [failedFire] = await fires(jobs.fail)
    expect(await rig.where(failedFire!.run_id!)).toMatchObject({ state: 'failed' })
    const [replacing] = await fires(jobs.replace)
    expect(await rig.where(replacing!.run_id!)).toMatchObject({ state: 'open', places: ['ready'] })
  })
  test('of a disabled job are not made', async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId, { schedule: { trigger: { kind: 'fixed-rate', everyMs: 50 } } })
    await rig.service.setEnabled({ appId, actor: 'test' }, String(jobId), false)
    const before = (await fires(jobId)).length
    await rig.scheduler.runOnce()
    expect((await fires(jobId)).length).toBe(before)
  })
})
