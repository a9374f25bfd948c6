// Hand-overs to Java workers that something comes between: a lost connection, a stop, a move, a look that was overtaken.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../../storage/sql.ts'
import { openJavaSession } from '../../storage/java-workers.ts'
import { heldBackDb, type HeldBackDb } from '../testing/held-back.ts'
import { createJavaRig, type JavaRig } from '../testing/java-rig.ts'
import { until, type ScriptedWorker } from '../testing/java-worker.ts'
import { readHeartbeat } from './reading.ts'

let database: TestDatabase
let slow: HeldBackDb
let rig: JavaRig
let two: JavaRig
beforeAll(async () => {
  database = await openTestDatabase()
  slow = heldBackDb(database.db)
  rig = await createJavaRig(slow.db)
  two = await createJavaRig(database.db)
})
afterAll(async () => {
  await rig.end()
  await two.end()
  await database.close()
})

const acknowledged = { success: true }
const query = (statement: ReturnType<typeof sql>) => database.db.query(statement)
const handed = (job?: object) => rig.handed(job)
const places = async (runIds: readonly number[]): Promise<(string | undefined)[]> =>
  (await Promise.all(runIds.map((id) => rig.where(id)))).map(({ places: [place] }) => place)
const endSession = async (worker: ScriptedWorker) =>
  query(
    sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${await rig.sessionOf(worker)}`,
  )
/** As if a failed run's pause was over. */
const dueNow = async (runId: number) => {
  await query(sql`update oncejob.run_later set run_at = date_trunc('milliseconds', now()) where run_id = ${runId}`)
  await rig.due.runOnce()
}

describe('a worker that can not be reached', () => {
  // an address to which no connection is ever tried: as when a name is not found, or the network is away
  const nowhere = '255.255.255.255:27777'
  test('keeps what it has unless its port refuses; what could not be sent is for others at once', async () => {
    const { appId, jobId, worker, runId } = await handed()
    await worker.heartbeat(rig.java.workers, { overload: true })
    const message = { workerAddress: nowhere, appName: await rig.appName(appId), appId }
    const sessionId = await openJavaSession(database.db, readHeartbeat(message), { serverId: 1, expireMs: 60_000 })
    await query(sql`update oncejob.attempt set session_id = ${sessionId!} where run_id = ${runId}`)
    await rig.java.workers.heartbeat(message)
    const next = await rig.submit(appId, jobId)
    await until(async () => (await rig.where(next)).attempts.includes('handed-back'), 'handed back')
    // it takes nothing more before it is heard again
    expect((await rig.where(next)).places).toEqual(['ready'])
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['attempt'], attempts: [] })
    expect((await rig.java.workers.list(appId)).map(({ address }) => address)).toContain(nowhere)
    await worker.heartbeat(rig.java.workers)
    await worker.handed(2)
    expect(await worker.report(rig.java.workers, next, 5)).toEqual(acknowledged)
    await query(sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${sessionId!}`)
    await rig.reclaim.takeBack()
    await worker.handed(3)
    await worker.report(rig.java.workers, runId, 5)
  })
  test('is not taken to have heard of a stop: the run is stopped once its end is known', async () => {
    const { appId, runId } = await handed()
    const message = { workerAddress: nowhere, appName: await rig.appName(appId), appId }
    const sessionId = await openJavaSession(database.db, readHeartbeat(message), { serverId: 1, expireMs: 60_000 })
    await query(sql`update oncejob.attempt set session_id = ${sessionId!} where run_id = ${runId}`)
    await rig.java.workers.heartbeat(message)
    await rig.runs.stop(appId, runId, 'test')
    await rig.java.rounds.look()
    await sleep(100)
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['attempt'], attempts: [] })
    await rig.overdue.runOnce()
    expect(await rig.where(runId)).toEqual({ state: 'stopped', places: [], attempts: ['stopped'] })
    await query(sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${sessionId!}`)
  })
  test('and whose session can not be ended for an outage of the database is served anew when it is heard', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId)
    await worker.kill()
    await query(sql`alter table oncejob.worker_session rename column end_reason to end_reason_away`)
    const runId = await rig.submit(appId, jobId)
    try {
      await until(async () => (await rig.where(runId)).places[0] === 'attempt', 'claimed')
      await sleep(300)
    } finally {
      await query(sql`alter table oncejob.worker_session rename column end_reason_away to end_reason`)
    }
    await worker.heartbeat(rig.java.workers)
    // who serves it knows of the run, and notices once more that nobody is there
    await rig.runs.stop(appId, runId, 'test')
    await rig.java.rounds.look()
    await until(async () => (await rig.where(runId)).state === 'stopped', 'stopped')
    expect(await rig.java.workers.list(appId)).toEqual([])
  })
})

describe('runs that wait to be sent', () => {
  /** A worker that answers nothing before it is let go, and more runs for it than are sent at once. */
  const crowded = async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId)
    const { promise: release, resolve } = Promise.withResolvers<void>()
    worker.answering = async () => {
      await release
      return 200
    }
    const runIds = await Promise.all(Array.from({ length: 36 }, () => rig.submit(appId, jobId)))
    await until(async () => (await places(runIds)).every((place) => place === 'attempt'), 'all claimed')
    await until(() => worker.runs().length === 32, '32 under way')
    const sent = new Set(worker.runs().map(({ instanceId }) => Number(instanceId)))
    return { appId, worker, runIds, sent, queued: runIds.filter((id) => !sent.has(id)), letGo: resolve }
  }
  test('are stopped without a word to the worker, and never sent', async () => {
    const { appId, worker, sent, queued, letGo } = await crowded()
    const [stopped = 0, ...others] = queued
    await rig.runs.stop(appId, stopped, 'test')
    await until(async () => (await rig.where(stopped)).state === 'stopped', 'stopped')
    letGo()
    await worker.handed(35)
    expect(worker.stops()).toEqual([])
    expect(worker.runs().map(({ instanceId }) => instanceId)).not.toContain(stopped)
    for (const id of [...sent, ...others]) expect(await worker.report(rig.java.workers, id, 5)).toEqual(acknowledged)
    expect(await rig.where(stopped)).toEqual({ state: 'stopped', places: [], attempts: ['stopped'] })
  })
  test('are sent by the server that serves the worker next, when it has gone over and this one gets no further', async () => {
    const { worker, runIds, sent, queued, letGo } = await crowded()
    await worker.heartbeat(two.java.workers)
    await rig.java.rounds.look()
    await two.directory.refresh()
    // this server tries for five seconds
    await until(async () => {
      await two.java.rounds.look()
      return worker.runs().length === 36
    }, 'all sent')
    letGo()
    for (const id of runIds) expect(await worker.report(two.java.workers, id, 5)).toEqual(acknowledged)
    expect(new Set(worker.runs().map(({ instanceId }) => instanceId)).size).toBe(36)
    for (const id of sent) expect((await rig.where(id)).attempts).toEqual(['succeeded'])
    for (const id of queued) expect((await rig.where(id)).attempts).not.toContain('lost')
  })
  test('are not more than a worker takes of the heavy kind, whatever is ready: the rest stays in the queue', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId, { executeType: 'BROADCAST' })
    const runIds = await Promise.all(Array.from({ length: 80 }, () => rig.submit(appId, jobId)))
    const worker = await rig.javaWorker(appId)
    await worker.handed(60)
    await sleep(200)
    expect(worker.runs()).toHaveLength(60)
    expect((await places(runIds)).filter((place) => place === 'ready')).toHaveLength(20)
    const ended = new Set<number>()
    while (ended.size < 80) {
      await worker.handed(Math.min(80, ended.size + 1))
      for (const { instanceId } of worker.runs()) {
        if (ended.has(Number(instanceId))) continue
        ended.add(Number(instanceId))
        await worker.report(rig.java.workers, Number(instanceId), 5)
      }
    }
    for (const id of runIds) expect((await rig.where(id)).attempts).toEqual(['succeeded'])
  })
})

describe('a run that is tried again by the worker that had it', () => {
  test('is sent once the worker has let go of it: before that it would be passed over without a word', async () => {
    const { worker, runId } = await handed({ instanceRetryNum: 1 })
    await worker.report(rig.java.workers, runId, 4, { startTime: 1_000 })
    // its thread has not ended yet
    worker.detail = { status: 3 }
    await dueNow(runId)
    await until(() => worker.stops().length === 1, 'a stop')
    await until(
      () => worker.taken.filter(({ path }) => path.endsWith('queryInstanceStatus')).length >= 2,
      'asked twice',
    )
    expect(worker.runs()).toHaveLength(1)
    // what it says of it meanwhile is of the attempt before
    expect(await worker.report(rig.java.workers, runId, 5, { startTime: 1_000, result: 'late' })).toEqual(acknowledged)
    worker.detail = null
    await worker.handed(2)
    expect(await worker.report(rig.java.workers, runId, 5, { startTime: 2_000 })).toEqual(acknowledged)
    expect((await rig.where(runId)).attempts).toEqual(['failed', 'succeeded'])
  })
  test('is not stopped by a word about the attempt before that comes late', async () => {
    const { worker, runId } = await handed({ instanceRetryNum: 1 })
    await worker.report(rig.java.workers, runId, 3, { startTime: 1_000 })
    await worker.report(rig.java.workers, runId, 4, { startTime: 1_000 })
    await dueNow(runId)
    await worker.handed(2)
    expect(worker.stops()).toEqual([runId])
    await worker.report(rig.java.workers, runId, 3, { startTime: 1_000 })
    await sleep(100)
    expect(worker.stops()).toEqual([runId])
    expect(await worker.report(rig.java.workers, runId, 5, { startTime: 2_000 })).toEqual(acknowledged)
    expect((await rig.where(runId)).state).toBe('succeeded')
  })
  test('counts with what it began last, also when a word about an unknown beginning was heard first', async () => {
    const { worker, runId } = await handed()
    await endSession(worker)
    await rig.reclaim.takeBack()
    await rig.java.rounds.look()
    await worker.heartbeat(rig.java.workers)
    await worker.handed(2)
    // nothing was told of the first attempt before
    await worker.report(rig.java.workers, runId, 3, { startTime: 1_000 })
    await worker.report(rig.java.workers, runId, 3, { startTime: 2_000 })
    await worker.report(rig.java.workers, runId, 3, { startTime: 1_000 })
    const [told] = await query(
      sql`select start_time, earlier_starts from oncejob.powerjob_attempt where run_id = ${runId}`,
    )
    expect(told).toEqual({ start_time: 2_000, earlier_starts: [1_000] })
    expect(await worker.report(rig.java.workers, runId, 5, { startTime: 1_000, result: 'late' })).toEqual(acknowledged)
    expect((await rig.where(runId)).places).toEqual(['attempt'])
    expect(await worker.report(rig.java.workers, runId, 5, { startTime: 2_000 })).toEqual(acknowledged)
    expect((await rig.where(runId)).attempts).toEqual(['lost', 'succeeded'])
  })
})

describe('what a server remembers of a run', () => {
  test('gives way to the database, when another server has handed it to another worker since', async () => {
    const { appId, worker, runId } = await handed()
    await endSession(worker)
    await two.reclaim.takeBack()
    await two.directory.refresh()
    const other = await two.javaWorker(appId)
    await other.handed(1)
    // this server has not looked yet, and the other worker reports to it
    await rig.directory.refresh()
    expect(await other.report(rig.java.workers, runId, 3)).toBeUndefined()
    await sleep(100)
    expect(other.stops()).toEqual([])
    // a word of the former worker changes nothing here or there
    expect(await worker.report(two.java.workers, runId, 5, { result: 'late' })).toEqual(acknowledged)
    expect(await other.report(rig.java.workers, runId, 5)).toEqual(acknowledged)
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['lost', 'succeeded'] })
    await rig.java.rounds.look()
  })
  test('is not put back to an earlier attempt by a look that was overtaken', async () => {
    const { appId, worker, runId } = await handed()
    const look = slow.holdBack('look_at_sessions', 'answers')
    const looking = rig.java.rounds.look()
    await look.waits
    // while its answer is under way the run is taken anew, and on its way to the worker
    const handing = slow.holdBack('attempt_fences', 'answers')
    const [lease] = await database.db.query<{ lease: number }>(
      sql`select lease from oncejob.attempt where run_id = ${runId}`,
    )
    await rig.sessions.report(appId, { reports: [{ runId, lease: lease!.lease, outcome: 'handed-back' }] })
    await handing.waits
    look.letGo()
    await looking
    handing.letGo()
    await worker.handed(2)
    await rig.java.rounds.look()
    expect(worker.stops()).toEqual([])
    expect(await worker.report(rig.java.workers, runId, 5)).toEqual(acknowledged)
    expect((await rig.where(runId)).attempts).toEqual(['handed-back', 'succeeded'])
  })
})

describe('the clock of a worker', () => {
  test('may be set back in the middle of a run: what it says goes on counting', async () => {
    const { worker, runId } = await handed()
    const startTime = Date.now()
    const at = (ms: number, more: object = {}) => ({ startTime, reportTime: startTime + ms, ...more })
    await worker.report(rig.java.workers, runId, 3, at(15_000, { totalTaskNum: 1 }))
    await worker.report(rig.java.workers, runId, 3, at(-7_170_000, { totalTaskNum: 2 }))
    await rig.hush(runId)
    await worker.report(rig.java.workers, runId, 3, at(-7_155_000, { totalTaskNum: 3 }))
    const [told] = await query(sql`
      select total, heard_at > now() - interval '1 minute' as heard from oncejob.powerjob_attempt where run_id = ${runId}`)
    expect(told).toEqual({ total: 3, heard: true })
    expect(await worker.report(rig.java.workers, runId, 5, at(-7_160_000))).toEqual(acknowledged)
    expect((await rig.where(runId)).state).toBe('succeeded')
  })
})
