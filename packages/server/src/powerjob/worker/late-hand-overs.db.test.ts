// Hand-overs to Java workers that take long, on either side: none makes a second execution.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../../storage/sql.ts'
import { heldBackDb } from '../testing/held-back.ts'
import { createJavaRig, patientConfig, type JavaRig } from '../testing/java-rig.ts'
import { until } from '../testing/java-worker.ts'

const acknowledged = { success: true }
let database: TestDatabase
let other: JavaRig
const otherClock = fakeClock()
beforeAll(async () => {
  database = await openTestDatabase()
  other = await createJavaRig(database.db, { config: patientConfig, clock: otherClock })
})
afterAll(async () => {
  await other.end()
  await database.close()
})

const claimedBefore = (runId: number, interval: string) =>
  database.db.query(sql`update oncejob.attempt set claimed_at = now() - ${interval}::interval where run_id = ${runId}`)

test('a run is left to its worker while that loads what the run needs, by every server; after its answer silence counts', async () => {
  const clock = fakeClock()
  const own = await createJavaRig(database.db, { config: patientConfig, clock })
  const appId = await own.app()
  const jobId = await own.wireJob(appId)
  const worker = await own.javaWorker(appId)
  const loading = Promise.withResolvers<number>()
  worker.answering = () => loading.promise
  const runId = await own.submit(appId, jobId)
  await worker.handed(1)
  const judge = async (): Promise<void> => {
    for (const [server, its] of [
      [own, clock],
      [other, otherClock],
    ] as const) {
      await server.directory.refresh()
      await server.java.rounds.silence()
      await its.advance(1_500)
      await server.java.rounds.silence()
    }
  }
  await claimedBefore(runId, '2 minutes')
  await judge()
  expect(await own.where(runId)).toEqual({ state: 'open', places: ['attempt'], attempts: [] })
  loading.resolve(200)
  await until(async () => {
    await own.java.rounds.silence()
    return (await own.where(runId)).attempts.length > 0
  }, 'taken back')
  expect((await own.where(runId)).attempts).toEqual(['lost'])
  await worker.handed(2)
  expect(await worker.report(own.java.workers, runId, 5)).toEqual(acknowledged)
  await own.end()
})

test('a run that nobody speaks of any more is taken back by any server in the end', async () => {
  const own = await createJavaRig(database.db)
  const appId = await own.app()
  const jobId = await own.wireJob(appId)
  const worker = await own.javaWorker(appId)
  worker.answering = () => new Promise(() => undefined)
  const runId = await own.submit(appId, jobId)
  await worker.handed(1)
  await claimedBefore(runId, '10 minutes')
  await other.directory.refresh()
  await other.java.rounds.silence()
  await otherClock.advance(1_500)
  await other.java.rounds.silence()
  expect((await own.where(runId)).attempts).toEqual(['lost'])
  await worker.kill()
  await own.end()
})

test('what a server has claimed and was paused over is not sent when it was taken back meanwhile', async () => {
  const clock = fakeClock()
  const slow = heldBackDb(database.db)
  const paused = await createJavaRig(slow.db, { clock })
  const appId = await paused.app()
  const jobId = await paused.wireJob(appId)
  const worker = await paused.javaWorker(appId)
  const claim = slow.holdBack('claim', 'answers')
  const runId = await paused.submit(appId, jobId)
  await claim.waits
  // the answer of the claim waits for a process that stands still; the others take the run back
  await claimedBefore(runId, '10 minutes')
  await other.directory.refresh()
  await other.java.rounds.silence()
  await otherClock.advance(1_500)
  await other.java.rounds.silence()
  expect(await paused.where(runId)).toEqual({ state: 'open', places: ['ready'], attempts: ['lost'] })
  await clock.advance(3_000)
  claim.letGo()
  // it claims the run anew and sends that, once
  await worker.handed(1)
  expect(await worker.report(paused.java.workers, runId, 5)).toEqual(acknowledged)
  expect((await paused.where(runId)).attempts).toEqual(['lost', 'succeeded'])
  expect(worker.runs()).toHaveLength(1)
  await paused.end()
})

test('light runs beyond the bound of the heavy ones are handed over without a pause, though none has ended', async () => {
  // its clock stands still: a pause would never end
  const own = await createJavaRig(database.db, { clock: fakeClock() })
  const appId = await own.app()
  const jobId = await own.wireJob(appId)
  const runIds = await Promise.all(Array.from({ length: 80 }, () => own.submit(appId, jobId)))
  const worker = await own.javaWorker(appId)
  await worker.handed(80)
  for (const id of runIds) expect(await worker.report(own.java.workers, id, 5)).toEqual(acknowledged)
  await own.end()
})
