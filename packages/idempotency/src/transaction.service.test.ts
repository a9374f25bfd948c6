// The transactional mode: token or key and the user's rows commit together, whatever breaks in between.
import fastify from 'fastify'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { idempotency, sendAnswer, sendRefusal } from './fastify/index.ts'
import { createTokenGuard } from './guard/token-guard.ts'
import type { TokenUse } from './guard/token-guard.ts'
import type { OnceTokens } from './once-tokens.ts'
import { createOnceTokens } from './once-tokens.ts'
import { createRequestKeys } from './request-keys.ts'
import { createPostgresStore } from './store/postgres.ts'
import type { PgQueryable } from './store/postgres-client.ts'
import type { TestPostgres } from './testing/services.ts'
import { openTestPostgres, postgresReachable, skipNote } from './testing/services.ts'
import { withOnceToken, withRequestKey, type WorkAnswer } from './transaction.ts'

const reachable = await postgresReachable()
// What is tested is who wins, not how long a busy machine takes.
const patient = { lockWaitMs: 30_000 }
const mine = { account: 'account-1', operation: 'createOrder' }

describe.skipIf(!reachable)(`the transactional mode${skipNote('PostgreSQL', reachable)}`, () => {
  let database: TestPostgres
  let tokens: OnceTokens
  beforeAll(async () => {
    database = await openTestPostgres()
    // Without any constraint: it counts what happened.
    await database.pool.query('CREATE TABLE orders (id serial, item text)')
    const limits = { perMinute: 1_000_000, outstanding: 1_000_000 }
    tokens = createOnceTokens({
      store: createPostgresStore({ pool: database.pool }),
      secret: 'a secret of the test',
      limits,
    })
  })
  afterAll(async () => {
    await database.close()
  })
  beforeEach(async () => {
    await database.pool.query('TRUNCATE orders')
  })

  const orders = async (): Promise<number> =>
    Number((await database.pool.query<{ n: string }>('SELECT count(*) AS n FROM orders')).rows[0]!.n)

  const newUse = async (mode: 'replay' | 'reject' = 'replay', body: unknown = { item: 'tea' }): Promise<TokenUse> => {
    const { token } = await tokens.issue(mine)
    const guard = createTokenGuard({ tokens, mode })
    const entry = guard.enter(
      undefined,
      {
        method: 'POST',
        route: '/order',
        path: '/order',
        query: '',
        headers: { token, secret: mine.account },
        body,
        requestId: 'req',
      },
      mine.operation,
    )
    if (entry.kind !== 'use') throw new Error('the token does not fit')
    return entry.use
  }

  const insert = async (client: PgQueryable): Promise<WorkAnswer> => {
    const { rows } = await client.query("INSERT INTO orders (item) VALUES ('tea') RETURNING id")
    return { status: 201, body: rows[0], headers: { location: '/orders/1' } }
  }

  const onClient = async <T>(use: (client: pg.PoolClient) => Promise<T>): Promise<T> => {
    const client = await database.pool.connect()
    try {
      return await use(client)
    } finally {
      client.release()
    }
  }

  it('of three that come at once all get the one answer, and there is one row; 100 rounds', async () => {
    for (let round = 1; round <= 100; round += 1) {
      const use = await newUse()
      const answers = await Promise.all(
        [1, 2, 3].map(() => onClient((client) => withOnceToken(client, use, insert, patient))),
      )
      expect(new Set(answers.map(({ body }) => Buffer.from(body).toString())).size).toBe(1)
      expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1)
      expect(await orders()).toBe(round)
    }
  })

  it('in mode reject the others are refused', async () => {
    const use = await newUse('reject')
    const results = await Promise.allSettled(
      [1, 2, 3].map(() => onClient((client) => withOnceToken(client, use, insert, patient))),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const each of results)
      if (each.status === 'rejected') expect(each.reason).toMatchObject({ problem: { slug: 'once-token-used' } })
    expect(await orders()).toBe(1)
  })

  it('a crash at any point before the commit leaves token and rows as they were; after it both are there (T-14)', async () => {
    const use = await newUse()
    let statements = 0
    const counting = (client: PgQueryable): PgQueryable => ({
      query: (text, values) => {
        statements += 1
        return client.query(text, values)
      },
    })
    await onClient((client) => withOnceToken(counting(client), use, insert))
    expect(statements).toBe(6)
    await database.pool.query('TRUNCATE orders')

    for (const sent of [false, true]) {
      for (let at = 1; at <= statements; at += 1) {
        const token = await newUse()
        const client = new pg.Client({ connectionString: database.url })
        client.on('error', () => undefined)
        await client.connect()
        const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
        const kill = () => database.pool.query('SELECT pg_terminate_backend($1, 20000)', [rows[0]!.pid])
        let seen = 0
        const dying: PgQueryable = {
          query: async (text, values) => {
            seen += 1
            if (seen === at && !sent) await kill()
            const result = await client.query(text, values)
            if (seen === at && sent) {
              await kill()
              throw new Error('the process died')
            }
            return result
          },
        }
        const before = await orders()
        await expect(withOnceToken(dying, token, insert)).rejects.toBeInstanceOf(Error)
        await client.end().catch(() => undefined)
        const committed = sent && at === statements
        expect(await orders(), `killed ${sent ? 'after' : 'before'} statement ${at}`).toBe(before + (committed ? 1 : 0))
        const repeat = await onClient((again) => withOnceToken(again, token, insert))
        expect(repeat.replayed).toBe(committed)
        expect(await orders()).toBe(before + 1)
      }
    }
  })

  it('an error of the work, and an answer that is no outcome, roll back and leave the token usable', async () => {
    const use = await newUse()
    const failing = async (client: PgQueryable): Promise<WorkAnswer> => {
      await insert(client)
      throw new Error('the price is gone')
    }
    await expect(onClient((client) => withOnceToken(client, use, failing))).rejects.toThrow('the price is gone')
    const answer = await onClient((client) =>
      withOnceToken(client, use, async (inside) => ({ ...(await insert(inside)), status: 503 })),
    )
    expect([answer.status, await orders()]).toEqual([503, 0])
    expect((await onClient((client) => withOnceToken(client, use, insert, patient))).status).toBe(201)
    expect(await orders()).toBe(1)
  })

  it('while the first holds the row a repeat waits, at most so long, and is told', async () => {
    const use = await newUse()
    const begun = Promise.withResolvers<void>()
    const finish = Promise.withResolvers<void>()
    const first = onClient((client) =>
      withOnceToken(client, use, async (inside) => {
        begun.resolve()
        await finish.promise
        return insert(inside)
      }),
    )
    await begun.promise
    await expect(onClient((client) => withOnceToken(client, use, insert, { lockWaitMs: 20 }))).rejects.toMatchObject({
      problem: { slug: 'once-token-in-progress' },
    })
    finish.resolve()
    expect((await first).status).toBe(201)
    expect(await orders()).toBe(1)
  })

  it('serves a Fastify app: tokens and keys, replays and refusals', async () => {
    const app = fastify()
    const keys = createRequestKeys({ store: tokens.store })
    await app.register(idempotency, { onceTokens: { tokens }, requestKeys: { keys } })
    app.setErrorHandler((error, _request, reply) => {
      if (!sendRefusal(error, reply)) void reply.code(500).send({})
    })
    app.post(
      '/order',
      { config: { onceToken: { operation: 'createOrder', transactional: true } } },
      async (request, reply) => {
        const use = request.onceToken
        if (use === undefined) throw new Error('no token')
        return sendAnswer(reply, await onClient((client) => withOnceToken(client, use, insert, patient)))
      },
    )
    app.post('/keyed', { config: { requestKey: { transactional: true } } }, async (request, reply) => {
      const use = request.requestKey
      if (use === undefined) throw new Error('no key')
      return sendAnswer(reply, await onClient((client) => withRequestKey(client, use, insert, patient)))
    })
    const { token } = await tokens.issue(mine)
    for (const [url, header, slug] of [
      ['/order', { token }, 'once-token-reused'],
      ['/keyed', { 'idempotency-key': 'key-of-the-test' }, 'idempotency-key-reused'],
    ] as const) {
      const before = await orders()
      const send = (payload: object) =>
        app.inject({ method: 'POST', url, headers: { ...header, secret: mine.account }, payload })
      const [one, two, three] = await Promise.all([send({ a: 1 }), send({ a: 1 }), send({ a: 1 })])
      expect(new Set([one.body, two.body, three.body]).size).toBe(1)
      expect([one, two, three].filter((each) => each.headers['idempotent-replayed'] === 'true')).toHaveLength(2)
      expect(one.headers['location']).toBe('/orders/1')
      const other = await send({ a: 2 })
      expect([other.statusCode, other.json().type]).toEqual([422, expect.stringContaining(slug)])
      expect(await orders()).toBe(before + 1)
    }
    await app.close()
  })

  it('an expired token does nothing', async () => {
    const use = await newUse()
    await database.pool.query(`UPDATE oncejob_idempotency SET expires_at = now() - interval '1 ms' WHERE id = $1`, [
      use.key.id,
    ])
    await expect(onClient((client) => withOnceToken(client, use, insert, patient))).rejects.toMatchObject({
      statusCode: 410,
      problem: { slug: 'once-token-expired' },
    })
    expect(await orders()).toBe(0)
  })
})
