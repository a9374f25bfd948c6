// The reclaim duty as it runs by itself: dead workers are missed with any lease that the settings allow (I7).
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { systemClock } from '../kernel/clock.ts'
import { createRig, silence } from '../testing/rig.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

// 500 is the least that ONCEJOB_LEASE_MS may be
test.each([500, 1_000])('with a lease of %d ms a dead worker’s run is taken back', async (leaseMs) => {
  const rig = await createRig(database.db, { config: { leaseMs, graceMs: 0 } })
  const app = await rig.app()
  const runId = await rig.submit(app, await rig.job(app))
  const { sessionId } = await rig.worker(app)
  const { runs } = await rig.poll(app, sessionId)
  expect(runs.map((run) => run.runId)).toEqual([runId])
  await silence(database.db, sessionId)
  await rig.reclaim.duty.start()
  try {
    const deadlineMs = systemClock.monotonic() + 20_000
    while ((await rig.where(runId)).places[0] === 'attempt' && systemClock.monotonic() < deadlineMs)
      await systemClock.sleep(50)
  } finally {
    await rig.reclaim.duty.stop()
  }
  expect(await rig.where(runId)).toMatchObject({ state: 'open', places: ['ready'], attempts: ['lost'] })
})
