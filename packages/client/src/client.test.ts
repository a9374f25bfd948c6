// The client against a server that does what each test tells it.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server as TcpServer } from 'node:net'
import type { JobInput, LogLine, RunDetail } from '@oncejob/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import {
  createClient,
  OnceJobError,
  OutcomeUnknown,
  RunFailed,
  RunNotEnded,
  SecretLost,
  ServerUnreachable,
  type ClientOptions,
  type OnceJobClient,
} from './index.ts'

interface Seen {
  method: string
  url: string
  headers: IncomingMessage['headers']
  body: unknown
}
type Step = (seen: Seen, response: ServerResponse) => void

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing.close()
})

const listen = async (server: Server | TcpServer): Promise<string> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Answers the n-th request with the n-th step, and all further ones with the last. */
const scripted = async (...steps: Step[]) => {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const text = Buffer.concat(parts).toString()
      const body: unknown = text === '' ? undefined : JSON.parse(text)
      const { method = '', url = '', headers } = request
      const step = steps[Math.min(seen.length, steps.length - 1)]
      seen.push({ method, url, headers, body })
      step?.({ method, url, headers, body }, response)
    })
  })
  const url = await listen(server)
  open.push({
    close: () =>
      new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      }),
  })
  return { url, seen }
}

const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Step =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers })
    response.end(JSON.stringify(body))
  }
const problem = (
  status: number,
  code: string,
  retry: string,
  facts: Record<string, unknown> = {},
  headers = {},
): Step =>
  json(
    status,
    { type: 'about:blank', title: code, status, code, detail: `detail of ${code}`, retry, ...facts },
    headers,
  )
const hangUp: Step = (_, response) => response.destroy()
const created = json(201, { id: 42 })

interface TestOptions {
  url?: string
  urls?: string[]
  token?: ClientOptions['token']
  app?: string
  timeoutMs?: number
  retry?: { rounds?: number }
  fetch?: typeof fetch
}

const clientOf = (options: TestOptions): OnceJobClient => {
  const client = createClient({ token: 'secret', retry: { baseMs: 1, maxMs: 5 }, ...options } as ClientOptions)
  open.push(client)
  return client
}

/** An address where nobody listens. */
const nobody = async (): Promise<string> => {
  const server = createTcpServer()
  const url = await listen(server)
  await new Promise((resolve) => server.close(resolve))
  return url
}

const expectRejection = async <T extends Error>(
  call: PromiseLike<unknown>,
  kind: new (...args: never[]) => T,
): Promise<T> => {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(kind)
  return error as T
}

const run = (state: string, more: object = {}): Partial<RunDetail> =>
  ({ id: 42, job: 'sum', state, result: null, error: null, ...more }) as Partial<RunDetail>

// The user's own fetch must keep the same promises as the client's connections.
const transports: [string, TestOptions][] = [
  ['the kept connections', {}],
  ['a fetch that is given', { fetch }],
]

describe.each(transports)('a call through %s', (_, via) => {
  it('that makes something carries a request key from the first try', async () => {
    const server = await scripted(created)
    const client = clientOf({ url: server.url, ...via })
    await client.runs.create({ job: 'sum', params: { city: 'Zürich' } })
    await client.runs.create({ job: 'sum' }, { requestKey: 'order-4711' })
    expect(server.seen[0]).toMatchObject({
      method: 'POST',
      url: '/api/v1/runs',
      body: { job: 'sum', params: { city: 'Zürich' } },
      headers: { authorization: 'Bearer secret', 'content-type': 'application/json' },
    })
    expect(server.seen[0]?.headers['idempotency-key']).toMatch(/^ik_[0-9A-Z]{26}$/)
    expect(server.seen[1]?.headers['idempotency-key']).toBe('order-4711')
  })

  it.each([
    ['the connection breaks after it was sent', hangUp],
    ['the server broke on the way', problem(500, 'BUG', 'same-key')],
    ['the server lost its database on the way', problem(503, 'DATABASE_UNAVAILABLE', 'same-key')],
    ['the server is shutting down', problem(503, 'SHUTTING_DOWN', 'same-key')],
    ['its first try is still under way', problem(409, 'IDEMPOTENCY_IN_PROGRESS', 'same-key')],
    ['a proxy says 503', (_: Seen, response: ServerResponse) => void response.writeHead(503).end('<html>busy</html>')],
    ['a proxy answers with a page', (_: Seen, response: ServerResponse) => void response.writeHead(200).end('<html>')],
  ] as [string, Step][])('that makes something is sent again with the same key when %s', async (_says, step) => {
    const server = await scripted(step, step, created)
    expect(await clientOf({ url: server.url, ...via }).runs.create({ job: 'sum' })).toEqual({ id: 42 })
    expect(server.seen).toHaveLength(3)
    expect(new Set(server.seen.map(({ headers }) => headers['idempotency-key'])).size).toBe(1)
    expect(server.seen[2]?.body).toEqual(server.seen[0]?.body)
  })

  it('that makes something keeps its key when it goes to another server', async () => {
    const breaking = await scripted(hangUp)
    const staying = await scripted(created)
    const client = clientOf({ urls: [breaking.url, staying.url], ...via })
    await client.runs.create({ job: 'sum' })
    expect(staying.seen[0]?.headers['idempotency-key']).toBe(breaking.seen[0]?.headers['idempotency-key'])
  })

  it.each([
    ['PUT', (client) => client.jobs.replace(42, { name: 'sum', processor: 'sum' }, { ifVersion: 7 })],
    ['PATCH', (client) => client.jobs.patch(42, { enabled: false }, { ifVersion: 7 })],
    ['DELETE', (client) => client.jobs.delete(42, { ifVersion: 7 })],
  ] as [string, (client: OnceJobClient) => Promise<unknown>][])(
    'that changes something with %s is sent again with the same key and version',
    async (method, change) => {
      const server = await scripted(hangUp, json(200, {}))
      await change(clientOf({ url: server.url, ...via }))
      const [first, second] = server.seen.map(({ method: seen, headers }) => [
        seen,
        headers['idempotency-key'],
        headers['if-match'],
      ])
      expect(first).toEqual([method, expect.stringMatching(/^ik_/), '"job-42-v7"'])
      expect(second).toEqual(first)
    },
  )

  it.each([
    ['breaks the connection', hangUp],
    ['broke', problem(500, 'BUG', 'same-key')],
    ['still works at the first try', problem(409, 'IDEMPOTENCY_IN_PROGRESS', 'same-key')],
    ['is a proxy that is busy', (_: Seen, response: ServerResponse) => void response.writeHead(503).end()],
  ] as [string, Step][])('is called unknown when all tries are used up and the server %s', async (_says, step) => {
    const server = await scripted(step)
    const call = clientOf({ url: server.url, ...via }).runs.create({ job: 'sum' }, { requestKey: 'order-4711' })
    const error = await expectRejection(call, OutcomeUnknown)
    expect(error.requestKey).toBe('order-4711')
    expect(error.cause).toBeInstanceOf(Error)
    expect(server.seen).toHaveLength(5)
  })

  it('is called unknown although its last tries reached nobody', async () => {
    const server = await scripted(hangUp)
    const urls = [server.url, await nobody()]
    const call = clientOf({ urls, retry: { rounds: 1 }, ...via }).runs.create({ job: 'sum' })
    expect((await expectRejection(call, OutcomeUnknown)).cause).toBeInstanceOf(ServerUnreachable)
    expect(server.seen).toHaveLength(1)
  })

  it.each([
    ['refuses its token', problem(401, 'TOKEN_INVALID', 'after-auth')],
    ['does not know its app', problem(404, 'APP_NOT_FOUND', 'never')],
    ['finds its key too old', problem(422, 'IDEMPOTENCY_KEY_EXPIRED', 'never')],
    ['is a proxy that refuses it', (_: Seen, response: ServerResponse) => void response.writeHead(403).end('no')],
    [
      'asks for more patience than the client has',
      problem(503, 'SHUTTING_DOWN', 'same-key', {}, { 'retry-after': '3600' }),
    ],
  ] as [string, Step][])('that was sent is called unknown when the next server %s', async (_says, step) => {
    const server = await scripted(hangUp, step)
    const call = clientOf({ url: server.url, ...via }).runs.create({ job: 'sum' })
    expect((await expectRejection(call, OutcomeUnknown)).cause).toBeInstanceOf(OnceJobError)
    expect(server.seen).toHaveLength(2)
    // Without an earlier try there is nothing unknown about it.
    const refusing = await scripted(step)
    await expectRejection(clientOf({ url: refusing.url, ...via }).runs.create({ job: 'sum' }), OnceJobError)
  })

  it('that was sent has a known outcome when the server says no after it looked at the key', async () => {
    const server = await scripted(hangUp, problem(404, 'JOB_NOT_FOUND', 'never'))
    const call = clientOf({ url: server.url, ...via }).runs.create({ job: 'sum' })
    expect((await expectRejection(call, OnceJobError)).code).toBe('JOB_NOT_FOUND')
  })

  it.each([
    ['the connection breaks', hangUp],
    ['the server broke', problem(500, 'BUG', 'same-key')],
    ['the server is shutting down', problem(503, 'SHUTTING_DOWN', 'same-key')],
    ['a proxy says 502', (_: Seen, response: ServerResponse) => void response.writeHead(502).end()],
  ] as [string, Step][])('that only reads is tried again when %s', async (_says, step) => {
    const server = await scripted(step, step, json(200, { scope: 'admin' }))
    expect(await clientOf({ url: server.url, ...via }).me()).toEqual({ scope: 'admin' })
    expect(server.seen).toHaveLength(3)
    expect(server.seen[0]?.headers).not.toHaveProperty('idempotency-key')
  })

  it('that was never sent goes to the next server, and the client stays there', async () => {
    const server = await scripted(created)
    const client = clientOf({ urls: [await nobody(), server.url], ...via })
    await client.runs.create({ job: 'sum' })
    await client.runs.create({ job: 'sum' })
    expect(server.seen).toHaveLength(2)
  })

  it('to nobody says so, and that nothing has happened', async () => {
    const url = await nobody()
    const error = await expectRejection(clientOf({ url, ...via }).runs.create({ job: 'sum' }), ServerUnreachable)
    expect(error.urls).toEqual([url])
    expect(error.message).toContain('ECONNREFUSED')
  })

  it('that is given up before it was sent rejects with the reason of its signal', async () => {
    const reason = new Error('enough')
    const server = await scripted(created)
    const client = clientOf({ url: server.url, ...via })
    await expect(client.runs.create({ job: 'sum' }, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect(server.seen).toHaveLength(0)
  })

  it('that only reads and is given up rejects with the reason of its signal', async () => {
    const giveUp = new AbortController()
    const reason = new Error('enough')
    const server = await scripted(() => giveUp.abort(reason))
    await expect(clientOf({ url: server.url, ...via }).me({ signal: giveUp.signal })).rejects.toBe(reason)
    expect(server.seen).toHaveLength(1)
  })

  it('that makes something and is given up on its way is unknown, because of the signal', async () => {
    const giveUp = new AbortController()
    const reason = new Error('enough')
    const server = await scripted(() => giveUp.abort(reason))
    const call = clientOf({ url: server.url, ...via }).runs.create({ job: 'sum' }, { signal: giveUp.signal })
    expect((await expectRejection(call, OutcomeUnknown)).cause).toBe(reason)
    expect(server.seen).toHaveLength(1)
  })

  it('that makes something and is given up between two tries is unknown, because of the signal', async () => {
    const giveUp = new AbortController()
    const reason = new Error('enough')
    const server = await scripted(problem(500, 'BUG', 'same-key', {}, { 'retry-after': '50' }))
    const call = clientOf({ url: server.url, ...via }).runs.create({ job: 'sum' }, { signal: giveUp.signal })
    const failure = expectRejection(call, OutcomeUnknown)
    await expect.poll(() => server.seen.length, { timeout: 30_000 }).toBe(1)
    giveUp.abort(reason)
    expect((await failure).cause).toBe(reason)
    expect(server.seen).toHaveLength(1)
  })

  it('that makes something and is not answered in time is sent again with the same key', async () => {
    const server = await scripted(() => {}, created)
    const call = clientOf({ url: server.url, timeoutMs: 1000, ...via }).runs.create({ job: 'sum' })
    expect(await call).toEqual({ id: 42 })
    expect(new Set(server.seen.map(({ headers }) => headers['idempotency-key'])).size).toBe(1)
  })

  it('carries answers of many megabytes', async () => {
    const big = 'ü'.repeat(3_000_000)
    const server = await scripted((_seen, response) => {
      response.writeHead(200)
      response.write('{"token":"')
      response.end(`${big}"}`)
    })
    const answer = await clientOf({ url: server.url, ...via }).jobs.create({ name: big, processor: 'p' })
    expect(answer).toEqual({ token: big })
    expect(server.seen[0]?.body).toMatchObject({ name: big } satisfies Partial<JobInput>)
  })

  it('follows a log across a broken connection, each line once', async () => {
    const line = (seq: number): string =>
      `event: line\nid: ${seq}\ndata: ${JSON.stringify({ seq, text: `line ${seq}` })}\n\n`
    let breakIt = (): void => {}
    const server = await scripted(
      (_seen, response) => {
        breakIt = () => void response.destroy()
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(`: hello\n\n${line(1)}${line(2)}event: line\nid: 3\nda`)
      },
      problem(503, 'SHUTTING_DOWN', 'same-key'),
      (_seen, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.end(`${line(2)}${line(3)}event: end\ndata: {"state":"succeeded"}\n\n`)
      },
    )
    const lines: LogLine[] = []
    const log = clientOf({ url: server.url, app: 'shop', ...via }).runs.followLogs(42)
    let next = await log.next()
    for (; next.done !== true; next = await log.next()) {
      lines.push(next.value)
      // Only now: what a broken connection still had in its buffers may be lost, and is asked for again.
      if (next.value.seq === 2) breakIt()
    }
    expect(lines.map(({ seq }) => seq)).toEqual([1, 2, 3])
    expect(next.value).toBe('succeeded')
    expect(server.seen.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, '2', '2'])
    expect(server.seen[2]?.url).toBe('/api/v1/runs/42/logs/stream?after=2&app=shop')
  })

  it('to follow a log that does not exist is refused at once', async () => {
    const server = await scripted(problem(404, 'RUN_NOT_FOUND', 'never'))
    const error = await expectRejection(
      clientOf({ url: server.url, ...via })
        .runs.followLogs(42)
        .next(),
      OnceJobError,
    )
    expect(error.code).toBe('RUN_NOT_FOUND')
  })

  it('to follow a log can be given up', async () => {
    const giveUp = new AbortController()
    const reason = new Error('enough')
    const server = await scripted((_seen, response) => {
      response.writeHead(200)
      response.write('event: line\ndata: {"seq":1}\n\n')
    })
    const log = clientOf({ url: server.url, ...via }).runs.followLogs(42, { signal: giveUp.signal })
    expect((await log.next()).value).toMatchObject({ seq: 1 })
    const second = log.next()
    giveUp.abort(reason)
    await expect(second).rejects.toBe(reason)
  })
})

describe('a refusal', () => {
  it('is an error with everything that the server said', async () => {
    const server = await scripted(
      problem(412, 'VERSION_CONFLICT', 'never', { expected: 7, current: 8 }, { 'x-request-id': 'r-1' }),
    )
    const client = clientOf({ url: server.url })
    const error = await expectRejection(client.jobs.patch(42, { enabled: false }, { ifVersion: 7 }), OnceJobError)
    expect(error).toMatchObject({
      code: 'VERSION_CONFLICT',
      status: 412,
      retry: 'never',
      detail: 'detail of VERSION_CONFLICT',
      requestId: 'r-1',
      problem: { expected: 7, current: 8 },
    })
    expect(server.seen).toHaveLength(1)
  })

  it('of a token gets a new one, once, when the client knows how', async () => {
    const server = await scripted(
      problem(401, 'TOKEN_EXPIRED', 'after-auth'),
      created,
      problem(401, 'TOKEN_INVALID', 'after-auth'),
    )
    let count = 0
    const client = clientOf({ url: server.url, token: () => `token-${(count += 1)}` })
    await client.runs.create({ job: 'sum' })
    await expectRejection(client.me(), OnceJobError)
    expect(server.seen.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer token-1',
      'Bearer token-2',
      'Bearer token-2',
      'Bearer token-3',
    ])
  })

  it('of the last try is the error that the caller gets', async () => {
    const server = await scripted(problem(503, 'SHUTTING_DOWN', 'same-key'))
    const error = await expectRejection(clientOf({ url: server.url }).runs.create({ job: 'sum' }), OnceJobError)
    expect(error.code).toBe('SHUTTING_DOWN')
    expect(server.seen).toHaveLength(5)
  })

  it('with Retry-After is not followed by a try before that time', async () => {
    const server = await scripted(problem(503, 'SHUTTING_DOWN', 'same-key', {}, { 'retry-after': '1' }), created)
    const startedMs = performance.now()
    await clientOf({ url: server.url }).runs.create({ job: 'sum' })
    // The timer and the clock of a process may differ by a little.
    expect(performance.now() - startedMs).toBeGreaterThan(950)
  })

  it('with Retry-After does not keep the client from another server', async () => {
    const leaving = await scripted(problem(503, 'SHUTTING_DOWN', 'same-key', {}, { 'retry-after': '3600' }))
    const staying = await scripted(created)
    const long = expectRejection(clientOf({ url: leaving.url }).runs.create({ job: 'sum' }), OnceJobError)
    expect((await long).code).toBe('SHUTTING_DOWN')
    // An hour is more than the client waits, but with a second server it need not.
    expect(leaving.seen).toHaveLength(1)
    const both = createClient({ urls: [leaving.url, staying.url], token: 'secret', retry: { rounds: 1 } })
    open.push(both)
    expect(await both.runs.create({ job: 'sum' })).toEqual({ id: 42 })
  })
})

describe('run keys', () => {
  it('go with a run, whose handle tells what came of it', async () => {
    const server = await scripted(json(200, { id: 7, deduplicated: true }), json(201, { id: 8, deduplicated: false }))
    const client = clientOf({ url: server.url, app: 'shop' })
    const run = await client.run('bill', { order: 1 }, { key: 'order-1', keyPolicy: { onOpen: 'after' } })
    expect(await run.created()).toEqual({ id: 7, deduplicated: true })
    expect(await run.id()).toBe(7)
    expect(server.seen[0]?.body).toEqual({
      job: 'bill',
      params: { order: 1 },
      key: 'order-1',
      keyPolicy: { onOpen: 'after' },
    })
    expect(await client.runOnce('bill', 'order-2', { order: 2 }, { priority: 5 }).id()).toBe(8)
    expect(server.seen[1]?.body).toEqual({
      job: 'bill',
      params: { order: 2 },
      priority: 5,
      key: 'order-2',
      keyPolicy: { onOpen: 'return', onClosed: 'return', ttlMs: null },
    })
  })

  it('are looked at and freed, of a job and of the app', async () => {
    const server = await scripted(
      json(200, {}),
      json(200, {}),
      problem(409, 'RUN_KEY_CONFLICT', 'never'),
      json(200, {}),
    )
    const client = clientOf({ url: server.url, app: 'shop' })
    await client.runKeys.get({ key: 'a/b', job: 'bill' })
    await client.runKeys.get({ key: 'a/b' })
    const refusal = await expectRejection(client.runKeys.reset({ key: 'k', job: 3 }), OnceJobError)
    expect(refusal.code).toBe('RUN_KEY_CONFLICT')
    await client.runKeys.reset({ key: 'k' }, { force: true, requestKey: 'reset-of-k' })
    expect(server.seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /api/v1/jobs/bill/run-keys/a%2Fb?app=shop',
      'GET /api/v1/run-keys/a%2Fb?app=shop',
      'DELETE /api/v1/jobs/3/run-keys/k?app=shop',
      expect.stringMatching(/^DELETE \/api\/v1\/run-keys\/k\?.*force=true/),
    ])
    expect(server.seen[3]?.headers['idempotency-key']).toBe('reset-of-k')
  })
})

describe('save and run', () => {
  it('sends job and run in one call, and again with the same key when the answer is lost', async () => {
    const answer = { job: { id: 7, name: 'sum', version: 1, outcome: 'created' as const }, run: { id: 42 } }
    const server = await scripted(hangUp, json(201, answer))
    const client = clientOf({ url: server.url, app: 'shop' })
    expect(await client.saveAndRun({ name: 'sum', processor: 'sum' }, { params: [1] })).toEqual(answer)
    expect(server.seen).toHaveLength(2)
    for (const sent of server.seen) {
      expect(sent).toMatchObject({ method: 'POST', url: '/api/v1/jobs:run?app=shop' })
      expect(sent.body).toEqual({ job: { name: 'sum', processor: 'sum' }, run: { params: [1] } })
    }
    const keys = server.seen.map(({ headers }) => headers['idempotency-key'])
    expect(keys[0]).toMatch(/^ik_/)
    expect(keys[1]).toBe(keys[0])
    await client.saveAndRun({ name: 'sum', processor: 'sum' }, undefined, { requestKey: 'order-4711' })
    expect(server.seen[2]).toMatchObject({
      body: { job: { name: 'sum', processor: 'sum' } },
      headers: { 'idempotency-key': 'order-4711' },
    })
    expect(server.seen[2]?.body).not.toHaveProperty('run')
  })
})

describe('a run', () => {
  it('that is awaited gives a handle with its id', async () => {
    const server = await scripted(created)
    const handle = await clientOf({ url: server.url, app: 'shop' }).run('sum', [1, 2], {
      delayMs: 5,
      requestKey: 'order-4711',
    })
    expect(await handle.id()).toBe(42)
    expect(server.seen[0]).toMatchObject({
      url: '/api/v1/runs?app=shop',
      body: { job: 'sum', params: [1, 2], delayMs: 5 },
      headers: { 'idempotency-key': 'order-4711' },
    })
  })

  it('resolves with its result when it has succeeded, through outages', async () => {
    const server = await scripted(
      created,
      json(200, run('running')),
      ...Array<Step>(5).fill(hangUp),
      json(200, run('succeeded', { result: { sum: 3 } })),
    )
    const states: string[] = []
    const result = await clientOf({ url: server.url })
      .run('sum')
      .result({ onUpdate: ({ state }) => states.push(state) })
    expect(result).toEqual({ sum: 3 })
    expect(states).toEqual(['running', 'succeeded'])
    expect(server.seen[1]?.url).toBe('/api/v1/runs/42?waitMs=30000')
  })

  it('rejects with what went wrong when it has ended otherwise', async () => {
    const error = { code: 'EMPTY_FILE', message: 'no rows' }
    const server = await scripted(created, json(200, run('failed', { error })))
    const failure = await expectRejection(clientOf({ url: server.url }).run('sum').result(), RunFailed)
    expect(failure).toMatchObject({ state: 'failed', error, run: { id: 42 } })
    expect(failure.message).toBe('run 42 of job "sum" failed: EMPTY_FILE: no rows')
  })

  it('that goes on for longer than the caller waits is not a failed one', async () => {
    const server = await scripted(created, json(200, run('waiting')))
    const handle = await clientOf({ url: server.url }).run('sum')
    expect(await handle.wait({ timeoutMs: 0 })).toMatchObject({ state: 'waiting' })
    const late = await expectRejection(handle.result({ timeoutMs: 0 }), RunNotEnded)
    expect(late.run.id).toBe(42)
  })

  it('that cannot be created rejects every way of waiting for it', async () => {
    const server = await scripted(problem(404, 'JOB_NOT_FOUND', 'never'))
    const client = clientOf({ url: server.url })
    await expectRejection(client.run('sum'), OnceJobError)
    await expectRejection(client.run('sum').id(), OnceJobError)
    await expectRejection(client.run('sum').result(), OnceJobError)
  })

  it('can be waited for by more callers than there are connections for quick calls', async () => {
    const waiting: ServerResponse[] = []
    const server = await scripted((seen, response) => {
      if (seen.method === 'POST') return created(seen, response)
      waiting.push(response)
    })
    const client = clientOf({ url: server.url })
    const results = Array.from({ length: 200 }, () => client.runs.wait(42))
    await expect.poll(() => waiting.length, { timeout: 30_000 }).toBe(200)
    // All of them hold a connection, and a submit still gets through.
    expect(await client.runs.create({ job: 'sum' })).toEqual({ id: 42 })
    for (const response of waiting) json(200, run('succeeded'))({} as Seen, response)
    expect(await Promise.all(results)).toHaveLength(200)
  })
})

describe('a change of a job', () => {
  const job = { id: 42, name: 'sum', version: 7 }

  it('names the version that it was made from', async () => {
    const server = await scripted(json(200, job))
    const jobs = clientOf({ url: server.url }).jobs
    await jobs.replace(42, { name: 'sum', processor: 'sum' }, { ifVersion: 7 })
    await jobs.patch(42, { enabled: false }, { ifVersion: '*' })
    expect(server.seen.map(({ method, headers }) => [method, headers['if-match']])).toEqual([
      ['PUT', '"job-42-v7"'],
      ['PATCH', '*'],
    ])
  })

  it('by name finds the id first', async () => {
    const server = await scripted(json(200, job), (_, response) => void response.writeHead(204).end())
    const answer = await clientOf({ url: server.url, app: 'shop' }).jobs.delete('sum of / all', { ifVersion: 7 })
    expect(answer).toBeUndefined()
    expect(server.seen.map(({ method, url, headers }) => [method, url, headers['if-match']])).toEqual([
      ['GET', '/api/v1/jobs/sum%20of%20%2F%20all?app=shop', undefined],
      ['DELETE', '/api/v1/jobs/42?app=shop', '"job-42-v7"'],
    ])
  })
})

describe('a request key', () => {
  const state = {
    key: 'order-4711',
    state: 'completed',
    status: 201,
    route: 'POST /api/v1/runs',
    requestId: 'r-1',
    location: '/api/v1/runs/42',
    createdAt: '2026-11-25T09:30:00.000Z',
    expiresAt: '2026-11-28T09:30:00.000Z',
  }
  const unknown = problem(404, 'IDEMPOTENCY_KEY_NOT_FOUND', 'never')

  it('tells what became of its call', async () => {
    const server = await scripted(json(200, state))
    const client = clientOf({ url: server.url, app: 'shop' })
    expect(await client.requestKey('order-4711')).toEqual(state)
    await client.requestKey('a/b?c#d%e')
    expect(server.seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /api/v1/idempotency-keys/order-4711?app=shop',
      'GET /api/v1/idempotency-keys/a%2Fb%3Fc%23d%25e?app=shop',
    ])
  })

  it('of a call that belongs to no app is found by a client that names one', async () => {
    const server = await scripted(unknown, json(200, state))
    expect(await clientOf({ url: server.url, app: 'shop' }).requestKey('order-4711')).toEqual(state)
    expect(server.seen[1]?.url).toBe('/api/v1/idempotency-keys/order-4711')
  })

  it('that stands for no call is undefined; any other no is an error', async () => {
    const server = await scripted(unknown, problem(404, 'ROUTE_NOT_FOUND', 'never'))
    const client = clientOf({ url: server.url })
    expect(await client.requestKey('order-4711')).toBeUndefined()
    expect((await expectRejection(client.requestKey('order-4711'), OnceJobError)).code).toBe('ROUTE_NOT_FOUND')
    await expect(client.requestKey('a,b')).rejects.toThrow(TypeError)
    expect(server.seen).toHaveLength(2)
  })
})

describe('a token', () => {
  it('whose secret was lost with the first answer says which one it is', async () => {
    const made = { id: 5, name: 'ci', app: 'shop', scope: 'app', token: 'oj_abc' }
    const server = await scripted(json(201, made), hangUp, json(201, { ...made, token: null, secretShownOnce: true }))
    const tokens = clientOf({ url: server.url }).tokens
    expect(await tokens.create('shop', { name: 'ci' })).toEqual(made)
    const error = await expectRejection(tokens.create('shop', { name: 'ci' }), SecretLost)
    expect(error).toMatchObject({ app: 'shop', id: 5 })
  })
})

describe('a list', () => {
  it('is read page by page, to the end', async () => {
    const server = await scripted(
      json(200, { items: [{ id: 3 }, { id: 2 }], next: 'c/2' }),
      json(200, { items: [{ id: 1 }], next: null }),
    )
    const list = clientOf({ url: server.url }).runs.list({ state: ['failed', 'stopped'], job: 'sum', limit: 2 })
    const ids: number[] = []
    for await (const { id } of list) ids.push(id)
    expect(ids).toEqual([3, 2, 1])
    expect(server.seen.map(({ url }) => url)).toEqual([
      '/api/v1/runs?state=failed%2Cstopped&job=sum&limit=2',
      '/api/v1/runs?state=failed%2Cstopped&job=sum&limit=2&cursor=c%2F2',
    ])
  })

  it('gives single pages too', async () => {
    const server = await scripted(json(200, { items: [], next: null }))
    expect(await clientOf({ url: server.url }).workers.list({ state: 'all' }).page('abc')).toEqual({
      items: [],
      next: null,
    })
    expect(server.seen[0]?.url).toBe('/api/v1/workers?state=all&cursor=abc')
  })
})

describe('every route', () => {
  const calls: [string, (client: OnceJobClient) => PromiseLike<unknown>][] = [
    ['POST /api/v1/jobs/sum/runs?app=shop', (c) => c.runs.createOf('sum', { priority: 1 })],
    ['POST /api/v1/runs/batch?app=shop', (c) => c.runs.createBatch([{ job: 1 }])],
    ['GET /api/v1/runs/1/attempts?app=shop', (c) => c.runs.attempts(1)],
    ['POST /api/v1/runs/1/cancel?app=shop', (c) => c.runs.cancel(1)],
    ['POST /api/v1/runs/1/resolve?app=shop', (c) => c.runs.resolve(1, { as: 'retry' })],
    ['GET /api/v1/runs/1/effects?limit=2&app=shop', (c) => c.runs.effects(1, { limit: 2 }).page()],
    ['POST /api/v1/runs/1/effects/a%2Fb/resolve?app=shop', (c) => c.runs.resolveEffect(1, 'a/b', { done: true })],
    ['POST /api/v1/runs/1/stop?app=shop', (c) => c.runs.stop(1)],
    ['POST /api/v1/runs/1/retry?app=shop', (c) => c.runs.retry(1)],
    ['GET /api/v1/runs/1/logs?after=3&app=shop', (c) => c.runs.logs(1, { after: 3 })],
    ['POST /api/v1/jobs?app=shop', (c) => c.jobs.create({ name: 'a', processor: 'p' })],
    ['GET /api/v1/jobs?enabled=true&sort=-id&app=shop', (c) => c.jobs.list({ enabled: true, sort: '-id' }).page()],
    ['POST /api/v1/jobs/1/enable?app=shop', (c) => c.jobs.enable(1)],
    ['POST /api/v1/jobs/1/disable?app=shop', (c) => c.jobs.disable(1)],
    ['POST /api/v1/jobs/1/copy?app=shop', (c) => c.jobs.copy(1)],
    ['GET /api/v1/jobs/export?q=x&app=shop', (c) => c.jobs.export({ q: 'x' })],
    ['POST /api/v1/jobs/import?app=shop', (c) => c.jobs.import({ format: 'oncejob.jobs/1', jobs: [] })],
    ['GET /api/v1/jobs/1/fires?outcome=missed&app=shop', (c) => c.jobs.fires(1, { outcome: 'missed' }).page()],
    ['GET /api/v1/fires?job=1&kind=sub-run&app=shop', (c) => c.fires.list({ job: 1, kind: 'sub-run' }).page()],
    [
      'POST /api/v1/schedules/preview?app=shop',
      (c) => c.schedules.preview({ schedule: { trigger: { kind: 'none' } } }),
    ],
    ['GET /api/v1/workers/9?app=shop', (c) => c.workers.get(9)],
    ['GET /api/v1/suspected-repeats?hours=3&app=shop', (c) => c.suspectedRepeats({ hours: 3 })],
    ['GET /api/v1/namespaces', (c) => c.namespaces.list().page()],
    ['POST /api/v1/namespaces', (c) => c.namespaces.create({ name: 'n' })],
    ['DELETE /api/v1/namespaces/n', (c) => c.namespaces.delete('n')],
    ['GET /api/v1/apps', (c) => c.apps.list().page()],
    ['POST /api/v1/apps', (c) => c.apps.create({ name: 'a' })],
    ['GET /api/v1/apps/a', (c) => c.apps.get('a')],
    ['PATCH /api/v1/apps/a', (c) => c.apps.patch('a', { title: null })],
    ['DELETE /api/v1/apps/a', (c) => c.apps.delete('a')],
    ['GET /api/v1/apps/a/tokens', (c) => c.tokens.list('a').page()],
    ['POST /api/v1/apps/a/tokens', (c) => c.tokens.create('a', { name: 't' })],
    ['DELETE /api/v1/apps/a/tokens/5', (c) => c.tokens.delete('a', 5)],
    ['GET /api/v1/audit-log?app=shop', (c) => c.auditLog().page()],
    ['GET /api/v1/audit', (c) => c.audit()],
    ['GET /api/v1/doctor', (c) => c.doctor()],
    ['GET /api/v1/idempotency-keys/order-4711?app=shop', (c) => c.requestKey('order-4711')],
    ['GET /api/v1/me', (c) => c.me()],
    ['GET /health/ready', (c) => c.health()],
    ['GET /metrics', (c) => c.metrics()],
    ['GET /openapi.json', (c) => c.openapi()],
    ['GET /api/v1/jobs/1?app=other', (c) => c.forApp('other').jobs.get(1)],
  ]
  it.each(calls)('%s has its method', async (route, call) => {
    const server = await scripted(json(200, { items: [], next: null }))
    await call(clientOf({ url: server.url, app: 'shop' }))
    expect(server.seen.map(({ method, url }) => `${method} ${url}`)).toEqual([route])
  })

  it('is found behind the path of a proxy', async () => {
    const server = await scripted(json(200, {}))
    await clientOf({ url: `${server.url}/oncejob/` }).me()
    expect(server.seen[0]?.url).toBe('/oncejob/api/v1/me')
  })

  it('health of a server that is not ready is an answer', async () => {
    const server = await scripted(json(503, { status: 'unavailable', version: '1' }))
    expect(await clientOf({ url: server.url }).health()).toEqual({ status: 'unavailable', version: '1' })
  })
})

describe('a connection', () => {
  it('carries one call after another', async () => {
    const ports = new Set<number | undefined>()
    const server = await scripted((seen, response) => {
      ports.add(response.socket?.remotePort)
      created(seen, response)
    })
    const client = clientOf({ url: server.url })
    for (let i = 0; i < 20; i += 1) await client.runs.create({ job: 'sum' })
    // A machine that stalls for seconds may let one lapse in between.
    expect(ports.size).toBeLessThan(20)
  })

  it('is shared by more calls than there may be connections', async () => {
    const ports = new Set<number | undefined>()
    const server = await scripted((seen, response) => {
      ports.add(response.socket?.remotePort)
      created(seen, response)
    })
    const client = clientOf({ url: server.url })
    const answers = await Promise.all(Array.from({ length: 1000 }, () => client.runs.create({ job: 'sum' })))
    expect(answers).toHaveLength(1000)
    expect(ports.size).toBeLessThanOrEqual(128)
  })

  it('of a closed client is gone, and its calls with it', async () => {
    const server = await scripted(created, () => client.close())
    const client = clientOf({ url: server.url, retry: { rounds: 1 } })
    await client.runs.create({ job: 'sum' })
    await expectRejection(client.runs.create({ job: 'sum' }), OutcomeUnknown)
    await expectRejection(client.me(), ServerUnreachable)
  })

  it('to something that speaks no HTTP is no answer', async () => {
    const strange = createTcpServer((socket) => {
      socket.on('error', () => {})
      socket.resume().end('220 mail.example ESMTP\r\n\r\n')
    })
    const url = await listen(strange)
    open.push({ close: () => new Promise((resolve) => strange.close(resolve)) })
    await expectRejection(clientOf({ url }).runs.create({ job: 'sum' }), OutcomeUnknown)
    await expectRejection(clientOf({ url }).me(), ServerUnreachable)
  })
})

describe('a client', () => {
  it.each([
    [{ url: 'localhost:7700', token: 't' }],
    [{ url: 'ftp://localhost', token: 't' }],
    [{ urls: [], token: 't' }],
    [{ url: 'http://localhost', token: 'two\nlines' }],
    [{ url: 'http://localhost', token: 't', timeoutMs: 0 }],
    [{ url: 'http://localhost', token: 't', retry: { rounds: 0 } }],
  ] as [ClientOptions][])('is not made from options that can not work: %j', (options) => {
    expect(() => createClient(options)).toThrow(TypeError)
  })

  it('refuses a request key that the server would refuse, before sending', async () => {
    const server = await scripted(created)
    await expect(clientOf({ url: server.url }).runs.create({ job: 1 }, { requestKey: 'a,b' })).rejects.toThrow(
      TypeError,
    )
    expect(server.seen).toHaveLength(0)
  })
})
