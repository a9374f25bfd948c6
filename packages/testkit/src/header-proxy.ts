// A reverse proxy as operators have them: it may rewrite or drop names of headers, speak HTTP/2 to clients, and cut connections.
import { Agent, createServer, request as send, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttp2, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import type { Socket } from 'node:net'

export interface HeaderProxyOptions {
  readonly target: string
  /** What becomes of the names of headers in answers; over HTTP/2 they are lower-case in any case. */
  readonly header: 'exact' | 'lower-case' | 'absent'
  readonly http2?: boolean
  /** Asked for each call with a token that has come before: true spoils it, so that the server rejects it. */
  readonly spoilsToken?: () => boolean
  /** Called when a request has gone to the server; resolving true cuts both connections before its answer. */
  readonly cuts?: (path: string) => Promise<boolean>
}

export interface HeaderProxy {
  readonly url: string
  /** Requests that went to the server, by path. */
  readonly requests: ReadonlyMap<string, number>
  readonly spoiled: () => number
  close(): Promise<void>
}

const watched = 'x-powerjob-auth-passed'
const tokenHeader = 'x-powerjob-access-token'
const hopByHop = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'host'])

type Incoming = IncomingMessage | Http2ServerRequest
type Outgoing = ServerResponse | Http2ServerResponse

const bodyOf = async (incoming: Incoming): Promise<Buffer> => {
  const parts: Buffer[] = []
  for await (const part of incoming) parts.push(Buffer.from(part))
  return Buffer.concat(parts)
}

const answerHeaders = (raw: readonly string[], header: HeaderProxyOptions['header']): [string, string][] => {
  const pairs: [string, string][] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = raw.slice(at, at + 2)
    if (hopByHop.has(name.toLowerCase()) || (header === 'absent' && name.toLowerCase() === watched)) continue
    pairs.push([header === 'exact' ? name : name.toLowerCase(), value])
  }
  return pairs
}

// each tells of itself by another name, as different proxies do
let proxies = 0

/** Passes requests on to the server and its answers back. */
const createForward = (options: HeaderProxyOptions, agent: Agent, headersFor: HeadersFor) => {
  const { target, header } = options
  const answerWith = (outgoing: Outgoing, answer: IncomingMessage, bytes: Buffer): void => {
    const pairs = answerHeaders(answer.rawHeaders, header)
    if ('stream' in outgoing) outgoing.writeHead(answer.statusCode ?? 502, Object.fromEntries(pairs))
    else outgoing.writeHead(answer.statusCode ?? 502, [...pairs.flat(), 'Content-Length', String(bytes.length)])
    outgoing.end(bytes)
  }
  return async (incoming: Incoming, outgoing: Outgoing): Promise<void> => {
    const path = incoming.url ?? '/'
    const body = await bodyOf(incoming)
    const upstream = send(new URL(path, target), {
      method: incoming.method ?? 'POST',
      agent,
      headers: { ...headersFor(incoming, path), 'Content-Length': String(body.length) },
    })
    const hangUp = (): void => {
      upstream.destroy()
      outgoing.destroy()
      incoming.socket?.destroy()
    }
    upstream.on('error', hangUp)
    // a client that has gone is gone for the server too
    outgoing.on('close', () => {
      if (!outgoing.writableEnded) upstream.destroy()
    })
    upstream.on('response', (answer) => {
      bodyOf(answer).then((bytes) => answerWith(outgoing, answer, bytes), hangUp)
    })
    upstream.end(body)
    if ((await options.cuts?.(path)) === true) hangUp()
  }
}

type HeadersFor = (incoming: Incoming, path: string) => Record<string, string>

/** Starts one on a free port of this machine. */
export const startHeaderProxy = async (options: HeaderProxyOptions): Promise<HeaderProxy> => {
  const name = `test-proxy-${(proxies += 1)}`
  const agent = new Agent({ keepAlive: true })
  const requests = new Map<string, number>()
  const seen = new Set<string>()
  const sockets = new Set<Socket>()
  let spoiled = 0

  const headersFor: HeadersFor = (incoming, path) => {
    requests.set(path, (requests.get(path) ?? 0) + 1)
    const host = new URL(options.target).host
    const headers: Record<string, string> = { Via: `${incoming.httpVersion} ${name}`, Host: host }
    for (const [field, value] of Object.entries(incoming.headers))
      if (!field.startsWith(':') && !hopByHop.has(field) && typeof value === 'string') headers[field] = value
    const token = headers[tokenHeader]
    if (token === undefined) return headers
    if (!path.endsWith('/authApp') && seen.has(token) && options.spoilsToken?.() === true) {
      headers[tokenHeader] = `${token.slice(0, -4)}AAAA`
      spoiled += 1
    }
    seen.add(token)
    return headers
  }
  const forward = createForward(options, agent, headersFor)
  const onRequest = (incoming: Incoming, outgoing: Outgoing): void => {
    forward(incoming, outgoing).catch(() => outgoing.destroy())
  }
  const server =
    options.http2 === true ? createHttp2(onRequest) : createServer({ keepAliveTimeout: 310_000 }, onRequest)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    spoiled: () => spoiled,
    close: async () => {
      agent.destroy()
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => void server.close(resolve))
    },
  }
}
