// What the middlewares promise, whatever the framework: statuses, slugs, what is kept and what is not.
import { request as httpRequest } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import type { OnceTokenOptions } from '../once-tokens.ts'
import { createOnceTokens } from '../once-tokens.ts'
import type { RequestKeyOptions } from '../request-keys.ts'
import { createRequestKeys } from '../request-keys.ts'
import { createMemoryStore } from '../store/memory.ts'
import type { Store } from '../store/store.ts'
import type { HandlerAnswer, StartApp, TestApp, TestAppOptions } from '../testing/apps.ts'
import { makeUlid } from '../ulid.ts'
import type { GuardEvent } from './protected-call.ts'

const secret = 'a secret of the test, long enough'
const limits = { perMinute: 1_000_000, outstanding: 1_000_000 }

interface Gate {
  /** Resolves when a handler has begun. */
  readonly begun: Promise<void>
  open(): void
  enter(): Promise<void>
}

const gate = (): Gate => {
  const begun = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  return {
    begun: begun.promise,
    open: () => opened.resolve(),
    enter: () => {
      begun.resolve()
      return opened.promise
    },
  }
}

/** A store whose calls fail as long as `broken` says so. */
const breakable = (inner: Store) => {
  const broken = new Set<keyof Store>()
  const calls: (string | symbol)[] = []
  const store = new Proxy(inner, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...args: unknown[]): unknown => {
        calls.push(property)
        return broken.has(property as keyof Store)
          ? Promise.reject(new Error('connection refused'))
          : Reflect.apply(value, target, args)
      }
    },
  })
  return { store, broken, calls }
}

const until = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
  for (const deadline = performance.now() + 20_000; !(await holds());) {
    if (performance.now() > deadline) throw new Error('it did not come true within 20 s')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export const guardsContract = (start: StartApp): void => {
  const open: TestApp[] = []
  afterEach(async () => {
    await Promise.all(open.splice(0).map((app) => app.close()))
  })

  const begin = async (
    options: Partial<TestAppOptions> & {
      tokenOptions?: Partial<OnceTokenOptions>
      keyOptions?: Partial<RequestKeyOptions>
    } = {},
  ) => {
    let atMs = Date.now()
    const { store, broken, calls } = breakable(createMemoryStore({ now: () => atMs }))
    const tokens = createOnceTokens({ store, secret, limits, ...options.tokenOptions })
    const keys = createRequestKeys({ store, ...options.keyOptions })
    const effects: unknown[] = []
    const events: GuardEvent[] = []
    const report = (event: GuardEvent): void => void events.push(event)
    const app = await start({
      time: {},
      ...options,
      tokens: { tokens, report, ...options.tokens },
      keys: { keys, report, ...options.keys },
      handle: async (body) => {
        effects.push(body)
        return options.handle === undefined
          ? {
              status: 201,
              headers: { location: `/orders/${effects.length}`, 'x-other': 'gone' },
              body: { id: effects.length },
            }
          : options.handle(body)
      },
    })
    open.push(app)
    const call = (
      path: string,
      headers: Record<string, string>,
      body: unknown = { item: 'tea' },
      method = 'POST',
      signal?: AbortSignal,
    ) =>
      fetch(`${app.url}${path}`, {
        method,
        headers: { 'content-type': 'application/json', secret: 'account-1', ...headers },
        ...(method === 'GET' ? {} : { body: JSON.stringify(body) }),
        redirect: 'manual',
        ...(signal === undefined ? {} : { signal }),
      })
    const token = async (operation = 'createOrder', account = 'account-1'): Promise<string> =>
      (await tokens.issue({ account, operation })).token
    return {
      app,
      store,
      broken,
      calls,
      tokens,
      keys,
      effects,
      events,
      call,
      token,
      advance: (byMs: number) => (atMs += byMs),
    }
  }

  const slugOf = async (response: Response): Promise<string> => {
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    const document = (await response.json()) as { type: string; status: number; title: string }
    expect(document.status).toBe(response.status)
    expect(document.title).not.toBe('')
    return `${response.status} ${document.type.replace('https://oncejob.dev/problems/', '')}`
  }

  describe('issuing', () => {
    it('answers 201, not to be cached, with a token that works once', async () => {
      const { call } = await begin()
      const issued = await call('/once-tokens', {}, { operation: 'createOrder' })
      expect(issued.status).toBe(201)
      expect(issued.headers.get('cache-control')).toBe('no-store')
      const { token, ttlSeconds } = (await issued.json()) as { token: string; ttlSeconds: number }
      expect(ttlSeconds).toBe(300)
      expect((await call('/token/create', { token })).status).toBe(201)
    })

    it('the published demo got this wrong: 5: no token is issued on GET', async () => {
      const { app } = await begin()
      expect((await fetch(`${app.url}/once-tokens`, { headers: { secret: 'a' } })).status).toBe(404)
    })

    it('refuses strangers, unknown operations and accounts over their limit', async () => {
      const { call, broken } = await begin({ tokenOptions: { limits: { perMinute: 1 } } })
      expect(await slugOf(await call('/once-tokens', { secret: '' }, { operation: 'createOrder' }))).toBe(
        '401 once-token-account-required',
      )
      expect(await slugOf(await call('/once-tokens', {}, { operation: 'dropTable' }))).toBe(
        '400 once-token-operation-unknown',
      )
      expect((await call('/once-tokens', {}, { operation: 'createOrder' })).status).toBe(201)
      const limited = await call('/once-tokens', {}, { operation: 'createOrder' })
      expect(Number(limited.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      expect(await slugOf(limited)).toBe('429 once-token-limit')
      broken.add('issue')
      expect(await slugOf(await call('/once-tokens', {}, { operation: 'createOrder' }))).toBe(
        '503 once-token-store-unavailable',
      )
    })
  })

  describe('a one-time token', () => {
    it('answers each case with the status and the slug of the table (T-13)', async () => {
      const { call, token, effects, advance } = await begin({ tokens: { mode: 'reject' } as never })
      const good = await token()
      expect(await slugOf(await call('/token/create', {}))).toBe('428 once-token-required')
      expect(await slugOf(await call('/token/create', { token: 'rubbish' }))).toBe('400 once-token-invalid')
      expect(await slugOf(await call('/token/create', { token: good, secret: '' }))).toBe(
        '401 once-token-account-required',
      )
      expect(await slugOf(await call('/token/create', { token: good, secret: 'account-2' }))).toBe(
        '403 once-token-mismatch',
      )
      expect(await slugOf(await call('/token/cancel', { token: good }))).toBe('403 once-token-mismatch')
      expect(effects).toEqual([])
      const accepted = await call('/token/create', { token: good })
      expect([accepted.status, accepted.headers.get('once-token-consumed')]).toEqual([201, 'true'])
      expect(await slugOf(await call('/token/create', { token: good }))).toBe('409 once-token-used')
      expect(await slugOf(await call('/token/create', { token: good }, { item: 'other' }))).toBe('409 once-token-used')
      const old = await token()
      advance(301_000)
      expect(await slugOf(await call('/token/create', { token: old }))).toBe('410 once-token-expired')
      expect(effects).toHaveLength(1)
    })

    it('of three that come at once one is accepted and two get 409 (S-04, S-19)', async () => {
      const { call, token, effects } = await begin({ tokens: { mode: 'reject' } as never })
      for (let round = 1; round <= 30; round += 1) {
        const headers = { token: await token() }
        const answers = await Promise.all([1, 2, 3].map(() => call('/token/create', headers)))
        expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 409, 409])
        expect(effects).toHaveLength(round)
      }
    })

    it('in mode replay a repeat gets the same bytes, marked; another body is refused', async () => {
      const { call, token, effects } = await begin()
      const headers = { token: await token() }
      const first = await call('/token/create', headers)
      const repeat = await call('/token/create', headers)
      expect([repeat.status, await repeat.text()]).toEqual([201, await first.text()])
      expect(repeat.headers.get('idempotent-replayed')).toBe('true')
      expect(first.headers.get('idempotent-replayed')).toBeNull()
      for (const name of ['location', 'content-type']) expect(repeat.headers.get(name)).toBe(first.headers.get(name))
      expect(repeat.headers.get('x-other')).toBeNull()
      expect(await slugOf(await call('/token/create', headers, { item: 'coffee' }))).toBe('422 once-token-reused')
      expect((await call('/token/create', headers)).headers.get('idempotent-replayed')).toBe('true')
      expect(effects).toHaveLength(1)
    })

    it('the same JSON in another spelling is the same body', async () => {
      const { app, token, effects } = await begin()
      const headers = { token: await token(), secret: 'account-1', 'content-type': 'application/json' }
      const send = (body: string) => fetch(`${app.url}/token/create`, { method: 'POST', headers, body })
      await send('{"item":"tea","count":2}')
      expect((await send('{ "count": 2.0, "item": "\\u0074ea" }')).headers.get('idempotent-replayed')).toBe('true')
      expect(effects).toHaveLength(1)
    })

    it('while the first is at work a repeat is told so, and when to come again', async () => {
      const held = gate()
      const { call, token } = await begin({ handle: async () => (await held.enter(), { status: 200, body: {} }) })
      const headers = { token: await token() }
      const first = call('/token/create', headers)
      await held.begun
      const repeat = await call('/token/create', headers)
      expect(repeat.headers.get('retry-after')).toBe('1')
      expect(await slugOf(repeat)).toBe('409 once-token-in-progress')
      held.open()
      expect((await first).status).toBe(200)
    })

    it('the published demo got this wrong: 6: a failed handler leaves the token usable', async () => {
      let fails = true
      const { call, token, effects } = await begin({
        handle: () =>
          fails ? Promise.reject(new Error('database is down')) : Promise.resolve({ status: 201, body: {} }),
      })
      const headers = { token: await token() }
      expect((await call('/token/create', headers)).status).toBe(500)
      fails = false
      expect((await call('/token/create', headers)).status).toBe(201)
      expect((await call('/token/create', headers)).headers.get('idempotent-replayed')).toBe('true')
      expect(effects).toHaveLength(2)
    })

    it('with burn a failed handler uses it up, and the repeat learns of the failure', async () => {
      for (const mode of ['reject', 'replay'] as const) {
        const { call, token, effects } = await begin({
          tokens: { mode, onFailure: 'burn' } as never,
          handle: () => Promise.resolve({ status: 500, body: { error: 'unknown' } }),
        })
        const headers = { token: await token() }
        expect((await call('/token/create', headers)).status).toBe(500)
        expect((await call('/token/create', headers)).status).toBe(mode === 'reject' ? 409 : 500)
        expect(effects).toHaveLength(1)
      }
    })

    it('the published demo got this wrong: 7: a repeated token is a conflict, not a failure of the server', async () => {
      const { call, token } = await begin({ tokens: { mode: 'reject' } as never })
      const headers = { token: await token() }
      await call('/token/create', headers)
      expect((await call('/token/create', headers)).status).toBe(409)
    })

    it('an invalid body leaves it unused (S-29)', async () => {
      const { call, token, effects } = await begin()
      const headers = { token: await token() }
      const wrong = await call('/token/create', headers, { wrong: 1 })
      expect([wrong.status, wrong.headers.get('once-token-consumed')]).toEqual([400, null])
      // What is wrong with the body is said first.
      expect((await call('/token/create', {}, { wrong: 1 })).status).toBe(400)
      expect((await call('/token/create', headers)).status).toBe(201)
      expect(effects).toHaveLength(1)
    })

    it('comes in the header that is named', async () => {
      const { call, token } = await begin({ tokens: { header: 'X-Once-Token' } as never })
      expect((await call('/token/create', { 'x-once-token': await token() })).status).toBe(201)
    })

    it('when the store is away nothing is executed, unless failing open is wanted', async () => {
      const closed = await begin()
      const headers = { token: await closed.token() }
      closed.broken.add('claim')
      const refused = await closed.call('/token/create', headers)
      expect(refused.headers.get('retry-after')).toBe('2')
      expect(await slugOf(refused)).toBe('503 once-token-store-unavailable')
      expect(closed.effects).toEqual([])

      const failsOpen = await begin({ tokens: { failMode: 'open' } as never })
      const other = { token: await failsOpen.token() }
      failsOpen.broken.add('claim')
      expect((await failsOpen.call('/token/create', other)).status).toBe(201)
      expect(failsOpen.events.map(({ kind }) => kind)).toContain('unprotected')
    })
  })

  describe('a request key', () => {
    const key = { 'idempotency-key': '"key-of-the-test"' }

    it('five sends are one effect, five equal answers, four of them marked (S-10)', async () => {
      const { call, effects } = await begin()
      const answers: Response[] = []
      for (let at = 0; at < 5; at += 1) answers.push(await call('/key/7', key))
      expect(effects).toHaveLength(1)
      expect(new Set(await Promise.all(answers.map((each) => each.text())))).toEqual(new Set(['{"id":1}']))
      expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 201, 201])
      expect(answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(4)
      const [first] = answers
      expect(first!.headers.get('idempotency-key')).toBe('key-of-the-test')
      expect(Date.parse(first!.headers.get('idempotency-expires')!)).toBeGreaterThan(Date.now())
    })

    it('repeats that come while the first is at work wait for it, and get its answer', async () => {
      const held = gate()
      const { call, effects, events } = await begin({
        keys: { waitMs: 20_000 } as never,
        handle: async () => (await held.enter(), { status: 201, body: { id: 'one' } }),
      })
      const sends = Array.from({ length: 10 }, () => call('/key/7', key))
      await held.begun
      held.open()
      const answers = await Promise.all(sends)
      expect(new Set(await Promise.all(answers.map((each) => each.text())))).toEqual(new Set(['{"id":"one"}']))
      expect(effects).toHaveLength(1)
      expect(events.filter(({ kind }) => kind === 'claimed')).toHaveLength(1)
    })

    it('a repeat that has waited in vain gets 409, with Retry-After; that is not stored over the record (trap 1)', async () => {
      const held = gate()
      const { call, effects } = await begin({
        keys: { waitMs: 40 } as never,
        handle: async () => (await held.enter(), { status: 201, body: { id: 1 } }),
      })
      const first = call('/key/7', key)
      await held.begun
      const repeat = await call('/key/7', key)
      expect(repeat.headers.get('retry-after')).toBe('1')
      expect(await slugOf(repeat)).toBe('409 idempotency-in-progress')
      expect(await slugOf(await call('/key/7', key, { item: 'other' }))).toBe('422 idempotency-key-reused')
      held.open()
      expect(await (await first).json()).toEqual({ id: 1 })
      expect(await (await call('/key/7', key)).json()).toEqual({ id: 1 })
      expect(effects).toHaveLength(1)
    })

    it('another request under the same key is refused, and told what differs; the answer stays (T-05)', async () => {
      const { call, effects } = await begin()
      await call('/key/7', key)
      const differing = async (path: string, body: unknown, method = 'POST'): Promise<unknown> => {
        const response = await call(path, key, body, method)
        expect(response.status).toBe(422)
        return ((await response.json()) as { differs: unknown }).differs
      }
      expect(await differing('/key/7', { item: 'coffee' })).toEqual(['body'])
      expect(await differing('/key/8', { item: 'tea' })).toEqual(['path'])
      expect(await differing('/key/7', { item: 'tea' }, 'PUT')).toEqual(['method'])
      expect(await (await call('/key/7', key)).json()).toEqual({ id: 1 })
      expect(effects).toHaveLength(1)
    })

    it('another account has keys of its own', async () => {
      const { call, effects } = await begin()
      await call('/key/7', key)
      expect((await call('/key/7', { ...key, secret: 'account-2' })).headers.get('idempotent-replayed')).toBeNull()
      expect(effects).toHaveLength(2)
    })

    it.each([200, 201, 202, 303, 404, 409, 410, 422])('an outcome with status %d is kept', async (status) => {
      const { call, effects } = await begin({ handle: () => Promise.resolve({ status, body: { status } }) })
      const [first, repeat] = [await call('/key/7', key), await call('/key/7', key)]
      expect([first.status, repeat.status]).toEqual([status, status])
      expect(repeat.headers.get('idempotent-replayed')).toBe('true')
      expect(effects).toHaveLength(1)
    })

    it.each([400, 401, 403, 412, 428, 429, 500, 502, 503])(
      'a refusal or failure with status %d is not kept',
      async (status) => {
        const { call, effects } = await begin({ handle: () => Promise.resolve({ status, body: { status } }) })
        expect((await call('/key/7', key)).status).toBe(status)
        expect((await call('/key/7', key)).headers.get('idempotent-replayed')).toBeNull()
        expect(effects).toHaveLength(2)
      },
    )

    it('an answer without a body, and one of bytes, come back as they were', async () => {
      const bytes = Buffer.from(Uint8Array.from({ length: 256 }, (_, byte) => byte))
      const answers: HandlerAnswer[] = [
        { status: 204 },
        { status: 200, bytes, headers: { 'content-type': 'image/png', etag: '"v1"' } },
      ]
      for (const answer of answers) {
        const { call } = await begin({ handle: () => Promise.resolve(answer) })
        const [first, repeat] = [await call('/key/7', key), await call('/key/7', key)]
        expect(repeat.headers.get('idempotent-replayed')).toBe('true')
        expect(Buffer.from(await repeat.arrayBuffer()).equals(Buffer.from(await first.arrayBuffer()))).toBe(true)
        for (const name of ['content-type', 'etag']) expect(repeat.headers.get(name)).toBe(first.headers.get(name))
      }
    })

    it('is required where something is made, and nowhere where nothing changes', async () => {
      const { call } = await begin()
      expect(await slugOf(await call('/key/7', {}))).toBe('400 idempotency-key-required')
      expect(await slugOf(await call('/key/7', {}, {}, 'PATCH'))).toBe('400 idempotency-key-required')
      expect((await call('/key/7', {}, {}, 'PUT')).status).toBe(201)
      expect((await call('/key/7', {}, {}, 'DELETE')).status).toBe(201)
      expect((await call('/key/7', key, undefined, 'GET')).headers.get('idempotency-expires')).toBeNull()
    })

    it('that is no key, several keys, or too old, is refused before anything happens', async () => {
      const { call, effects } = await begin()
      const refused = async (value: string) => slugOf(await call('/key/7', { 'idempotency-key': value }))
      expect(await refused('short')).toBe('400 idempotency-key-invalid')
      expect(await refused('key-number-one, key-number-two')).toBe('400 idempotency-key-invalid')
      expect(await refused(`ik_${makeUlid(Date.now() - 80 * 3_600_000)}`)).toBe('422 idempotency-key-expired')
      expect(await refused(`ik_${makeUlid(Date.now() + 600_000)}`)).toBe('400 idempotency-key-invalid')
      expect(await slugOf(await call('/key/7', { ...key, secret: '' }))).toBe('401 idempotency-scope-required')
      expect(effects).toEqual([])
    })

    it('a stream, and an answer over 256 KiB, reach the caller whole and are not kept', async () => {
      const long = 'x'.repeat(256 * 1024 + 1)
      for (const answer of [
        { status: 200, stream: ['one ', 'two ', 'three'] },
        { status: 200, body: long },
      ]) {
        const { call, effects, events } = await begin({ handle: () => Promise.resolve(answer) })
        const first = await call('/key/7', key)
        expect(await first.text()).toBe(
          answer.stream?.join('') ??
            JSON.stringify(long).slice(...((first.headers.get('content-type') ?? '').includes('json') ? [0] : [1, -1])),
        )
        expect(await slugOf(await call('/key/7', key))).toBe('409 idempotency-answer-not-kept')
        expect(events.map(({ kind }) => kind)).toContain('answer-not-kept')
        expect(effects).toHaveLength(1)
      }
    })

    it('the answer is kept before a byte of it goes out (trap 5)', async () => {
      const held = gate()
      const inner = createMemoryStore()
      const slow: Store = Object.assign(Object.create(inner) as Store, {
        name: 'slow',
        issue: inner.issue.bind(inner),
        claim: inner.claim.bind(inner),
        release: inner.release.bind(inner),
        extend: inner.extend.bind(inner),
        complete: async (request: Parameters<Store['complete']>[0]) => {
          await held.enter()
          return inner.complete(request)
        },
      })
      const { call } = await begin({ keys: { keys: createRequestKeys({ store: slow }), storeTimeoutMs: 60_000 } })
      let arrived = false
      const first = call('/key/7', key).then((response) => {
        arrived = true
        return response
      })
      await held.begun
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(arrived).toBe(false)
      held.open()
      expect((await first).status).toBe(201)
    })

    it('when the store fails after the effect the caller still gets his answer, and it is logged', async () => {
      const { call, broken, events } = await begin()
      broken.add('complete')
      expect((await call('/key/7', key)).status).toBe(201)
      expect(events.map(({ kind }) => kind)).toContain('store-failed')
    })

    it('when the store is away nothing is executed', async () => {
      const { call, broken, effects } = await begin()
      broken.add('claim')
      expect(await slugOf(await call('/key/7', key))).toBe('503 idempotency-store-unavailable')
      expect(effects).toEqual([])
    })

    it('when the store is slow nothing is executed, and the late claim is given back', async () => {
      const inner = createMemoryStore()
      const held = gate()
      const late = new Proxy(inner, {
        get: (target, property) => {
          const value: unknown = Reflect.get(target, property)
          if (property === 'claim') {
            return async (request: Parameters<Store['claim']>[0]) => {
              await held.enter()
              return inner.claim(request)
            }
          }
          return typeof value === 'function' ? (value.bind(target) as unknown) : value
        },
      })
      const { call, effects } = await begin({ keys: { keys: createRequestKeys({ store: late }), storeTimeoutMs: 20 } })
      expect((await call('/key/7', key)).status).toBe(503)
      held.open()
      const { look } = createRequestKeys({ store: inner })
      await until(async () => (await look(key['idempotency-key'], 'account-1')) === undefined)
      expect((await call('/key/7', key)).status).toBe(201)
      expect(effects).toHaveLength(1)
    })

    it('a caller that hangs up while the handler works finds its answer when he comes again', async () => {
      const held = gate()
      const { app, call, effects, events } = await begin({
        keys: { waitMs: 20_000 } as never,
        handle: async () => (await held.enter(), { status: 201, body: { id: 'once' } }),
      })
      const hasty = httpRequest(`${app.url}/key/7`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', secret: 'account-1', ...key },
      })
      hasty.on('error', () => undefined)
      hasty.end('{"item":"tea"}')
      await held.begun
      const gone = new Promise((resolve) => hasty.once('close', resolve))
      hasty.destroy()
      await gone
      await until(() => app.endedConnections() === 1)
      expect(events.map(({ kind }) => kind)).toEqual(['claimed'])
      const repeat = call('/key/7', key)
      held.open()
      expect(await (await repeat).json()).toEqual({ id: 'once' })
      expect(effects).toHaveLength(1)
    })

    it('a caller that hangs up before the handler begins leaves nothing behind', async () => {
      const held = gate()
      const { app, call, calls, effects, events } = await begin({
        keys: { waitMs: 60_000 } as never,
        handle: async () => {
          await held.enter()
          return { status: 500, body: {} }
        },
      })
      const first = call('/key/7', key)
      await held.begun
      const hasty = httpRequest(`${app.url}/key/7`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', secret: 'account-1', ...key },
      })
      hasty.on('error', () => undefined)
      hasty.end('{"item":"tea"}')
      await until(() => calls.filter((name) => name === 'claim').length >= 2)
      hasty.destroy()
      await until(() => app.endedConnections() === 1)
      held.open()
      expect((await first).status).toBe(500)
      // The waiting one gets the claim that the first gave back, sees that nobody waits for it, and gives it back too.
      await until(() => events.filter(({ kind }) => kind === 'given-back').length === 2)
      expect(effects).toHaveLength(1)
    })

    it('a long handler keeps its claim: nobody takes it over while it lives', async () => {
      const held = gate()
      let storeMs = Date.now()
      const inner = createMemoryStore({ now: () => storeMs })
      let renewed = 0
      const extend = inner.extend.bind(inner)
      inner.extend = async (request) => {
        const told = await extend(request)
        renewed += 1
        return told
      }
      const { call, effects } = await begin({
        keys: { keys: createRequestKeys({ store: inner }), leaseMs: 300, waitMs: 0 },
        handle: async () => {
          await held.enter()
          return { status: 201, body: {} }
        },
      })
      const first = call('/key/7', key)
      await held.begun
      // The clock of the store moves by hand: three times almost a whole lease, each renewed in between.
      for (const times of [1, 2, 3]) {
        storeMs += 250
        const before = renewed
        await until(() => renewed > before + 1)
        expect(renewed).toBeGreaterThan(times)
      }
      expect((await call('/key/7', key)).status).toBe(409)
      held.open()
      expect((await first).status).toBe(201)
      expect(effects).toHaveLength(1)
    })

    it('what a dead process claimed is handled anew once its lease is over, or refused, as is wanted', async () => {
      for (const takeOver of [true, false]) {
        const { call, store, keys, effects, advance } = await begin({ keys: { takeOver, waitMs: 0 } as never })
        const checked = keys.check(key['idempotency-key'], 'account-1')
        if (checked.kind !== 'fits') throw new Error('the key does not fit')
        const spied = new Proxy(store, {})
        await call('/key/7', { 'idempotency-key': 'another-key-1' })
        // The dead one's request looked the same.
        const other = keys.check('another-key-1', 'account-1')
        if (other.kind !== 'fits') throw new Error('the key does not fit')
        const seen = await spied.claim({
          key: other.key.key,
          bind: 'key',
          owner: 'x',
          fingerprint: '?',
          leaseMs: 1,
          takeOver: false,
          createTtlMs: undefined,
          to: 'claimed',
          requestId: undefined,
        })
        if (seen.kind !== 'reused') throw new Error('the first call left no record')
        await store.claim({
          ...checked.key,
          owner: 'dead',
          fingerprint: seen.fingerprint,
          leaseMs: 1_000,
          takeOver: false,
          createTtlMs: 3_600_000,
          to: 'claimed',
          requestId: undefined,
        })
        expect((await call('/key/7', key)).status).toBe(409)
        advance(1_001)
        expect((await call('/key/7', key)).status).toBe(takeOver ? 201 : 409)
        expect(effects).toHaveLength(takeOver ? 2 : 1)
      }
    })

    it('reports name no key, no token and no account', async () => {
      const { call, token, events } = await begin()
      const one = await token()
      await call('/key/7', key)
      await call('/token/create', { token: one })
      await call('/token/create', { token: one })
      await call('/token/create', { token: one }, { item: 'other' })
      const text = JSON.stringify(events)
      expect(events.map(({ kind }) => kind)).toEqual(['claimed', 'kept', 'claimed', 'kept', 'replayed', 'refused'])
      for (const clear of ['key-of-the-test', one, 'account-1', 'createOrder']) expect(text).not.toContain(clear)
    })
  })

  describe('the time of a request', () => {
    const at = (offsetMs: number) => ({ 'x-request-time': new Date(Date.now() + offsetMs).toISOString() })

    it('is refused when it is too old, too far ahead, unreadable or missing (S-13)', async () => {
      const { call, effects } = await begin()
      expect(await slugOf(await call('/time', at(-360_000)))).toBe('400 request-too-old')
      expect(await slugOf(await call('/time', at(360_000)))).toBe('400 request-too-early')
      expect(await slugOf(await call('/time', { 'x-request-time': 'yesterday' }))).toBe('400 request-time-invalid')
      expect(await slugOf(await call('/time', {}))).toBe('400 request-time-required')
      expect(effects).toEqual([])
      expect((await call('/time', at(-200_000))).status).toBe(201)
      expect((await call('/time', { 'x-request-time': String(Date.now()) })).status).toBe(201)
    })

    it('decides nothing else: two requests of one time are two', async () => {
      const { call, effects } = await begin()
      const same = at(0)
      await Promise.all([call('/time', same), call('/time', same)])
      expect(effects).toHaveLength(2)
    })
  })
}
