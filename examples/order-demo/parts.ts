// What the demo runs on: memory by default, PostgreSQL with DATABASE_URL, tokens in Redis with REDIS_URL.
import {
  createMemoryStore,
  createOnceTokens,
  createPostgresStore,
  createRedisStore,
  createRequestKeys,
  migratePostgres,
  startSweeping,
  type Store,
  withOnceToken,
} from '@oncejob/idempotency'
import pg from 'pg'
import type { DemoParts } from './app.ts'
import { createMemoryOrders } from './orders-memory.ts'
import { createPostgresOrders, insertOrder, migrateOrders } from './orders-postgres.ts'

export interface OpenParts extends DemoParts {
  readonly describe: string
  close(): Promise<void>
}

type Close = () => Promise<unknown>

const openDatabase = async (url: string, closing: Close[]): Promise<pg.Pool> => {
  const pool = new pg.Pool({ connectionString: url })
  // A connection that breaks while nobody uses it is replaced.
  pool.on('error', (error) => process.stderr.write(`database: ${error.message}\n`))
  closing.push(() => pool.end())
  await migratePostgres(pool)
  await migrateOrders(pool)
  return pool
}

const openRedis = async (url: string, closing: Close[]): Promise<Store> => {
  const { Redis } = await import('ioredis')
  const redis = new Redis(url, { maxRetriesPerRequest: 1 })
  redis.on('error', (error: Error) => process.stderr.write(`redis: ${error.message}\n`))
  closing.push(() => redis.quit())
  return createRedisStore({ redis })
}

const transactionalCreate =
  (pool: pg.Pool): NonNullable<DemoParts['createWithToken']> =>
  async (token, input, answer) => {
    const client = await pool.connect()
    try {
      return await withOnceToken(client, token, async (inside) => answer(await insertOrder(inside, input)))
    } finally {
      client.release()
    }
  }

/** Opens what the environment names. */
export const openParts = async (env: Readonly<Record<string, string | undefined>>): Promise<OpenParts> => {
  const { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl } = env
  const closing: Close[] = []
  const pool = databaseUrl === undefined ? undefined : await openDatabase(databaseUrl, closing)
  const local = pool === undefined ? createMemoryStore({ allowInProduction: true }) : createPostgresStore({ pool })
  const tokenStore = redisUrl === undefined ? local : await openRedis(redisUrl, closing)
  const stopSweeping = startSweeping(local)
  const tokens = createOnceTokens({
    store: tokenStore,
    secret: env['ONCE_TOKEN_SECRET'] ?? 'the secret of the demo, known to everybody',
    limits: { perMinute: 10_000, outstanding: 10_000 },
  })
  return {
    orders: pool === undefined ? createMemoryOrders() : createPostgresOrders(pool),
    tokens,
    keys: createRequestKeys({ store: local }),
    createWithToken: pool !== undefined && tokenStore === local ? transactionalCreate(pool) : undefined,
    describe: `orders in ${pool === undefined ? 'memory' : 'PostgreSQL'}, tokens in ${tokenStore.name}`,
    close: async () => {
      stopSweeping()
      await Promise.all(closing.map((close) => close()))
    },
  }
}
