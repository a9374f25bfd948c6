// Request keys on the wire: every mutating route answers a repeat as it answered the first call (contract 3a).
import type { FastifyReply, FastifyRequest, RouteHandlerMethod, RouteOptions } from 'fastify'
import { Refusal } from '@oncejob/protocol'
import { deduplicatedHeader } from '../dispatch/created.ts'
import { dateOf, type Clock } from '../kernel/clock.ts'
import { fingerprintOf } from '../requests/fingerprint.ts'
import { keyHeaders, type RequestKeys } from '../requests/keys.ts'
import type { Queries } from '../storage/db.ts'
import type { KnownKey, RequestKey, StoredAnswer } from '../storage/request-keys.ts'
import type { JoinServices } from './services.ts'
import { requestKeyOf } from './types.ts'

interface Needs {
  readonly keys: RequestKeys
  readonly join: JoinServices
  readonly clock: Clock
}

const keptHeaders = ['location', 'etag', 'content-type', 'cache-control', deduplicatedHeader] as const
const reading = new Set(['GET', 'HEAD', 'OPTIONS'])

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/** The key of a call and what it stands for; null when the call has none. `body`: as the fingerprint takes it. */
export const keyOf = (request: FastifyRequest, body: unknown = request.body): RequestKey | null => {
  const key = requestKeyOf(request)
  if (key === null) return null
  const { method, url, query } = request
  const { 'if-match': ifMatch } = request.headers
  return {
    appId: request.appId ?? 0,
    key,
    // the body as it was parsed: validation of bodies fills nothing in
    fingerprint: fingerprintOf({
      method,
      path: url.split('?', 1)[0] ?? url,
      query: isObject(query) ? query : {},
      ifMatch,
      body,
    }),
    requestId: request.id,
    route: `${method} ${(request.routeOptions.url ?? '').replaceAll('::', ':')}`,
  }
}

/** Headers that tell of the key, on the first answer and on each repeat. */
export const tellKey = (
  reply: FastifyReply,
  key: RequestKey,
  replayOf: KnownKey | undefined,
  expiresAt: string,
): void => {
  void reply.headers(keyHeaders(key.key, replayOf, expiresAt))
}

/** What is kept of an answer. A secret is shown once: the kept body says so instead. */
const storedOf = (
  reply: FastifyReply,
  body: unknown,
  secret: string | undefined,
): { sent: string | null; stored: StoredAnswer } => {
  const headers: Record<string, string> = {}
  for (const name of keptHeaders) {
    const value = reply.getHeader(name)
    if (typeof value === 'string') headers[name] = value
  }
  if (body === null || body === undefined)
    return { sent: null, stored: { status: reply.statusCode, headers: JSON.stringify(headers), body: null } }
  headers['content-type'] = 'application/json; charset=utf-8'
  const serialized = reply.serialize(body)
  const sent = typeof serialized === 'string' ? serialized : JSON.stringify(body)
  const kept =
    secret === undefined || !isObject(body) ? sent : JSON.stringify({ ...body, [secret]: null, secretShownOnce: true })
  return { sent, stored: { status: reply.statusCode, headers: JSON.stringify(headers), body: kept } }
}

/** Sends a kept answer. */
export const replay = (reply: FastifyReply, answer: StoredAnswer): FastifyReply => {
  const headers: unknown = JSON.parse(answer.headers)
  if (isObject(headers)) for (const [name, value] of Object.entries(headers)) void reply.header(name, value)
  return reply.code(answer.status).send(answer.body)
}

const required = (): Refusal =>
  new Refusal(
    'IDEMPOTENCY_KEY_REQUIRED',
    'This app takes no change without a key: send the header Idempotency-Key, e.g. with a ULID, and keep it over retries.',
  )

/** Refuses a change without a key where the app demands one. */
export const demandKey = (request: FastifyRequest, key: RequestKey | null): void => {
  if (key === null && request.keyRequired) throw required()
}

/** Runs the handler of a call on services that are one transaction; what they would tell others waits for its commit. */
const joinedHandler = async <T>(
  request: FastifyRequest,
  { tx, join, tellings }: { readonly tx: Queries; readonly join: JoinServices; readonly tellings: (() => void)[] },
  handle: () => T | Promise<T>,
): Promise<T> => {
  const after = (tell: () => void): void => void tellings.push(tell)
  request.joined = { services: join(tx, after), after }
  try {
    return await handle()
  } finally {
    request.joined = null
  }
}

/**
 * Wraps the handlers of mutating routes: with a key, handler and key share one transaction, and the answer goes out after
 * its commit; a route that is `atomic` is one transaction without a key too. Routes that say `keyed: 'statement'` take the key in a statement of their own, `'none'` have no use for one.
 */
export const keyedRoutes = ({ keys, join, clock }: Needs): ((route: RouteOptions) => void) => {
  return (route) => {
    if (
      [route.method].flat().some((method) => reading.has(method)) ||
      (route.config?.keyed ?? 'transaction') !== 'transaction'
    )
      return
    const original: RouteHandlerMethod = route.handler
    const { secret, fingerprintBody } = route.config ?? {}
    route.handler = async function keyed(request, reply) {
      const named = fingerprintBody === undefined ? null : requestKeyOf(request)
      const body = named === null ? request.body : await fingerprintBody?.(request.body, named)
      const key = keyOf(request, body)
      demandKey(request, key)
      const tellings: (() => void)[] = []
      const handle = (): unknown => original.call(this, request, reply)
      if (key === null) {
        if (route.config?.atomic !== true) return handle()
        const { db } = request.server.services
        const body = await db.transaction((tx) => joinedHandler(request, { tx, join, tellings }, handle))
        for (const tell of tellings) tell()
        return body
      }
      let sent: string | null = null
      const answer = await keys.once(key, async (tx) => {
        const body = await joinedHandler(request, { tx, join, tellings }, handle)
        const kept = storedOf(reply, body, secret)
        sent = kept.sent
        return kept.stored
      })
      for (const tell of tellings) tell()
      tellKey(reply, key, answer.replayOf, dateOf(clock.now() + keys.windowMs).toISOString())
      return replay(reply, answer.replayOf === undefined ? { ...answer.answer, body: sent } : answer.answer)
    }
  }
}
