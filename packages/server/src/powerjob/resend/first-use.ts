// The first-use rule (contract 3b, L1): which call of a client that throws answers away is the repeat of an earlier one.
//
// A 5.x client that does not recognise our header throws the answer away, asks /authApp for a new token and sends the call
// again with it. Its constructor uses its tokens on /authApp first. So a call that is the first use of its token comes from a
// client that has just thrown an answer away, or whose token was rejected just before. All of this holds per network path,
// on which the header is seen always or never.
//   budget      first uses that no rejection explains and no collapse has spent: evidence of answers thrown away. A rejection
//               and the first use that it explains go together; one that outlived the other would count for or against the next call
//   debt        of a body: calls that did nothing (rejected, failed) and come again; the next first uses of this body pay it
//   candidates  executions whose answer may have been thrown away; each is handed out once
import type { Millis } from '../../kernel/clock.ts'

/** How long evidence counts. A rejection outlives the first use that it explains; debt only ever makes a call execute. */
export const lifetimes = {
  candidateMs: 5_000,
  firstUseMs: 5_000,
  rejectionMs: 10_000,
  rejectionDebtMs: 600_000,
  failureDebtMs: 10_000,
} as const

/** A call with effects. */
export interface Use {
  readonly fingerprint: string
  readonly jti: string
  /** When the token was issued. */
  readonly issuedAtMs: Millis
}

/** An execution that is done and was not handed out yet. */
export interface Candidate {
  readonly id: number
  readonly fingerprint: string
  readonly jti: string
  readonly doneAtMs: Millis
}

/** What is known on the path at the moment of a first use, which counts in `budget` already. */
export interface Evidence {
  readonly budget: number
  /** Of the body of this call. */
  readonly debt: number
  /** Of the body of this call, those that are young enough. */
  readonly candidates: readonly Candidate[]
}

/** `forced`: it pays debt, and is no candidate. */
export type Decision =
  | { readonly kind: 'execute'; readonly forced: boolean }
  | { readonly kind: 'collapse'; readonly into: number }

const execute: Decision = { kind: 'execute', forced: false }

/** Decides about a call that is the first use of its token. Doubt executes (N3). */
export const judge = ({ budget, debt, candidates }: Evidence, use: Use): Decision => {
  if (debt > 0) return { kind: 'execute', forced: true }
  if (budget < 1) return execute
  const fitting = candidates.filter(
    (one) => one.fingerprint === use.fingerprint && one.jti !== use.jti && one.doneAtMs <= use.issuedAtMs,
  )
  const latest = fitting.reduce<Candidate | undefined>(
    (best, one) => (best !== undefined && best.doneAtMs >= one.doneAtMs ? best : one),
    undefined,
  )
  return latest === undefined ? execute : { kind: 'collapse', into: latest.id }
}

/** A call whose execution has begun. */
export interface Begun {
  readonly first: boolean
  readonly forced: boolean
}

/**
 * Whether a call that did nothing leaves debt. One that was no first use is sent again by its client. One that was is the
 * repeat, after which nothing comes; but when it was to pay and broke, what it was to pay is owed still. A refusal has paid:
 * a client that asks again and again for what is refused must not be doubled when it is allowed at last.
 */
export const owes = ({ first, forced }: Begun, how: 'refused' | 'broken'): boolean =>
  !first || (forced && how === 'broken')

interface Timed {
  readonly untilMs: Millis
}

/** Everything that is known of one path. */
export interface PathState {
  /** First uses that count as evidence. */
  readonly firsts: readonly Timed[]
  /** Rejections that explain no first use yet. */
  readonly rejections: readonly Timed[]
  readonly debts: readonly (Timed & { readonly fingerprint: string })[]
  readonly candidates: readonly (Timed & Candidate)[]
  readonly underWay: readonly (Use & Begun & { readonly id: number })[]
}

export const emptyPath: PathState = { firsts: [], rejections: [], debts: [], candidates: [], underWay: [] }

export type PathEvent =
  /** A call was rejected for its token. */
  | { readonly kind: 'rejected'; readonly fingerprint: string }
  /** A reading call was the first use of its token. */
  | { readonly kind: 'read-first' }
  | { readonly kind: 'called'; readonly id: number; readonly first: boolean; readonly use: Use }
  /** The execution of call `id` is done, or has come to nothing. */
  | { readonly kind: 'done'; readonly id: number }
  | { readonly kind: 'failed'; readonly id: number; readonly how: 'refused' | 'broken' }

/** `decision` answers a call; for all else it is null. */
export interface Step {
  readonly state: PathState
  readonly decision: Decision | null
}

const alive = <T extends Timed>(entries: readonly T[], nowMs: Millis): T[] =>
  entries.filter((entry) => entry.untilMs > nowMs)

const without = <T>(entries: readonly T[], index: number): T[] => entries.filter((_, at) => at !== index)

const rejected = (state: PathState, fingerprint: string, nowMs: Millis): PathState => ({
  ...state,
  rejections: [...state.rejections, { untilMs: nowMs + lifetimes.rejectionMs }],
  debts: [...state.debts, { fingerprint, untilMs: nowMs + lifetimes.rejectionDebtMs }],
})

const firstUsed = (state: PathState, nowMs: Millis): PathState =>
  state.rejections.length > 0
    ? { ...state, rejections: state.rejections.slice(1) }
    : { ...state, firsts: [...state.firsts, { untilMs: nowMs + lifetimes.firstUseMs }] }

const ended = (state: PathState, event: PathEvent & { kind: 'done' | 'failed' }, nowMs: Millis): PathState => {
  const call = state.underWay.find((one) => one.id === event.id)
  if (call === undefined) return state
  const { id, fingerprint, jti } = call
  const next = { ...state, underWay: state.underWay.filter((one) => one !== call) }
  if (event.kind === 'failed') {
    if (!owes(call, event.how)) return next
    return { ...next, debts: [...next.debts, { fingerprint, untilMs: nowMs + lifetimes.failureDebtMs }] }
  }
  if (call.forced) return next
  const candidate = { id, fingerprint, jti, doneAtMs: nowMs, untilMs: nowMs + lifetimes.candidateMs }
  return { ...next, candidates: [...next.candidates, candidate] }
}

/** The rule as a machine. `by` is the judgement; tests put in broken ones. */
export const pathMachine = (by: typeof judge = judge) => {
  const called = (before: PathState, event: PathEvent & { kind: 'called' }, nowMs: Millis): Step => {
    const { id, first, use } = event
    const state = first ? firstUsed(before, nowMs) : before
    const owed = state.debts.findIndex((debt) => debt.fingerprint === use.fingerprint)
    const evidence: Evidence = {
      budget: state.firsts.length - state.rejections.length,
      debt: state.debts.filter((debt) => debt.fingerprint === use.fingerprint).length,
      candidates: state.candidates,
    }
    const decision = first ? by(evidence, use) : execute
    if (decision.kind === 'collapse') {
      const candidates = state.candidates.filter((one) => one.id !== decision.into)
      return { state: { ...state, firsts: state.firsts.slice(0, -1), candidates }, decision }
    }
    const { forced } = decision
    const underWay = [...state.underWay, { ...use, id, first, forced }]
    const debts = forced && owed !== -1 ? without(state.debts, owed) : state.debts
    return { state: { ...state, debts, underWay }, decision }
  }
  return (given: PathState, event: PathEvent, nowMs: Millis): Step => {
    const state: PathState = {
      firsts: alive(given.firsts, nowMs),
      rejections: alive(given.rejections, nowMs),
      debts: alive(given.debts, nowMs),
      candidates: alive(given.candidates, nowMs),
      underWay: given.underWay,
    }
    switch (event.kind) {
      case 'called':
        return called(state, event, nowMs)
      case 'rejected':
        return { state: rejected(state, event.fingerprint, nowMs), decision: null }
      case 'read-first':
        return { state: firstUsed(state, nowMs), decision: null }
      case 'done':
      case 'failed':
        return { state: ended(state, event, nowMs), decision: null }
    }
  }
}
