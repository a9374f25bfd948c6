// Reports of Java workers: what is late, repeated, or from elsewhere changes nothing and is acknowledged all the same.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../../storage/sql.ts'
import { createJavaRig, patientConfig, type JavaRig } from '../testing/java-rig.ts'
import { until, type ScriptedWorker } from '../testing/java-worker.ts'

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

const acknowledged = { success: true }
const workers = () => rig.java.workers

/** A run that a worker has. */
const handed = (job?: object) => rig.handed(job)
const dueNow = (runId: number) =>
  database.db.query(
    sql`update oncejob.run_later set run_at = date_trunc('milliseconds', now()) where run_id = ${runId}`,
  )
const result = async (runId: number): Promise<unknown> => {
  const [row] = await database.db.query<{ result: string | null }>(
    sql`select result from oncejob.run where id = ${runId}`,
  )
  return JSON.parse(row?.result ?? 'null')
}
/** Ends a worker's session, as if it had been silent for too long, and takes back what it had. */
const loseSession = async (worker: ScriptedWorker) => {
  const sessionId = await rig.sessionOf(worker)
  await database.db.query(
    sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${sessionId}`,
  )
  await rig.reclaim.takeBack()
  await rig.java.rounds.look()
}

describe('a final report', () => {
  test('that comes twice counts once', async () => {
    const { worker, runId } = await handed()
    const [first, second] = await Promise.all([
      worker.report(workers(), runId, 5, { result: 'done' }),
      worker.report(workers(), runId, 5, { result: 'done again' }),
    ])
    expect([first, second]).toEqual([acknowledged, acknowledged])
    expect(await worker.report(workers(), runId, 4, { result: 'no' })).toEqual(acknowledged)
    expect(await result(runId)).toBe('done')
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['succeeded'] })
  })
  test('is not acknowledged when it could not be recorded', async () => {
    const { worker, runId } = await handed()
    const lock = await database.db.query(sql`alter table oncejob.attempt_log rename column outcome to outcome_away`)
    expect(lock).toEqual([])
    try {
      await expect(worker.report(workers(), runId, 5)).rejects.toThrow('outcome')
    } finally {
      await database.db.query(sql`alter table oncejob.attempt_log rename column outcome_away to outcome`)
    }
    expect(await worker.report(workers(), runId, 5)).toEqual(acknowledged)
    expect((await rig.where(runId)).state).toBe('succeeded')
  })
  test('of failure follows the policy of the job, and the history stays', async () => {
    const { worker, runId } = await handed({ instanceRetryNum: 1 })
    expect(await worker.report(workers(), runId, 4, { result: 'boom' })).toEqual(acknowledged)
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['later'], attempts: ['failed'] })
    // the interrupted worker reports once more (contract 5.2), before and after the next attempt
    const late = { startTime: 0, reportTime: 0 }
    const [told] = await database.db.query<{ start_time: number }>(
      sql`select start_time from oncejob.powerjob_attempt where run_id = ${runId}`,
    )
    late.startTime = told!.start_time
    late.reportTime = worker.now() + 1_000_000
    expect(await worker.report(workers(), runId, 4, late)).toEqual(acknowledged)
    await dueNow(runId)
    await rig.due.runOnce()
    await worker.handed(2)
    expect(await worker.report(workers(), runId, 5, late)).toEqual(acknowledged)
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['attempt'], attempts: ['failed'] })
    expect(await worker.report(workers(), runId, 5)).toEqual(acknowledged)
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['failed', 'succeeded'] })
  })
  test('after a retry by hand is that of the new attempt only', async () => {
    const { appId, worker, runId } = await handed()
    await worker.report(workers(), runId, 5, { result: 'first', startTime: 1_111 })
    await rig.runs.retry(appId, runId, 'test')
    await worker.handed(2)
    expect(await worker.report(workers(), runId, 5, { result: 'late', startTime: 1_111 })).toEqual(acknowledged)
    expect((await rig.where(runId)).places).toEqual(['attempt'])
    await worker.report(workers(), runId, 5, { result: 'second', startTime: 2_222 })
    expect(await result(runId)).toBe('second')
  })
  test('keeps the text of the worker as the error, and tells a time-out by its words', async () => {
    const { worker, runId } = await handed({ instanceTimeLimit: 60_000 })
    expect(worker.runs()[0]).toMatchObject({ instanceTimeoutMS: 60_000 })
    await worker.report(workers(), runId, 4, { result: 'instance execute timeout,interrupted success' })
    const [row] = await database.db.query<{ error: string }>(sql`select error from oncejob.run where id = ${runId}`)
    expect(JSON.parse(row!.error)).toMatchObject({ code: 'ATTEMPT_TIMED_OUT' })
    expect(await rig.where(runId)).toEqual({ state: 'failed', places: [], attempts: ['timed-out'] })
  })
})

describe('a report', () => {
  test('from another address changes nothing, and its sender is told to stop', async () => {
    const { appId, worker, runId } = await handed()
    const other = await rig.javaWorker(appId)
    await rig.directory.refresh()
    expect(await other.report(workers(), runId, 5)).toEqual(acknowledged)
    expect(await other.report(workers(), runId, 3)).toBeUndefined()
    await until(() => other.stops().length === 1, 'a stop of the other')
    expect(other.stops()).toEqual([runId])
    expect(worker.stops()).toEqual([])
    expect((await rig.where(runId)).places).toEqual(['attempt'])
    await worker.report(workers(), runId, 5)
  })
  test('of another app changes nothing', async () => {
    const { worker, runId } = await handed()
    expect(await worker.report(workers(), runId, 5, { appId: 999_999 })).toEqual(acknowledged)
    expect((await rig.where(runId)).places).toEqual(['attempt'])
    await worker.report(workers(), runId, 5)
  })
  test('that it runs, after its end, brings nothing back', async () => {
    const { worker, runId } = await handed()
    await worker.report(workers(), runId, 5)
    await rig.directory.refresh()
    expect(await worker.report(workers(), runId, 3)).toBeUndefined()
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['succeeded'] })
    await until(() => worker.stops().length === 1, 'a stop')
  })
  test('that is older than the one before changes nothing', async () => {
    const { worker, runId } = await handed()
    await worker.report(workers(), runId, 3, { reportTime: 5_000_000_000_000, totalTaskNum: 9 })
    await worker.report(workers(), runId, 3, { reportTime: 4_999_999_999_999, totalTaskNum: 1 })
    const [row] = await database.db.query<{ total: number }>(
      sql`select total from oncejob.powerjob_attempt where run_id = ${runId}`,
    )
    expect(row!.total).toBe(9)
    await worker.report(workers(), runId, 5, { reportTime: 5_000_000_000_001 })
    expect((await rig.where(runId)).state).toBe('succeeded')
  })
  test('of a run that never was is acknowledged', async () => {
    const { worker, runId } = await handed()
    expect(await worker.report(workers(), 900_000_000, 5)).toEqual(acknowledged)
    expect(await worker.report(workers(), 0, 5, { instanceId: '883497632149471297' })).toEqual(acknowledged)
    await worker.report(workers(), runId, 5)
  })
  test('of a status that no worker has is not understood', async () => {
    const { worker, runId } = await handed()
    await expect(worker.report(workers(), runId, 7)).rejects.toThrow('which no worker reports')
    await worker.report(workers(), runId, 5)
  })
})

describe('a worker that was silent for too long', () => {
  test('comes back as a zombie: its late result changes nothing, and it is told to stop', async () => {
    const { appId, worker, runId } = await handed()
    await worker.report(workers(), runId, 3, { startTime: 7_777 })
    await loseSession(worker)
    const second = await rig.javaWorker(appId)
    await second.handed(1)
    // it awakes: a heartbeat opens a session anew
    await worker.heartbeat(workers())
    await rig.directory.refresh()
    expect(await worker.report(workers(), runId, 3, { startTime: 7_777 })).toBeUndefined()
    await until(() => worker.stops().includes(runId), 'a stop of the zombie')
    expect(await worker.report(workers(), runId, 5, { startTime: 7_777, result: 'late' })).toEqual(acknowledged)
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['attempt'], attempts: ['lost'] })
    await second.report(workers(), runId, 5, { result: 'in time' })
    expect(await result(runId)).toBe('in time')
    expect(second.stops()).toEqual([])
  })
  test('that gets the run again counts only with what it begins anew', async () => {
    const { worker, runId } = await handed()
    await worker.report(workers(), runId, 3, { startTime: 7_777 })
    await loseSession(worker)
    await worker.heartbeat(workers())
    await worker.handed(2)
    expect(await worker.report(workers(), runId, 5, { startTime: 7_777 })).toEqual(acknowledged)
    expect((await rig.where(runId)).places).toEqual(['attempt'])
    expect(await worker.report(workers(), runId, 5, { startTime: 8_888 })).toEqual(acknowledged)
    expect((await rig.where(runId)).attempts).toEqual(['lost', 'succeeded'])
  })
})

describe('a stop', () => {
  test('is told to the worker once, and ends the run, since no report will follow', async () => {
    const { appId, worker, runId } = await handed()
    await rig.runs.stop(appId, runId, 'test')
    await until(async () => (await rig.where(runId)).state === 'stopped', 'stopped')
    expect(worker.stops()).toEqual([runId])
    expect((await rig.where(runId)).attempts).toEqual(['stopped'])
    // a thread that ignores interruption goes on
    await rig.directory.refresh()
    await worker.report(workers(), runId, 3)
    expect((await rig.where(runId)).state).toBe('stopped')
    expect(await worker.report(workers(), runId, 5)).toEqual(acknowledged)
    expect((await rig.where(runId)).state).toBe('stopped')
  })
  test('of a run whose time is over is told to the worker', async () => {
    const { worker, runId } = await handed({ instanceTimeLimit: 60_000 })
    await database.db.query(
      sql`update oncejob.attempt set deadline_at = now() - interval '1 minute', claimed_at = now() - interval '2 minutes' where run_id = ${runId}`,
    )
    await rig.overdue.runOnce()
    await until(() => worker.stops().includes(runId), 'a stop')
    expect(await rig.where(runId)).toEqual({ state: 'failed', places: [], attempts: ['timed-out'] })
  })
})

describe('the not-received rule', () => {
  test('takes a run back of which nothing was heard, tells its worker to stop, and sends it again', async () => {
    const clock = fakeClock()
    const patient = await createJavaRig(database.db, { config: patientConfig, clock })
    const { worker, runId } = await handed()
    await patient.directory.refresh()
    await patient.java.rounds.silence()
    await rig.hush(runId)
    // who has not looked for long enough does not judge
    await patient.java.rounds.silence()
    expect((await rig.where(runId)).attempts).toEqual([])
    await clock.advance(1_500)
    await patient.java.rounds.silence()
    expect((await rig.where(runId)).attempts).toEqual(['lost'])
    await rig.java.rounds.look()
    await until(() => worker.stops().includes(runId), 'a stop')
    await worker.handed(2)
    await worker.report(workers(), runId, 5)
    expect((await rig.where(runId)).attempts).toEqual(['lost', 'succeeded'])
    await patient.presence.stop()
  })
  test('lets those be of which reports come, however old they are', async () => {
    const clock = fakeClock()
    const patient = await createJavaRig(database.db, { config: patientConfig, clock })
    const { worker, runId } = await handed()
    await patient.directory.refresh()
    await patient.java.rounds.silence()
    await clock.advance(1_500)
    await rig.hush(runId)
    await worker.report(workers(), runId, 3)
    await patient.java.rounds.silence()
    expect((await rig.where(runId)).places).toEqual(['attempt'])
    await worker.report(workers(), runId, 5)
    await patient.presence.stop()
  })
})
