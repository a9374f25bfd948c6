// Runs that a Java worker does not have any more by its own words are taken back at once, and no other ones.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../../storage/sql.ts'
import { heldBackDb, type HeldBackDb } from '../testing/held-back.ts'
import { createJavaRig, type JavaRig } from '../testing/java-rig.ts'
import { until, type ScriptedWorker } from '../testing/java-worker.ts'

const clock = fakeClock()
let database: TestDatabase
let slow: HeldBackDb
let rig: JavaRig
const rigs: JavaRig[] = []
const oneMore = async (): Promise<JavaRig> => {
  const one = await createJavaRig(slow.db, { clock })
  rigs.push(one)
  return one
}
beforeAll(async () => {
  database = await openTestDatabase()
  slow = heldBackDb(database.db)
  rig = await oneMore()
})
afterAll(async () => {
  for (const one of rigs) await one.end()
  await database.close()
})

// the worker's clock is hours off, as clocks are
const baseMs = Date.now() - 7_200_000
const workerMs = () => baseMs + clock.monotonic()
/** Lets time pass, and the worker say how many runs it has. */
const says = async (worker: ScriptedWorker, ms: number, more: object = {}, to: JavaRig = rig) => {
  await clock.advance(ms)
  await worker.heartbeat(to.java.workers, { heartbeatTime: workerMs(), ...more })
}
const one = { lightTaskTrackerNum: 1 }
const running = (worker: ScriptedWorker, runId: number, to: JavaRig = rig) =>
  worker.report(to.java.workers, runId, 3, { startTime: workerMs(), reportTime: workerMs() })
const done = (worker: ScriptedWorker, runId: number) =>
  worker.report(rig.java.workers, runId, 5, { startTime: workerMs(), reportTime: workerMs() })

/** A run that a worker has taken. */
const handed = async () => {
  const appId = await rig.app()
  const jobId = await rig.wireJob(appId)
  const worker = await rig.javaWorker(appId, { heartbeatTime: workerMs() })
  const runId = await rig.submit(appId, jobId)
  await worker.handed(1)
  // it has answered
  await new Promise((resolve) => void setTimeout(resolve, 50))
  return { appId, jobId, worker, runId }
}
const isLost = (runId: number) =>
  until(async () => (await rig.where(runId)).attempts.join() === 'lost', `run ${runId} lost`)
/** Where a run is, and what its worker was told, when what a heartbeat began had time to be done. */
const now = async (worker: ScriptedWorker, runId: number) => {
  await new Promise((resolve) => void setTimeout(resolve, 100))
  return { ...(await rig.where(runId)), stops: worker.stops() }
}
const untouched = { state: 'open', places: ['attempt'], attempts: [], stops: [] }

describe('a worker that says in two heartbeats that it has no run', () => {
  test('was restarted: what it had is taken back as lost, and begun anew', async () => {
    const { worker, runId } = await handed()
    await running(worker, runId)
    await says(worker, 10_000, one)
    await says(worker, 10_000)
    expect(await now(worker, runId)).toEqual(untouched)
    await says(worker, 10_000)
    await isLost(runId)
    await worker.handed(2)
    expect(worker.runs().map(({ instanceId }) => instanceId)).toEqual([runId, runId])
    const [row] = await database.db.query<{ error: string }>(
      sql`select error from oncejob.attempt_log where run_id = ${runId}`,
    )
    expect(JSON.parse(row!.error)).toEqual({
      code: 'WORKER_LOST',
      message: 'The worker does not have the run any more.',
    })
    await done(worker, runId)
    expect((await rig.where(runId)).attempts).toEqual(['lost', 'succeeded'])
  })
  test('has never begun what it has taken, and its one word of that was lost', async () => {
    const { worker, runId } = await handed()
    await says(worker, 10_100)
    await says(worker, 10_000)
    await isLost(runId)
    await worker.handed(2)
    await done(worker, runId)
    expect((await rig.where(runId)).attempts).toEqual(['lost', 'succeeded'])
  })
  test('has lost it also when another server has handed it over, as far as it has told of it', async () => {
    const { appId, jobId, worker, runId } = await handed()
    await running(worker, runId)
    const untold = await rig.submit(appId, jobId)
    await worker.handed(2)
    // that server is gone, and the worker begins anew at its address
    const other = await oneMore()
    await says(worker, 10_000, {}, other)
    await says(worker, 10_000, {}, other)
    await isLost(runId)
    expect((await rig.where(untold)).places).toEqual(['attempt'])
    await worker.handed(3)
    for (const id of [runId, untold])
      await worker.report(other.java.workers, id, 5, { startTime: workerMs(), reportTime: workerMs() })
    expect((await rig.where(untold)).attempts).toEqual(['succeeded'])
  })
})

describe('a run is not taken back', () => {
  test('for one heartbeat, nor for two within five seconds', async () => {
    const { worker, runId } = await handed()
    await says(worker, 30_000)
    await says(worker, 2_000)
    await says(worker, 2_000)
    expect(await now(worker, runId)).toEqual(untouched)
    await done(worker, runId)
  })
  test('that was handed over between two heartbeats, or little before them', async () => {
    const { worker, runId } = await handed()
    await says(worker, 9_000)
    await says(worker, 10_000)
    expect(await now(worker, runId)).toEqual(untouched)
    await done(worker, runId)
  })
  test('of a worker that has any, or that does not say', async () => {
    const { worker, runId } = await handed()
    await running(worker, runId)
    for (const more of [one, { heavyTaskTrackerNum: 1 }, one, { lightTaskTrackerNum: null }, { heartbeatTime: null }])
      for (let i = 0; i < 2; i += 1) await says(worker, 10_000, more)
    expect(await now(worker, runId)).toEqual(untouched)
    await done(worker, runId)
  })
  test('of which the worker has told since', async () => {
    const { worker, runId } = await handed()
    await says(worker, 20_000)
    await running(worker, runId)
    await says(worker, 10_000)
    expect(await now(worker, runId)).toEqual(untouched)
    await done(worker, runId)
  })
  test('while its result is being recorded', async () => {
    const { worker, runId } = await handed()
    const { waits, letGo } = slow.holdBack('complete', 'statement')
    const ending = done(worker, runId)
    await waits
    await says(worker, 20_000)
    await says(worker, 10_000)
    letGo()
    expect(await ending).toEqual({ success: true })
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['succeeded'] })
    expect(worker.stops()).toEqual([])
  })
  test('when it ends by itself between its heartbeats', async () => {
    const { worker, runId } = await handed()
    await says(worker, 5_000)
    await done(worker, runId)
    await says(worker, 10_000)
    await says(worker, 10_000)
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['succeeded'] })
    expect(worker.stops()).toEqual([])
  })
})
