// Runs handed to Java workers: recorded before they are sent, sent once, taken elsewhere at once when nobody listens.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../../storage/sql.ts'
import { createJavaRig, type JavaRig } from '../testing/java-rig.ts'
import { until } from '../testing/java-worker.ts'

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

const ended = (runId: number, state: string) =>
  until(async () => (await rig.where(runId)).state === state, `run ${runId} ${state}`)

describe('a run of the PowerJob wire', () => {
  test('is sent to a Java worker, and finished by its report, acknowledged after the commit', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId)
    const runId = await rig.submit(appId, jobId, { params: 'p' })
    const [body] = await worker.handed(1)
    expect(body).toEqual({
      allWorkerAddress: [worker.address],
      maxWorkerCount: 0,
      jobId,
      instanceId: runId,
      executeType: 'STANDALONE',
      processorType: 'BUILT_IN',
      processorInfo: 'com.acme.P',
      instanceTimeoutMS: 0,
      jobParams: 'ok',
      instanceParams: 'p',
      threadConcurrency: 5,
      taskRetryNum: 0,
      timeExpressionType: 'API',
      maxInstanceNum: 0,
    })
    expect(await worker.report(rig.java.workers, runId, 3)).toBeUndefined()
    expect(await worker.report(rig.java.workers, runId, 5)).toEqual({ success: true })
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['succeeded'] })
  })
  test('is recorded before it is sent', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId)
    const places: string[][] = []
    worker.answering = async ({ body }) => {
      places.push((await rig.where(Number(body['instanceId']))).places)
      return 200
    }
    for (let i = 0; i < 20; i += 1) await rig.submit(appId, jobId)
    await worker.handed(20)
    await until(() => places.length === 20, '20 answers')
    expect(new Set(places.flat())).toEqual(new Set(['attempt']))
  })
  test('may be reported before its hand-over is answered', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId)
    worker.answering = async ({ path, body }) => {
      if (path === '/worker/runJob')
        await worker.report(rig.java.workers, Number(body['instanceId']), 4, { result: 'init TaskTracker failed' })
      return 500
    }
    const runId = await rig.submit(appId, jobId)
    await ended(runId, 'failed')
    expect(worker.runs()).toHaveLength(1)
  })
  test('goes to another worker at once when the port refuses, and the attempt does not count as lost', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const first = await rig.javaWorker(appId)
    const sessionId = await rig.sessionOf(first)
    await first.kill()
    const runIds = await Promise.all([1, 2, 3].map(() => rig.submit(appId, jobId)))
    await until(
      async () =>
        (await rig.where(runIds[0]!)).attempts.includes('handed-back') ||
        (await rig.where(runIds[0]!)).places[0] === 'ready',
      'handed back',
    )
    const second = await rig.javaWorker(appId)
    await second.handed(3)
    for (const runId of runIds) {
      expect(await second.report(rig.java.workers, runId, 5)).toEqual({ success: true })
      const { attempts } = await rig.where(runId)
      expect(attempts).not.toContain('lost')
      expect(attempts.at(-1)).toBe('succeeded')
    }
    const [row] = await database.db.query<{ end_reason: string }>(
      sql`select end_reason from oncejob.worker_session where id = ${sessionId}`,
    )
    expect(row?.end_reason).toBe('lost')
  })
  test('that was being executed by a worker whose port refuses is taken back as lost', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const first = await rig.javaWorker(appId)
    const running = await rig.submit(appId, jobId)
    await first.handed(1)
    await first.report(rig.java.workers, running, 3)
    const second = await rig.javaWorker(appId)
    await first.kill()
    // the connection was kept: its end is noticed
    await second.handed(1)
    expect((await rig.where(running)).attempts).toEqual(['lost'])
    await second.report(rig.java.workers, running, 5)
    expect((await rig.where(running)).state).toBe('succeeded')
  })
  test('is not sent twice when the answer is lost: its report tells', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId)
    worker.answering = () => 'hang-up'
    const runId = await rig.submit(appId, jobId)
    await worker.handed(1)
    worker.answering = () => 200
    await rig.java.rounds.look()
    await rig.java.rounds.look()
    expect(await worker.report(rig.java.workers, runId, 5)).toEqual({ success: true })
    expect(await rig.where(runId)).toMatchObject({ state: 'succeeded', attempts: ['succeeded'] })
    expect(worker.runs()).toHaveLength(1)
  })
  test('waits for a Java worker when only those execute its mode', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId, { executeType: 'BROADCAST' })
    const { sessionId } = await rig.worker(appId, { processors: ['com.acme.P'] })
    const runId = await rig.submit(appId, jobId)
    expect((await rig.poll(appId, sessionId)).runs).toEqual([])
    const worker = await rig.javaWorker(appId)
    expect((await worker.handed(1))[0]).toMatchObject({ instanceId: runId, executeType: 'BROADCAST' })
    await worker.report(rig.java.workers, runId, 5)
  })
  test('of the native API never goes to a Java worker', async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId, { processor: 'work' })
    const worker = await rig.javaWorker(appId)
    const runId = await rig.submit(appId, jobId)
    const marker = await rig.submit(appId, await rig.wireJob(appId))
    await worker.handed(1)
    expect(worker.runs().map(({ instanceId }) => instanceId)).toEqual([marker])
    expect((await rig.where(runId)).places).toEqual(['ready'])
    await worker.report(rig.java.workers, marker, 5)
  })
  test('is given out no more while the worker is overloaded', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId, { overload: true })
    const runId = await rig.submit(appId, jobId)
    await rig.java.rounds.look()
    expect((await rig.where(runId)).places).toEqual(['ready'])
    await worker.heartbeat(rig.java.workers)
    await worker.handed(1)
    await worker.report(rig.java.workers, runId, 5)
  })
})

describe('a session', () => {
  test('is not opened for a worker that can not be reached', async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    await worker.kill()
    const sessionId = await rig.sessionOf(worker)
    await database.db.query(
      sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${sessionId}`,
    )
    await rig.java.rounds.look()
    await worker.heartbeat(rig.java.workers)
    expect(await rig.java.workers.list(appId)).toEqual([])
  })
  test('is one for each address, however many heartbeats come at once', async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId, { tag: 'blue' })
    await Promise.all(Array.from({ length: 20 }, () => worker.heartbeat(rig.java.workers, { tag: 'blue' })))
    expect(await rig.java.workers.list(appId)).toMatchObject([
      { address: worker.address, tag: 'blue', version: '5.1.1', overload: false, running: 0, containers: [] },
    ])
  })
  test('refuses an app that is another one by its name', async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    await expect(worker.heartbeat(rig.java.workers, { appName: 'other' })).rejects.toMatchObject({
      code: 'WORKER_NOT_FOUND',
    })
    await expect(worker.heartbeat(rig.java.workers, { appId: 999_999 })).rejects.toMatchObject({
      code: 'WORKER_NOT_FOUND',
    })
  })
  test('that expires is lost a grace later, and its runs are taken back', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId)
    const runId = await rig.submit(appId, jobId)
    await worker.handed(1)
    const [row] = await database.db.query<{ ms: number }>(
      sql`select (extract(epoch from expires_at - now()) * 1000)::float8 as ms from oncejob.worker_session where id = ${await rig.sessionOf(worker)}`,
    )
    // 60 s after the heartbeat, of which the grace is a part
    expect(row!.ms).toBeGreaterThan(30_000)
    expect(row!.ms).toBeLessThanOrEqual(55_000)
    await worker.report(rig.java.workers, runId, 5)
  })
})

describe('a job that specifies workers', () => {
  const specify = (words: string) => ({ dispatchStrategy: 'SPECIFY', dispatchStrategyConfig: words })
  test('goes to the one whose whole tag it names, and by part of it only where the app wants that', async () => {
    const appId = await rig.app()
    const red = await rig.javaWorker(appId, { tag: 'red' })
    const blue = await rig.javaWorker(appId, { tag: 'blue' })
    const whole = await rig.wireJob(appId, specify('tagIn:blue'))
    for (let i = 0; i < 6; i += 1) await rig.submit(appId, whole)
    await blue.handed(6)
    expect(red.runs()).toEqual([])
    expect(blue.runs()[0]).toMatchObject({ allWorkerAddress: [red.address, blue.address] })
    const part = await rig.wireJob(appId, specify('tagIn:re'))
    await database.db.query(sql`update oncejob.app set powerjob_tag_substring = true where id = ${appId}`)
    await rig.directory.refresh()
    for (let i = 0; i < 6; i += 1) await rig.submit(appId, part)
    await red.handed(6)
    expect(blue.runs()).toHaveLength(6)
    for (const worker of [red, blue])
      for (const body of worker.runs()) await worker.report(rig.java.workers, Number(body['instanceId']), 5)
  })
  test('is designated to a tag or an address, and asked of no other', async () => {
    const appId = await rig.app()
    const first = await rig.javaWorker(appId)
    const second = await rig.javaWorker(appId, { tag: 'green' })
    const jobId = await rig.wireJob(appId, { designatedWorkers: 'green,10.0.0.1:1', maxWorkerCount: 3 })
    const runId = await rig.submit(appId, jobId)
    await second.handed(1)
    expect(first.runs()).toEqual([])
    expect(second.runs()[0]).toMatchObject({ allWorkerAddress: [second.address], maxWorkerCount: 3 })
    expect(await rig.java.workers.queryJobCluster({ appId, jobId })).toEqual({ success: true, data: [second.address] })
    expect(await rig.java.workers.queryJobCluster({ appId: appId + 1, jobId })).toMatchObject({
      message: 'Permission Denied!',
    })
    expect(await rig.java.workers.queryJobCluster({ appId, jobId: 999_999 })).toMatchObject({ success: false })
    await second.report(rig.java.workers, runId, 5)
  })
})
