// Re-sent calls on a real database: one server, several servers, servers that die, and evidence that gets lost.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DatabaseError } from '../../kernel/errors.ts'
import type { Db } from '../../storage/db.ts'
import { sql } from '../../storage/sql.ts'
import { sweepAttempts, sweepTokens } from '../../storage/resend-sweeps.ts'
import { effectsOf, prepareEffects, route, startResends, type ResendServer } from '../testing/resend-rig.ts'

let database: TestDatabase
const servers: ResendServer[] = []
beforeAll(async () => {
  database = await openTestDatabase()
  await prepareEffects(database.db)
})
afterAll(() => database.close())
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop()
  for (const table of ['legacy_attempt', 'legacy_token', 'legacy_path', 'request_key'])
    await database.db.script(`truncate oncejob.${table}`)
})

const start = async (options: Parameters<typeof startResends>[1] = {}, db: Db = database.db): Promise<ResendServer> => {
  const server = await startResends(db, options)
  servers.push(server)
  return server
}
const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))
const fresh = (): string => `body-${Math.random().toString(36).slice(2)}`

/** A call of a client that throws the answer away, sent again: both outcomes, and the token of the next call. */
const discard = async (at: ResendServer, token: string, body: string, again = at, login = at) => {
  const first = await at.answered(token, body)
  await pause(2)
  const next = await login.issue()
  const second = await again.answered(next, body)
  return { first, second, next }
}

describe('the first use of a token', () => {
  it('two calls whose answers are thrown away take effect twice, and the caller has the ids of those effects', async () => {
    const server = await start()
    const body = fresh()
    const one = await discard(server, await server.construct(), body)
    const two = await discard(server, one.next, body)
    expect(await effectsOf(database.db, body)).toBe(2)
    for (const { first, second } of [one, two]) {
      expect(first.collapsed).toBeNull()
      expect(second.collapsed).toEqual({ into: first.attempt?.id, kind: 'first-use' })
      expect(second.answer.body).toBe(first.answer.body)
    }
    expect(two.first.answer.body).not.toBe(one.first.answer.body)
  })

  it('works over servers: the call, the token and the repeat may each be at another one', async () => {
    const [a, b, c] = [await start(), await start(), await start()]
    const body = fresh()
    let token = await b.construct()
    for (let index = 0; index < 5; index += 1) {
      const { second, next } = await discard(a, token, body, c, b)
      expect(second.collapsed?.kind).toBe('first-use')
      token = next
    }
    expect(await effectsOf(database.db, body)).toBe(5)
  })

  it('a repeat on another path finds nothing and is executed', async () => {
    const server = await start()
    const body = fresh()
    const token = await server.construct()
    await server.answered(token, body)
    const elsewhere = { ...route, via: '1.1 other-proxy' }
    const next = await server.issue(null, elsewhere)
    const second = await server.answered(next, body, {}, { route: elsewhere })
    expect(second.collapsed).toBeNull()
    expect(await effectsOf(database.db, body)).toBe(2)
  })

  it('nothing is collapsed for clients that see the header, whose tokens are rejected now and then', async () => {
    const server = await start()
    // somebody else on the path does not see it, so that the rule is at work
    await server.construct()
    const body = fresh()
    const old = await server.issue()
    await server.issue(old)
    for (let index = 0; index < 5; index += 1) {
      await server.answered(old, body)
      await server.resends.onRejected(route, body)
      await pause(2)
      const made = await server.answered(await server.issue(), body)
      expect(made.collapsed).toBeNull()
    }
    expect(await effectsOf(database.db, body)).toBe(10)
  })

  it('a call with a request key of its own is never collapsed, and an app may switch it off', async () => {
    const server = await start()
    const body = fresh()
    let token = await server.construct()
    for (const over of [{ keyed: true }, { collapse: 'off' as const }]) {
      await server.answered(token, body)
      await pause(2)
      token = await server.issue()
      const made = await server.answered(token, body, {}, over)
      expect(made.collapsed).toBeNull()
      expect(made.suspected).toBe('keyed' in over ? undefined : 'first-use')
      expect(made.attempt?.key === null).toBe('keyed' in over)
    }
    expect(await effectsOf(database.db, body)).toBe(4)
    const lost = await server.call('T', body)
    server.resends.undelivered(lost.attempt?.id ?? 0)
    expect((await server.answered('T', body, {}, { collapse: 'off' })).suspected).toBe('undelivered')
    expect(await effectsOf(database.db, body)).toBe(6)
  })
})

describe('who throws answers away', () => {
  const known = (): Promise<unknown[]> => database.db.query(sql`select app_id from oncejob.legacy_path`)

  it('is known by a constructor that begins anew, and the warning names app and proxy, once', async () => {
    const warned: Readonly<Record<string, unknown>>[] = []
    const nothing = (): void => undefined
    const log = {
      debug: nothing,
      info: nothing,
      error: nothing,
      warn: (facts: Readonly<Record<string, unknown>>, message: string) => void warned.push({ ...facts, message }),
    }
    const [app] = await database.db.query<{ id: number }>(
      sql`insert into oncejob.app (namespace_id, name) values (1, ${fresh()}) returning id`,
    )
    const server = await start({ log })
    const path = { ...route, appId: app?.id ?? 0, via: '1.1 gateway' }
    await server.construct(path)
    await server.construct(path)
    expect(await known()).toHaveLength(1)
    expect(warned).toHaveLength(1)
    expect(warned[0]).toMatchObject({ app: expect.stringMatching(/^body-/), proxy: '1.1 gateway' })
  })

  it('is not taken for one that constructs a client for each call, one after the other', async () => {
    const server = await start()
    for (let index = 0; index < 5; index += 1) {
      const token = await server.issue()
      await server.issue(token)
      await server.answered(token, 'x')
    }
    expect(await known()).toEqual([])
  })

  it('a call asks the database nothing once its token is known', async () => {
    const asked: string[] = []
    const { db } = database
    const counting: Db = {
      ...db,
      query: (statement, options) => {
        asked.push(statement.toQuery().text)
        return db.query(statement, options)
      },
    }
    const server = await start({}, counting)
    const token = await server.issue()
    await server.issue(token)
    await server.answered(token, 'x')
    asked.length = 0
    for (let index = 0; index < 20; index += 1) await server.answered(token, 'x')
    expect(asked).toEqual([])
  })
})

describe('an answer that was lost with its connection', () => {
  it('is handed out to the call that is sent again, once', async () => {
    const server = await start()
    const body = fresh()
    const token = await server.issue()
    const first = await server.call(token, body)
    server.resends.undelivered(first.attempt?.id ?? 0)
    const second = await server.answered(token, body)
    expect(second.collapsed).toEqual({ into: first.attempt?.id, kind: 'undelivered' })
    expect(second.answer).toEqual(first.answer)
    const third = await server.answered(token, body)
    expect(third.collapsed).toBeNull()
    expect(await effectsOf(database.db, body)).toBe(2)
  })

  it('is handed out to the third call when the second was lost as well, even while it waited', async () => {
    const server = await start()
    const body = fresh()
    const gate = Promise.withResolvers<void>()
    const { attempt, outcome } = await server.begin('T', body, { gate: gate.promise })
    server.resends.undelivered(attempt.id ?? 0)
    const second = server.call('T', body, {}, { follow: (id) => setImmediate(() => server.resends.undelivered(id)) })
    await pause(20)
    const third = server.answered('T', body)
    await pause(20)
    gate.resolve()
    expect((await third).answer).toEqual((await outcome).answer)
    expect((await second).answer).toEqual((await outcome).answer)
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('is waited for while the call is still being executed', async () => {
    const server = await start()
    const body = fresh()
    const gate = Promise.withResolvers<void>()
    const { attempt, outcome } = await server.begin('T', body, { gate: gate.promise })
    server.resends.undelivered(attempt.id ?? 0)
    const second = server.answered('T', body)
    await pause(50)
    gate.resolve()
    expect((await second).answer).toEqual((await outcome).answer)
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('is found when the repeat is read in the same turn in which its connection is seen to be broken', async () => {
    const server = await start()
    const body = fresh()
    const gate = Promise.withResolvers<void>()
    const { attempt, outcome } = await server.begin('T', body, { gate: gate.promise })
    setImmediate(() => setImmediate(() => server.resends.undelivered(attempt.id ?? 0)))
    const second = server.answered('T', body)
    await pause(20)
    gate.resolve()
    expect((await second).collapsed).toEqual({ into: attempt.id, kind: 'undelivered' })
    await outcome
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('is waited for when the word of the broken connection comes a little later than the repeat', async () => {
    const server = await start()
    const body = fresh()
    const gate = Promise.withResolvers<void>()
    const { attempt, outcome } = await server.begin('T', body, { gate: gate.promise })
    await pause(320)
    const second = server.answered('T', body)
    await pause(1)
    server.resends.undelivered(attempt.id ?? 0)
    gate.resolve()
    expect((await second).collapsed).toEqual({ into: attempt.id, kind: 'undelivered' })
    await outcome
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('a call that does not end is not executed twice: the repeat is told to look', async () => {
    const server = await start()
    const body = fresh()
    const gate = Promise.withResolvers<void>()
    const { attempt, outcome } = await server.begin('T', body, { gate: gate.promise })
    server.resends.undelivered(attempt.id ?? 0)
    const second = await server.answered('T', body)
    expect(second.answer.outcome).toBe('refused')
    expect(second.answer.body).toContain('still being executed')
    gate.resolve()
    await outcome
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('intended calls are executed, also equal ones at once: ten of ten, with one token or none', async () => {
    const server = await start()
    for (const token of ['T', null]) {
      const body = fresh()
      for (let index = 0; index < 10; index += 1) await server.answered(token, body)
      await Promise.all(Array.from({ length: 10 }, () => server.answered(token, body)))
      expect(await effectsOf(database.db, body)).toBe(20)
    }
  })

  it('what came to nothing is executed when it is sent again', async () => {
    const server = await start()
    const body = fresh()
    const first = await server.begin('T', body, { fate: 'broken' })
    await expect(first.outcome).rejects.toThrow('broken on purpose')
    server.resends.undelivered(first.attempt.id ?? 0)
    expect((await server.answered('T', body)).collapsed).toBeNull()
    expect(await effectsOf(database.db, body)).toBe(1)
  })
})

describe('evidence that can not be written', () => {
  it('a rejection that was not noted stops collapsing until it is', async () => {
    let failing = false
    const { db } = database
    const flaky: Db = {
      ...db,
      query: (statement, options) =>
        failing
          ? Promise.reject(new DatabaseError('down', { sqlState: '57P01', constraint: undefined, cause: undefined }))
          : db.query(statement, options),
    }
    const server = await start({}, flaky)
    const body = fresh()
    const { next } = await discard(server, await server.construct(), body)
    failing = true
    await server.resends.onRejected(route, body)
    failing = false
    const { second } = await discard(server, next, body)
    expect(second.collapsed).toBeNull()
    await server.services[1]?.start()
    const debts = sql`select id from oncejob.legacy_attempt where outcome = 'rejected' and owes`
    await expect.poll(() => db.query(debts)).toHaveLength(1)
    await server.services[1]?.stop()
  })

  it('a call is executed when nothing can be asked', async () => {
    const { db } = database
    const down: Db = { ...db, query: () => Promise.reject(new Error('down')) }
    const server = await start({ others: true }, down)
    const made = await server.resends.run(
      {
        route,
        appId: 7,
        path: '/runJob',
        jti: 'T',
        fingerprint: 'x',
        mutates: true,
        keyed: false,
        collapse: 'evidence',
        requestId: 'r',
        follow: () => undefined,
      },
      async () => ({ outcome: 'done', body: 'executed' }),
    )
    expect(made).toEqual({ answer: { outcome: 'done', body: 'executed' }, collapsed: null })
  })
})

it('evidence is forgotten: after ten minutes, and at once what only waited for its answer', async () => {
  const server = await start({ others: true })
  const { db } = database
  const doubled = await server.construct()
  await server.answered(doubled, 'kept')
  await server.answered(doubled, 'waiting', {}, { route: { ...route, peer: '10.0.0.10' } })
  const count = async (table: 'attempt' | 'token' | 'key'): Promise<number> => {
    const from = {
      attempt: sql`oncejob.legacy_attempt`,
      token: sql`oncejob.legacy_token`,
      key: sql`oncejob.request_key`,
    }[table]
    return (await db.query<{ n: number }>(sql`select count(*) as n from ${from}`))[0]?.n ?? 0
  }
  const age = async (seconds: number): Promise<void> => {
    await db.query(sql`update oncejob.legacy_attempt set started_at = started_at - ${seconds} * interval '1 s'`)
    await db.query(sql`update oncejob.legacy_token set issued_at = issued_at - ${seconds} * interval '1 s'`)
  }
  await age(31)
  expect(await sweepAttempts(db, 100)).toBe(1)
  expect([await count('attempt'), await count('key')]).toEqual([1, 1])
  expect(await sweepTokens(db, 100)).toBe(0)
  await age(600)
  expect(await sweepAttempts(db, 100)).toBe(1)
  expect(await sweepTokens(db, 3)).toBe(3)
  expect(await sweepTokens(db, 100)).toBe(1)
  expect([await count('attempt'), await count('key'), await count('token')]).toEqual([0, 0, 0])
})
