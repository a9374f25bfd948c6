// Every answer that says no: whatever went wrong becomes one problem document.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors, Refusal, type ErrorCode } from '@oncejob/protocol'
import { drained } from '../kernel/drain.ts'
import { DatabaseError, Outage } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import { bodyLimitBytes } from './body.ts'
import { issuesOf } from './issues.ts'
import { SchemaMismatch } from './validation.ts'

export const problemType = 'application/problem+json'

/** Address that names a kind of problem. */
export const typeOf = (code: ErrorCode): string =>
  `https://oncejob.dev/problems/${code.toLowerCase().replaceAll('_', '-')}`

/** Seconds after which a caller may send the same call again; never 0, so that nobody storms a server in trouble. */
const retryAfterSeconds = '1'

/** The problem document of a refusal. `instance` is the id of the request. */
export const problemOf = (refusal: Refusal, instance: string): Record<string, unknown> => {
  const { status, retry, title } = errors[refusal.code]
  return {
    ...refusal.facts,
    type: typeOf(refusal.code),
    title,
    status,
    code: refusal.code,
    detail: refusal.message,
    retry,
    instance,
  }
}

// Lock and statement timeouts, deadlocks, serialization failures: the same call may well succeed a moment later.
const passingStates = new Set(['55P03', '57014', '40P01', '40001'])
// A text with U+0000, which PostgreSQL can not hold.
const unstorableStates = new Set(['22021', '22P05'])

const ofDatabase = (error: DatabaseError): Refusal | undefined => {
  if (passingStates.has(error.sqlState)) {
    return new Refusal(
      'DATABASE_UNAVAILABLE',
      'The database was too busy to answer in time. Send the call again with the same request key.',
    )
  }
  if (unstorableStates.has(error.sqlState)) {
    return new Refusal('REQUEST_INVALID', 'A text contains U+0000, which can not be stored. Remove it.')
  }
  return undefined
}

const ofSchema = (mismatch: SchemaMismatch): Refusal => {
  const issues = issuesOf(mismatch.findings).map(({ path, says }) => ({
    path: mismatch.part === 'querystring' ? `?${path.slice(1)}` : path,
    says,
  }))
  const sentences = issues.slice(0, 3).map(({ path, says }) => `${path === '' ? 'The body' : path} ${says}`)
  const more = issues.length > 3 ? ` (and ${issues.length - 3} more)` : ''
  return new Refusal('REQUEST_INVALID', `${sentences.join('; ')}${more}.`, { issues })
}

/** Fastify's own refusals. */
const ofFastify: Readonly<Record<string, () => Refusal>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () =>
    new Refusal('BODY_TOO_LARGE', `A body may have at most ${bodyLimitBytes} bytes. Split it into several calls.`, {
      limitBytes: bodyLimitBytes,
    }),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new Refusal('MEDIA_TYPE_UNSUPPORTED', 'Send the body as JSON, with the header Content-Type: application/json.'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    new Refusal('BODY_UNREADABLE', 'The body is not as long as its Content-Length says.'),
  FST_ERR_BAD_URL: () => new Refusal('ROUTE_NOT_FOUND', 'The address has a broken percent-encoding.'),
  FST_ERR_MAX_PARAM_LENGTH: () => new Refusal('ROUTE_NOT_FOUND', 'A part of the address is too long.'),
}

const codeOf = (error: object): string => ('code' in error && typeof error.code === 'string' ? error.code : '')

/** What an error means for the caller; undefined when it is a bug of ours. */
export const refusalOf = (error: unknown): Refusal | undefined => {
  if (error instanceof Refusal) return error
  if (error instanceof SchemaMismatch) return ofSchema(error)
  if (error instanceof Outage) {
    return new Refusal(
      'DATABASE_UNAVAILABLE',
      'The database can not be reached at the moment. Send the call again with the same request key.',
    )
  }
  if (error instanceof DatabaseError) return ofDatabase(error)
  return typeof error === 'object' && error !== null ? ofFastify[codeOf(error)]?.() : undefined
}

// A browser asks its user for Basic credentials only; programs know what to do with Bearer.
const challengeOf = (request: FastifyRequest): string =>
  /^\/(docs|openapi\.json)([/?]|$)/.test(request.url)
    ? 'Basic realm="OnceJob", charset="UTF-8"'
    : 'Bearer realm="OnceJob"'

/** Sends a refusal as application/problem+json. */
export const sendProblem = (request: FastifyRequest, reply: FastifyReply, refusal: Refusal): FastifyReply => {
  const { status, retry } = errors[refusal.code]
  if (retry === 'same-key') void reply.header('retry-after', retryAfterSeconds)
  // Fastify would hang up on a body that it has not read, and the reset could overtake this answer; node reads it to its end
  void reply.removeHeader('connection')
  if (status === 401) void reply.header('www-authenticate', challengeOf(request))
  return reply
    .code(status)
    .header('x-request-id', request.id)
    .type(problemType)
    .serializer(String)
    .send(JSON.stringify(problemOf(refusal, request.id)))
}

/** The one error handler. A bug is logged with its stack; the caller gets the id under which it is found. */
export const answerErrors =
  (log: Log) =>
  async (error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const known = refusalOf(error)
    const about = { requestId: request.id, method: request.method, route: request.routeOptions.url }
    if (known === undefined) log.error({ ...about, err: error }, 'request failed')
    else if (!(error instanceof Refusal) && known.code === 'DATABASE_UNAVAILABLE')
      log.warn({ ...about, err: error }, 'request met an outage')
    if (known?.code === 'BODY_TOO_LARGE') await drained(request.raw)
    return sendProblem(
      request,
      reply,
      known ??
        new Refusal(
          'BUG',
          `Please report this with the request id ${request.id}; the log of the server has the cause.`,
        ),
    )
  }
