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
