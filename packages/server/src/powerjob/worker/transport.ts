// The port for Java workers (contract 2): plain HTTP/1.1 on a listener of its own, the same paths on the web port.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock, Millis } from '../../kernel/clock.ts'
import { drained } from '../../kernel/drain.ts'
import { alivePath } from './connectivity.ts'
import type { JarDownload } from './containers.ts'
import type { Discovery } from './discovery.ts'
import { messagePaths, type Messages, type Reply } from './messages.ts'
import type { Origin } from './networks.ts'
import { resultOf, resultRefusal } from './wire.ts'

export interface TransportNeeds {
  readonly messages: Messages
  readonly discovery: Discovery
  readonly downloads: JarDownload
  readonly clock: Clock
  readonly isMine: Origin['isMine']
}

export interface Transport {
  /** Adds the discovery calls and the message paths to the web port. */
  plugin(app: FastifyInstance): void
  /** Opens the port for workers; resolves with the port. @throws when it can not be had */
  listen(host: string, port: number): Promise<number>
  /** Answers what has begun, takes nothing new, and cuts off after `graceMs` what is left. Twice is fine. */
  stop(graceMs: Millis): Promise<void>
}

export const downloadPath = '/container/downloadJar'

// a worker keeps an idle connection as long as it is told, and sends what must not be lost on it: the server, which is not the
// first to close, closes later than it says
const keepAliveMs: Millis = 300_000
const keepAliveBufferMs: Millis = 30_000
const requestMs: Millis = 60_000
// how long a stopping port goes on answering what may already be on its way
const quietMs: Millis = 250
const lameDuckMs: Millis = 2_000
const mostConnections = 20_000

const queryOf = (url: string): URLSearchParams => {
  const at = url.indexOf('?')
  return new URLSearchParams(at < 0 ? '' : url.slice(at + 1))
}
const pathOf = (url: string): string => url.split('?', 1)[0] ?? url
const peerOf = ({ socket }: IncomingMessage): string => socket.remoteAddress ?? ''
const lengthOf = ({ headers }: IncomingMessage): number => Number(headers['content-length'] ?? 0)
// the room that a message takes must be known before it comes; workers always say how long it is
const isChunked = ({ headers }: IncomingMessage): boolean => headers['transfer-encoding'] !== undefined

const typeOf = ({ status }: Reply): string => (status === 200 ? 'application/json' : 'text/plain; charset=utf-8')

const send = (response: ServerResponse, reply: Reply, close: boolean): void => {
  const length = Buffer.byteLength(reply.body)
  response.writeHead(reply.status, {
    ...(length === 0 ? {} : { 'content-type': typeOf(reply) }),
    'content-length': length,
    ...(close ? { connection: 'close' } : {}),
  })
  response.end(reply.body)
}

const bodyOf = (request: IncomingMessage): Promise<Buffer | undefined> =>
  new Promise((resolve) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => void parts.push(part))
    request.once('end', () => resolve(Buffer.concat(parts)))
    // the sender is gone, or was too slow
    for (const event of ['close', 'error'] as const) request.once(event, () => resolve(undefined))
  })

const unlengthed: Reply = { status: 413, body: 'say the length of the message in content-length' }
// a page that somebody on this machine looks at must not be able to speak as a worker of it
const browsed: Reply = { status: 403, body: 'workers are no browsers' }

const admission = (messages: Messages, request: IncomingMessage): Reply | (() => void) => {
  if (isChunked(request)) return unlengthed
  return request.headers.origin === undefined ? messages.admit(peerOf(request), lengthOf(request)) : browsed
}

/** One request on the port for workers. */
const answering = ({ messages, downloads }: TransportNeeds, isStopping: () => boolean) => {
  const post = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const peer = peerOf(request)
    const room = admission(messages, request)
    if (typeof room !== 'function') {
      await drained(request)
      return send(response, room, true)
    }
    try {
      const body = await bodyOf(request)
      if (body === undefined) return
      send(response, await messages.receive(pathOf(request.url ?? ''), body, peer), isStopping())
    } finally {
      room()
    }
  }
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = pathOf(request.url ?? '')
    if (request.method === 'POST') return post(request, response)
    if (request.method === 'GET' && path === alivePath)
      return send(
        response,
        isStopping() ? { status: 503, body: 'stopping' } : { status: 200, body: resultOf(true) },
        true,
      )
    if (request.method === 'GET' && path === downloadPath) return downloads.send(queryOf(request.url ?? ''), response)
    return send(response, { status: 404, body: 'nothing is here' }, false)
  }
}

interface Port {
  readonly server: Server
  requestedMs: Millis
  stopping: boolean
}

const openPort = (needs: TransportNeeds): Port => {
  const server = createServer({
    keepAliveTimeout: keepAliveMs,
    keepAliveTimeoutBuffer: keepAliveBufferMs,
    requestTimeout: requestMs,
    headersTimeout: requestMs,
  })
  server.maxConnections = mostConnections
  const port: Port = { server, requestedMs: 0, stopping: false }
  const answer = answering(needs, () => port.stopping)
  server.on('request', (request, response) => {
    port.requestedMs = needs.clock.monotonic()
    // whatever goes wrong with one connection is the end of that connection only
    answer(request, response).catch(() => response.destroy())
  })
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    else socket.destroy()
  })
  return port
}

const connectionsOf = (server: Server): Promise<number> =>
  new Promise((resolve) => server.getConnections((error, count) => resolve(error === null ? count : 0)))

const closePort = async (clock: Clock, port: Port, graceMs: Millis): Promise<void> => {
  const { server } = port
  port.stopping = true
  const startedMs = clock.monotonic()
  const callOff = clock.after(graceMs, () => server.closeAllConnections())
  // a message may already be in a socket that looks idle from here: connections are left a while before they are closed
  for (;;) {
    const nowMs = clock.monotonic()
    if (nowMs - Math.max(startedMs, port.requestedMs) >= quietMs || nowMs - startedMs >= Math.min(graceMs, lameDuckMs))
      break
    if ((await connectionsOf(server)) === 0) break
    await clock.sleep(25)
  }
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const sweep = (): void => {
    server.closeIdleConnections()
    callOffSweep = clock.after(100, sweep)
  }
  let callOffSweep = clock.after(0, sweep)
  await closed
  callOffSweep()
  callOff()
}

// open: this wire has no tokens; who may say what is judged by addresses. Hot: it counts and logs by itself
const routeOptions = {
  config: { access: 'open', hot: true, keyed: 'none' },
  schema: { hide: true, querystring: {} },
} as const

const reply = (answer: FastifyReply, { status, body }: Reply): FastifyReply => {
  void answer.code(status)
  if (body === '') return answer.send()
  return answer.header('content-type', typeOf({ status, body })).send(body)
}

const shuttingDown = 'this server is shutting down'

const addDiscovery = (app: FastifyInstance, { discovery, isMine, downloads, messages }: TransportNeeds): void => {
  // a stopping server sends its workers to the others: to those that start it must not say no, since they would believe it and end
  const stopped: Reply = { status: 503, body: shuttingDown }
  const get = (path: string, answerOf: (request: FastifyRequest) => Promise<string>, whenStopping = stopped): void => {
    app.get(path, routeOptions, async (request, answer) => {
      const room = messages.admit(peerOf(request.raw), 0)
      if (typeof room !== 'function') return reply(answer, room)
      room()
      if (request.server.waits.stopping) return reply(answer, whenStopping)
      return reply(answer, { status: 200, body: await answerOf(request) })
    })
  }
  get('/server/assert', ({ url, raw }) => discovery.assert(queryOf(url), 1, peerOf(raw)))
  get('/server/assertV2', ({ url, raw }) => discovery.assert(queryOf(url), 2, peerOf(raw)))
  // one that is running asks the next server at once, instead of this one twice more
  const elsewhere: Reply = { status: 200, body: resultRefusal(shuttingDown) }
  get('/server/acquire', ({ url, raw }) => discovery.acquire(queryOf(url), peerOf(raw)), elsewhere)
  get('/server/checkConnectivity', ({ url, raw }) =>
    discovery.checkConnectivity(queryOf(url), { peer: peerOf(raw), isMine }),
  )
  app.get(alivePath, routeOptions, async (request, answer) =>
    reply(
      answer,
      request.server.waits.stopping ? { status: 503, body: 'stopping' } : { status: 200, body: resultOf(true) },
    ),
  )
  app.get(downloadPath, routeOptions, async (request, answer) => {
    answer.hijack()
    await downloads.send(queryOf(request.url), answer.raw)
  })
}

const addMessages = (app: FastifyInstance, { messages }: TransportNeeds): void => {
  const rooms = new WeakMap<FastifyRequest, () => void>()
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  for (const path of Object.values(messagePaths)) {
    app.post(
      path,
      {
        ...routeOptions,
        onRequest: async (request, answer) => {
          const room = admission(messages, request.raw)
          if (typeof room !== 'function') return reply(answer, room)
          rooms.set(request, room)
          // whoever hangs up in the middle of a message gets no answer: nothing else would tell of its end
          answer.raw.once('close', () => rooms.get(request)?.())
        },
      },
      async (request, answer) => {
        const room = rooms.get(request)
        rooms.delete(request)
        try {
          const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
          return reply(answer, await messages.receive(path, body, peerOf(request.raw)))
        } finally {
          room?.()
        }
      },
    )
  }
}

/** Builds both ways in; nothing listens yet. */
export const createTransport = (needs: TransportNeeds): Transport => {
  let port: Port | undefined
  let stopped: Promise<void> | undefined
  return {
    plugin: (app) => {
      addDiscovery(app, needs)
      void app.register(async (scope) => addMessages(scope, needs))
    },
    listen: async (host, number) => {
      const opened = openPort(needs)
      await new Promise<void>((resolve, reject) => {
        opened.server.once('error', reject)
        opened.server.listen(number, host, () => {
          opened.server.off('error', reject)
          resolve()
        })
      })
      port = opened
      const address = opened.server.address()
      return typeof address === 'object' && address !== null ? address.port : number
    },
    stop: (graceMs) => (stopped ??= port === undefined ? Promise.resolve() : closePort(needs.clock, port, graceMs)),
  }
}
