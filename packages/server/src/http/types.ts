// What every route file needs: the typed app, who asks, for which app, with which request key.
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawServerDefault } from 'fastify'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type, type Static, type TProperties } from 'typebox'
import { Refusal, type ErrorCode, type tokenScopes } from '@oncejob/protocol'
import { invariant } from '../kernel/errors.ts'
import { keyIn } from '../requests/keys.ts'
import { parseTime } from './time.ts'

/** Fastify with the TypeBox provider: bodies, queries and answers are typed by the schemas of the route. */
export type HttpApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** Adds routes to the app. Synchronous: everything it needs was passed to the function that made it. */
export type RoutePlugin = (app: HttpApp) => void

/**
 * Who may call a route. `admin`: admin tokens; `app`: every token, for one app (an admin token names it with
 * `?app=`); `any`: every token, an app is optional; `open`: everyone, without a token.
 */
export type Access = 'admin' | 'app' | 'any' | 'open'

/** The token behind a request. */
export interface Principal {
  readonly tokenId: number
  /** Name of the token; the actor of audit entries. */
  readonly name: string
  readonly scope: (typeof tokenScopes)[number]
  /** The app of the token; null for an admin token. */
  readonly appId: number | null
  readonly app: string | null
  readonly namespace: string | null
  /** Its app takes no change without a request key. */
  readonly keysRequired: boolean
}

/** The requests that wait for something, so that a stop can end their waiting. */
export interface Waits {
  readonly controllers: Set<AbortController>
  stopping: boolean
  /** When the last request came, by the monotonic clock. */
  requestedMs: number
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Every route says it; the server refuses to start with a route that does not. */
    access?: Access
    /** Called thousands of times a second: it gets no line in the log. */
    hot?: boolean
    /**
     * How a mutating route heeds request keys: its handler runs in one transaction with the key (the default), the
     * statement behind it takes the key, or the route has no use for one (it changes nothing, or its items have an identity).
     */
    keyed?: 'transaction' | 'statement' | 'none'
    /** Its handler is one transaction also when the call has no request key: it changes more than one thing. */
    atomic?: boolean
    /** Member of the answer that is shown once, and not kept for repeats. */
    secret?: string
    /** What a fingerprint takes instead of the body, which has a secret that must not be guessed from it. */
    fingerprintBody?: (body: unknown, key: string) => Promise<unknown>
    /** Refusals of this route beside the ones that every route has; for the OpenAPI document. */
    problems?: readonly ErrorCode[]
  }
  interface FastifyRequest {
    principal: Principal | null
    /** The app that the request is for, once it is authenticated. */
    appId: number | null
    /** The app takes no change without a request key. */
    keyRequired: boolean
    /** Aborts when the client is gone or the server stops; made on demand, see signalOf. */
    ending: AbortController | null
    /** The answer under way; signalOf watches whether its connection lasts. */
    answer: ServerResponse | null
    /** On the clock that only grows. */
    startedAtMs: number
  }
  interface FastifyInstance {
    waits: Waits
  }
}

/** The token behind the request. Not for `open` routes. */
export const principalOf = (request: FastifyRequest): Principal => {
  invariant(request.principal !== null, 'a route that asks for its principal is not open')
  return request.principal
}

/**
 * The app that the request is for: the token's own, or for an admin token the one named by `?app=`.
 * @throws Refusal APP_REQUIRED when an admin token names none (routes with access `app` have been checked before)
 */
export const appIdOf = (request: FastifyRequest): number => {
  if (request.appId === null) throw new Refusal('APP_REQUIRED', 'Add ?app=<name of the app> to the address.')
  return request.appId
}

/**
 * The request key of a mutating call, or null when it has none.
 * @throws Refusal IDEMPOTENCY_KEY_INVALID
 */
export const requestKeyOf = ({ headers }: FastifyRequest): string | null => keyIn(headers['idempotency-key'])

/**
 * A signal that aborts when the client is gone or the server is stopping: whatever waits for long
 * (polls, waitMs, streams) ends with it.
 */
export const signalOf = (request: FastifyRequest): AbortSignal => {
  if (request.ending !== null) return request.ending.signal
  const controller = new AbortController()
  const { waits } = request.server
  const { answer } = request
  request.ending = controller
  waits.controllers.add(controller)
  answer?.once('close', () => {
    waits.controllers.delete(controller)
    if (!answer.writableFinished) controller.abort()
  })
  if (waits.stopping || answer?.destroyed === true) controller.abort()
  return controller.signal
}

/** An id in a path as it was sent. @throws Refusal `code` when it is not a positive integer below 2^53 */
export const readId = (text: string, code: ErrorCode): number => {
  const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : 0
  if (id < 1 || !Number.isSafeInteger(id))
    throw new Refusal(code, 'Nothing has this id: an id is a positive integer below 2^53.')
  return id
}

/**
 * A job in a path or a body: digits are an id, everything else is a name within the app.
 * @throws Refusal JOB_NOT_FOUND when the digits are no possible id
 */
export const readJobRef = (text: string): number | string => (/^\d+$/.test(text) ? readId(text, 'JOB_NOT_FOUND') : text)

/** A problem in the request that its schema can not express. `path` is a JSON pointer into the body, or `?name`. */
export const invalid = (path: string, says: string): Refusal =>
  new Refusal('REQUEST_INVALID', `${path}: ${says}`, { issues: [{ path, says }] })

/**
 * A time in a body or a query, as ms since the epoch; null stays null, undefined becomes null.
 * @throws Refusal REQUEST_INVALID when it is no RFC 3339 time with an offset
 */
export const readTime = (text: string | null | undefined, path: string): number | null => {
  if (text === null || text === undefined) return null
  const atMs = parseTime(text)
  if (atMs === undefined) throw invalid(path, 'is no time; write RFC 3339 with an offset, like 2026-11-25T09:30:00Z')
  return atMs
}

/**
 * Schema of a query string: the given fields and `app`, nothing else. Use it for every route with a query;
 * routes without one get `queryOf({})`. Values are converted from text, and defaults are filled in.
 */
export const queryOf = <P extends TProperties>(fields: P) =>
  Type.Object(
    {
      ...fields,
      app: Type.Optional(Type.String({ description: 'With an admin token: the name of the app that is meant' })),
    },
    { additionalProperties: false },
  )

/** Schema of path parameters: text, judged by readId and readJobRef (a malformed id is a 404, not a 400). */
export const pathOf = <K extends string>(...names: K[]) =>
  // the type is said here because fromEntries forgets the names
  Type.Unsafe<Record<K, string>>(Type.Object(Object.fromEntries(names.map((name) => [name, Type.String()]))))

/** Schema of an answer without a body (204). */
export const Nothing = Type.Null({ description: 'No content' })

export type QueryOf<P extends TProperties> = Static<ReturnType<typeof queryOf<P>>>
