// The PostgreSQL store keeps the contract, with three pools as three servers have them.
import { describe, expect, it } from 'vitest'
import { openTestPostgres, postgresReachable, skipNote } from '../testing/services.ts'
import { openPostgresStores } from '../testing/stores.ts'
import { migratePostgres, postgresSchemaSql } from './postgres-schema.ts'
import { createPostgresStore } from './postgres.ts'
import { storeContract } from './store.contract.ts'

const reachable = await postgresReachable()

describe.skipIf(!reachable)(`the PostgreSQL store${skipNote('PostgreSQL', reachable)}`, () => {
  storeContract(openPostgresStores, { rounds: 1_000, propertyRuns: 60, sweeps: true })

  it('is migrated by any number of processes at once, and again at every start', async () => {
    const database = await openTestPostgres()
    try {
      await database.pool.query('DROP TABLE oncejob_idempotency')
      const pools = [database.pool, database.anotherPool(), database.anotherPool()]
      await Promise.all([...pools, ...pools].map((pool) => migratePostgres(pool)))
      expect((await database.pool.query('SELECT count(*)::int AS n FROM oncejob_idempotency')).rows).toEqual([{ n: 0 }])
      expect(postgresSchemaSql()).toContain('PRIMARY KEY (scope, id)')
    } finally {
      await database.close()
    }
  })

  it('judges by the clock of the database when it is given none', async () => {
    const database = await openTestPostgres()
    try {
      const store = createPostgresStore({ pool: database.pool })
      const limits = { perMinute: 10, outstanding: 10 }
      const key = { scope: 'a', id: 'b' }
      const outcome = await store.issue({ key, bind: 'c', ttlMs: 300_000, limits })
      const { rows } = await database.pool.query<{ left: number }>(
        'SELECT extract(epoch FROM expires_at - now())::float8 AS left FROM oncejob_idempotency',
      )
      expect(outcome.kind).toBe('issued')
      expect(rows[0]!.left).toBeLessThanOrEqual(300)
      await database.pool.query(`UPDATE oncejob_idempotency SET expires_at = now() - interval '1 ms'`)
      expect(await store.read(key)).toBeUndefined()
    } finally {
      await database.close()
    }
  })
})
