// One call of an endpoint from its request to its answer: who calls, was it sent before, execute, answer.
import { hash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { dateOf, nextTurn, type Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { keyHeaders } from '../requests/keys.ts'
import { isGone, markPassed, pathFactsOf } from './addresses.ts'
import type { Answer, SendAnswer } from './answers.ts'
import { presentedOf, Rejected } from './auth.ts'
import { WireError, type Endpoint, type WireCall } from './call.ts'
import { identify, sentOf, type CallerNeeds, type Identified, type Sent } from './caller.ts'
import { failedOf, failure, rejection, type RefusalOf } from './envelope.ts'
import { createExecution, keyTextOf, PeerGone, type Executed, type ExecutionNeeds } from './execution.ts'
import type { Outcome, WireMetrics } from './metrics.ts'
import type { LegacyAnswer, LegacyAttempt, LegacyCall, LegacyOutcome, Resends } from './resends-api.ts'

export interface CallNeeds extends CallerNeeds, ExecutionNeeds {
  readonly resends: Resends
  readonly clock: Clock
  readonly log: Log
  readonly metrics: WireMetrics
  readonly zone: string
  readonly send: SendAnswer
  readonly refusalOf: RefusalOf
}

/** The same text for a call that is sent again: clients repeat it byte by byte. */
const fingerprintOf = (endpoint: Endpoint, { url, body }: Sent): string => {
  const query = url.includes('?') ? url.slice(url.indexOf('?')) : ''
  const said = `${endpoint.path}${query}\n`
  return hash('sha256', body === undefined ? said : Buffer.concat([Buffer.from(said), body]), 'base64url')
}

/** Tells whether the answer of an attempt reached the kernel; called as soon as the attempt is known. */
const followDelivery = ({ raw, request }: FastifyReply, resends: Resends, attemptId: number): void => {
  const { socket } = request.raw
  const tell = (): void => {
    socket.off('end', tell)
    raw.off('close', tell)
    if (raw.writableFinished) resends.delivered(attemptId)
    else resends.undelivered(attemptId)
  }
  if (raw.destroyed || raw.closed || socket.readableEnded) return tell()
  // these clients never close one half: the end of theirs comes some turns of the event loop before the close
  socket.once('end', tell)
  raw.once('close', tell)
}

const outcomeOf = ({ answer, collapsed }: LegacyOutcome, replayed: boolean): Outcome => {
  if (collapsed !== null) return 'collapsed'
  if (replayed) return 'replayed'
  return answer.outcome === 'done' ? 'ok' : answer.outcome
}

/** A call whose caller is known, in the words of both sides of it. */
interface Known {
  readonly endpoint: Endpoint
  readonly who: Identified
  readonly call: WireCall
  /** The key that the caller sent. */
  readonly key: string | null
}

const knownOf = (request: FastifyRequest, endpoint: Endpoint, who: Identified, zone: string): Known => {
  const { app, input } = who
  const { tokenless, copyEnabled, collapse } = app
  const key = endpoint.mutates ? keyTextOf(request.headers['idempotency-key'], app.keysRequired) : null
  const call: WireCall = {
    path: endpoint.path,
    appId: app.id,
    actor: `powerjob/${app.name}`,
    settings: { tokenless, copyEnabled, collapse },
    zone,
    fields: input.fields,
    body: input.body,
    keyed: null,
  }
  return { endpoint, who, call, key }
}

const legacyOf = (
  request: FastifyRequest,
  { endpoint, who, key }: Known,
  follow: (attemptId: number) => void,
): LegacyCall => ({
  route: pathFactsOf(request.raw, who.app.id),
  appId: who.app.id,
  path: endpoint.path,
  jti: who.jti,
  fingerprint: fingerprintOf(endpoint, sentOf(request)),
  mutates: endpoint.mutates,
  keyed: key !== null,
  collapse: who.app.collapse,
  requestId: request.id,
  follow,
})

/** Answers a call that is rejected for its token; the one answer whose header says false. */
const createRejection =
  ({ resends, log, send }: CallNeeds) =>
  async (request: FastifyRequest, reply: FastifyReply, endpoint: Endpoint, error: Rejected): Promise<FastifyReply> => {
    markPassed(reply.raw, false)
    const sent = sentOf(request)
    const claimed = Number(presentedOf(request.headers).appId)
    const route = pathFactsOf(request.raw, Number.isSafeInteger(claimed) ? claimed : 0)
    try {
      await resends.onRejected(route, fingerprintOf(endpoint, sent))
    } catch (cause) {
      // the bookkeeping only ever spares an execution (N3): the rejection stands without it
      log.warn({ err: cause, requestId: request.id }, 'rejected call could not be noted')
    }
    return send(request, reply, { path: endpoint.path, body: rejection(error), outcome: 'rejected' })
  }

/**
 * Lets the end of a connection be seen that was cut while this process was paused: it is read one turn after the request.
 * The caller has gone to another server long ago (contract R9).
 */
const hearOfTheEnd = async (): Promise<void> => {
  await nextTurn()
  await nextTurn()
}

const abandoned: LegacyAnswer = {
  outcome: 'abandoned',
  body: failure(new WireError('PowerJobException', 'the client has hung up')),
}

/** Creates the handler of the calls of each endpoint. */
export const createCalls = (needs: CallNeeds) => {
  const { resends, clock, metrics, send, refusalOf, keys, zone } = needs
  const execute = createExecution(needs)
  const reject = createRejection(needs)

  /** Executes once; what is refused is an answer, what breaks is thrown. */
  const attempted = async (
    request: FastifyRequest,
    { endpoint, call, key }: Known,
    attempt: LegacyAttempt,
    done: (executed: Executed) => void,
  ): Promise<LegacyAnswer> => {
    const gone = (): boolean => isGone(request.raw)
    if (endpoint.mutates) await hearOfTheEnd()
    if (gone()) return abandoned
    try {
      const own = key === null ? attempt : { ...attempt, key }
      const executed = await execute(endpoint, call, { attempt: own, requestId: request.id, isGone: gone })
      done(executed)
      return { outcome: 'done', body: executed.body, replayed: executed.replayOf !== undefined }
    } catch (error) {
      // answered here: the transaction was rolled back
      if (error instanceof PeerGone) return abandoned
      const failed = failedOf(error, request.id, refusalOf)
      if (failed.kind !== 'refused') throw error
      return { outcome: 'refused', body: failure(failed.error) }
    }
  }

  const run = async (request: FastifyRequest, reply: FastifyReply, known: Known): Promise<FastifyReply> => {
    const { endpoint, who, key } = known
    let executed: Executed | undefined
    const follow = (attemptId: number): void => followDelivery(reply, resends, attemptId)
    const outcome = await resends.run(legacyOf(request, known, follow), (attempt) => {
      if (attempt.id !== null) follow(attempt.id)
      return attempted(request, known, attempt, (made) => (executed = made))
    })
    const { answer, collapsed } = outcome
    const replayOf = key === null ? undefined : executed?.replayOf
    if (outcome.suspected !== undefined) metrics.suspected(who.app.name, outcome.suspected)
    if (collapsed !== null) {
      metrics.resent(who.app.name, collapsed.kind)
      reply.raw.setHeader('X-Resend-Collapsed', String(collapsed.into))
    } else if (key !== null && executed !== undefined) {
      void reply.headers(keyHeaders(key, replayOf, dateOf(clock.now() + keys.windowMs).toISOString()))
    }
    const told: Answer = {
      path: endpoint.path,
      body: answer.body,
      outcome: outcomeOf(outcome, replayOf !== undefined),
      app: who.app.name,
      repeat: collapsed?.kind ?? (replayOf === undefined ? undefined : 'request-key'),
    }
    return send(request, reply, told)
  }

  return (endpoint: Endpoint) =>
    async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
      let who: Identified
      try {
        who = await identify(needs, endpoint, sentOf(request))
      } catch (error) {
        // answered here: anything else is for the error handler
        if (!(error instanceof Rejected)) throw error
        return reject(request, reply, endpoint, error)
      }
      return run(request, reply, knownOf(request, endpoint, who, zone))
    }
}
