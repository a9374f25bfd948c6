// The order demo as two server processes on one store: PostgreSQL alone, and with the tokens in Redis.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import pg from 'pg'
import { afterEach, describe, expect, it } from 'vitest'
import { createMemoryOrders } from './orders-memory.ts'
import { createPostgresOrders, migrateOrders } from './orders-postgres.ts'
import { type OrderBook, type OrderMove, orderMoves } from './orders.ts'

const databaseUrl = process.env['ONCEJOB_TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
const redisUrl = process.env['ONCEJOB_TEST_REDIS_URL'] ?? 'redis://127.0.0.1:6379'

const answers = (probe: () => Promise<unknown>): Promise<boolean> =>
  probe().then(
    () => true,
    () => false,
  )
const postgres = await answers(async () => {
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 5_000 })
  client.on('error', () => undefined)
  await client.connect()
  await client.end()
})
const redis = await answers(async () => {
  const client = new Redis(redisUrl, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 5_000 })
  client.on('error', () => undefined)
  await client.connect()
  await client.quit()
})
const note = (service: string, reachable: boolean): string =>
  reachable ? '' : ` (SKIPPED: no ${service} can be reached)`

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

const openSchema = async (): Promise<{ url: string; pool: pg.Pool }> => {
  const schema = `demo_${randomBytes(6).toString('hex')}`
  const admin = new pg.Client({ connectionString: databaseUrl })
  await admin.connect()
  await admin.query(`CREATE SCHEMA ${schema}`)
  const url = new URL(databaseUrl)
  url.searchParams.set('options', `-c search_path=${schema}`)
  const pool = new pg.Pool({ connectionString: url.href, max: 2 })
  closing.push(async () => {
    await pool.end()
    await admin.query(`DROP SCHEMA ${schema} CASCADE`)
    await admin.end()
  })
  return { url: url.href, pool }
}

const startServer = async (env: Record<string, string>): Promise<{ url: string; process: ChildProcess }> => {
  const main = fileURLToPath(new URL('main.ts', import.meta.url))
  const { REDIS_URL: _redis, DATABASE_URL: _database, ...clean } = process.env
  const server = spawn(process.execPath, [main], {
    env: { ...clean, PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  closing.push(async () => {
    if (server.exitCode !== null || server.signalCode !== null) return
    const gone = once(server, 'exit')
    server.kill('SIGTERM')
    await gone
  })
  let said = ''
  for await (const chunk of server.stdout) {
    said += String(chunk)
    const url = /http:\/\/[\d.]+:\d+/.exec(said)?.[0]
    if (url !== undefined) {
      // Leaving the loop has closed the pipe; what is said from now on may be lost.
      return { url, process: server }
    }
  }
  throw new Error(`the server did not start: ${said}`)
}

const getToken = async (url: string): Promise<string> => {
  const answer = await fetch(`${url}/order/getToken`, { headers: { secret: 'account-1' } })
  expect(answer.status).toBe(200)
  return answer.text()
}

/** Sends again when it is told to: a busy machine answers 503, or 409 while another is at work. */
const create = async (url: string, token: string): Promise<Response> => {
  for (const deadline = performance.now() + 60_000; ;) {
    const answer = await fetch(`${url}/order/create`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', secret: 'account-1', token },
      body: '{"item":"tea","count":2}',
    })
    if (!answer.headers.has('retry-after') || performance.now() > deadline) return answer
    await answer.text()
  }
}

/** Sends until the token is used; PostgreSQL may need a moment to notice that its client was killed. */
const createUntilUsed = async (url: string, token: string): Promise<void> => {
  for (const deadline = performance.now() + 30_000; ;) {
    const answer = await create(url, token)
    expect([201, 409]).toContain(answer.status)
    if ((await answer.text()).includes('once-token-used')) return
    if (performance.now() > deadline) throw new Error('the token is neither used nor usable')
  }
}

const count = async (pool: pg.Pool): Promise<number> =>
  (await pool.query<{ n: number }>('SELECT count(*)::integer AS n FROM demo_order')).rows[0]!.n

const twoServersTakeEachOrderOnce = async (more: Record<string, string>): Promise<void> => {
  const { url: schemaUrl, pool } = await openSchema()
  const env = { DATABASE_URL: schemaUrl, ...more }
  // Both make the tables at once.
  const servers = await Promise.all([startServer(env), startServer(env)])
  for (let round = 1; round <= 20; round += 1) {
    const token = await getToken(servers[0].url)
    const sends = round === 20 ? 200 : 3
    const all = await Promise.all(Array.from({ length: sends }, (_, at) => create(servers[at % 2]!.url, token)))
    expect(all.filter(({ status }) => status === 201)).toHaveLength(1)
    expect(all.filter(({ status }) => status === 409)).toHaveLength(sends - 1)
    expect(await count(pool)).toBe(round)
  }
}

describe.skipIf(!postgres)(`orders in PostgreSQL${note('PostgreSQL', postgres)}`, () => {
  const open = async (): Promise<OrderBook> => {
    const { pool } = await openSchema()
    await migrateOrders(pool)
    return createPostgresOrders(pool)
  }

  it('move as orders in memory do, for every pair of state and move (S-14)', async () => {
    const [inPostgres, inMemory] = [await open(), createMemoryOrders()]
    const paths: OrderMove[][] = [[], ['pay'], ['pay', 'ship'], ['pay', 'ship', 'complete'], ['cancel']]
    for (const path of paths) {
      for (const last of orderMoves) {
        const { id } = await inPostgres.create({ item: 'tea', count: 1 })
        expect((await inMemory.create({ item: 'tea', count: 1 })).id).toBe(id)
        for (const move of [...path, last])
          expect(await inPostgres.move(id, move)).toEqual(await inMemory.move(id, move))
      }
    }
    expect(await inPostgres.move(999, 'pay')).toEqual({ kind: 'absent' })
  })

  it('of twenty who move one order at once each legal move happens once', async () => {
    const orders = await open()
    const { id } = await orders.create({ item: 'tea', count: 1 })
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, () => [orders.move(id, 'ship'), orders.move(id, 'pay')]).flat(),
    )
    expect(outcomes.filter(({ kind }) => kind === 'moved').length).toBeLessThanOrEqual(2)
    expect((await orders.find(id))!.version).toBe(1 + outcomes.filter(({ kind }) => kind === 'moved').length)
  })

  it('lose no edit of 10 editors who refetch when they are late (T-21)', async () => {
    const orders = await open()
    const { id } = await orders.create({ item: 'tea', count: 1 })
    const editor = async (): Promise<void> => {
      for (let edits = 0; edits < 20;) {
        const seen = await orders.find(id)
        const outcome = await orders.edit(id, seen!.version, { count: seen!.count + 1 })
        if (outcome.kind === 'edited') edits += 1
      }
    }
    await Promise.all(Array.from({ length: 10 }, editor))
    expect(await orders.find(id)).toMatchObject({ version: 201, count: 201 })
  })
})

describe.skipIf(!postgres)(`two demo servers on one PostgreSQL${note('PostgreSQL', postgres)}`, () => {
  it('take an order once: 3 at once, then 200', async () => {
    await twoServersTakeEachOrderOnce({})
    expect(closing.length).toBe(3)
  })

  it('killed at any moment: every order that was answered is there once, every token that was not is still good (T-14)', async () => {
    const { url: schemaUrl, pool } = await openSchema()
    const env = { DATABASE_URL: schemaUrl }
    const steady = await startServer(env)
    const tokens = await Promise.all(Array.from({ length: 100 }, () => getToken(steady.url)))
    for (let round = 0; round < 5; round += 1) {
      const victim = await startServer(env)
      const gone = once(victim.process, 'exit')
      const sends = tokens
        .slice(round * 20, round * 20 + 20)
        .map((token) => create(victim.url, token).catch(() => undefined))
      // The first answer is the sign that the others are at work.
      await Promise.race(sends)
      victim.process.kill('SIGKILL')
      await gone
      await Promise.all(sends)
    }
    await Promise.all(tokens.map((token) => createUntilUsed(steady.url, token)))
    expect(await count(pool)).toBe(100)
  })
})

describe.skipIf(!postgres || !redis)(
  `two demo servers with tokens in Redis${note('PostgreSQL and Redis', postgres && redis)}`,
  () => {
    it('take an order once: 3 at once, then 200', async () => {
      await twoServersTakeEachOrderOnce({ REDIS_URL: redisUrl })
      expect(closing.length).toBe(3)
    })
  },
)
