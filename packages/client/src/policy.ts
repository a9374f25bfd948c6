// May a call be sent again? The one table that decides it; nothing else in this package may retry a call.

/** A read changes nothing. Everything else is a mutation and carries a request key. */
export type CallKind = 'read' | 'mutation'

/** `again`: send it again, with the same key. `unknown`: reject with OutcomeUnknown. `reject`: the answer is final. */
export type Verdict = 'again' | 'unknown' | 'reject'

interface Row extends Readonly<Record<CallKind, Verdict>> {
  readonly why: string
}

// Servers do not store request keys yet: a repeat would be a second run. When they do, the three `unknown` become
// `again`, for then a repeat with the same key gets the first call's answer.
export const policy = {
  'not-sent': {
    read: 'again',
    mutation: 'again',
    why: 'The connection was never made (refused, no such host, no route): no server has seen the call.',
  },
  'no-answer': {
    read: 'again',
    mutation: 'unknown',
    why: 'The call left, and the connection broke or the time was over: the server may have committed it.',
  },
  'nothing-done': {
    read: 'again',
    mutation: 'again',
    why: 'The server says same-key, and that it has executed nothing: SHUTTING_DOWN, or `executed: false`.',
  },
  broke: {
    read: 'again',
    mutation: 'unknown',
    why: 'The server says same-key, but broke somewhere on the way: before or after its commit.',
  },
  'stranger-broke': {
    read: 'again',
    mutation: 'unknown',
    why: 'A 5xx or a 2xx that is not of our server, e.g. from a proxy: what stands behind it may have executed the call.',
  },
  refused: {
    read: 'reject',
    mutation: 'reject',
    why: 'The server understood the call and says no. Only a new token can change that, and the caller handles that once.',
  },
} as const satisfies Record<string, Row>

/** How one try of a call ended, when it did not end well. */
export type TryEnd = keyof typeof policy

/** What decides of a problem document. */
export interface Advice {
  readonly code: string
  readonly retry: string
  /** The server's word that it has executed nothing; only `false` counts. */
  readonly executed?: unknown
}

// DATABASE_UNAVAILABLE alone promises nothing: the server also says it when the connection broke during a statement or
// a COMMIT, which may have taken effect. It counts only with `executed: false` beside it.
const saysNothingDone = ({ code, executed }: Advice): boolean => code === 'SHUTTING_DOWN' || executed === false

/**
 * Which row of the table an answer of status ≥ 400 belongs to.
 * @param problem its problem document; undefined when the body was none
 */
export const endOfAnswer = (status: number, problem: Advice | undefined): TryEnd => {
  if (problem === undefined) return status >= 500 ? 'stranger-broke' : 'refused'
  if (problem.retry !== 'same-key') return 'refused'
  return saysNothingDone(problem) ? 'nothing-done' : 'broke'
}
