// One small web API in both frameworks, so that one suite asks the same of both.
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { Readable } from 'node:stream'
import express from 'express'
import fastify, { type FastifyReply } from 'fastify'
import * as onExpress from '../express/index.ts'
import * as onFastify from '../fastify/index.ts'
import type { KeyGuardOptions } from '../guard/key-guard.ts'
import type { TimeGuardOptions } from '../guard/time-guard.ts'
import type { TokenGuardOptions } from '../guard/token-guard.ts'

export interface HandlerAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** JSON. */
  readonly body?: unknown
  readonly bytes?: Buffer
  readonly stream?: readonly string[]
}

/** What the routes do. Throwing is a failure of the handler. */
export type Handle = (body: unknown) => Promise<HandlerAnswer>

export interface TestAppOptions {
  readonly tokens?: Omit<TokenGuardOptions<never>, 'account' | 'token'>
  readonly keys?: Omit<KeyGuardOptions<never>, 'account'>
  readonly time?: TimeGuardOptions
  readonly handle: Handle
}

export interface TestApp {
  readonly url: string
  /** How many connections have ended, as the server sees it. */
  endedConnections(): number
  close(): Promise<void>
}

const countEnded = (server: Server): (() => number) => {
  let ended = 0
  server.on('connection', (socket: Socket) => socket.once('close', () => (ended += 1)))
  return () => ended
}

/**
 * Routes: POST /once-tokens; POST /token/create (needs `item` in the body) and POST /token/cancel behind tokens for
 * `createOrder` and `cancelOrder`; anything under /key/ behind request keys; POST /time behind the time window.
 */
export type StartApp = (options: TestAppOptions) => Promise<TestApp>

const operations = ['createOrder', 'cancelOrder']

export const startFastify: StartApp = async ({ tokens, keys, time, handle }) => {
  const app = fastify({ forceCloseConnections: true })
  await app.register(onFastify.idempotency, {
    ...(tokens === undefined ? {} : { onceTokens: tokens }),
    ...(keys === undefined ? {} : { requestKeys: keys }),
    ...(time === undefined ? {} : { requestTime: time }),
  })
  const route = async (request: { body: unknown }, reply: FastifyReply) => {
    const { status, headers, body, bytes, stream } = await handle(request.body)
    reply.code(status).headers(headers ?? {})
    if (stream !== undefined) return reply.type('text/plain').send(Readable.from(stream))
    return reply.send(bytes ?? body)
  }
  if (tokens !== undefined) {
    app.post(
      '/once-tokens',
      { config: { requestKey: false } },
      onFastify.issueOnceTokens({ tokens: tokens.tokens, operations }),
    )
    const schema = {
      body: { type: 'object', required: ['item'], properties: { note: { type: 'string', default: 'none' } } },
    }
    app.post('/token/create', { schema, config: { onceToken: { operation: 'createOrder' } } }, route)
    app.post('/token/cancel', { config: { onceToken: { operation: 'cancelOrder' } } }, route)
  }
  if (keys !== undefined)
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])
      app.route({ method, url: '/key/:id', handler: route })
  if (time !== undefined) app.post('/time', { config: { requestTime: true, requestKey: false } }, route)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { url, endedConnections: countEnded(app.server), close: () => app.close() }
}

export const startExpress: StartApp = async ({ tokens, keys, time, handle }) => {
  const app = express()
  app.use(express.json())
  const route: express.RequestHandler = async (req, res) => {
    const { status, headers, body, bytes, stream } = await handle(req.body)
    res.status(status).set(headers ?? {})
    if (stream !== undefined) Readable.from(stream).pipe(res.type('text/plain'))
    else if (bytes !== undefined) res.send(bytes)
    else if (body === undefined) res.end()
    else res.json(body)
  }
  if (tokens !== undefined) {
    app.post('/once-tokens', onExpress.issueOnceTokens({ tokens: tokens.tokens, operations }))
    const valid: express.RequestHandler = (req, res, next) => {
      if (typeof req.body === 'object' && req.body !== null && 'item' in req.body) next()
      else res.status(400).json({ error: 'item is missing' })
    }
    app.post('/token/create', valid, onExpress.onceToken({ ...tokens, operation: 'createOrder' }), route)
    app.post('/token/cancel', onExpress.onceToken({ ...tokens, operation: 'cancelOrder' }), route)
  }
  if (keys !== undefined) app.all('/key/:id', onExpress.requestKey(keys), route)
  if (time !== undefined) app.post('/time', onExpress.requestTime(time), route)
  const failed: express.ErrorRequestHandler = (_error, _req, res, _next) => {
    res.status(500).json({ error: 'failed' })
  }
  app.use(failed)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    endedConnections: countEnded(server),
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
