// PostgreSQL and Redis for the tests that need them: found, or said to be missing in the name of what is skipped.
import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import pg from 'pg'
import { migratePostgres } from '../store/postgres-schema.ts'

const postgresUrl = process.env['ONCEJOB_TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
const redisUrl = process.env['ONCEJOB_TEST_REDIS_URL'] ?? 'redis://127.0.0.1:6379'

const answers = async (probe: () => Promise<unknown>): Promise<boolean> => {
  try {
    await probe()
    return true
  } catch {
    return false
  }
}

export const postgresReachable = (): Promise<boolean> =>
  answers(async () => {
    const client = new pg.Client({ connectionString: postgresUrl, connectionTimeoutMillis: 5_000 })
    // Without a listener a refused connection ends the process.
    client.on('error', () => undefined)
    await client.connect()
    await client.end()
  })

export const redisReachable = (): Promise<boolean> =>
  answers(async () => {
    const redis = new Redis(redisUrl, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 5_000 })
    redis.on('error', () => undefined)
    await redis.connect()
    await redis.quit()
  })

/** Ends the name of a suite: when its service is missing it says so, and how to name one. */
export const skipNote = (service: 'PostgreSQL' | 'Redis', reachable: boolean): string => {
  const setting = service === 'PostgreSQL' ? 'ONCEJOB_TEST_DATABASE_URL' : 'ONCEJOB_TEST_REDIS_URL'
  return reachable ? '' : ` (SKIPPED: no ${service} can be reached, set ${setting})`
}

export interface TestPostgres {
  /** Connects to a schema of this test's own. */
  readonly url: string
  readonly pool: pg.Pool
  /** A further pool, as another server process has one. */
  anotherPool(max?: number): pg.Pool
  close(): Promise<void>
}

/** A migrated schema of its own. */
export const openTestPostgres = async (): Promise<TestPostgres> => {
  const schema = `idem_${randomBytes(6).toString('hex')}`
  const admin = new pg.Pool({ connectionString: postgresUrl, max: 1 })
  await admin.query(`CREATE SCHEMA ${schema}`)
  const url = new URL(postgresUrl)
  url.searchParams.set('options', `-c search_path=${schema}`)
  const pools: pg.Pool[] = []
  const anotherPool = (max = 8): pg.Pool => {
    const pool = new pg.Pool({ connectionString: url.href, max })
    pool.on('error', () => undefined)
    pools.push(pool)
    return pool
  }
  const pool = anotherPool()
  await migratePostgres(pool)
  return {
    url: url.href,
    pool,
    anotherPool,
    close: async () => {
      await Promise.all(pools.map((each) => each.end()))
      await admin.query(`DROP SCHEMA ${schema} CASCADE`)
      await admin.end()
    },
  }
}

export interface TestRedis {
  readonly url: string
  readonly prefix: string
  connect(): Redis
  /** Every key that the tests made. */
  keys(): Promise<string[]>
  close(): Promise<void>
}

/** A prefix of its own; what was written under it goes at the end. */
export const openTestRedis = (): TestRedis => {
  const prefix = `idem-test-${randomBytes(6).toString('hex')}`
  const clients: Redis[] = []
  const connect = (): Redis => {
    const redis = new Redis(redisUrl)
    clients.push(redis)
    return redis
  }
  const admin = connect()
  const keys = async (): Promise<string[]> => {
    const found: string[] = []
    for await (const some of admin.scanStream({ match: `${prefix}*`, count: 1_000 })) found.push(...(some as string[]))
    return found
  }
  return {
    url: redisUrl,
    prefix,
    connect,
    keys,
    close: async () => {
      const made = await keys()
      for (let at = 0; at < made.length; at += 500) await admin.unlink(...made.slice(at, at + 500))
      await Promise.all(clients.map((client) => client.quit()))
    },
  }
}
