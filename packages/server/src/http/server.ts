// The HTTP server: one Fastify app with the rules that hold for every route, and its orderly end.
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { Registry } from 'prom-client'
import { Refusal } from '@oncejob/protocol'
import type { SessionsApi } from '../dispatch/api.ts'
import type { Clock, Millis } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import type { Random } from '../kernel/random.ts'
import type { OpenApi } from '../powerjob/plugin.ts'
import type { RequestKeys } from '../requests/keys.ts'
import { createAuth, type Auth } from './auth.ts'
import { acceptJson, bodyLimitBytes } from './body.ts'
import { answerBrokenHttp, noteOpenApi } from './broken-http.ts'
import { routeGuard } from './guard.ts'
import { keyedRoutes } from './keyed.ts'
import { observer } from './observe.ts'
import { describeRoutes } from './openapi.ts'
import { answerErrors, refusalOf, sendProblem } from './problems.ts'
import { appRoutes } from './routes/apps.ts'
import { auditLogRoutes } from './routes/audit-log.ts'
import { docsRoutes } from './routes/docs.ts'
import { healthRoutes } from './routes/health.ts'
import { meRoutes } from './routes/me.ts'
import { namespaceRoutes } from './routes/namespaces.ts'
import { requestKeyRoutes } from './routes/request-keys.ts'
import { runWriteRoutes } from './routes/runs-write.ts'
import { tokenRoutes } from './routes/tokens.ts'
import { workerRoutes } from './routes/worker.ts'
import type { JoinServices, Services } from './services.ts'
import type { Access, HttpApp, RoutePlugin, Waits } from './types.ts'
import { compileSchema } from './validation.ts'

export interface HttpDeps {
  readonly services: Services
  /** Builds the services on a transaction, for calls with a request key. */
  readonly join: JoinServices
  readonly keys: RequestKeys
  readonly sessions: SessionsApi
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly registry: Registry
  /** Version of the server, for health and the OpenAPI document. */
  readonly version: string
  /** Why the server can not work at the moment; undefined when it can. */
  readonly ready: () => Promise<string | undefined>
  /** Further routes. */
  readonly routes: readonly RoutePlugin[]
  /** The wire of PowerJob's clients; undefined: nothing is under /openApi. */
  readonly openApi?: OpenApi
}

export interface HttpServer {
  readonly app: HttpApp
  /** Resolves with the address once connections are accepted. Port 0: any free one. */
  listen(host: string, port: number): Promise<string>
  /**
   * Takes no new requests (they are told SHUTTING_DOWN), ends the waiting of polls and streams, lets the
   * others finish, and cuts off after `graceMs` what is left. Twice is fine.
   */
  stop(graceMs: Millis): Promise<void>
}

const newApp = (deps: HttpDeps): HttpApp => {
  const prefix = Buffer.from(deps.random.bytes(5)).toString('hex')
  let count = 0
  const nextId = (): string => {
    count += 1
    return `${prefix}-${count.toString(36)}`
  }
  return Fastify({
    logger: false,
    bodyLimit: bodyLimitBytes,
    // longer than the idle time of usual proxies, and than the 5 min for which PowerJob's clients keep a connection: who closes
    // one on which a call is under way makes such a client send the call again
    keepAliveTimeout: 320_000,
    // whoever heeds the announced time closes first; its last call may still be on the way
    http: { keepAliveTimeoutBuffer: 30_000 },
    requestTimeout: 120_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    exposeHeadRoutes: false,
    requestIdHeader: false,
    genReqId: nextId,
    routerOptions: { maxParamLength: 4096 },
    frameworkErrors: (error, request, reply) => {
      if (deps.openApi?.isMine(request.url) === true) {
        request.startedAtMs = deps.clock.monotonic()
        deps.openApi.mark(reply)
        void deps.openApi.answerError(deps.openApi.missing(request), request, reply)
        return
      }
      void sendProblem(
        request,
        reply,
        refusalOf(error) ?? new Refusal('ROUTE_NOT_FOUND', 'The address can not be read.'),
      )
    },
    clientErrorHandler: (error, socket) => answerBrokenHttp(error, socket, nextId(), deps.openApi),
  }).withTypeProvider<TypeBoxTypeProvider>()
}

const shuttingDown = (): Refusal =>
  new Refusal(
    'SHUTTING_DOWN',
    'Send the call again with the same request key, to another server or when this one is back.',
  )

type Done = (error?: Error) => void

/** The first thing that happens to a request of a route. Synchronous when the token is known: the hot path waits for nothing. */
const admission = (auth: Auth, waits: Waits, access: Access) => {
  return (request: FastifyRequest, _reply: FastifyReply, done: Done): void => {
    if (waits.stopping && access !== 'open') return done(shuttingDown())
    let pending: void | Promise<void>
    try {
      pending = auth.admit(request, access)
    } catch (error) {
      // handed on to the error handler
      return done(error instanceof Error ? error : new Error(String(error)))
    }
    if (pending === undefined) done()
    else pending.then(() => done(), done)
  }
}

const addRules = (app: HttpApp, deps: HttpDeps, auth: Auth, waits: Waits): void => {
  const guard = routeGuard()
  const observed = observer(deps)
  app.decorate('waits', waits)
  for (const name of ['principal', 'appId', 'ending', 'answer', 'joined'] as const) app.decorateRequest(name, null)
  app.decorateRequest('keyRequired', false)
  app.decorate('services', deps.services)
  const keyed = keyedRoutes({ keys: deps.keys, join: deps.join, clock: deps.clock })
  app.decorateRequest('startedAtMs', 0)
  app.setValidatorCompiler(compileSchema)
  const answerError = answerErrors(deps.log)
  const { openApi } = deps
  app.setErrorHandler((error, request, reply) =>
    openApi?.isMine(request.url) === true
      ? openApi.answerError(error, request, reply)
      : answerError(error, request, reply),
  )
  acceptJson(app)
  app.addHook('onRoute', (route) => {
    const access = guard.check(route)
    const answered = observed.ofRoute(route)
    keyed(route)
    // 20 assignments take JSON.stringify 23 µs and the compiled schema, with its unions, 47 µs
    if (route.config?.hot === true) route.serializerCompiler = () => JSON.stringify
    route.onRequest = [admission(auth, waits, access), ...[route.onRequest ?? []].flat()]
    route.onResponse = [
      (request, reply, done) => {
        answered(request, reply)
        done()
      },
      ...[route.onResponse ?? []].flat(),
    ]
  })
  app.addHook('onRequest', (request, reply, done) => {
    const forOpenApi = openApi?.isMine(request.url) === true
    if (forOpenApi) {
      openApi.mark(reply)
      noteOpenApi(request.raw.socket)
    }
    request.startedAtMs = deps.clock.monotonic()
    waits.requestedMs = request.startedAtMs
    request.answer = reply.raw
    void reply.header('x-request-id', request.id)
    if (!request.is404) return done()
    // also while stopping: its clients take no for an answer, and do not ask another server
    if (forOpenApi) return done(openApi.missing(request))
    if (waits.stopping) return done(shuttingDown())
    const { refusal, allow } = guard.missing(request.method, request.url)
    if (allow !== undefined) void reply.header('allow', allow)
    done(refusal)
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (waits.stopping) void reply.header('connection', 'close')
    done()
  })
}

// how often connections that fell silent during a stop are looked for
const sweepMs: Millis = 100
// a stopping server keeps its connections until none has brought a request for so long, but no longer than that
const quietMs: Millis = 250
const lameDuckMs: Millis = 2_000

const openConnections = (app: HttpApp): Promise<number> =>
  new Promise((resolve) => app.server.getConnections((error, count) => resolve(error === null ? count : 0)))

/**
 * Goes on answering, with SHUTTING_DOWN and `Connection: close`, before any connection is cut: a request may already be in
 * a socket that looks idle from here, and its caller would never know what became of it.
 */
const lameDuck = async (app: HttpApp, clock: Clock, waits: Waits, graceMs: Millis): Promise<void> => {
  const startedMs = clock.monotonic()
  for (;;) {
    const nowMs = clock.monotonic()
    const silentMs = nowMs - Math.max(startedMs, waits.requestedMs)
    if (silentMs >= quietMs || nowMs - startedMs >= Math.min(graceMs, lameDuckMs)) return
    if ((await openConnections(app)) === 0) return
    await clock.sleep(25)
  }
}

const stopper = (app: HttpApp, clock: Clock, waits: Waits) => {
  let stopped: Promise<void> | undefined
  const end = async (graceMs: Millis): Promise<void> => {
    waits.stopping = true
    for (const controller of waits.controllers) controller.abort()
    await lameDuck(app, clock, waits, graceMs)
    const sweep = (): void => {
      app.server.closeIdleConnections()
      callOffSweep = clock.after(sweepMs, sweep)
    }
    let callOffSweep = clock.after(sweepMs, sweep)
    const callOffForce = clock.after(graceMs, () => app.server.closeAllConnections())
    try {
      await app.close()
    } finally {
      callOffSweep()
      callOffForce()
    }
  }
  return (graceMs: Millis): Promise<void> => (stopped ??= end(graceMs))
}

/** Builds the server; nothing happens before listen (or app.ready, for requests without a socket). */
export const createHttp = (deps: HttpDeps): HttpServer => {
  const app = newApp(deps)
  const waits: Waits = { controllers: new Set(), stopping: false, requestedMs: 0 }
  const auth = createAuth(deps.services.db, deps.clock)
  addRules(app, deps, auth, waits)
  describeRoutes(app, deps.version)
  const forgetApps = (): void => {
    auth.forget()
    deps.openApi?.forget()
  }
  const plugins: RoutePlugin[] = [
    healthRoutes(deps, waits),
    docsRoutes(deps.random),
    meRoutes(),
    namespaceRoutes(deps.services.db),
    appRoutes({ db: deps.services.db, random: deps.random, forget: forgetApps }),
    tokenRoutes(deps.services.db, deps.random, auth),
    auditLogRoutes(deps.services.db),
    runWriteRoutes(deps.keys, deps.clock),
    requestKeyRoutes(deps.services.db),
    workerRoutes(deps.sessions),
    ...deps.routes,
  ]
  void app.register(async (scope: HttpApp) => {
    for (const plugin of plugins) plugin(scope)
  })
  const { openApi } = deps
  if (openApi !== undefined) void app.register(async (scope) => openApi.plugin(scope))
  return {
    app,
    listen: (host, port) => app.listen({ host, port }),
    stop: stopper(app, deps.clock, waits),
  }
}
