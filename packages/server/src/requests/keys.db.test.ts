// Same key, same answer (I1): over real HTTP, with the whole server behind it, on every mutating route and under races.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeRequestKey, ulid } from '@oncejob/protocol'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { configFrom } from '../config.ts'
import { ensureAdminToken } from '../http/admin-token.ts'
import { systemClock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { systemRandom } from '../kernel/random.ts'
import { sweepKeys } from '../storage/request-keys.ts'
import { sql } from '../storage/sql.ts'
import { wire, type Wired } from '../wire.ts'
import { createRequestKeys } from './keys.ts'

let database: TestDatabase
let token: string
const servers: { url: string; wired: Wired }[] = []

const startServer = async (): Promise<void> => {
  const outside = {
    db: database.db,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    name: 'test',
    version: '0.0.0',
  }
  const wired = wire(outside, configFrom({}))
  servers.push({ url: await wired.http.listen('127.0.0.1', 0), wired })
}
beforeAll(async () => {
  database = await openTestDatabase()
  token = (await ensureAdminToken(database.db, systemRandom)) ?? ''
  await startServer()
  await startServer()
  await call('POST', '/api/v1/apps', { name: 'shop' }, { app: null })
})
afterAll(async () => {
  for (const { wired } of servers) await wired.http.stop(0)
  await database.close()
})

interface Options {
  readonly key?: string
  readonly app?: string | null
  readonly server?: number
  readonly headers?: Record<string, string>
}
const call = async (method: string, path: string, body?: unknown, options: Options = {}) => {
  const { key, app = 'shop', server = 0, headers = {} } = options
  const url = `${servers[server]!.url}${path}${app === null ? '' : `?app=${app}`}`
  const answer = await fetch(url, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, text, json: text === '' ? null : JSON.parse(text) }
}
const count = async (table: 'job' | 'run' | 'audit' | 'request_key' | 'api_token'): Promise<number> => {
  const queries = {
    job: sql`select count(*)::int as n from oncejob.job`,
    run: sql`select count(*)::int as n from oncejob.run`,
    audit: sql`select count(*)::int as n from oncejob.audit`,
    request_key: sql`select count(*)::int as n from oncejob.request_key`,
    api_token: sql`select count(*)::int as n from oncejob.api_token`,
  }
  const [row] = await database.db.query<{ n: number }>(queries[table])
  return row!.n
}
const newJob = async (more: object = {}): Promise<{ id: number; name: string }> => {
  const answer = await call('POST', '/api/v1/jobs', { name: `job-${makeRequestKey()}`, processor: 'work', ...more })
  expect(answer.status).toBe(201)
  return answer.json
}

describe('a repeat with the same key', () => {
  test('gets the first answer, byte for byte, and makes nothing (every mutating route)', async () => {
    const job = await newJob()
    const run = await call('POST', '/api/v1/runs', { job: job.id, delayMs: 3_600_000 })
    const calls: [string, string, unknown, Options][] = [
      ['POST', '/api/v1/namespaces', { name: 'ns-1' }, { app: null }],
      ['POST', '/api/v1/apps', { name: 'app-1' }, { app: null }],
      ['PATCH', '/api/v1/apps/app-1', { title: 'One' }, { app: null }],
      ['POST', '/api/v1/jobs', { name: 'keyed', processor: 'work' }, {}],
      ['PUT', '/api/v1/jobs/keyed', { name: 'keyed', processor: 'other' }, { headers: { 'if-match': '*' } }],
      ['PATCH', '/api/v1/jobs/keyed', { priority: 3 }, { headers: { 'if-match': '*' } }],
      ['POST', '/api/v1/jobs/keyed/disable', undefined, {}],
      ['POST', '/api/v1/jobs/keyed/enable', undefined, {}],
      ['POST', '/api/v1/jobs/keyed/copy', { name: 'keyed-copy' }, {}],
      [
        'POST',
        '/api/v1/jobs/import',
        { format: 'oncejob.jobs/1', jobs: [{ name: 'keyed-import', processor: 'work' }] },
        {},
      ],
      ['POST', '/api/v1/jobs:run', { job: { name: 'keyed-run', processor: 'work' }, run: { params: 1 } }, {}],
      ['POST', '/api/v1/runs', { job: job.id, params: { a: 1 } }, {}],
      ['POST', '/api/v1/runs', { job: job.name, delayMs: 60_000 }, {}],
      ['POST', `/api/v1/jobs/${job.id}/runs`, {}, {}],
      ['POST', '/api/v1/runs/batch', { runs: [{ job: job.id }, { job: job.name }] }, {}],
      ['POST', `/api/v1/runs/${run.json.id}/cancel`, undefined, {}],
      ['POST', `/api/v1/runs/${run.json.id}/retry`, undefined, {}],
      ['POST', `/api/v1/runs/${run.json.id}/stop`, undefined, {}],
      ['DELETE', '/api/v1/jobs/keyed', undefined, { headers: { 'if-match': '*' } }],
      ['DELETE', '/api/v1/apps/app-1', undefined, { app: null }],
      ['DELETE', '/api/v1/namespaces/ns-1', undefined, { app: null }],
    ]
    for (const [method, path, body, options] of calls) {
      const key = makeRequestKey()
      const first = await call(method, path, body, { ...options, key })
      expect(first.status, `${method} ${path}: ${first.text}`).toBeLessThan(300)
      expect(first.headers.get('idempotent-replayed')).toBeNull()
      const before = [await count('job'), await count('run'), await count('audit')]
      // also through another server
      for (const server of [0, 1, 1]) {
        const again = await call(method, path, body, { ...options, key, server })
        expect({ status: again.status, text: again.text }, `${method} ${path}`).toEqual({
          status: first.status,
          text: first.text,
        })
        for (const name of ['location', 'etag', 'content-type'])
          expect(again.headers.get(name), `${method} ${path} ${name}`).toBe(first.headers.get(name))
        expect(again.headers.get('idempotent-replayed')).toBe('true')
        expect(again.headers.get('original-request-id')).toBe(first.headers.get('x-request-id'))
        expect(again.headers.get('idempotency-key')).toBe(key)
      }
      expect([await count('job'), await count('run'), await count('audit')], `${method} ${path}`).toEqual(before)
    }
  })
  test('however many come at once: one effect, equal answers', async () => {
    const job = await newJob()
    for (const [path, body] of [
      ['/api/v1/runs', { job: job.id }],
      ['/api/v1/runs/batch', { runs: [{ job: job.id }] }],
    ] as const) {
      const before = await count('run')
      const key = makeRequestKey()
      const answers = await Promise.all(
        Array.from({ length: 30 }, (_, i) => call('POST', path, body, { key, server: i % 2 })),
      )
      expect(new Set(answers.map((one) => `${one.status} ${one.text}`)).size).toBe(1)
      expect(answers[0]!.status).toBe(201)
      expect(answers.filter((one) => one.headers.get('idempotent-replayed') === null)).toHaveLength(1)
      expect(await count('run')).toBe(before + 1)
    }
  })
  test('of a run under a limit is decided once', async () => {
    const job = await newJob({ schedule: { trigger: { kind: 'none' }, overlap: 'skip' } })
    const key = makeRequestKey()
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => call('POST', '/api/v1/runs', { job: job.id }, { key, server: i % 2 })),
    )
    expect(new Set(answers.map((one) => `${one.status} ${one.text}`))).toEqual(new Set([`201 ${answers[0]!.text}`]))
    // another call is refused, and a refusal leaves its key free
    const second = makeRequestKey()
    expect((await call('POST', '/api/v1/runs', { job: job.id }, { key: second })).json.code).toBe('RUN_LIMIT')
    await call('POST', `/api/v1/runs/${answers[0]!.json.id}/cancel`)
    expect((await call('POST', '/api/v1/runs', { job: job.id }, { key: second })).status).toBe(201)
  })
  test('is answered after the job is gone', async () => {
    const job = await newJob()
    const key = makeRequestKey()
    const first = await call('POST', '/api/v1/runs', { job: job.name }, { key })
    await call('DELETE', `/api/v1/jobs/${job.id}`, undefined, { headers: { 'if-match': '*' } })
    expect((await call('POST', '/api/v1/runs', { job: job.name }, { key, server: 1 })).text).toBe(first.text)
  })
  test('of an edit is answered although its version is old by now', async () => {
    const job = await newJob()
    const key = makeRequestKey()
    const edit = (server: number) =>
      call(
        'PATCH',
        `/api/v1/jobs/${job.id}`,
        { priority: 7 },
        { key, server, headers: { 'if-match': `"job-${job.id}-v1"` } },
      )
    const first = await edit(0)
    expect(first.status).toBe(200)
    expect((await edit(1)).text).toBe(first.text)
  })
  test('does not show a secret again', async () => {
    const key = makeRequestKey()
    const first = await call('POST', '/api/v1/apps/shop/tokens', { name: 'once' }, { app: null, key })
    expect(first.json.token).toMatch(/^oj_/)
    const before = await count('api_token')
    const again = await call('POST', '/api/v1/apps/shop/tokens', { name: 'once' }, { app: null, key })
    expect(again.json).toEqual({ ...first.json, token: null, secretShownOnce: true })
    expect(await count('api_token')).toBe(before)
    const [kept] = await database.db.query<{ n: number }>(
      sql`select count(*)::int as n from oncejob.request_key where body like ${`%${first.json.token}%`}`,
    )
    expect(kept!.n).toBe(0)
  })
})

describe('a key', () => {
  test('that stands for another call is refused, with what differs and never its content', async () => {
    const job = await newJob()
    const key = makeRequestKey()
    await call('POST', '/api/v1/runs', { job: job.id, params: 'secret' }, { key })
    const other = await call('POST', '/api/v1/runs', { job: job.id, params: 'other' }, { key })
    expect(other.status).toBe(422)
    expect(other.json).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED', differs: ['body'] })
    expect(other.text).not.toContain('secret')
    expect((await call('POST', '/api/v1/runs/batch', { runs: [{ job: job.id }] }, { key })).json.differs).toEqual([
      'path',
      'body',
    ])
  })
  test('does not mind the order of members or the quotes of the draft', async () => {
    const job = await newJob()
    const key = makeRequestKey()
    const first = await call('POST', '/api/v1/runs', { job: job.id, params: { a: 1, b: 2 } }, { key })
    const again = await call('POST', '/api/v1/runs', { params: { b: 2, a: 1 }, job: job.id }, { key: `"${key}"` })
    expect(again.text).toBe(first.text)
    expect(again.headers.get('idempotent-replayed')).toBe('true')
  })
  test('is free after a refusal or an invalid body: nothing was done', async () => {
    const key = makeRequestKey()
    const keys = await count('request_key')
    expect((await call('POST', '/api/v1/runs', { job: 'not there yet' }, { key })).status).toBe(404)
    expect((await call('POST', '/api/v1/jobs', { name: 'x', processor: 'p', nonsense: 1 }, { key })).status).toBe(400)
    expect((await call('POST', '/api/v1/jobs', { name: 'x', processor: 'p', mode: 'map' }, { key })).status).toBe(422)
    expect(await count('request_key')).toBe(keys)
    expect((await call('POST', '/api/v1/jobs', { name: 'not there yet', processor: 'p' }, { key })).status).toBe(201)
  })
  test('of ours that is older than the window is refused, one from the future too; others can not be judged', async () => {
    const job = await newJob()
    const at = (ms: number) => `ik_${ulid(Date.now() + ms, crypto.getRandomValues(new Uint8Array(16)))}`
    const old = await call('POST', '/api/v1/runs', { job: job.id }, { key: at(-72 * 3_600_000) })
    expect([old.status, old.json.code]).toEqual([422, 'IDEMPOTENCY_KEY_EXPIRED'])
    expect(
      (await call('POST', '/api/v1/jobs', { name: 'late', processor: 'p' }, { key: at(-80 * 3_600_000) })).json.code,
    ).toBe('IDEMPOTENCY_KEY_EXPIRED')
    expect((await call('POST', '/api/v1/runs', { job: job.id }, { key: at(3_600_000) })).json.code).toBe(
      'IDEMPOTENCY_KEY_INVALID',
    )
    expect((await call('POST', '/api/v1/runs', { job: job.id }, { key: `order-4711-${job.id}` })).status).toBe(201)
  })
  test('tells what became of its call', async () => {
    const job = await newJob()
    const key = makeRequestKey()
    expect((await call('GET', `/api/v1/idempotency-keys/${key}`)).json.code).toBe('IDEMPOTENCY_KEY_NOT_FOUND')
    const made = await call('POST', '/api/v1/runs', { job: job.id }, { key })
    expect((await call('GET', `/api/v1/idempotency-keys/${key}`, undefined, { server: 1 })).json).toMatchObject({
      key,
      state: 'completed',
      status: 201,
      location: `/api/v1/runs/${made.json.id}`,
      requestId: made.headers.get('x-request-id'),
    })
  })
  test('is demanded by an app that says so', async () => {
    await call('POST', '/api/v1/apps', { name: 'strict', requireRequestKeys: true }, { app: null })
    const body = { name: 'job', processor: 'p' }
    expect((await call('POST', '/api/v1/jobs', body, { app: 'strict' })).json.code).toBe('IDEMPOTENCY_KEY_REQUIRED')
    expect((await call('POST', '/api/v1/jobs', body, { app: 'strict', key: makeRequestKey() })).status).toBe(201)
    expect((await call('POST', '/api/v1/runs', { job: 'job' }, { app: 'strict' })).json.code).toBe(
      'IDEMPOTENCY_KEY_REQUIRED',
    )
    expect((await call('GET', '/api/v1/jobs', undefined, { app: 'strict' })).status).toBe(200)
  })
  test('is forgotten after its window, not before', async () => {
    const job = await newJob()
    const key = `window-${job.id}`
    const first = await call('POST', '/api/v1/runs', { job: job.id }, { key })
    await sweepKeys(database.db, 1000)
    expect((await call('POST', '/api/v1/runs', { job: job.id }, { key })).text).toBe(first.text)
    await database.db.query(
      sql`update oncejob.request_key set expires_at = now() - interval '1 second' where key = ${key}`,
    )
    expect(await sweepKeys(database.db, 1000)).toBe(1)
    expect((await call('POST', '/api/v1/runs', { job: job.id }, { key })).json.id).toBeGreaterThan(first.json.id)
  })
})

describe('a first call that is still under way', () => {
  test('keeps repeats waiting without a connection, and then has them told to come again', async () => {
    if (database.kind !== 'postgres') return // one connection: a second transaction waits for the first anyway
    const keys = createRequestKeys(
      { db: database.db, clock: systemClock, random: systemRandom },
      { windowMs: 3_600_000 },
    )
    const key = { appId: 1, key: makeRequestKey(), fingerprint: 'f', requestId: 'r', route: 'POST /x' }
    const { promise, resolve } = Promise.withResolvers<void>()
    const started = Promise.withResolvers<void>()
    const first = keys.once(key, async () => {
      started.resolve()
      await promise
      return { status: 200, headers: '{}', body: '1' }
    })
    await started.promise
    await expect(keys.once(key, async () => ({ status: 200, headers: '{}', body: '2' }))).rejects.toMatchObject({
      code: 'IDEMPOTENCY_IN_PROGRESS',
    })
    resolve()
    expect((await first).answer.body).toBe('1')
    expect((await keys.once(key, async () => ({ status: 200, headers: '{}', body: '3' }))).answer.body).toBe('1')
  })
  test('that fails leaves the key to the next', async () => {
    const keys = createRequestKeys(
      { db: database.db, clock: systemClock, random: systemRandom },
      { windowMs: 3_600_000 },
    )
    const key = { appId: 1, key: makeRequestKey(), fingerprint: 'f', requestId: 'r', route: 'POST /x' }
    await expect(keys.once(key, () => Promise.reject(new Error('broke')))).rejects.toThrow('broke')
    expect((await keys.once(key, async () => ({ status: 200, headers: '{}', body: 'second' }))).answer.body).toBe(
      'second',
    )
  })
})
