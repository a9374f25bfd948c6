// What follows an attempt that did not succeed: again now, again later, the end, or a question. Pure.
import type { AttemptOutcome, EndedRunState, Guarantee, RunError, UnknownReason } from '@oncejob/protocol'
import type { Millis } from '../kernel/clock.ts'
import type { Random } from '../kernel/random.ts'
import { afterFailure, type BackoffPolicy } from './backoff.ts'

/** What is known of the run when its attempt has ended. */
export interface Standing {
  /** Someone has asked to stop it. */
  readonly stop: boolean
  /** Failures and losses before this attempt. */
  readonly failures: number
  readonly losses: number
  readonly maxLost: number
  /** The whole run's time is over. */
  readonly runOver: boolean
  /** The job's: may a lost attempt be followed by another? */
  readonly guarantee: Guarantee
  readonly policy: BackoffPolicy
}

/** How the attempt ended; `error` for those that a worker or a duty explains. */
export interface Ending {
  readonly outcome: Exclude<AttemptOutcome, 'succeeded'>
  readonly error: RunError | null
  readonly terminal: boolean
  readonly retryAfterMs: Millis | null
  /** Of a time-out: the processor did not end, or nobody has heard that it did. */
  readonly unfinished?: boolean | undefined
  /** Name of the effect that the attempt found unknown, with the error EFFECT_UNKNOWN. */
  readonly effect?: string | undefined
}

export type Verdict =
  | { readonly kind: 'end'; readonly state: EndedRunState; readonly error: RunError | null }
  | { readonly kind: 'again'; readonly delayMs: Millis; readonly failures: number; readonly losses: number }
  | { readonly kind: 'unknown'; readonly reason: UnknownReason; readonly effect: string | null }

const lost = (standing: Standing): Verdict => {
  const losses = standing.losses + 1
  if (losses <= standing.maxLost) return { kind: 'again', delayMs: 0, failures: standing.failures, losses }
  const message = `The run lost its worker ${losses} times; the job allows ${standing.maxLost}.`
  return { kind: 'end', state: 'failed', error: { code: 'WORKER_LOST', message } }
}

const failed = (standing: Standing, ending: Ending, random: Random): Verdict => {
  const failures = standing.failures + 1
  const error = ending.error ?? { code: 'UNKNOWN', message: 'The attempt failed without saying why.' }
  const { terminal, retryAfterMs } = ending
  const next = afterFailure({ policy: standing.policy, failures, error, terminal, retryAfterMs }, random)
  return next.kind === 'retry'
    ? { kind: 'again', delayMs: next.delayMs, failures, losses: standing.losses }
    : { kind: 'end', state: 'failed', error }
}

/** Why nobody knows what the attempt has done; undefined when its outcome is known, or the job does not mind. */
const unknownReason = ({ guarantee }: Standing, { outcome, error, unfinished }: Ending): UnknownReason | undefined => {
  // the processor itself says so: that counts in every job
  if (outcome === 'failed' && error?.code === 'EFFECT_UNKNOWN') return 'effect'
  if (guarantee === 'at-least-once') return undefined
  if (outcome === 'lost') return 'lost'
  return outcome === 'timed-out' && unfinished === true ? 'timed-out' : undefined
}

/**
 * A stop that was asked for ends the run whatever else happened. What is unknown waits for a decision, whatever
 * retries are left and however late it is; then time, then the policies decide.
 */
export const settle = (standing: Standing, ending: Ending, random: Random): Verdict => {
  if (standing.stop || ending.outcome === 'stopped') return { kind: 'end', state: 'stopped', error: ending.error }
  const reason = unknownReason(standing, ending)
  if (reason !== undefined)
    return { kind: 'unknown', reason, effect: reason === 'effect' ? (ending.effect ?? null) : null }
  if (standing.runOver && ending.outcome !== 'handed-back') {
    return {
      kind: 'end',
      state: 'failed',
      error: { code: 'RUN_TIMEOUT', message: 'The time for the whole run is over.' },
    }
  }
  switch (ending.outcome) {
    case 'handed-back':
      return { kind: 'again', delayMs: 0, failures: standing.failures, losses: standing.losses }
    case 'lost':
      return lost(standing)
    case 'failed':
    case 'timed-out':
      return failed(standing, ending, random)
  }
}
