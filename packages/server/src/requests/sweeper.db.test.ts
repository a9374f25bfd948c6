// The sweeper of request keys as every server runs it: nothing that is over stays, nothing that is live goes (T-08).
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { systemClock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { sql } from '../storage/sql.ts'
import { createKeySweeper } from './sweeper.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

test('two sweepers at once, two rounds: of 11,000 keys that are over none is left, and all 4,000 live ones are', async () => {
  const { db } = database
  // more than two batches; around the edge a second apart
  await db.query(sql`
    insert into oncejob.request_key (app_id, key, fingerprint, request_id, route, status, headers, expires_at)
    select 1, 'key-' || n, 'f', 'r', 'POST /x', 201, '{}',
      now() + case when n <= 11000 then -1 - n % 100 else 600 + n % 100 end * interval '1 s'
      from generate_series(1, 15000) as n`)
  const sweepers = [1, 2].map(() => createKeySweeper({ db, clock: systemClock, log: silentLog }))
  for (let round = 1; round <= 2; round += 1) {
    await Promise.all(sweepers.map((sweeper) => sweeper.start()))
    // stop waits for the round under way
    await Promise.all(sweepers.map((sweeper) => sweeper.stop()))
  }
  const [left] = await db.query<{ over: number; live: number }>(sql`
    select (count(*) filter (where expires_at < now()))::int as over, (count(*) filter (where expires_at >= now()))::int as live
      from oncejob.request_key`)
  expect(left).toEqual({ over: 0, live: 4_000 })
})
