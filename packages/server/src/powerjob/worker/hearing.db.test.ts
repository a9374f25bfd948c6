// Promises of heartbeats: what is known of a worker is what it said last, in whatever order its words arrive.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { createJavaRig, type JavaRig } from '../testing/java-rig.ts'

const clock = fakeClock()
let database: TestDatabase
let rig: JavaRig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createJavaRig(database.db, { clock })
})
afterAll(async () => {
  await rig.end()
  await database.close()
})

const containersAt = async (appId: number): Promise<number[]> =>
  (await rig.java.workers.list(appId)).flatMap(({ containers }) => containers.map(({ containerId }) => containerId))
const loaded = (...ids: number[]) => ({
  containerInfos: ids.map((containerId) => ({ containerId, version: 'f'.repeat(32), deployedTime: 1 })),
})

test('a heartbeat that a later one has overtaken does not bring back what was before', async () => {
  const appId = await rig.app()
  const worker = await rig.javaWorker(appId)
  const earlier = worker.now()
  await worker.heartbeat(rig.java.workers, loaded(7))
  await worker.heartbeat(rig.java.workers, { heartbeatTime: earlier })
  expect(await containersAt(appId)).toEqual([7])
  await worker.heartbeat(rig.java.workers, loaded(7, 8))
  expect(await containersAt(appId)).toEqual([7, 8])
})

test('a worker whose clock was set back is heard again within seconds', async () => {
  const appId = await rig.app()
  const worker = await rig.javaWorker(appId)
  const back = worker.now() - 3_600_000
  await worker.heartbeat(rig.java.workers, { ...loaded(1), heartbeatTime: back })
  expect(await containersAt(appId)).toEqual([])
  await clock.advance(10_000)
  await worker.heartbeat(rig.java.workers, { ...loaded(1), heartbeatTime: back + 10_000 })
  expect(await containersAt(appId)).toEqual([1])
  await worker.heartbeat(rig.java.workers, { ...loaded(1, 2), heartbeatTime: back + 10_001 })
  expect(await containersAt(appId)).toEqual([1, 2])
})
