// What an answer, or its absence, means: the value, or a row of the policy table and the error to show.
import type { Call } from './call.ts'
import { OnceJobError, type ProblemWithFacts } from './errors.ts'
import { endOfAnswer, type TryEnd } from './policy.ts'
import type { WireAnswer } from './transport.ts'

/** How one try of a call ended. */
export type Try<T> = { end: 'good'; value: T } | { end: TryEnd; error: unknown; retryAfterMs: number }
/** Turns the body of a good answer into the value of the call; throws when it is not such a body. */
export type Read<T> = (text: string) => T

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    // Whoever answered does not speak our language: the caller of this treats it as a stranger.
    return undefined
  }
}

const problemOf = (text: string): ProblemWithFacts | undefined => {
  const value = parse(text)
  if (!isRecord(value) || typeof value['code'] !== 'string' || typeof value['retry'] !== 'string') return undefined
  const say = (member: unknown, other: string): string => (typeof member === 'string' ? member : other)
  return {
    ...value,
    type: say(value['type'], 'about:blank'),
    title: say(value['title'], value['code']),
    status: Number(value['status']),
    code: value['code'],
    detail: say(value['detail'], say(value['title'], value['code'])),
    retry: value['retry'],
  }
}

const strangerProblem = (answer: WireAnswer): ProblemWithFacts => ({
  type: 'about:blank',
  title: `HTTP ${answer.status}`,
  status: answer.status,
  code: `HTTP_${answer.status}`,
  detail: `an answer of status ${answer.status} that is not from OnceJob: ${answer.text.trim().slice(0, 200)}`,
  retry: 'never',
})

const retryAfterMsOf = (answer: WireAnswer): number => {
  const header = answer.header('retry-after')
  if (header === undefined) return 0
  const waitMs = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(waitMs) ? Math.max(0, waitMs) : 0
}

/** Judges an answer that came whole. */
export const judge = <T>(call: Call, answer: WireAnswer, read: Read<T>): Try<T> => {
  const failed = (end: TryEnd, problem: ProblemWithFacts | undefined): Try<T> => ({
    end,
    error: new OnceJobError(problem ?? strangerProblem(answer), answer.header('x-request-id')),
    retryAfterMs: retryAfterMsOf(answer),
  })
  if ((answer.status >= 200 && answer.status < 300) || answer.status === call.alsoGood) {
    try {
      return { end: 'good', value: read(answer.text) }
    } catch {
      // Not JSON: a page of some proxy or login portal.
      return failed('stranger-broke', undefined)
    }
  }
  const problem = problemOf(answer.text)
  return failed(endOfAnswer(answer.status, problem), problem)
}

/** The error that an answer of status ≥ 400 stands for. */
export const errorOf = (answer: WireAnswer): OnceJobError =>
  new OnceJobError(problemOf(answer.text) ?? strangerProblem(answer), answer.header('x-request-id'))
