// One server process of the tests with several: a small API behind one-time tokens. TOKEN_SERVER says where its records are;
// a line on stdin moves its clock by so many ms.
import { appendFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import pg from 'pg'
import { createOnceTokens } from '../once-tokens.ts'
import { createPostgresStore } from '../store/postgres.ts'
import { createRedisStore } from '../store/redis.ts'
import type { Store } from '../store/store.ts'
import { startFastify } from './apps.ts'

export interface TokenServerSettings {
  readonly store: 'postgres' | 'redis'
  readonly url: string
  /** Of the keys in Redis. */
  readonly prefix: string
  readonly secret: string
  /** A file that gets a line for each effect. */
  readonly effects: string
}

// An import for the type of the settings must not start a server.
const given = process.env['TOKEN_SERVER']
if (given !== undefined) {
  const settings = JSON.parse(given) as TokenServerSettings
  let aheadMs = 0
  const now = (): number => Date.now() + aheadMs
  const openStore = (): Store => {
    if (settings.store === 'redis')
      return createRedisStore({ redis: new Redis(settings.url), prefix: settings.prefix, now })
    const pool = new pg.Pool({ connectionString: settings.url, max: 3 })
    pool.on('error', () => undefined)
    return createPostgresStore({ pool, now })
  }
  const tokens = createOnceTokens({
    store: openStore(),
    secret: settings.secret,
    limits: { perMinute: 1_000_000, outstanding: 1_000_000 },
    now,
  })
  const app = await startFastify({
    // what is tested is who wins, not how long a busy machine takes
    tokens: { tokens, storeTimeoutMs: 60_000 },
    handle: async (body) => {
      const { item } = body as { item: string }
      appendFileSync(settings.effects, `${item}\n`)
      return { status: 201, body: { item, by: process.pid } }
    },
  })
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      aheadMs += Number(line)
      process.stdout.write(`AT ${aheadMs}\n`)
    })
    // Whoever started this holds the other end: it must not outlive its test.
    .on('close', () => process.exit(0))
  process.stdout.write(`READY ${app.url}\n`)
}
