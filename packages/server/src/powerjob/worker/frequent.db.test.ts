// Jobs on short intervals at Java workers: one long run within which the worker repeats them, and the schedule rests meanwhile.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { listFiresOfJob } from '../../storage/fires-read.ts'
import { sql } from '../../storage/sql.ts'
import { createJavaRig, type JavaRig } from '../testing/java-rig.ts'
import { until } from '../testing/java-worker.ts'
import { readSubRuns } from './sub-runs.ts'

let database: TestDatabase
let rig: JavaRig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createJavaRig(database.db)
})
afterAll(async () => {
  await rig.end()
  await database.close()
})

const rate = { timeExpressionType: 'FIXED_RATE', timeExpression: '5000' }
const scheduleOf = async (jobId: number) => {
  const [row] = await database.db.query<{ next: Date | null; fires: number; runs: number }>(sql`
select s.next_fire_at as next, (select count(*) from oncejob.fire f where f.job_id = s.job_id)::int as fires,
  (select count(*) from oncejob.run r where r.job_id = s.job_id)::int as runs
from oncejob.schedule s where s.job_id = ${jobId}`)
  return row!
}
const due = (jobId: number) =>
  database.db.query(
    sql`update oncejob.schedule set next_fire_at = date_trunc('milliseconds', now()), version = version + 1 where job_id = ${jobId}`,
  )

describe('a job on a short interval', () => {
  test('has one long run at a Java worker, and does not fire meanwhile', async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    const jobId = await rig.wireJob(appId, { ...rate, instanceTimeLimit: 1_000 })
    await due(jobId)
    await rig.scheduler.runOnce()
    expect(await scheduleOf(jobId)).toEqual({ next: null, fires: 0, runs: 0 })
    await rig.java.rounds.frequent()
    await rig.java.rounds.frequent()
    const [body] = await worker.handed(1)
    expect(body).toMatchObject({
      timeExpressionType: 'FIXED_RATE',
      timeExpression: '5000',
      maxInstanceNum: 0,
      instanceTimeoutMS: 1_000,
    })
    const runId = Number(body!['instanceId'])
    // the time limit is that of each execution within
    const [attempt] = await database.db.query<{ deadline_at: Date | null }>(
      sql`select deadline_at from oncejob.attempt where run_id = ${runId}`,
    )
    expect(attempt!.deadline_at).toBeNull()
    worker.detail = {
      status: 3,
      subInstanceDetails: [
        { subInstanceId: 2, startTime: 1_795_301_108_081, finishedTime: 0, status: 2 },
        { subInstanceId: 1, startTime: 1_795_301_106_081, finishedTime: 1_795_301_108_175, result: 'ok', status: 5 },
      ],
    }
    await worker.report(rig.java.workers, runId, 3, { totalTaskNum: 2, succeedTaskNum: 1 })
    await until(
      async () =>
        (await database.db.query(sql`select 1 from oncejob.powerjob_sub_run where run_id = ${runId}`)).length === 2,
      'executions kept',
    )
    const [told] = await database.db.query(
      sql`select total, succeeded, failed from oncejob.powerjob_attempt where run_id = ${runId}`,
    )
    expect(told).toEqual({ total: 2, succeeded: 1, failed: 0 })
    const history = async () => {
      const everything = { kind: undefined, outcome: undefined, before: undefined, limit: 9 }
      const fires = await listFiresOfJob(database.db, jobId, everything)
      return fires.map(({ runId: of, fireAt, subRun }) => [of, Date.parse(fireAt), subRun?.number, subRun?.state])
    }
    expect(await history()).toEqual([
      [runId, 1_795_301_108_081, 2, 'running'],
      [runId, 1_795_301_106_081, 1, 'succeeded'],
    ])
    await rig.java.rounds.frequent()
    expect((await scheduleOf(jobId)).runs).toBe(1)
    await rig.runs.stop(appId, runId, 'test')
    await until(async () => (await rig.where(runId)).state === 'stopped', 'stopped')
    expect(worker.stops()).toEqual([runId])
    expect((await history()).map(([, , , state]) => state)).toEqual(['unknown', 'succeeded'])
    expect((await scheduleOf(jobId)).fires).toBe(0)
  })
  test('is told of by ten executions at a time; one that tells of thousands is not believed all of it', () => {
    const many = Array.from({ length: 5_000 }, (_, i) => ({
      subInstanceId: 5_000 - i,
      startTime: 1,
      finishedTime: 0,
      status: 2,
    }))
    const numbers = readSubRuns({ subInstanceDetails: many }).map(({ number }) => number)
    expect(numbers).toEqual(Array.from({ length: 100 }, (_, i) => 5_000 - i))
  })
  test('begins again elsewhere when its worker is lost', async () => {
    const appId = await rig.app()
    const first = await rig.javaWorker(appId)
    const jobId = await rig.wireJob(appId, rate)
    await rig.java.rounds.frequent()
    const [body] = await first.handed(1)
    const runId = Number(body!['instanceId'])
    await first.report(rig.java.workers, runId, 3)
    const second = await rig.javaWorker(appId)
    await first.kill()
    await second.handed(1)
    expect(second.runs()[0]).toMatchObject({ instanceId: runId, timeExpressionType: 'FIXED_RATE' })
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['attempt'], attempts: ['lost'] })
    expect((await scheduleOf(jobId)).runs).toBe(1)
    await rig.runs.stop(appId, runId, 'test')
    await until(async () => (await rig.where(runId)).state === 'stopped', 'stopped')
  })
  test('whose beginning fails is begun anew, but not at once', async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    const jobId = await rig.wireJob(appId, { ...rate, instanceRetryNum: 5 })
    await rig.java.rounds.frequent()
    const [body] = await worker.handed(1)
    const runId = Number(body!['instanceId'])
    await worker.report(rig.java.workers, runId, 4, { result: 'init TaskTracker failed' })
    // it is not for the policy of runs to try it again
    expect((await rig.where(runId)).state).toBe('failed')
    await rig.java.rounds.frequent()
    expect((await scheduleOf(jobId)).runs).toBe(1)
    await database.db.query(sql`update oncejob.run set ended_at = now() - interval '20 s' where id = ${runId}`)
    await rig.java.rounds.frequent()
    await worker.handed(2)
    expect((await scheduleOf(jobId)).runs).toBe(2)
    await rig.runs.stop(appId, Number(worker.runs()[1]!['instanceId']), 'test')
  })
  test('ends with its life: the worker is told to stop, and the run has succeeded', async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    const jobId = await rig.wireJob(appId, rate)
    await rig.java.rounds.frequent()
    const runId = Number((await worker.handed(1))[0]!['instanceId'])
    await worker.report(rig.java.workers, runId, 3)
    await database.db.query(sql`update oncejob.schedule set end_at = now() - interval '1 s' where job_id = ${jobId}`)
    await worker.report(rig.java.workers, runId, 3)
    expect(worker.stops()).toEqual([runId])
    expect((await rig.where(runId)).state).toBe('succeeded')
    await rig.java.rounds.frequent()
    expect((await scheduleOf(jobId)).runs).toBe(1)
  })
  test('fires by its schedule where there is no Java worker, and again when the last one is gone', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId, rate)
    await due(jobId)
    await rig.scheduler.runOnce()
    expect(await scheduleOf(jobId)).toMatchObject({ fires: 1, runs: 1 })
    const native = await rig.worker(appId, { processors: ['com.acme.P'] })
    const { runs } = await rig.poll(appId, native.sessionId)
    expect(runs).toHaveLength(1)
    await rig.sessions.report(appId, {
      reports: [{ runId: runs[0]!.runId, lease: runs[0]!.lease, outcome: 'succeeded' }],
    })
    const worker = await rig.javaWorker(appId)
    await due(jobId)
    await rig.scheduler.runOnce()
    expect((await scheduleOf(jobId)).next).toBeNull()
    // the only Java worker is gone before there was a long run
    const sessionId = await rig.sessionOf(worker)
    await worker.kill()
    await database.db.query(
      sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${sessionId}`,
    )
    await rig.java.rounds.look()
    await rig.java.rounds.frequent()
    expect((await scheduleOf(jobId)).next).not.toBeNull()
  })
  test('has its one long run also when several servers look at once', async () => {
    const other = await createJavaRig(database.db)
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    const jobId = await rig.wireJob(appId, rate)
    await other.directory.refresh()
    await Promise.all([rig.java.rounds.frequent(), other.java.rounds.frequent(), rig.java.rounds.frequent()])
    await worker.handed(1)
    expect((await scheduleOf(jobId)).runs).toBe(1)
    const runId = Number(worker.runs()[0]!['instanceId'])
    await rig.runs.stop(appId, runId, 'test')
    await until(async () => (await rig.where(runId)).state === 'stopped', 'stopped')
    await other.end()
  })
})

describe('the long run of a job', () => {
  const caller = (appId: number) => ({ appId, actor: 'test' })
  const runOf = async (jobId: number): Promise<number> => {
    const [row] = await database.db.query<{ id: number }>(
      sql`select id from oncejob.run where job_id = ${jobId} order by id desc limit 1`,
    )
    return row!.id
  }
  const long = async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    const jobId = await rig.wireJob(appId, rate)
    await rig.java.rounds.frequent()
    await worker.handed(1)
    return { appId, worker, jobId, runId: await runOf(jobId) }
  }
  test.for([
    ['disabled', (appId, jobId) => rig.service.setEnabled(caller(appId), String(jobId), false)],
    ['deleted', (appId, jobId) => rig.service.remove(caller(appId), String(jobId), '*')],
    [
      'given another schedule',
      (appId, jobId) =>
        rig.service.patch(caller(appId), String(jobId), '*', { schedule: { trigger: { kind: 'none' } } }),
    ],
  ] as const satisfies [string, (appId: number, jobId: number) => Promise<unknown>][])(
    'ends when the job is %s, whoever does it: its worker is told to stop',
    async ([, change], { expect: check }) => {
      const { appId, worker, jobId, runId } = await long()
      await worker.report(rig.java.workers, runId, 3)
      await rig.java.rounds.frequent()
      check((await rig.where(runId)).places).toEqual(['attempt'])
      await change(appId, jobId)
      await rig.java.rounds.frequent()
      await until(async () => (await rig.where(runId)).state === 'stopped', 'stopped')
      check(worker.stops()).toEqual([runId])
      await rig.java.rounds.frequent()
      check((await scheduleOf(jobId)).runs).toBe(1)
    },
  )
  test('is not left waiting for a worker when the job is disabled, or its life is over', async () => {
    for (const over of ['disabled', 'ended']) {
      const appId = await rig.app()
      const worker = await rig.javaWorker(appId, { overload: true })
      const jobId = await rig.wireJob(appId, rate)
      await rig.java.rounds.frequent()
      const runId = await runOf(jobId)
      expect((await rig.where(runId)).places).toEqual(['ready'])
      if (over === 'disabled') await rig.service.setEnabled(caller(appId), String(jobId), false)
      else
        await database.db.query(
          sql`update oncejob.schedule set end_at = now() - interval '1 s' where job_id = ${jobId}`,
        )
      await rig.java.rounds.frequent()
      expect((await rig.where(runId)).state).toBe('canceled')
      expect(worker.runs()).toEqual([])
    }
  })
  test('does not begin before the life of the job', async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    const jobId = await rig.wireJob(appId, rate)
    await database.db.query(sql`update oncejob.schedule set start_at = now() + interval '25 s' where job_id = ${jobId}`)
    await rig.java.rounds.frequent()
    await rig.java.rounds.frequent()
    const runId = await runOf(jobId)
    expect((await rig.where(runId)).places).toEqual(['later'])
    expect((await scheduleOf(jobId)).runs).toBe(1)
    const [row] = await database.db.query<{ ms: number }>(
      sql`select (extract(epoch from run_at - now()) * 1000)::float8 as ms from oncejob.run_later where run_id = ${runId}`,
    )
    expect(row!.ms).toBeGreaterThan(15_000)
    expect(row!.ms).toBeLessThanOrEqual(25_000)
    expect(worker.runs()).toEqual([])
    await rig.runs.stop(appId, runId, 'test')
  })
})
