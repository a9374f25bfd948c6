// The ported clients do on the wire what the real ones were seen to do.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { startHeaderProxy } from './header-proxy.ts'
import { connectLegacyClient, type LegacyClient, type LegacyClientOptions } from './legacy-client.ts'
import { legacyHttp2 } from './legacy-http.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})

interface Seen {
  readonly path: string
  /** Of the token that came: its number, or - */
  readonly token: string
  readonly connection: number
}

type Answer = (request: IncomingMessage, response: ServerResponse, nth: number) => void | 'default' | Promise<void>

/** A server that numbers its tokens by the request that they answer. */
const startServer = async (
  header: Readonly<Record<string, string>>,
  special: Answer = () => 'default',
): Promise<{ url: string; seen: Seen[]; runs: () => number }> => {
  const seen: Seen[] = []
  const connections: Socket[] = []
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    await new Promise((resolve) => void request.resume().once('end', resolve))
    const path = (request.url ?? '').replace('/openApi', '')
    if (!connections.includes(request.socket)) connections.push(request.socket)
    const token = String(request.headers['x-powerjob-access-token'] ?? '-')
    const nth = seen.push({ path, token, connection: connections.indexOf(request.socket) })
    if (special(request, response, nth) !== 'default') return
    for (const [name, value] of Object.entries(header)) response.setHeader(name, value)
    response.setHeader('Content-Type', 'application/json')
    const data = path === '/authApp' ? { appId: 7, token: `T${nth}` } : path === '/assert' ? 7 : nth
    response.end(JSON.stringify({ success: true, data, message: null }))
  }
  const server = createServer((request, response) => void answer(request, response))
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  undo.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, seen, runs: () => seen.filter(({ path }) => path === '/runJob').length }
}

const connect = async (urls: readonly string[], over: Partial<LegacyClientOptions> = {}): Promise<LegacyClient> => {
  const client = await connectLegacyClient({ version: '5.1.1', urls, appName: 'shop', password: 'pw', ...over })
  undo.push(() => client.close())
  return client
}

const trace = (seen: readonly Seen[]): string[] =>
  seen.map(({ path, token }, at) => `#${at + 1} ${path.slice(1)} ${token}`)

const doubled = [
  '#1 authApp -',
  '#2 authApp T1',
  '#3 authApp -',
  '#4 authApp T3',
  '#5 runJob T3',
  '#6 authApp -',
  '#7 runJob T6',
  '#8 runJob T6',
  '#9 authApp -',
  '#10 runJob T9',
]
const once = ['#1 authApp -', '#2 authApp T1', '#3 runJob T1', '#4 runJob T1']

describe('5.1.0 and 5.1.1', () => {
  it.each([
    ['exact', { 'X-POWERJOB-AUTH-PASSED': 'true' }, once],
    ['exact, in capitals', { 'X-POWERJOB-AUTH-PASSED': 'TRUE' }, once],
    ['lower-case', { 'x-powerjob-auth-passed': 'true' }, doubled],
    ['capitalised', { 'X-Powerjob-Auth-Passed': 'true' }, doubled],
    ['absent', {}, doubled],
    ['false', { 'X-POWERJOB-AUTH-PASSED': 'false' }, doubled],
  ])('two calls with the header %s', async (_name, header, expected) => {
    for (const version of ['5.1.0', '5.1.1'] as const) {
      const server = await startServer(header)
      const client = await connect([server.url], { version })
      await client.runJob(42)
      await client.runJob(42)
      expect(trace(server.seen)).toEqual(expected)
    }
  })

  it.each(['exact', 'lower-case', 'absent'] as const)('through a proxy with the header %s', async (header) => {
    const server = await startServer({ 'X-POWERJOB-AUTH-PASSED': 'true' })
    const proxy = await startHeaderProxy({ target: server.url, header })
    undo.push(() => proxy.close())
    const client = await connect([proxy.url])
    await client.runJob(42)
    await client.runJob(42)
    expect(trace(server.seen)).toEqual(header === 'exact' ? once : doubled)
  })

  it('over HTTP/2 the header is never recognised', async () => {
    const server = await startServer({ 'X-POWERJOB-AUTH-PASSED': 'true' })
    const proxy = await startHeaderProxy({ target: server.url, header: 'exact', http2: true })
    undo.push(() => proxy.close())
    const client = await connect([proxy.url], { http: legacyHttp2() })
    await client.runJob(42)
    await client.runJob(42)
    expect(trace(server.seen)).toEqual(doubled)
  })

  const passed = { 'X-POWERJOB-AUTH-PASSED': 'true' }

  it('an answer that takes too long: the same call with the same token goes to the next address, which stays', async () => {
    const slow = await startServer(passed, ({ url }) => (url === '/openApi/runJob' ? undefined : 'default'))
    const other = await startServer(passed)
    const client = await connect([slow.url, other.url], { timeoutMs: 200 })
    await client.runJob(42)
    await client.runJob(42)
    expect(trace(slow.seen)).toEqual(['#1 authApp -', '#2 authApp T1', '#3 runJob T1'])
    expect(trace(other.seen)).toEqual(['#1 runJob T1', '#2 runJob T1'])
  })

  it('with one address it throws', async () => {
    const slow = await startServer(passed, ({ url }) => (url === '/openApi/runJob' ? undefined : 'default'))
    const client = await connect([slow.url], { timeoutMs: 200 })
    await expect(client.runJob(42)).rejects.toThrow('no server available')
    expect(slow.runs()).toBe(1)
  })

  it.each([
    ['connection closed without an answer', (response: ServerResponse) => void response.destroy(), 2],
    [
      '503 with Retry-After: 0',
      (response: ServerResponse) => void response.writeHead(503, { 'Retry-After': '0' }).end(),
      2,
    ],
    ['408', (response: ServerResponse) => void response.writeHead(408).end(), 2],
    ['503', (response: ServerResponse) => void response.writeHead(503).end(), 1],
    ['500', (response: ServerResponse) => void response.writeHead(500).end('{}'), 1],
  ])('%s', async (_name, act, requests) => {
    let failures = 1
    const server = await startServer(passed, ({ url }, response) => {
      if (url !== '/openApi/runJob' || failures-- <= 0) return 'default'
      return act(response)
    })
    const client = await connect([server.url])
    await client.runJob(42).catch(() => undefined)
    expect(server.runs()).toBe(requests)
    // a repeat comes over a connection of its own
    expect(new Set(server.seen.map(({ connection }) => connection)).size).toBe(requests)
  })
})

describe('4.3.9', () => {
  it('asserts once, and sends each call once, whatever header it gets', async () => {
    const server = await startServer({})
    const client = await connect([server.url], { version: '4.3.9' })
    await client.runJob(42)
    expect(trace(server.seen)).toEqual(['#1 assert -', '#2 runJob -'])
  })

  it('asks the next address after a time-out and after an empty answer', async () => {
    const slow = await startServer({}, ({ url }) => (url === '/openApi/runJob' ? undefined : 'default'))
    const empty = await startServer({}, (_request, response) => void response.end())
    const other = await startServer({})
    const client = await connect([slow.url, empty.url, other.url], { version: '4.3.9', timeoutMs: 200 })
    await client.runJob(42)
    expect([slow.runs(), empty.runs(), other.runs()]).toEqual([1, 1, 1])
  })
})
