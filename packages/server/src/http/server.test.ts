// The wire as a caller meets it: real HTTP on a free port; the core and the database are fakes.
import { connect, type Socket } from 'node:net'
import { request as httpRequest } from 'node:http'
import { Registry } from 'prom-client'
import { afterEach, describe, expect, it } from 'vitest'
import { Refusal, errors } from '@oncejob/protocol'
import type { RunsApi, SessionsApi, Submission, Submitted } from '../dispatch/api.ts'
import { systemClock } from '../kernel/clock.ts'
import { DatabaseError, Outage } from '../kernel/errors.ts'
import { systemRandom } from '../kernel/random.ts'
import type { Db } from '../storage/db.ts'
import type { Sql } from '../storage/sql.ts'
import { notingLog } from '../testing/log.ts'
import { hashToken } from './admin-token.ts'
import type { JobsService } from '../scheduling/jobs-service.ts'
import type { WorkflowsService } from '../scheduling/workflows-service.ts'
import { createHttp, type HttpServer } from './server.ts'
import { forgetfulKeys } from './testing/services.ts'
import { appIdOf, queryOf, signalOf, type RoutePlugin } from './types.ts'

interface FakeToken {
  tokenId: number
  name: string
  scope: 'admin' | 'app' | 'read'
  appId: number | null
  app: string | null
  namespace: string | null
  expired: boolean
}

const token = (over: Partial<FakeToken>): FakeToken => ({
  tokenId: 1,
  name: 'shop token',
  scope: 'app',
  appId: 7,
  app: 'shop',
  namespace: 'default',
  expired: false,
  ...over,
})

const startWith = async (
  over: {
    runs?: Partial<RunsApi>
    sessions?: Partial<SessionsApi>
    routes?: RoutePlugin[]
    query?: () => Promise<never>
    ready?: () => Promise<string | undefined>
  } = {},
) => {
  const tokens = new Map(
    Object.entries({
      shop: token({}),
      reader: token({ tokenId: 2, scope: 'read', name: 'reader' }),
      expired: token({ tokenId: 3, expired: true }),
      admin: token({ tokenId: 4, scope: 'admin', name: 'admin', appId: null, app: null, namespace: null }),
    }).map(([text, row]) => [hashToken(text).toString('hex'), row]),
  )
  let lookups = 0
  const query = async (statement: Sql): Promise<unknown[]> => {
    if (over.query !== undefined) return over.query()
    const { text, values } = statement.toQuery()
    if (text.includes('from oncejob.api_token')) {
      lookups += 1
      const row = tokens.get(Buffer.from(values[0] as Uint8Array).toString('hex'))
      return row === undefined ? [] : [row]
    }
    if (text.includes('from oncejob.app app')) {
      return values[0] === 'shop'
        ? [
            {
              id: 7,
              name: 'shop',
              namespace: 'default',
              title: null,
              requireRequestKeys: false,
              hasPassword: false,
              tokenless: false,
              copyEnabled: false,
              collapse: 'evidence',
              tagSubstring: false,
              workerNetworks: [],
              createdAt: new Date(0),
            },
          ]
        : []
    }
    throw new Error(`the fake database does not know: ${text}`)
  }
  const db = {
    kind: 'embedded',
    query,
    transaction: (work: (tx: unknown) => unknown) => work({ query }),
  } as unknown as Db
  const submitted: Submission[] = []
  const runs = {
    submit: async (submission: Submission) => ({ id: submitted.push(submission), replayOf: null }),
    submitMany: async (many: Submission[]) => ({
      ids: many.map((one) => submitted.push(one)),
      deduplicated: null,
    }),
    cancel: async (_appId: number, id: number) => ({ id, state: 'canceled', changed: true }),
    ...over.runs,
  } as unknown as RunsApi
  const { log, logged } = notingLog()
  const registry = new Registry()
  const services = { db, runs, jobs: {} as JobsService, workflows: {} as WorkflowsService }
  const http = createHttp({
    services,
    join: () => services,
    keys: forgetfulKeys(db),
    sessions: (over.sessions ?? {}) as SessionsApi,
    clock: systemClock,
    random: systemRandom,
    log,
    registry,
    version: '9.9.9',
    ready: over.ready ?? (async () => undefined),
    routes: over.routes ?? [],
  })
  running.push(http)
  const url = await http.listen('127.0.0.1', 0)
  const call = async (
    method: string,
    path: string,
    options: {
      token?: string
      body?: unknown
      raw?: string | Buffer<ArrayBuffer>
      headers?: Record<string, string>
    } = {},
  ) => {
    const json = options.body === undefined ? {} : { 'content-type': 'application/json' }
    const auth = options.token === '' ? {} : { authorization: `Bearer ${options.token ?? 'shop'}` }
    const body = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body))
    const response = await fetch(url + path, {
      method,
      headers: { ...auth, ...json, ...options.headers },
      redirect: 'manual',
      ...(body === undefined ? {} : { body }),
    })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json') === true
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson && text !== '' ? JSON.parse(text) : undefined,
    }
  }
  return { http, url, call, submitted, logged, registry, tokens, lookups: () => lookups }
}

const running: HttpServer[] = []
afterEach(async () => {
  for (const http of running.splice(0)) await http.stop(0)
})

const expectProblem = (
  answer: { status: number; headers: Headers; json: Record<string, unknown> },
  code: keyof typeof errors,
) => {
  expect(answer.json).toMatchObject({
    code,
    status: errors[code].status,
    retry: errors[code].retry,
    title: errors[code].title,
  })
  expect(answer.status).toBe(errors[code].status)
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  expect(answer.json['instance']).toBe(answer.headers.get('x-request-id'))
  expect(answer.json['detail']).not.toBe('')
  return answer.json
}

describe('who may call', () => {
  it('a route that does not say who may call it stops the server from starting', async () => {
    const careless: RoutePlugin = (app) => void app.get('/api/v1/secrets', () => 'all of them')
    await expect(startWith({ routes: [careless] })).rejects.toThrow(/GET \/api\/v1\/secrets says in config.access/)
  })

  it('nothing but health is open without a token', async () => {
    const { call } = await startWith()
    const paths = ['/api/v1/me', '/metrics', '/openapi.json', '/docs', '/docs/', '/docs/js/scalar.js', '/api/v1/apps']
    for (const path of paths) expectProblem(await call('GET', path, { token: '' }), 'TOKEN_MISSING')
    expect((await call('GET', '/health/live', { token: '' })).json).toEqual({ status: 'ok', version: '9.9.9' })
    expect((await call('HEAD', '/health/ready', { token: '' })).status).toBe(200)
  })

  it('unknown and expired tokens are refused, and each says which', async () => {
    const { call } = await startWith()
    const unknown = await call('GET', '/api/v1/me', { token: 'nope' })
    expectProblem(unknown, 'TOKEN_INVALID')
    expect(unknown.headers.get('www-authenticate')).toBe('Bearer realm="OnceJob"')
    expectProblem(await call('GET', '/api/v1/me', { token: 'expired' }), 'TOKEN_EXPIRED')
    expectProblem(
      await call('GET', '/api/v1/me', { token: '', headers: { authorization: 'Digest x' } }),
      'TOKEN_INVALID',
    )
  })

  it('Basic credentials with the token as password work, and only browsers at the docs are asked for them', async () => {
    const { call } = await startWith()
    const basic = { authorization: `Basic ${Buffer.from('anyone:shop').toString('base64')}` }
    expect((await call('GET', '/api/v1/me', { token: '', headers: basic })).json).toEqual({
      scope: 'app',
      app: 'shop',
      namespace: 'default',
      name: 'shop token',
    })
    for (const path of ['/docs/', '/openapi.json']) {
      expect((await call('GET', path, { token: '' })).headers.get('www-authenticate')).toMatch(/^Basic /)
    }
  })

  it('a form on another site can not use the Basic credentials that a browser remembers', async () => {
    const { call, http } = await startWith()
    const forged = {
      authorization: `Basic ${Buffer.from('x:shop').toString('base64')}`,
      'sec-fetch-site': 'cross-site',
    }
    // fetch would drop the header, which only browsers set
    const answer = await http.app.inject({ method: 'POST', url: '/api/v1/runs/1/cancel', headers: forged })
    expect(answer.json()).toMatchObject({ code: 'TOKEN_MISSING' })
    expect((await call('POST', '/api/v1/runs/1/cancel')).status).toBe(200)
  })

  it('a read token only reads, an app token is no admin', async () => {
    const { call, submitted } = await startWith()
    expectProblem(await call('POST', '/api/v1/runs', { token: 'reader', body: { job: 'x' } }), 'READ_ONLY')
    expectProblem(await call('GET', '/api/v1/apps', { token: 'shop' }), 'ADMIN_ONLY')
    expect((await call('GET', '/api/v1/me', { token: 'reader' })).status).toBe(200)
    expect(submitted).toEqual([])
  })

  it('an admin token names the app, an app token has one, and other apps do not exist for it', async () => {
    const { call, submitted } = await startWith()
    expectProblem(await call('POST', '/api/v1/runs', { token: 'admin', body: { job: 'x' } }), 'APP_REQUIRED')
    expectProblem(
      await call('POST', '/api/v1/runs?app=nowhere', { token: 'admin', body: { job: 'x' } }),
      'APP_NOT_FOUND',
    )
    expectProblem(await call('POST', '/api/v1/runs?app=other', { token: 'shop', body: { job: 'x' } }), 'APP_NOT_FOUND')
    expectProblem(await call('GET', '/api/v1/apps/other', { token: 'shop' }), 'APP_NOT_FOUND')
    expect((await call('GET', '/api/v1/apps/shop', { token: 'shop' })).json).toMatchObject({ name: 'shop' })
    expect((await call('POST', '/api/v1/runs?app=shop', { token: 'admin', body: { job: 'x' } })).status).toBe(201)
    expect(submitted.map(({ appId }) => appId)).toEqual([7])
  })

  it('a route that asks for its app without needing one is told when there is none', async () => {
    const lenient: RoutePlugin = (app) =>
      void app.get('/api/v1/which', { config: { access: 'any' } }, (request) => ({ id: appIdOf(request) }))
    const { call } = await startWith({ routes: [lenient] })
    expectProblem(await call('GET', '/api/v1/which', { token: 'admin' }), 'APP_REQUIRED')
    expect((await call('GET', '/api/v1/which')).json).toEqual({ id: 7 })
  })
})

describe('bad input', () => {
  it('unknown fields, wrong types and missing fields are all named, and nothing is made', async () => {
    const { call, submitted } = await startWith()
    const answer = await call('POST', '/api/v1/runs', { body: { job: 0, dealyMs: 5, delayMs: '12', priority: 5000 } })
    expect(expectProblem(answer, 'REQUEST_INVALID')['issues']).toEqual([
      { path: '/dealyMs', says: 'is not a field here' },
      { path: '/job', says: 'must be at least 1' },
      { path: '/delayMs', says: 'must be a whole number' },
      { path: '/priority', says: 'must be at most 1000' },
    ])
    expectProblem(await call('POST', '/api/v1/runs', { body: {} }), 'REQUEST_INVALID')
    expectProblem(await call('POST', '/api/v1/runs', { body: [] }), 'REQUEST_INVALID')
    expectProblem(await call('POST', '/api/v1/runs', { body: { job: 'x', delayMs: -1 } }), 'REQUEST_INVALID')
    expectProblem(await call('POST', '/api/v1/runs', { body: { job: '   ' } }), 'REQUEST_INVALID')
    expectProblem(await call('POST', '/api/v1/runs', {}), 'REQUEST_INVALID')
    expect(submitted).toEqual([])
  })

  it('a date that does not exist, a date without an offset, and delay with date are refused with the place', async () => {
    const { call, submitted } = await startWith()
    for (const runAt of ['2026-02-30T00:00:00Z', '2026-01-01T00:00:00', 'tomorrow, maybe']) {
      const answer = await call('POST', '/api/v1/runs', { body: { job: 'x', runAt } })
      expect(expectProblem(answer, 'REQUEST_INVALID')['issues']).toMatchObject([{ path: '/runAt' }])
    }
    const both = await call('POST', '/api/v1/runs/batch', {
      body: { runs: [{ job: 'x' }, { job: 'y', delayMs: 1, runAt: '2026-01-01T00:00:00Z' }] },
    })
    expect(expectProblem(both, 'REQUEST_INVALID')['issues']).toMatchObject([{ path: '/runs/1/delayMs' }])
    expect(submitted).toEqual([])
  })

  it('a body of 20 MB is refused', async () => {
    const { call } = await startWith()
    const raw = Buffer.alloc(20 * 1024 * 1024, 0x20)
    expectProblem(
      await call('POST', '/api/v1/runs', { raw, headers: { 'content-type': 'application/json' } }),
      'BODY_TOO_LARGE',
    )
  })

  it('bytes that are not UTF-8, and text that is not JSON, are refused', async () => {
    const { call, submitted } = await startWith()
    const headers = { 'content-type': 'application/json' }
    const bad = Buffer.concat([Buffer.from('{"job":"x'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])
    expectProblem(await call('POST', '/api/v1/runs', { raw: bad, headers }), 'BODY_UNREADABLE')
    expectProblem(await call('POST', '/api/v1/runs', { raw: '{"job":', headers }), 'BODY_UNREADABLE')
    expectProblem(
      await call('POST', '/api/v1/runs', { raw: 'job=x', headers: { 'content-type': 'text/plain' } }),
      'MEDIA_TYPE_UNSUPPORTED',
    )
    expect(submitted).toEqual([])
  })

  it('unknown query parameters are refused, known ones are converted and have their defaults', async () => {
    const { Type } = await import('typebox')
    const echo: RoutePlugin = (app) =>
      void app.get(
        '/api/v1/echo',
        {
          config: { access: 'any' },
          schema: { querystring: queryOf({ limit: Type.Optional(Type.Integer({ maximum: 9, default: 5 })) }) },
        },
        (request) => request.query,
      )
    const { call } = await startWith({ routes: [echo] })
    expect((await call('GET', '/api/v1/echo?limit=3')).json).toEqual({ limit: 3 })
    expect((await call('GET', '/api/v1/echo')).json).toEqual({ limit: 5 })
    const many = expectProblem(await call('GET', '/api/v1/echo?limit=10'), 'REQUEST_INVALID')
    expect(many['issues']).toEqual([{ path: '?limit', says: 'must be at most 9' }])
    expect(expectProblem(await call('GET', '/api/v1/me?limt=3'), 'REQUEST_INVALID')['issues']).toMatchObject([
      { path: '?limt' },
    ])
  })

  it('ids that can not exist are not found', async () => {
    const { call } = await startWith()
    for (const id of ['0', '-1', '1e3', 'abc', '9007199254740993', '%00']) {
      expectProblem(await call('POST', `/api/v1/runs/${id}/cancel`), 'RUN_NOT_FOUND')
    }
    expectProblem(await call('POST', '/api/v1/jobs/0/runs', { body: {} }), 'JOB_NOT_FOUND')
    expectProblem(await call('POST', '/api/v1/runs', { body: { job: 'a\0b' } }), 'JOB_NOT_FOUND')
    expectProblem(await call('POST', `/api/v1/runs/${'9'.repeat(5000)}/cancel`), 'ROUTE_NOT_FOUND')
  })

  it('an unknown route and a wrong method are told apart, whatever the body', async () => {
    const { call } = await startWith()
    expectProblem(await call('GET', '/api/v1/nothing'), 'ROUTE_NOT_FOUND')
    expectProblem(
      await call('POST', '/nothing', { raw: '<x/>', headers: { 'content-type': 'text/xml' } }),
      'ROUTE_NOT_FOUND',
    )
    const wrong = await call('DELETE', '/api/v1/apps')
    expectProblem(wrong, 'METHOD_NOT_ALLOWED')
    expect(wrong.headers.get('allow')).toBe('GET, POST')
    expectProblem(await call('GET', '/%zz'), 'ROUTE_NOT_FOUND')
  })

  it('a malformed request key is refused before anything happens', async () => {
    const { call, submitted } = await startWith()
    for (const key of ['short', 'with,comma-in-it', 'x'.repeat(256)]) {
      expectProblem(
        await call('POST', '/api/v1/runs', { body: { job: 'x' }, headers: { 'idempotency-key': key } }),
        'IDEMPOTENCY_KEY_INVALID',
      )
    }
    expect(submitted).toEqual([])
    expect(
      (await call('POST', '/api/v1/runs', { body: { job: 'x' }, headers: { 'idempotency-key': '"ik_12345678"' } }))
        .status,
    ).toBe(201)
    expect(submitted[0]?.requestKey).toBe('ik_12345678')
  })

  it('what is not HTTP gets a problem and an end, never 408', async () => {
    const { url } = await startWith()
    const { port } = new URL(url)
    const answer = await new Promise<string>((resolve, reject) => {
      let text = ''
      const socket = connect(Number(port), '127.0.0.1', () => socket.write('HELLO\r\n\r\n'))
      socket.on('data', (chunk) => (text += String(chunk)))
      socket.on('end', () => resolve(text))
      socket.on('error', reject)
    })
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toContain('"code":"REQUEST_INVALID"')
  })
})

describe('runs', () => {
  it('parameters of any JSON value reach the core as JSON text, unchanged', async () => {
    const { call, submitted } = await startWith()
    const values = [{ a: [1, { b: null }] }, [], 'text', 0, false, { value: 1, error: 2, __proto__: null }]
    for (const params of values)
      expect((await call('POST', '/api/v1/runs', { body: { job: 'x', params } })).status).toBe(201)
    expect(submitted.map(({ params }) => JSON.parse(params ?? ''))).toEqual(JSON.parse(JSON.stringify(values)))
    await call('POST', '/api/v1/runs', { body: { job: 'x', params: null } })
    await call('POST', '/api/v1/runs', {
      raw: '{"job":"x","params":{"__proto__":{"a":"ü\\u0000"}}}',
      headers: { 'content-type': 'application/json' },
    })
    expect(submitted.slice(-2).map(({ params }) => params)).toEqual([null, '{"__proto__":{"a":"ü\\u0000"}}'])
  })

  it('one call, a batch and the route of a job ask for the same thing', async () => {
    const { call, submitted } = await startWith()
    const one = { delayMs: 5, priority: 3, queueTimeoutMs: 10 }
    const made = await call('POST', '/api/v1/runs', { body: { job: 'mail', ...one } })
    expect(made.json).toEqual({ id: 1 })
    expect(made.headers.get('location')).toBe('/api/v1/runs/1')
    expect(
      (await call('POST', '/api/v1/runs/batch', { body: { runs: [{ job: 'mail', ...one }, { job: 42 }] } })).json,
    ).toEqual({ ids: [2, 3] })
    expect((await call('POST', '/api/v1/jobs/mail/runs', { body: one })).json).toEqual({ id: 4 })
    await call('POST', '/api/v1/jobs/42/runs', { body: { runAt: '2026-11-25T10:30:00.5+01:00' } })
    expect(submitted[0]).toEqual({
      appId: 7,
      job: 'mail',
      params: null,
      runAtMs: null,
      requestKey: null,
      keyed: null,
      runKey: null,
      ...one,
    })
    expect(submitted[1]).toEqual(submitted[0])
    expect(submitted[3]).toEqual(submitted[0])
    expect(submitted[4]).toMatchObject({ job: 42, runAtMs: Date.UTC(2026, 10, 25, 9, 30, 0, 500), delayMs: null })
  })

  it('refusals of the core keep their code and their facts', async () => {
    const { call } = await startWith({
      runs: { cancel: () => Promise.reject(new Refusal('RUN_RUNNING', 'It runs; stop it.', { state: 'running' })) },
    })
    expect(expectProblem(await call('POST', '/api/v1/runs/5/cancel'), 'RUN_RUNNING')).toMatchObject({
      state: 'running',
      detail: 'It runs; stop it.',
    })
  })
})

describe('trouble', () => {
  const failing = async (error: unknown) => startWith({ runs: { submit: () => Promise.reject(error) } })
  const database = (sqlState: string) => new DatabaseError('no', { sqlState, constraint: undefined, cause: undefined })

  it('an unreachable or busy database is 503 with a time to come back, never 0', async () => {
    for (const error of [
      new Outage('gone'),
      database('55P03'),
      database('57014'),
      database('40P01'),
      database('40001'),
    ]) {
      const { call } = await failing(error)
      const answer = await call('POST', '/api/v1/runs', { body: { job: 'x' } })
      expectProblem(answer, 'DATABASE_UNAVAILABLE')
      expect(answer.headers.get('retry-after')).toBe('1')
    }
  })

  it('a text that PostgreSQL can not hold is the fault of the request', async () => {
    const { call } = await failing(database('22021'))
    expectProblem(await call('POST', '/api/v1/runs', { body: { job: 'x' } }), 'REQUEST_INVALID')
  })

  it('a bug tells the caller nothing but the request id, and the log everything', async () => {
    const { call, logged } = await failing(new TypeError('secret of the house'))
    const answer = await call('POST', '/api/v1/runs', { body: { job: 'x' } })
    expectProblem(answer, 'BUG')
    expect(answer.text).not.toContain('secret of the house')
    const line = logged.find(({ level }) => level === 'error')
    expect(line?.facts['requestId']).toBe(answer.json.instance)
    expect(String((line?.facts['err'] as Error).stack)).toContain('secret of the house')
  })

  it('without the database nobody is let in, and nobody is told that the token is wrong', async () => {
    const { call } = await startWith({ query: () => Promise.reject(new Outage('gone')) })
    expectProblem(await call('GET', '/api/v1/me'), 'DATABASE_UNAVAILABLE')
  })

  it('readiness says why not', async () => {
    const { call } = await startWith({ ready: async () => 'the database does not answer' })
    const answer = await call('GET', '/health/ready', { token: '' })
    expect(answer.status).toBe(503)
    expect(answer.json).toEqual({ status: 'unavailable', version: '9.9.9', detail: 'the database does not answer' })
    expect((await call('GET', '/health/live', { token: '' })).status).toBe(200)
  })
})

describe('what is written down', () => {
  it('a change by a person is one line without token and request key; hot routes and reads leave none', async () => {
    const { call, logged } = await startWith()
    await call('GET', '/api/v1/me')
    await call('POST', '/api/v1/runs', { body: { job: 'x' } })
    await call('POST', '/api/v1/runs/5/cancel', { headers: { 'idempotency-key': 'ik_0123456789' } })
    await expect.poll(() => logged.length, { timeout: 20_000 }).toBe(1)
    expect(logged[0]).toMatchObject({
      level: 'info',
      message: 'request answered',
      facts: { method: 'POST', route: '/api/v1/runs/:id/cancel', status: 200, actor: 'shop token' },
    })
    expect(logged[0]?.facts['requestKeyHash']).toMatch(/^[0-9a-f]{16}$/)
    expect(JSON.stringify(logged)).not.toMatch(/ik_0123456789|Bearer/)
  })

  it('durations are counted by route, and metrics need a token', async () => {
    const { call } = await startWith()
    await call('POST', '/api/v1/runs', { body: { job: 'x' } })
    await call('POST', '/api/v1/runs', { body: {} })
    const count = (status: string) =>
      `http_request_duration_seconds_count{method="POST",route="/api/v1/runs",status="${status}"} 1`
    await expect.poll(async () => (await call('GET', '/metrics')).text, { timeout: 20_000 }).toContain(count('4xx'))
    const metrics = await call('GET', '/metrics')
    expect(metrics.text).toContain(count('2xx'))
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain/)
  })
})

describe('polls and the end', () => {
  const idlePoll = (): { sessions: Partial<SessionsApi>; entered: Promise<AbortSignal>; left: Promise<void> } => {
    const entered = Promise.withResolvers<AbortSignal>()
    const left = Promise.withResolvers<void>()
    const poll: SessionsApi['poll'] = (_appId, _sessionId, _input, signal) =>
      new Promise((resolve) => {
        entered.resolve(signal)
        const empty = (): void => {
          left.resolve()
          resolve({ runs: [], stops: [] })
        }
        if (signal.aborted) empty()
        else signal.addEventListener('abort', empty, { once: true })
      })
    return { sessions: { poll }, entered: entered.promise, left: left.promise }
  }
  const pollBody = { free: 1, held: [] }

  it('a poll carries what the core says, with parameters of any kind', async () => {
    const run = {
      runId: 1,
      lease: 2,
      attempt: 1,
      jobId: 3,
      job: 'mail "x"',
      processor: 'send',
      jobParams: { a: [1, null] },
      params: null,
      fireAt: null,
      createdAt: '2026-11-25T09:30:00.000Z',
      dueAt: '2026-11-25T09:30:00.000Z',
      priority: 0,
      timeoutMs: 5,
      idempotencyKey: 'k',
      logLevel: 'info',
      guarantee: 'at-least-once' as const,
    }
    const answer = {
      runs: [run, { ...run, params: 'text', fireAt: run.dueAt, timeoutMs: null }],
      stops: [{ runId: 4, lease: 5, reason: 'lost' as const }],
    }
    const { call } = await startWith({ sessions: { poll: async () => answer } })
    expect((await call('POST', '/api/v1/worker/sessions/9/poll', { body: pollBody })).json).toEqual(answer)
  })

  it('every item of a report is answered', async () => {
    const answers = [
      { runId: 1, lease: 2, answer: 'lost' as const, code: 'LEASE_LOST' },
      { runId: 3, lease: 4, answer: 'accepted' as const },
    ]
    const { call } = await startWith({ sessions: { report: async () => ({ answers }) } })
    const body = {
      reports: [
        { runId: 1, lease: 2, outcome: 'succeeded', result: { ok: true } },
        { runId: 3, lease: 4, outcome: 'handed-back' },
      ],
    }
    expect((await call('POST', '/api/v1/worker/reports', { body })).json).toEqual({ answers })
    const wrong = await call('POST', '/api/v1/worker/reports', {
      body: {
        reports: [
          { runId: 1, lease: 2, outcome: 'failed' },
          { runId: 1, lease: 2, outcome: 'done', error: { code: 'X', message: 'y' } },
        ],
      },
    })
    expect(wrong.json.issues).toEqual([
      { path: '/reports/0/error', says: 'is missing' },
      {
        path: '/reports/1/outcome',
        says: 'must be one of "succeeded", "failed", "timed-out", "stopped", "handed-back"',
      },
    ])
  })

  it('a poll whose client has gone is told', async () => {
    const { sessions, entered, left } = idlePoll()
    const { url } = await startWith({ sessions })
    const gone = new AbortController()
    const poll = fetch(`${url}/api/v1/worker/sessions/9/poll`, {
      method: 'POST',
      body: JSON.stringify(pollBody),
      headers: { authorization: 'Bearer shop', 'content-type': 'application/json' },
      signal: gone.signal,
    })
    const signal = await entered
    gone.abort()
    await expect(poll).rejects.toThrow(/abort/i)
    await left
    expect(signal.aborted).toBe(true)
  })

  it('a stop ends polls with an empty answer, lets other requests finish, and refuses new ones', async () => {
    const { sessions, entered } = idlePoll()
    const working = Promise.withResolvers<void>()
    const finish = Promise.withResolvers<Submitted>()
    const runs = {
      submit: () => {
        working.resolve()
        return finish.promise
      },
    }
    const { http, call } = await startWith({ sessions, runs })
    const poll = call('POST', '/api/v1/worker/sessions/9/poll', { body: pollBody })
    const slow = call('POST', '/api/v1/runs', { body: { job: 'x' } })
    await Promise.all([entered, working.promise])
    const stopped = http.stop(60_000)
    const polled = await poll
    expect(polled.json).toEqual({ runs: [], stops: [] })
    expect(polled.headers.get('connection')).toBe('close')
    finish.resolve({ id: 77, deduplicated: false, replaces: null, after: null, replayOf: null })
    expect((await slow).json).toEqual({ id: 77 })
    await stopped
    await expect(call('GET', '/api/v1/me')).rejects.toThrow(/fetch failed/)
    await http.stop(0)
  })

  it('a request that arrives during the stop, on a connection made before, is told SHUTTING_DOWN and to hang up', async () => {
    const { http, url } = await startWith()
    const connected = new Promise<Socket>((resolve) => http.app.server.once('connection', resolve))
    const closed = Promise.withResolvers<void>()
    let text = ''
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('data', (chunk) => (text += String(chunk)))
    socket.on('close', () => closed.resolve())
    const accepted = await connected
    // begun, so that the stop does not take the connection for an idle one
    socket.write('GET /api/v1/me HTTP/1.1\r\nHost: x\r\n')
    await expect.poll(() => accepted.bytesRead, { timeout: 20_000 }).toBeGreaterThan(0)
    const stopped = http.stop(60_000)
    socket.write('Authorization: Bearer shop\r\n\r\n')
    await closed.promise
    await stopped
    expect(text).toMatch(/^HTTP\/1\.1 503 /)
    expect(text).toMatch(/connection: close/i)
    expect(text).toMatch(/retry-after: 1/i)
    expect(text).toContain('"code":"SHUTTING_DOWN"')
  })

  it('what does not end within the grace time is cut off', async () => {
    const working = Promise.withResolvers<void>()
    const never = new Promise<Submitted>(() => undefined)
    const runs = {
      submit: () => {
        working.resolve()
        return never
      },
    }
    const { http, call } = await startWith({ runs })
    const stuck = call('POST', '/api/v1/runs', { body: { job: 'x' } })
    const end = stuck.then(
      () => 'answered',
      (error: unknown) => String(error),
    )
    await working.promise
    await http.stop(10)
    expect(await end).toMatch(/fetch failed/)
  })

  it('a stream ends with the stop and its connection with it', async () => {
    const streaming = Promise.withResolvers<void>()
    const stream: RoutePlugin = (app) =>
      void app.get('/api/v1/stream', { config: { access: 'any' } }, (request, reply) => {
        const signal = signalOf(request)
        reply.hijack()
        reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
        reply.raw.write(': hello\n\n')
        signal.addEventListener('abort', () => reply.raw.end('event: end\n\n'))
        streaming.resolve()
      })
    const { http, call } = await startWith({ routes: [stream] })
    const answer = call('GET', '/api/v1/stream')
    await streaming.promise
    await http.stop(60_000)
    expect((await answer).text).toBe(': hello\n\nevent: end\n\n')
  })

  it('HTTP/1.1 connections are kept for the next request', async () => {
    const { url } = await startWith()
    const { port } = new URL(url)
    const connection = await new Promise<string | undefined>((resolve, reject) => {
      const request = httpRequest(
        { port, host: '127.0.0.1', path: '/health/live', headers: { connection: 'keep-alive' } },
        (response) => {
          response.resume()
          response.on('end', () => resolve(String(response.headers['keep-alive'])))
        },
      )
      request.on('error', reject)
      request.end()
    })
    expect(connection).toBe('timeout=320')
  })
})
