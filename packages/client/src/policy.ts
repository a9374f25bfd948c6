// May a call be sent again? The one table that decides it; nothing else in this package may retry a call.

/** A read changes nothing. Everything else is a mutation and carries a request key. */
export type CallKind = 'read' | 'mutation'

/** `again`: send it again, a mutation with the same key. `reject`: the answer is final. */
export type Verdict = 'again' | 'reject'

/**
 * What a try that ended so does to the doubt whether a mutation took effect: it may have been executed (`raises`), it was
 * not and nothing is learnt of the tries before (`keeps`), or none of them was (`ends`).
 */
export type Doubt = 'raises' | 'keeps' | 'ends'

interface Row extends Readonly<Record<CallKind, Verdict>> {
  readonly doubt: Doubt
  readonly why: string
}

// The server keeps request keys: a repeat with the same key gets the first call's answer and has no second effect.
// That is why a mutation may be sent again although nobody knows what became of it. A call that fails while there is
// doubt fails with OutcomeUnknown.
export const policy = {
  'not-sent': {
    read: 'again',
    mutation: 'again',
    doubt: 'keeps',
    why: 'The connection was never made (refused, no such host, no route): no server has seen the call.',
  },
  'no-answer': {
    read: 'again',
    mutation: 'again',
    doubt: 'raises',
    why: 'The call left, and the connection broke or the time was over: the server may have committed it.',
  },
  'nothing-done': {
    read: 'again',
    mutation: 'again',
    doubt: 'keeps',
    why: 'The server says same-key, and that it has executed nothing: SHUTTING_DOWN, or `executed: false`.',
  },
  broke: {
    read: 'again',
    mutation: 'again',
    doubt: 'raises',
    why: 'The server says same-key, but broke before or after its commit, or still executes an earlier try.',
  },
  'stranger-broke': {
    read: 'again',
    mutation: 'again',
    doubt: 'raises',
    why: 'A 5xx or a 2xx that is not of our server, e.g. from a proxy: what stands behind it may have executed the call.',
  },
  'turned-away': {
    read: 'reject',
    mutation: 'reject',
    doubt: 'keeps',
    why: 'Refused before anyone looked at the key: the token, the shape, a 4xx of a proxy. An earlier try may have worked.',
  },
  refused: {
    read: 'reject',
    mutation: 'reject',
    doubt: 'ends',
    why: 'The server does not know the key, or knows it from another call, and says no: no try of this call took effect.',
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

// Said by the handlers of the server, which run after the look at the key. These come before it all the same.
const handlerStatuses = new Set([404, 409, 410, 412, 422, 428])
const saidBeforeTheKey = new Set(['ROUTE_NOT_FOUND', 'APP_NOT_FOUND', 'IDEMPOTENCY_KEY_EXPIRED'])

/**
 * Which row of the table an answer of status ≥ 400 belongs to.
 * @param problem its problem document; undefined when the body was none
 */
export const endOfAnswer = (status: number, problem: Advice | undefined): TryEnd => {
  if (problem === undefined) return status >= 500 ? 'stranger-broke' : 'turned-away'
  if (problem.retry === 'same-key') return saysNothingDone(problem) ? 'nothing-done' : 'broke'
  return handlerStatuses.has(status) && !saidBeforeTheKey.has(problem.code) ? 'refused' : 'turned-away'
}
