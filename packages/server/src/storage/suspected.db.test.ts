// Doubled calls are found in the runs they made, and calls that are far apart or differ are not.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createRig, type Rig } from '../testing/rig.ts'
import { sql } from './sql.ts'
import { countCalled, findSuspected } from './suspected.ts'

let database: TestDatabase
let rig: Rig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createRig(database.db)
})
afterAll(() => database.close())

/** Runs as a trace has them: when each was made, in ms from its beginning, and with what. */
const play = async (trace: readonly (readonly [atMs: number, params: string])[]): Promise<number> => {
  const appId = await rig.app()
  const job = await rig.job(appId)
  const beganAt = new Date(Date.now() - 3_600_000)
  for (const [atMs, params] of trace) {
    const id = await rig.submit(appId, job, { params })
    await database.db.query(sql`
      update oncejob.run set created_at = ${beganAt}::timestamptz + ${atMs}::bigint * interval '1 ms' where id = ${id}`)
  }
  return appId
}
const look = (appId: number) => ({ appId, hours: 24, withinMs: 5_000, runs: 100_000, limit: 500 })

it('of a trace of client 5.1.0 with 50 doubled calls, 50 pairs', async () => {
  const equal = Array.from({ length: 25 }, (_, call) => [call * 17, call * 17 + 10].map((at) => [at, 'same'] as const))
  const other = Array.from({ length: 25 }, (_, call) =>
    [20_000 + call * 17, 20_000 + call * 17 + 10].map((at) => [at, `body ${call}`] as const),
  )
  const appId = await play([...equal.flat(), ...other.flat()])
  const found = await findSuspected(database.db, look(appId))
  expect(found).toHaveLength(50)
  expect(new Set(found.flatMap((pair) => [pair.run_id, pair.repeat_run_id])).size).toBe(100)
  expect(found.every((pair) => pair.gap_ms === 10 && pair.repeat_run_id > pair.run_id)).toBe(true)
  expect(await countCalled(database.db, look(appId))).toBe(100)
})

it('of a clean trace, none', async () => {
  const appId = await play(Array.from({ length: 40 }, (_, call) => [call * 2_600, `body ${call % 2}`] as const))
  expect(await findSuspected(database.db, look(appId))).toEqual([])
})

it('only of the app asked for, and only of the hours asked for', async () => {
  const appId = await play([
    [0, 'x'],
    [10, 'x'],
  ])
  expect(await findSuspected(database.db, look(await rig.app()))).toEqual([])
  expect(await findSuspected(database.db, look(appId))).toHaveLength(1)
  await database.db.query(
    sql`update oncejob.run set created_at = created_at - interval '2 days' where app_id = ${appId}`,
  )
  expect(await findSuspected(database.db, look(appId))).toEqual([])
})
