// Sends the answers of this wire, and writes each down: one line in the log and two metrics.
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { clientOf } from './addresses.ts'
import type { Outcome, WireMetrics } from './metrics.ts'
import type { ResendKind } from './resends-api.ts'

export interface Answer {
  /** Below /openApi as it was called; metrics know only paths that exist. */
  readonly path: string
  readonly status?: 404
  readonly body: string
  readonly outcome: Outcome
  /** Name of the app, once it is known. */
  readonly app?: string | undefined
  /** By which evidence the call was recognised as sent again. */
  readonly repeat?: ResendKind | 'request-key' | undefined
}

export interface AnswerNeeds {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: WireMetrics
  readonly paths: ReadonlySet<string>
}

/** Creates the one function that all answers pass. Status 200 but for unknown addresses; never an empty body (contract R5). */
export const createAnswers =
  ({ clock, log, metrics, paths }: AnswerNeeds) =>
  (request: FastifyRequest, reply: FastifyReply, answer: Answer): FastifyReply => {
    const { path, outcome, app, repeat } = answer
    metrics.called(paths.has(path) ? path : 'other', outcome)
    const facts = {
      path: path.slice(0, 200),
      app,
      client: clientOf(request.raw, path),
      outcome,
      repeat,
      tookMs: Math.round(10 * (clock.monotonic() - request.startedAtMs)) / 10,
      requestId: request.id,
    }
    log.info(facts, 'openapi call answered')
    return reply
      .code(answer.status ?? 200)
      .type('application/json')
      .serializer(String)
      .send(answer.body)
  }

export type SendAnswer = ReturnType<typeof createAnswers>
