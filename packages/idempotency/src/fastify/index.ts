// The Fastify plugin: guards the routes whose config asks for it, and answers repeats.
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify'
import type { GuardedRequest } from '../fingerprint.ts'
import { keptAnswer } from '../guard/answers.ts'
import type { Decision } from '../guard/guard.ts'
import type { IssueOptions } from '../guard/issuing.ts'
import { issueTo } from '../guard/issuing.ts'
import type { KeyGuardOptions, KeyUse } from '../guard/key-guard.ts'
import { createKeyGuard } from '../guard/key-guard.ts'
import type { GuardEvent, ProtectedCall } from '../guard/protected-call.ts'
import type { TimeGuardOptions } from '../guard/time-guard.ts'
import { createTimeGuard } from '../guard/time-guard.ts'
import type { TokenGuardOptions, TokenMode, TokenUse } from '../guard/token-guard.ts'
import { createTokenGuard } from '../guard/token-guard.ts'
import type { Problem } from '../problems.ts'
import { IdempotencyRefusal, problemAnswer } from '../problems.ts'
import type { TransactionAnswer } from '../transaction.ts'

export interface OnceTokenRoute {
  /** The operation that the token must have been issued for. */
  readonly operation: string
  /** Default that of the plugin. */
  readonly mode?: TokenMode
  /** The handler uses the token up itself, by `withOnceToken(client, request.onceToken, …)`. */
  readonly transactional?: boolean
}

export interface RequestKeyRoute {
  /** The handler uses the key itself, by `withRequestKey(client, request.requestKey, …)`. */
  readonly transactional?: boolean
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** This route needs a one-time token. */
    onceToken?: OnceTokenRoute
    /** `false`: this route is not guarded by request keys. */
    requestKey?: RequestKeyRoute | false
    /** This route's requests must say when they were made. */
    requestTime?: boolean
  }
  interface FastifyRequest {
    /** On routes with `onceToken`: the token, its signature checked. */
    onceToken: TokenUse | undefined
    /** The request key, on routes guarded by them, when the caller sent one. */
    requestKey: KeyUse | undefined
  }
}

/** What to guard with; a part that is left out is off. */
export interface IdempotencyPluginOptions {
  readonly onceTokens?: TokenGuardOptions<FastifyRequest>
  /** Guards every mutating route, but those with a one-time token and those whose config says `requestKey: false`. */
  readonly requestKeys?: KeyGuardOptions<FastifyRequest>
  /** For routes whose config says `requestTime: true`. */
  readonly requestTime?: TimeGuardOptions
}

const guardedRequest = (request: FastifyRequest): GuardedRequest => {
  const [path = '', query = ''] = request.url.split(/\?(.*)/s, 2)
  return {
    method: request.method,
    route: request.routeOptions.url ?? path,
    path,
    query,
    headers: request.headers,
    body: request.body,
    requestId: request.id,
  }
}

const sendProblem = (reply: FastifyReply, problem: Problem): FastifyReply => {
  const { status, headers, body } = problemAnswer(problem, reply.request.id)
  return reply.code(status).headers(headers).serializer(String).send(body)
}

/** Sends what `withOnceToken` or `withRequestKey` answered. */
export const sendAnswer = (reply: FastifyReply, { status, headers, marks, body }: TransactionAnswer): FastifyReply =>
  reply
    .code(status)
    .headers({ ...headers, ...marks })
    // An empty Buffer would get a media type.
    .send(body.byteLength === 0 ? undefined : Buffer.from(body))

const logged = (request: FastifyRequest) => (event: GuardEvent) => {
  const facts = { record: event.record, ...(event.error === undefined ? {} : { err: event.error }) }
  const serious = event.kind === 'store-failed' || event.kind === 'lost' || event.kind === 'unprotected'
  if (serious) request.log.warn(facts, `idempotency: ${event.kind}`)
  else request.log.info(facts, `idempotency: ${event.kind}`)
}

/** The bytes of a payload; undefined for streams. */
const payloadBytes = (payload: unknown): Uint8Array | undefined => {
  if (payload === null || payload === undefined) return new Uint8Array()
  if (typeof payload === 'string') return Buffer.from(payload)
  return payload instanceof Uint8Array ? payload : undefined
}

interface InHand {
  readonly call: ProtectedCall
  readonly keepHeaders: readonly string[]
}

interface Guards {
  readonly beginToken: (use: TokenUse, request: FastifyRequest) => Promise<Decision>
  readonly beginKey: (use: KeyUse, request: FastifyRequest) => Promise<Decision>
  readonly enter: (request: FastifyRequest) => Problem | undefined
}

const reportOf =
  (given: ((event: GuardEvent) => void) | undefined, request: FastifyRequest) =>
  (event: GuardEvent): void =>
    (given ?? logged(request))(event)

const createGuards = ({ onceTokens, requestKeys, requestTime }: IdempotencyPluginOptions): Guards => {
  // Checks need no report; claims report to the log of their own request.
  const tokenGuard = onceTokens === undefined ? undefined : createTokenGuard(onceTokens)
  const keyGuard = requestKeys === undefined ? undefined : createKeyGuard(requestKeys)
  const timeProblem = requestTime === undefined ? undefined : createTimeGuard(requestTime)

  const enter: Guards['enter'] = (request) => {
    const { onceToken, requestKey, requestTime: timed } = request.routeOptions.config
    const seen = guardedRequest(request)
    const late = timed === true ? timeProblem?.(seen) : undefined
    if (late !== undefined) return late
    if (onceToken !== undefined) {
      if (tokenGuard === undefined) throw new Error('the route has onceToken, but the plugin got no onceTokens')
      const entry = tokenGuard.enter(request, seen, onceToken.operation, onceToken.mode)
      if (entry.kind === 'refuse') return entry.problem
      request.onceToken = entry.use
    } else if (keyGuard !== undefined && requestKey !== false) {
      const entry = keyGuard.enter(request, seen)
      if (entry.kind === 'refuse') return entry.problem
      if (entry.kind === 'use') request.requestKey = entry.use
    }
    return undefined
  }

  return {
    enter,
    beginToken: async (use, request) => {
      if (onceTokens === undefined) return { kind: 'pass' }
      const report = reportOf(onceTokens.report, request)
      return createTokenGuard<FastifyRequest>({ ...onceTokens, report }).begin(use)
    },
    beginKey: async (use, request) => {
      if (requestKeys === undefined) return { kind: 'pass' }
      const report = reportOf(requestKeys.report, request)
      return createKeyGuard<FastifyRequest>({ ...requestKeys, report }).begin(use)
    },
  }
}

/** The claim to make before the handler; undefined when there is none, or when the handler makes it itself. */
const claimFor = (guards: Guards, request: FastifyRequest): Promise<Decision> | undefined => {
  const { onceToken, requestKey } = request.routeOptions.config
  if (request.onceToken !== undefined) {
    return onceToken?.transactional === true ? undefined : guards.beginToken(request.onceToken, request)
  }
  if (request.requestKey !== undefined) {
    const transactional = typeof requestKey === 'object' && requestKey.transactional === true
    return transactional ? undefined : guards.beginKey(request.requestKey, request)
  }
  return undefined
}

const guardRoutes = (app: FastifyInstance, options: IdempotencyPluginOptions): void => {
  const guards = createGuards(options)
  const inHand = new WeakMap<FastifyRequest, InHand>()
  const refusals = new WeakMap<FastifyRequest, Problem>()
  app.decorateRequest('onceToken', undefined)
  app.decorateRequest('requestKey', undefined)

  // Here the body is parsed and not yet changed by defaults. What is wrong is said after validation only.
  app.addHook('preValidation', async (request) => {
    const problem = guards.enter(request)
    if (problem !== undefined) refusals.set(request, problem)
  })

  app.addHook('preHandler', async (request, reply) => {
    const refused = refusals.get(request)
    if (refused !== undefined) return sendProblem(reply, refused)
    const decision = await claimFor(guards, request)
    if (decision === undefined || decision.kind === 'pass') return undefined
    if (decision.kind === 'refuse') return sendProblem(reply, decision.problem)
    if (decision.kind === 'replay') {
      return sendAnswer(reply, { ...decision.answer, marks: decision.headers, replayed: true })
    }
    if (request.raw.socket.destroyed) {
      // The caller has gone and nothing was done yet: his next try must not find the claim of this one.
      await decision.call.abandon()
      return reply.hijack()
    }
    const keepHeaders = (request.onceToken === undefined ? options.requestKeys : options.onceTokens)?.keepHeaders ?? []
    inHand.set(request, { call: decision.call, keepHeaders })
    reply.headers(decision.headers)
    return undefined
  })

  // Only a request that owns a claim is here: our own refusals and replays are never stored over a record.
  app.addHook('onSend', async (request, reply, payload) => {
    const held = inHand.get(request)
    if (held !== undefined) {
      const { statusCode } = reply
      await held.call.settle(
        statusCode,
        keptAnswer(statusCode, reply.getHeaders(), payloadBytes(payload), held.keepHeaders),
      )
    }
    return payload
  })

  // A hijacked reply passes no onSend; what it answered is unknown, so the record says only that it is done.
  app.addHook('onResponse', async (request, reply) => {
    await inHand.get(request)?.call.settle(reply.statusCode, undefined)
  })
}

/**
 * Guards routes by one-time tokens, request keys and request times. Register it before the routes.
 *
 *     await app.register(idempotency, { onceTokens: { tokens }, requestKeys: { keys } })
 *     app.post('/order/create', { config: { onceToken: { operation: 'createOrder' } } }, handler)
 */
export const idempotency: FastifyPluginCallback<IdempotencyPluginOptions> = (app, options, done) => {
  guardRoutes(app, options)
  done()
}

// So that the hooks reach the routes beside the plugin, not only those inside; what fastify-plugin does.
Object.assign(idempotency, { [Symbol.for('skip-override')]: true, [Symbol.for('fastify.display-name')]: 'idempotency' })

export type IssueRouteOptions = IssueOptions<FastifyRequest>

/** A handler that issues tokens: `app.post('/once-tokens', issueOnceTokens({ … }))`. */
export const issueOnceTokens =
  (options: IssueRouteOptions) =>
  async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    reply.header('cache-control', 'no-store')
    const issuing = await issueTo(options, request, request)
    if (issuing.kind === 'issued') return reply.code(201).send(issuing.token)
    if (issuing.error !== undefined) request.log.warn({ err: issuing.error }, 'idempotency: store-failed')
    return sendProblem(reply, issuing.problem)
  }

/** Sends a refusal that `withOnceToken` or `withRequestKey` threw. Call it from your error handler; false: it is not ours. */
export const sendRefusal = (error: unknown, reply: FastifyReply): boolean => {
  if (!(error instanceof IdempotencyRefusal)) return false
  void sendProblem(reply, error.problem)
  return true
}
