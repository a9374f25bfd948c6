// Namespaces, apps, tokens and the audit trail over the wire, on a real database.
import { fakeClock, openTestDatabase, type FakeClock, type TestDatabase } from '@oncejob/testkit'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RunsApi, SessionsApi } from '../dispatch/api.ts'
import { silentLog } from '../kernel/log.ts'
import { systemRandom } from '../kernel/random.ts'
import { sql } from '../storage/sql.ts'
import { ensureAdminToken, hashToken } from './admin-token.ts'
import { createHttp, type HttpServer } from './server.ts'
import { testServices } from './testing/services.ts'

let database: TestDatabase
let clock: FakeClock
let here: HttpServer
let elsewhere: HttpServer
let admin: string
let count = 0

const serverOn = (itsClock: FakeClock): HttpServer =>
  createHttp({
    ...testServices(database.db, {} as RunsApi, itsClock),
    sessions: {} as SessionsApi,
    clock: itsClock,
    random: systemRandom,
    log: silentLog,
    registry: new Registry(),
    version: '0.0.0',
    ready: async () => undefined,
    routes: [],
  })

beforeAll(async () => {
  database = await openTestDatabase()
  clock = fakeClock()
  here = serverOn(clock)
  elsewhere = serverOn(clock)
  await Promise.all([here.app.ready(), elsewhere.app.ready()])
  const made = await Promise.all([1, 2, 3].map(() => ensureAdminToken(database.db, systemRandom)))
  admin = made.find((token) => token !== undefined) ?? ''
  expect(made.filter((token) => token !== undefined)).toHaveLength(1)
})
afterAll(async () => {
  await here.app.close()
  await elsewhere.app.close()
  await database.close()
})

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'
const call = async (method: Method, url: string, payload?: object, token = admin, server = here) => {
  const authorization = `Bearer ${token}`
  const answer = await server.app.inject({
    method,
    url,
    headers: { authorization },
    ...(payload === undefined ? {} : { payload }),
  })
  return { status: answer.statusCode, headers: answer.headers, json: answer.body === '' ? undefined : answer.json() }
}
const fresh = (what: string): string => `${what}-${(count += 1)}`
const newApp = async (): Promise<string> => {
  const name = fresh('app')
  expect((await call('POST', '/api/v1/apps', { name })).status).toBe(201)
  return name
}
const newToken = async (app: string, input: object = {}) =>
  (await call('POST', `/api/v1/apps/${app}/tokens`, { name: 'ci', ...input })).json
const trail = async (query = '') => (await call('GET', `/api/v1/audit-log${query}`)).json.items

describe('the admin token', () => {
  it('is made once however many servers start at once, works, and is stored as a hash only', async () => {
    expect(admin).toMatch(/^oj_[\w-]{43}$/)
    expect((await call('GET', '/api/v1/me')).json).toEqual({
      scope: 'admin',
      app: null,
      namespace: null,
      name: 'admin',
    })
    const rows = await database.db.query<{ row: string }>(sql`select t::text as row from oncejob.api_token t`)
    expect(rows.filter(({ row }) => row.includes(admin))).toEqual([])
    expect(await ensureAdminToken(database.db, systemRandom)).toBeUndefined()
  })

  it('can be given: then it is the only one, also when it was given before', async () => {
    const { db } = database
    await expect(ensureAdminToken(db, systemRandom, 'too short')).rejects.toThrow(/16/)
    const [first, second] = ['given-token-number-1', 'given-token-number-2']
    await Promise.all([ensureAdminToken(db, systemRandom, first), ensureAdminToken(db, systemRandom, first)])
    await ensureAdminToken(db, systemRandom, second)
    await ensureAdminToken(db, systemRandom, first)
    const working = await db.query<{ hash: Uint8Array }>(sql`
      select hash from oncejob.api_token where scope = 'admin' and revoked_at is null`)
    expect(working.map(({ hash }) => Buffer.from(hash).toString('hex'))).toEqual([hashToken(first).toString('hex')])
    await ensureAdminToken(db, systemRandom, admin)
    await clock.advance(1_001)
    expect((await call('GET', '/api/v1/me', undefined, first)).json.code).toBe('TOKEN_INVALID')
    expect((await call('GET', '/api/v1/me')).status).toBe(200)
  })
})

describe('namespaces', () => {
  it('are made, listed and removed; a name is taken once', async () => {
    const name = fresh('ns')
    expect((await call('POST', '/api/v1/namespaces', { name, title: 'Ours' })).json).toMatchObject({
      name,
      title: 'Ours',
    })
    expect((await call('POST', '/api/v1/namespaces', { name })).json.code).toBe('NAME_TAKEN')
    const { items } = (await call('GET', '/api/v1/namespaces')).json
    expect(items.map((item: { name: string }) => item.name)).toEqual(expect.arrayContaining(['default', name]))
    expect((await call('DELETE', `/api/v1/namespaces/${name}`)).status).toBe(204)
    expect((await call('DELETE', `/api/v1/namespaces/${name}`)).json.code).toBe('NAMESPACE_NOT_FOUND')
  })

  it('stay while they have apps', async () => {
    const name = fresh('ns')
    await call('POST', '/api/v1/namespaces', { name })
    const app = fresh('app')
    expect((await call('POST', '/api/v1/apps', { name: app, namespace: name })).json).toMatchObject({ namespace: name })
    expect((await call('DELETE', `/api/v1/namespaces/${name}`)).json.code).toBe('NOT_EMPTY')
    expect((await call('PATCH', `/api/v1/apps/${app}`, { namespace: 'default' })).json).toMatchObject({
      namespace: 'default',
    })
    expect((await call('DELETE', `/api/v1/namespaces/${name}`)).status).toBe(204)
  })
})

describe('apps', () => {
  it('are made in a namespace that exists, with a name of their own', async () => {
    const name = await newApp()
    expect((await call('POST', '/api/v1/apps', { name })).json.code).toBe('NAME_TAKEN')
    expect((await call('POST', '/api/v1/apps', { name: fresh('app'), namespace: 'nowhere' })).json.code).toBe(
      'NAMESPACE_NOT_FOUND',
    )
    expect((await call('GET', `/api/v1/apps/${name}`)).json).toMatchObject({ name, namespace: 'default', title: null })
    expect((await call('GET', '/api/v1/apps')).json.items).toEqual(
      expect.arrayContaining([expect.objectContaining({ name })]),
    )
  })

  it('change only in what is sent', async () => {
    const name = await newApp()
    expect((await call('PATCH', `/api/v1/apps/${name}`, { title: 'Shop' })).json).toMatchObject({
      title: 'Shop',
      namespace: 'default',
    })
    expect((await call('PATCH', `/api/v1/apps/${name}`, {})).json).toMatchObject({ title: 'Shop' })
    expect((await call('PATCH', `/api/v1/apps/${name}`, { title: null })).json).toMatchObject({ title: null })
    expect((await call('PATCH', `/api/v1/apps/${name}`, { namespace: 'nowhere' })).json.code).toBe(
      'NAMESPACE_NOT_FOUND',
    )
    expect((await call('PATCH', '/api/v1/apps/nothing', { title: 'x' })).json.code).toBe('APP_NOT_FOUND')
  })

  it('go with their tokens, and stay while runs have not ended', async () => {
    const name = await newApp()
    const { token } = await newToken(name)
    const { id } = (await call('GET', `/api/v1/apps/${name}`)).json
    await database.db.query(
      sql`insert into oncejob.run (id, app_id, job_id, priority, due_at) values (900001, ${id}, 1, 0, now())`,
    )
    expect((await call('DELETE', `/api/v1/apps/${name}`)).json.code).toBe('NOT_EMPTY')
    await database.db.query(sql`update oncejob.run set state = 'canceled', ended_at = now() where id = 900001`)
    expect((await call('GET', '/api/v1/me', undefined, token)).status).toBe(200)
    expect((await call('DELETE', `/api/v1/apps/${name}`)).status).toBe(204)
    expect((await call('GET', '/api/v1/me', undefined, token)).json.code).toBe('TOKEN_INVALID')
    expect((await call('DELETE', `/api/v1/apps/${name}`)).json.code).toBe('APP_NOT_FOUND')
  })

  it('of others do not exist for the token of an app', async () => {
    const [mine, other] = [await newApp(), await newApp()]
    const { token } = await newToken(mine)
    expect((await call('GET', `/api/v1/apps/${mine}`, undefined, token)).status).toBe(200)
    expect((await call('GET', `/api/v1/apps/${other}`, undefined, token)).json.code).toBe('APP_NOT_FOUND')
    expect((await call('GET', `/api/v1/audit-log?app=${other}`, undefined, token)).json.code).toBe('APP_NOT_FOUND')
    expect((await call('DELETE', `/api/v1/apps/${mine}`, undefined, token)).json.code).toBe('ADMIN_ONLY')
  })
})

describe('tokens', () => {
  it('show their secret once and belong to one app', async () => {
    const app = await newApp()
    const made = await newToken(app, { scope: 'read' })
    expect(made).toMatchObject({ app, name: 'ci', scope: 'read', expiresAt: null })
    expect((await call('GET', '/api/v1/me', undefined, made.token)).json).toEqual({
      scope: 'read',
      app,
      namespace: 'default',
      name: 'ci',
    })
    const { token: _, ...shown } = made
    expect((await call('GET', `/api/v1/apps/${app}/tokens`)).json).toEqual({ items: [shown] })
    const other = await newApp()
    expect((await call('DELETE', `/api/v1/apps/${other}/tokens/${made.id}`)).json.code).toBe('TOKEN_NOT_FOUND')
  })

  it('end at their expiry', async () => {
    const app = await newApp()
    expect(
      (await call('POST', `/api/v1/apps/${app}/tokens`, { name: 'x', expiresAt: 'some day soon' })).json.code,
    ).toBe('REQUEST_INVALID')
    const past = await newToken(app, { expiresAt: '2020-01-01T01:00:00.123+01:00' })
    expect(past.expiresAt).toBe('2020-01-01T00:00:00.123Z')
    expect((await call('GET', '/api/v1/me', undefined, past.token)).json.code).toBe('TOKEN_EXPIRED')
    const future = await newToken(app, { expiresAt: '2999-01-01T00:00:00Z' })
    expect((await call('GET', '/api/v1/me', undefined, future.token)).status).toBe(200)
  })

  it('open nothing a second after they were revoked, on any server', async () => {
    const app = await newApp()
    const { id, token } = await newToken(app)
    expect((await call('GET', '/api/v1/me', undefined, token, elsewhere)).status).toBe(200)
    expect((await call('DELETE', `/api/v1/apps/${app}/tokens/${id}`)).status).toBe(204)
    expect((await call('GET', '/api/v1/me', undefined, token, here)).json.code).toBe('TOKEN_INVALID')
    await clock.advance(1_000)
    expect((await call('GET', '/api/v1/me', undefined, token, elsewhere)).json.code).toBe('TOKEN_INVALID')
    expect((await call('DELETE', `/api/v1/apps/${app}/tokens/${id}`)).json.code).toBe('TOKEN_NOT_FOUND')
  })

  it('that are made work at once, also when they were tried before', async () => {
    expect((await call('GET', '/api/v1/me', undefined, 'a-token-of-tomorrow')).json.code).toBe('TOKEN_INVALID')
    await database.db.query(sql`
      insert into oncejob.api_token (app_id, name, scope, hash) values (null, 'late', 'admin', ${hashToken('a-token-of-tomorrow')})`)
    expect((await call('GET', '/api/v1/me', undefined, 'a-token-of-tomorrow')).status).toBe(200)
    await database.db.query(sql`delete from oncejob.api_token where name = 'late'`)
  })
})

describe('the audit trail', () => {
  it('has every change with who and what, newest first, and no secret', async () => {
    const app = await newApp()
    const { id, token } = await newToken(app)
    await call('PATCH', `/api/v1/apps/${app}`, { title: 'T' })
    await call('DELETE', `/api/v1/apps/${app}/tokens/${id}`)
    const items = await trail(`?app=${app}`)
    expect(
      items.map((item: Record<string, unknown>) => [item['actor'], item['app'], item['action'], item['target']]),
    ).toEqual([
      ['admin', app, 'token.revoke', `token/${id}`],
      ['admin', app, 'app.update', `app/${app}`],
      ['admin', app, 'token.create', `token/${id}`],
      ['admin', app, 'app.create', `app/${app}`],
    ])
    expect(items[1].detail).toEqual({ title: 'T' })
    expect(JSON.stringify(items)).not.toContain(token)
  })

  it('has nothing of what was refused', async () => {
    const before = await trail()
    await call('POST', '/api/v1/apps', { name: fresh('app'), namespace: 'nowhere' })
    await call('DELETE', '/api/v1/apps/nothing')
    await call('POST', '/api/v1/namespaces', { name: 'default' })
    expect(await trail()).toEqual(before)
  })

  it('is read page by page, and an app sees its own part only', async () => {
    const app = await newApp()
    const { token } = await newToken(app)
    for (const title of ['a', 'b', 'c']) await call('PATCH', `/api/v1/apps/${app}`, { title })
    const seen: number[] = []
    let next: string | null = ''
    while (next !== null) {
      const cursor: string = next === '' ? '' : `&cursor=${next}`
      const page = (await call('GET', `/api/v1/audit-log?limit=2${cursor}`, undefined, token)).json
      expect(page.items.length).toBeLessThanOrEqual(2)
      for (const item of page.items) expect(item.app).toBe(app)
      seen.push(...page.items.map((item: { id: number }) => item.id))
      next = page.next
    }
    expect(seen).toHaveLength(5)
    expect(seen).toEqual(seen.toSorted((left, right) => right - left))
    expect((await call('GET', '/api/v1/audit-log?cursor=bm9uZQ', undefined, token)).json.code).toBe('CURSOR_INVALID')
  })
})
