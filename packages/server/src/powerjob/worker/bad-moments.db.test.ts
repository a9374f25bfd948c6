// What comes between a Java worker and its server at bad moments: queues that stand, looks that are overtaken, stops, moves, ends.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { systemClock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { openJavaSession } from '../../storage/java-workers.ts'
import { sql } from '../../storage/sql.ts'
import { heldBackDb, type HeldBackDb } from '../testing/held-back.ts'
import { createJavaRig, patientConfig, type JavaRig } from '../testing/java-rig.ts'
import { until } from '../testing/java-worker.ts'
import { connectRaw, once, rawRequest } from '../testing/raw-http.ts'
import { startTransport } from '../testing/transport-rig.ts'
import { createContainers } from './containers.ts'
import { messageLimitBytes, messagePaths } from './messages.ts'
import { createWelcome } from './newcomers.ts'
import { readHeartbeat } from './reading.ts'

const acknowledged = { success: true }
let database: TestDatabase
let slow: HeldBackDb
let rig: JavaRig
beforeAll(async () => {
  database = await openTestDatabase()
  slow = heldBackDb(database.db)
  rig = await createJavaRig(slow.db)
})
afterAll(async () => {
  await rig.end()
  await database.close()
})

const query = (statement: ReturnType<typeof sql>) => database.db.query(statement)
const handed = (job?: object) => rig.handed(job)

describe('a run that waits here to be sent', () => {
  test('is not taken for lost, however long the worker answers nothing: nobody but its server can have it', async () => {
    const clock = fakeClock()
    const own = await createJavaRig(database.db, { config: patientConfig, clock })
    const appId = await own.app()
    const jobId = await own.wireJob(appId)
    const worker = await own.javaWorker(appId)
    const { promise: release, resolve } = Promise.withResolvers<number>()
    worker.answering = () => release
    const runIds = await Promise.all(Array.from({ length: 36 }, () => own.submit(appId, jobId)))
    await until(() => worker.runs().length === 32, '32 under way')
    await until(
      async () =>
        (await Promise.all(runIds.map((id) => own.where(id)))).every(({ places: [place] }) => place === 'attempt'),
      'all claimed',
    )
    await query(sql`update oncejob.attempt set claimed_at = now() - interval '2 minutes' where app_id = ${appId}`)
    await own.directory.refresh()
    await own.java.rounds.silence()
    await clock.advance(1_500)
    await own.java.rounds.silence()
    for (const id of runIds) expect(await own.where(id)).toEqual({ state: 'open', places: ['attempt'], attempts: [] })
    resolve(200)
    await worker.handed(36)
    for (const id of runIds) expect(await worker.report(own.java.workers, id, 5)).toEqual(acknowledged)
    for (const id of runIds) expect((await own.where(id)).attempts).toEqual(['succeeded'])
    await own.end()
  })
  test('goes elsewhere at once when its worker turns out to be out of reach, with all others', async () => {
    const appId = await rig.app()
    const jobs = await Promise.all([rig.wireJob(appId), rig.wireJob(appId)])
    const nowhere = '255.255.255.255:27777'
    const message = { workerAddress: nowhere, appName: await rig.appName(appId), appId }
    await openJavaSession(database.db, readHeartbeat(message), { serverId: 1, expireMs: 60_000 })
    const reading = slow.holdBack('attempt_fences', 'answers')
    // one that is tried again must be looked up before it is sent
    const waiting = await rig.submit(appId, jobs[0])
    await query(sql`update oncejob.run_ready set attempts = 1 where run_id = ${waiting}`)
    await rig.java.workers.heartbeat(message)
    await reading.waits
    const next = await rig.submit(appId, jobs[1])
    await until(async () => (await rig.where(next)).attempts.includes('handed-back'), 'handed back')
    await until(async () => (await rig.where(waiting)).attempts.includes('handed-back'), 'handed back, too')
    reading.letGo()
    const worker = await rig.javaWorker(appId)
    await worker.handed(2)
    for (const id of [waiting, next]) expect(await worker.report(rig.java.workers, id, 5)).toEqual(acknowledged)
    await query(sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where address = ${nowhere}`)
    await rig.java.rounds.look()
  })
})

describe('a look at the database', () => {
  test('that was overtaken by the end of a run has nobody told to stop it', async () => {
    const { worker, runId } = await handed()
    const look = slow.holdBack('look_at_sessions', 'answers')
    const looking = rig.java.rounds.look()
    await look.waits
    expect(await worker.report(rig.java.workers, runId, 5)).toEqual(acknowledged)
    look.letGo()
    await looking
    await rig.java.rounds.look()
    await sleep(100)
    expect(worker.stops()).toEqual([])
  })
})

describe('a stop', () => {
  test('of a run that its worker still loads is said once more when the worker has it', async () => {
    const appId = await rig.app()
    const jobId = await rig.wireJob(appId)
    const worker = await rig.javaWorker(appId)
    const { promise: loaded, resolve } = Promise.withResolvers<number>()
    worker.answering = ({ path }) => (path === '/worker/runJob' ? loaded : 200)
    const runId = await rig.submit(appId, jobId)
    await worker.handed(1)
    await rig.runs.stop(appId, runId, 'test')
    await until(async () => (await rig.where(runId)).state === 'stopped', 'stopped')
    // a worker passes over the stop of what it does not have yet
    expect(worker.stops()).toEqual([runId])
    resolve(200)
    await until(() => worker.stops().length === 2, 'told again')
  })
  test('that could not be recorded is recorded by the next look', async () => {
    const { appId, worker, runId } = await handed()
    await query(sql`alter table oncejob.attempt_log rename column outcome to outcome_away`)
    try {
      await rig.runs.stop(appId, runId, 'test')
      await until(() => worker.stops().length > 0, 'told')
      await sleep(100)
    } finally {
      await query(sql`alter table oncejob.attempt_log rename column outcome_away to outcome`)
    }
    expect((await rig.where(runId)).places).toEqual(['attempt'])
    await until(async () => {
      await rig.java.rounds.look()
      return (await rig.where(runId)).state === 'stopped'
    }, 'stopped')
  })
})

describe('a server that takes over a worker', () => {
  test('gives it no more heavy runs than it takes, together with those that it has', async () => {
    const one = await createJavaRig(database.db)
    const two = await createJavaRig(database.db)
    const appId = await one.app()
    const jobId = await one.wireJob(appId, { executeType: 'BROADCAST' })
    const runIds = await Promise.all(Array.from({ length: 70 }, () => one.submit(appId, jobId)))
    const worker = await one.javaWorker(appId)
    await worker.handed(60)
    await two.directory.refresh()
    await worker.heartbeat(two.java.workers)
    await one.java.rounds.look()
    await sleep(300)
    expect(worker.runs()).toHaveLength(60)
    for (const { instanceId } of worker.runs().slice(0, 20))
      expect(await worker.report(two.java.workers, Number(instanceId), 5)).toEqual(acknowledged)
    // what ended by the reports is free
    await worker.handed(70)
    const ended = new Set(worker.runs().slice(0, 20))
    for (const run of worker.runs())
      if (!ended.has(run)) await worker.report(two.java.workers, Number(run['instanceId']), 5)
    for (const id of runIds) expect((await one.where(id)).attempts).toEqual(['succeeded'])
    await one.end()
    await two.end()
  })
})

describe('the end of a server', () => {
  test('is not put off by a heartbeat that comes in late: it takes nothing more', async () => {
    const leaving = await createJavaRig(database.db)
    const appId = await leaving.app()
    const jobId = await leaving.wireJob(appId)
    const worker = await leaving.javaWorker(appId)
    await leaving.java.service.start()
    await leaving.java.service.stop()
    await worker.heartbeat(leaving.java.workers)
    const runId = await leaving.submit(appId, jobId)
    await sleep(300)
    expect(worker.runs()).toEqual([])
    expect((await leaving.where(runId)).places).toEqual(['ready'])
    await leaving.end()
  })
  test('hands back what it has not sent, also of a worker that has just gone over to another server', async () => {
    const leaving = await createJavaRig(database.db)
    const appId = await leaving.app()
    const jobId = await leaving.wireJob(appId)
    const worker = await leaving.javaWorker(appId)
    const { promise: release, resolve } = Promise.withResolvers<number>()
    worker.answering = () => release
    const runIds = await Promise.all(Array.from({ length: 36 }, () => leaving.submit(appId, jobId)))
    await until(() => worker.runs().length === 32, '32 under way')
    await until(
      async () =>
        (await Promise.all(runIds.map((id) => leaving.where(id)))).every(({ places: [place] }) => place === 'attempt'),
      'all claimed',
    )
    await query(sql`update oncejob.worker_session set server_id = null where address = ${worker.address}`)
    await leaving.java.rounds.look()
    await leaving.java.service.start()
    await leaving.java.service.stop()
    const sentBefore = worker.runs().length
    const places = (await Promise.all(runIds.map((id) => leaving.where(id)))).map(({ places: [place] }) => place)
    resolve(200)
    await sleep(300)
    expect(worker.runs()).toHaveLength(sentBefore)
    const sent = new Set(worker.runs().map(({ instanceId }) => instanceId))
    // whatever is still an attempt was sent
    expect(runIds.filter((id, i) => places[i] === 'attempt' && !sent.has(id))).toEqual([])
    await leaving.end()
  })
  test('does not wait for workers that load a container', async () => {
    const appId = await rig.app()
    const worker = await rig.javaWorker(appId)
    worker.answering = () => new Promise(() => undefined)
    const containers = createContainers({
      db: database.db,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      workers: rig.java.workers,
      origins: { isFromWorker: async () => true },
      own: () => '127.0.0.1:1',
      limitBytes: 1,
    })
    ;(await containers.destroy(database.db, appId, 1)).send()
    await until(() => worker.taken.length === 1, 'told')
    const stopped = containers.service.stop().then(() => 'stopped')
    expect(await Promise.race([stopped, sleep(5_000, 'waits')])).toBe('stopped')
    await worker.kill()
    await stopped
  })
})

describe('a message that is broken off', () => {
  test('gives its room back, on both ports', async () => {
    const ports = await startTransport()
    for (const url of [ports.url, ports.webUrl]) {
      for (let i = 0; i < 4; i += 1) {
        const { socket, send, closed } = await connectRaw(url)
        send(`POST ${messagePaths.logs} HTTP/1.1\r\nhost: x\r\ncontent-length: ${messageLimitBytes}\r\n\r\n{`)
        await sleep(50)
        socket.destroy()
        await closed
      }
      await sleep(50)
      const long = JSON.stringify({ workerAddress: '127.0.0.1:1', filler: 'x'.repeat(100_000) })
      expect((await once(url, rawRequest(messagePaths.logs, long, {})))?.status).toBe(200)
    }
    await ports.stop()
  })
})

describe('a new worker', () => {
  test('is told of containers though another one, of any app, hangs', async () => {
    const clock = fakeClock()
    const appId = await rig.app()
    await query(sql`
      with c as (insert into oncejob.container (app_id, name, version, deployed_at) values (${appId}, 'c', 'v', now()) returning id)
      insert into oncejob.container_jar (container_id, version, sha256, size) select id, 'v', 'f', 1 from c`)
    const told: string[] = []
    const welcome = createWelcome({
      db: database.db,
      clock,
      log: silentLog,
      workers: {
        tell: (address) => {
          told.push(address)
          return address === 'hangs' ? new Promise(() => undefined) : Promise.resolve('delivered')
        },
      },
      requestFor: async () => ({}),
      ending: new AbortController().signal,
    })
    const facts = { sessionId: 1, appId, version: null, tag: null, overload: false, lightTasks: 0, heavyTasks: 0 }
    const newcomer = { ...facts, containers: [], running: 0, heardAtMs: 0 }
    void welcome({ ...newcomer, address: 'hangs' })
    await until(() => told.length === 1, 'the first told')
    const other = welcome({ ...newcomer, address: 'other' })
    await clock.advance(30_000)
    await other
    expect(told).toEqual(['hangs', 'other'])
  })
})

describe('where no Java worker is', () => {
  test('the ends of native runs on a fixed delay cost no look at jobs on short intervals', async () => {
    let looks = 0
    const { db } = database
    const counting: typeof db = {
      ...slow.db,
      query: (statement, options) => {
        if (statement.toQuery().text.includes('as parked')) looks += 1
        return db.query(statement, options)
      },
    }
    const own = await createJavaRig(counting)
    await own.java.service.start()
    await until(() => looks === 1, 'the first look')
    await sleep(50)
    own.hub.tell({ jobs: [0] })
    await sleep(50)
    expect(looks).toBe(1)
    own.hub.tell({ jobs: [await own.app()] })
    await until(() => looks === 2, 'a look after a change of a job')
    await own.end()
  })
})
