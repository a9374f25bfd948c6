// Java workers among several servers on one database: any of them takes any message, and the one that hears a worker serves it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../../storage/sql.ts'
import { createJavaRig, type JavaRig } from '../testing/java-rig.ts'
import { until } from '../testing/java-worker.ts'

let database: TestDatabase
let one: JavaRig
let two: JavaRig
beforeAll(async () => {
  database = await openTestDatabase()
  one = await createJavaRig(database.db)
  two = await createJavaRig(database.db)
})
afterAll(async () => {
  await one.end()
  await two.end()
  await database.close()
})

const acknowledged = { success: true }

describe('a worker that goes over to another server', () => {
  test('keeps its session and its runs, and reports to either count', async () => {
    const appId = await one.app()
    const jobId = await one.wireJob(appId)
    const worker = await one.javaWorker(appId)
    const sessionId = await one.sessionOf(worker)
    const [first, second, third] = [
      await one.submit(appId, jobId),
      await one.submit(appId, jobId),
      await one.submit(appId, jobId),
    ]
    await worker.handed(3)
    await worker.report(one.java.workers, first, 3)
    await worker.heartbeat(two.java.workers)
    expect(await one.sessionOf(worker)).toBe(sessionId)
    // the former one notices, and takes nothing more for it
    await one.java.rounds.look()
    await two.directory.refresh()
    expect(await worker.report(two.java.workers, first, 5)).toEqual(acknowledged)
    expect(await worker.report(one.java.workers, second, 5)).toEqual(acknowledged)
    expect(await worker.report(two.java.workers, third, 4)).toEqual(acknowledged)
    expect((await one.where(first)).attempts).toEqual(['succeeded'])
    expect((await one.where(second)).attempts).toEqual(['succeeded'])
    expect((await one.where(third)).attempts).toEqual(['failed'])
    const next = await two.submit(appId, jobId)
    await worker.handed(4)
    expect(worker.runs().map(({ instanceId }) => instanceId)).toEqual([first, second, third, next])
    expect(worker.stops()).toEqual([])
    await worker.report(two.java.workers, next, 5)
  })
  test('is stopped by the server that hears it, and a final report that comes to both counts once', async () => {
    const appId = await one.app()
    const jobId = await one.wireJob(appId)
    const worker = await one.javaWorker(appId)
    const [stopped, ended] = [await one.submit(appId, jobId), await one.submit(appId, jobId)]
    await worker.handed(2)
    await worker.heartbeat(two.java.workers)
    await one.java.rounds.look()
    await two.runs.stop(appId, stopped, 'test')
    await until(async () => (await two.where(stopped)).state === 'stopped', 'stopped')
    expect(worker.stops()).toEqual([stopped])
    const answers = await Promise.all([
      worker.report(one.java.workers, ended, 5, { result: 'a' }),
      worker.report(two.java.workers, ended, 5, { result: 'a' }),
    ])
    expect(answers).toEqual([acknowledged, acknowledged])
    expect((await one.where(ended)).attempts).toEqual(['succeeded'])
  })
})

describe('the end of a server', () => {
  test('hands back what it has not sent, and takes nothing from what it has', async () => {
    const leaving = await createJavaRig(database.db)
    const appId = await leaving.app()
    const jobId = await leaving.wireJob(appId)
    const worker = await leaving.javaWorker(appId)
    let sent = 0
    const { promise: release, resolve } = Promise.withResolvers<void>()
    worker.answering = async ({ path }) => {
      if (path === '/worker/runJob') sent += 1
      await release
      return 200
    }
    const runIds = await Promise.all(Array.from({ length: 40 }, () => leaving.submit(appId, jobId)))
    // no more than so many are on their way at once
    await until(() => sent === 32, '32 under way')
    await until(
      async () =>
        (await Promise.all(runIds.map((id) => leaving.where(id)))).every(({ places }) => places[0] === 'attempt'),
      'all claimed',
    )
    await leaving.java.service.start()
    await leaving.java.service.stop()
    resolve()
    const now = await Promise.all(runIds.map((id) => one.where(id)))
    expect(now.filter(({ places }) => places[0] === 'attempt')).toHaveLength(32)
    expect(now.filter(({ places }) => places[0] === 'ready')).toHaveLength(8)
    expect(now.flatMap(({ attempts }) => attempts)).toEqual(Array.from({ length: 8 }, () => 'handed-back'))
    worker.answering = () => 200
    await two.directory.refresh()
    await worker.heartbeat(two.java.workers)
    await worker.handed(40)
    for (const runId of runIds) expect(await worker.report(two.java.workers, runId, 5)).toEqual(acknowledged)
    expect(new Set(worker.runs().map(({ instanceId }) => instanceId)).size).toBe(40)
    expect(worker.runs()).toHaveLength(40)
    await leaving.end()
  })
})

describe('after an outage of all servers', () => {
  test('a Java worker has a minute to be heard again, before its runs are taken back', async () => {
    const clock = fakeClock()
    const appId = await one.app()
    const jobId = await one.wireJob(appId)
    const worker = await one.javaWorker(appId)
    const runId = await one.submit(appId, jobId)
    await worker.handed(1)
    const native = await one.worker(appId)
    const lost = async (sessionId: number): Promise<boolean> => {
      const [row] = await database.db.query<{ ended: boolean }>(
        sql`select ended_at is not null as ended from oncejob.worker_session where id = ${sessionId}`,
      )
      return row!.ended
    }
    const sessionId = await one.sessionOf(worker)
    await database.db.query(
      sql`update oncejob.worker_session set expires_at = now() - interval '1 hour' where id in (${sessionId}, ${native.sessionId})`,
    )
    const restarted = await createJavaRig(database.db, { clock })
    const looking = async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 5_000) {
        await restarted.reclaim.runOnce()
        await clock.advance(5_000)
      }
    }
    await looking(50_000)
    expect([await lost(native.sessionId), await lost(sessionId)]).toEqual([true, false])
    expect((await one.where(runId)).places).toEqual(['attempt'])
    await looking(20_000)
    expect(await lost(sessionId)).toBe(true)
    expect((await one.where(runId)).attempts).toEqual(['lost'])
    await restarted.end()
  })
})

describe('a worker that is not heard', () => {
  test('is looked for, and lost at once when nobody listens at its address', async () => {
    const clock = fakeClock()
    const alone = await createJavaRig(database.db, { clock })
    const appId = await alone.app()
    const worker = await alone.javaWorker(appId)
    const sessionId = await alone.sessionOf(worker)
    await worker.kill()
    await alone.java.service.start()
    const isLost = async (): Promise<boolean> =>
      (
        await database.db.query(
          sql`select 1 from oncejob.worker_session where id = ${sessionId} and ended_at is not null`,
        )
      ).length > 0
    await clock.advance(20_000)
    expect(await isLost()).toBe(false)
    // the rounds wait for the fake clock, the look for the real network
    await until(async () => {
      await clock.advance(1_000)
      return isLost()
    }, 'lost')
    await alone.java.service.stop()
    await alone.presence.stop()
  })
})
