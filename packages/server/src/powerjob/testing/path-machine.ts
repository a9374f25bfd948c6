// The first-use rule as a machine over one network path, in memory: what the statements of storage/resends.ts are compared with.
import type { Millis } from '../../kernel/clock.ts'
import {
  judge,
  lifetimes,
  owes,
  type Begun,
  type Candidate,
  type Decision,
  type Evidence,
  type Use,
} from '../resend/first-use.ts'

const execute: Decision = { kind: 'execute', forced: false }

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
