// Promises of the rule that decides what follows a failed attempt.
import { describe, expect, it } from 'vitest'
import type { Random } from '../kernel/random.ts'
import { afterFailure, type BackoffPolicy, type Failure } from './backoff.ts'

const chance = (value: number): Random => ({ next: () => value, bytes: (length) => new Uint8Array(length) })
const policy: BackoffPolicy = {
  max: 3,
  backoff: 'exponential',
  delayMs: 1000,
  maxDelayMs: 3_600_000,
  jitter: 0,
  retryOn: [],
  noRetryOn: [],
}
const failed = (change: Partial<Failure> = {}, policyChange: Partial<BackoffPolicy> = {}): Failure => ({
  failures: 1,
  error: { code: 'BOOM' },
  terminal: false,
  retryAfterMs: null,
  ...change,
  policy: { ...policy, ...policyChange },
})

describe('how often', () => {
  it('a policy without retries ends at the first failure', () => {
    expect(afterFailure(failed({}, { max: 0 }), chance(0))).toEqual({ kind: 'end', reason: 'retries-used-up' })
  })

  it('exactly `max` failures are followed by another attempt', () => {
    const kinds = [1, 2, 3, 4].map((failures) => afterFailure(failed({ failures }), chance(0)).kind)
    expect(kinds).toEqual(['retry', 'retry', 'retry', 'end'])
  })

  it('a terminal failure ends the run although retries are left and its code is listed', () => {
    expect(afterFailure(failed({ terminal: true }, { retryOn: ['BOOM'] }), chance(0))).toEqual({
      kind: 'end',
      reason: 'terminal',
    })
  })

  it('with a list of codes only these are tried again', () => {
    expect(afterFailure(failed({}, { retryOn: ['OTHER'] }), chance(0))).toEqual({
      kind: 'end',
      reason: 'code-not-retried',
    })
    expect(afterFailure(failed({}, { retryOn: ['OTHER', 'BOOM'] }), chance(0)).kind).toBe('retry')
  })

  it('a code that must not be retried wins over the list of those that may', () => {
    expect(afterFailure(failed({}, { retryOn: ['BOOM'], noRetryOn: ['BOOM'] }), chance(0)).kind).toBe('end')
  })
})

describe('how long', () => {
  const delays = (change: Partial<BackoffPolicy>, random: Random = chance(0)) =>
    [1, 2, 3, 4, 1000].map((failures) => {
      const next = afterFailure(failed({ failures }, { max: 1000, ...change }), random)
      return next.kind === 'retry' ? next.delayMs : undefined
    })

  it('the exponential delay doubles up to its maximum, however many failures there were', () => {
    expect(delays({ maxDelayMs: 5000 })).toEqual([1000, 2000, 4000, 5000, 5000])
  })

  it('the fixed delay stays', () => {
    expect(delays({ backoff: 'fixed' })).toEqual([1000, 1000, 1000, 1000, 1000])
  })

  it('chance shortens the delay by at most its share and never lengthens it', () => {
    expect(delays({ backoff: 'fixed', jitter: 0.5 }, chance(0))[0]).toBe(1000)
    expect(delays({ backoff: 'fixed', jitter: 0.5 }, chance(0.5))[0]).toBe(750)
    expect(delays({ backoff: 'fixed', jitter: 0.5 }, chance(0.999999))[0]).toBe(500)
  })

  it('what the processor asks for replaces the delay of the policy, whole and within bounds', () => {
    const asked = (retryAfterMs: number) => afterFailure(failed({ retryAfterMs }, { maxDelayMs: 10 }), chance(0.7))
    expect(asked(90_000)).toEqual({ kind: 'retry', delayMs: 90_000 })
    expect(asked(1.6)).toEqual({ kind: 'retry', delayMs: 2 })
    expect(asked(-5)).toEqual({ kind: 'retry', delayMs: 0 })
    expect(asked(1e15)).toEqual({ kind: 'retry', delayMs: 2_592_000_000 })
  })

  it('a delay of nothing is a retry at once', () => {
    expect(delays({ delayMs: 0, maxDelayMs: 0 })[0]).toBe(0)
  })
})
