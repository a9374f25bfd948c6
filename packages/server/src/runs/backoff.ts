// What follows a failed attempt: another one, and when, or the end. Pure.
import type { Random } from '../kernel/random.ts'

export interface BackoffPolicy {
  /** How many failures are followed by another attempt. */
  readonly max: number
  readonly backoff: 'fixed' | 'exponential'
  readonly delayMs: number
  readonly maxDelayMs: number
  /** Share of the delay that is left to chance, 0 to 1. */
  readonly jitter: number
  /** Codes that are tried again; empty: all. */
  readonly retryOn: readonly string[]
  readonly noRetryOn: readonly string[]
}

export interface Failure {
  readonly policy: BackoffPolicy
  /** Failed attempts so far, this one included; lost and handed-back ones do not count. */
  readonly failures: number
  readonly error: { readonly code: string }
  /** The processor said that trying again is useless. */
  readonly terminal: boolean
  /** The processor said how long to wait; null: as the policy says. */
  readonly retryAfterMs: number | null
}

/** Why nothing follows: the processor forbids it, the policy does not retry this code, or the retries are used up. */
export type EndReason = 'terminal' | 'code-not-retried' | 'retries-used-up'
export type AfterFailure =
  | { readonly kind: 'retry'; readonly delayMs: number }
  | { readonly kind: 'end'; readonly reason: EndReason }

// as long as a policy may say itself: a slip of a processor must not put a run off for years
const longestDelayMs = 2_592_000_000

const policyDelayMs = (policy: BackoffPolicy, failures: number, random: Random): number => {
  const grown = policy.backoff === 'fixed' ? policy.delayMs : policy.delayMs * 2 ** Math.min(failures - 1, 40)
  const delayMs = Math.min(grown, policy.maxDelayMs)
  // chance only shortens: maxDelayMs stays a promise
  return Math.round(delayMs * (1 - policy.jitter * random.next()))
}

const isRetried = (policy: BackoffPolicy, code: string): boolean =>
  !policy.noRetryOn.includes(code) && (policy.retryOn.length === 0 || policy.retryOn.includes(code))

/**
 * Decides what follows a failed attempt. The processor's `terminal` ends the run even when `retryOn` names the code;
 * its `retryAfterMs` replaces the delay, not the limit of retries.
 */
export const afterFailure = (failure: Failure, random: Random): AfterFailure => {
  const { policy, failures } = failure
  if (failure.terminal) return { kind: 'end', reason: 'terminal' }
  if (!isRetried(policy, failure.error.code)) return { kind: 'end', reason: 'code-not-retried' }
  if (failures > policy.max) return { kind: 'end', reason: 'retries-used-up' }
  const delayMs =
    failure.retryAfterMs === null
      ? policyDelayMs(policy, failures, random)
      : Math.min(Math.max(0, Math.round(failure.retryAfterMs)), longestDelayMs)
  return { kind: 'retry', delayMs }
}
