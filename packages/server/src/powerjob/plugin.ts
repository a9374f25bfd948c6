// The wire of PowerJob's clients under /openApi: its routes, its bodies, its errors. See docs/from-powerjob.md.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Registry } from 'prom-client'
import type { Clock } from '../kernel/clock.ts'
import { drained } from '../kernel/drain.ts'
import type { Log } from '../kernel/log.ts'
import type { Random } from '../kernel/random.ts'
import { isGone, markPassed, pathBelow, pathFactsOf, prefix } from './addresses.ts'
import { createAnswers, type SendAnswer } from './answers.ts'
import { createAuth, presentedOf, type Auth } from './auth.ts'
import { WireError, type Endpoint } from './call.ts'
import { sentOf } from './caller.ts'
import { createCalls } from './calls.ts'
import { authenticated, failedOf, failure, notFound, success, type RefusalOf } from './envelope.ts'
import type { ExecutionNeeds } from './execution.ts'
import { readFields, readJson } from './input.ts'
import { createWireMetrics } from './metrics.ts'
import type { Resends } from './resends-api.ts'

export interface OpenApiSettings {
  /** Tokens are checked; else a call is for the app that it names. */
  readonly auth: boolean
  /** IANA zone of CRON and daily windows. */
  readonly zone: string
  /** How long a token is good for. */
  readonly tokenSeconds: number
}

export interface OpenApiDeps extends ExecutionNeeds {
  readonly endpoints: readonly Endpoint[]
  readonly resends: Resends
  readonly settings: OpenApiSettings
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly registry: Registry
  /** What the native API makes of an error; undefined: a bug. */
  readonly refusalOf: RefusalOf
}

/** What the HTTP server asks of this wire. */
export interface OpenApi {
  /** Adds the routes. */
  plugin(app: FastifyInstance): void
  /** Whether an address is for this wire, also when nothing is there. */
  isMine(url: string): boolean
  /** The first thing that happens to a reply of this wire, whatever becomes of it. */
  mark(reply: FastifyReply): void
  /** What to answer where no route fits. */
  missing(request: FastifyRequest): Error
  /** The error handler of this wire. */
  answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply>
  /** Forgets what it remembers of apps. */
  forget(): void
}

/** Nothing is at this address. */
class UnknownPath extends Error {
  override readonly name = 'UnknownPath'
}

/** The two calls that need no token. */
const addEntrance = (app: FastifyInstance, auth: Auth, resends: Resends, send: SendAnswer, log: Log): void => {
  const peerOf = (request: FastifyRequest): string => request.raw.socket.remoteAddress ?? ''
  app.post(`${prefix}/authApp`, routeOptions, async (request, reply) => {
    const { headers, body } = sentOf(request)
    const asked = readJson('/authApp', headers['content-type'] ?? '', body, 'object')
    if (isGone(request.raw)) throw new WireError('PowerJobException', 'the client has hung up')
    const { app, jti, token } = await auth.authenticate(asked, peerOf(request))
    try {
      await resends.onIssued(pathFactsOf(request.raw, app.id), jti, await auth.jtiOf(presentedOf(headers)))
    } catch (error) {
      // a token that is not known to have been issued collapses nothing (N3)
      log.warn({ err: error, requestId: request.id }, 'token could not be noted')
    }
    const text = authenticated({ appId: app.id, token, extra: null })
    return send(request, reply, { path: '/authApp', body: text, outcome: 'ok', app: app.name })
  })
  app.post(`${prefix}/assert`, routeOptions, async (request, reply) => {
    const { url, headers, body } = sentOf(request)
    const app = await auth.assert(readFields(url, headers['content-type'] ?? '', body), peerOf(request))
    return send(request, reply, { path: '/assert', body: success(app.id), outcome: 'ok', app: app.name })
  })
}

// open for the native API: this wire has tokens of its own. Hot: it writes its own line for each call
const routeOptions = {
  config: { access: 'open', hot: true, keyed: 'none' },
  // forms may come as a query as well, and are read in one place
  schema: { hide: true, querystring: {} },
} as const

/** Builds the wire; nothing happens before its routes are added. */
export const createOpenApi = (deps: OpenApiDeps): OpenApi => {
  const { endpoints, resends, settings, clock, random, log, registry, services, refusalOf } = deps
  const { auth: checked, zone, tokenSeconds } = settings
  const paths = new Set(['/authApp', '/assert', ...endpoints.map(({ path }) => path)])
  const metrics = createWireMetrics(registry)
  const auth = createAuth({ db: services.db, clock, random, tokenSeconds })
  const send = createAnswers({ clock, log, metrics, paths })
  const handlerOf = createCalls({ ...deps, auth, checked, zone, metrics, send })

  const answerError = async (error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const path = pathBelow(request.url) ?? ''
    // Fastify would hang up on a body that it has not read; node reads it to its end
    void reply.removeHeader('connection')
    if (error instanceof UnknownPath) {
      const body = notFound(`${prefix}${path}`)
      return send(request, reply, { path, status: 404, body, outcome: 'unknown-path' })
    }
    const failed = failedOf(error, request.id, refusalOf)
    const about = { requestId: request.id, path, err: error }
    if (failed.kind === 'bug') log.error(about, 'openapi call failed')
    if (failed.kind === 'outage') log.warn(about, 'openapi call met an outage')
    if (!request.raw.readableEnded && failed.tooLarge) await drained(request.raw)
    return send(request, reply, {
      path,
      body: failure(failed.error),
      outcome: failed.kind === 'refused' ? 'refused' : 'failed',
    })
  }

  return {
    isMine: (url) => pathBelow(url) !== undefined,
    mark: (reply) => markPassed(reply.raw, true),
    missing: ({ url, method }) =>
      paths.has(pathBelow(url) ?? '')
        ? new WireError('HttpRequestMethodNotSupportedException', `Request method '${method}' not supported`)
        : new UnknownPath(),
    answerError,
    forget: auth.forget,
    plugin: (app) => {
      app.setErrorHandler(answerError)
      app.removeAllContentTypeParsers()
      // whatever comes is read as bytes: which type an endpoint takes is judged after the token
      app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
      app.addHook('onRequest', (_request, reply, done) => {
        markPassed(reply.raw, true)
        done()
      })
      addEntrance(app, auth, resends, send, log)
      for (const endpoint of endpoints) app.post(`${prefix}${endpoint.path}`, routeOptions, handlerOf(endpoint))
    },
  }
}
