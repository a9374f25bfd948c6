// What follows an attempt that did not succeed, rule by rule.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '@oncejob/testkit'
import { settle, type Ending, type Standing } from './settle.ts'

const random = seededRandom('settle')
const standing = (more: Partial<Standing> = {}): Standing => ({
  stop: false,
  failures: 0,
  losses: 0,
  maxLost: 10,
  runOver: false,
  policy: { max: 2, backoff: 'fixed', delayMs: 500, maxDelayMs: 1000, jitter: 0, retryOn: [], noRetryOn: [] },
  ...more,
})
const ending = (outcome: Ending['outcome'], more: Partial<Ending> = {}): Ending => ({
  outcome,
  error: { code: 'E', message: 'm' },
  terminal: false,
  retryAfterMs: null,
  ...more,
})

describe('an attempt that did not succeed', () => {
  test('is followed by another while the policy allows, and counted', () => {
    expect(settle(standing(), ending('failed'), random)).toEqual({
      kind: 'again',
      delayMs: 500,
      failures: 1,
      losses: 0,
    })
    expect(settle(standing({ failures: 2 }), ending('timed-out'), random)).toMatchObject({
      kind: 'end',
      state: 'failed',
    })
  })
  test('that was lost comes again at once and is no failure', () => {
    expect(settle(standing({ failures: 2 }), ending('lost'), random)).toEqual({
      kind: 'again',
      delayMs: 0,
      failures: 2,
      losses: 1,
    })
  })
  test('that was lost once too often fails the run', () => {
    expect(settle(standing({ losses: 10 }), ending('lost'), random)).toMatchObject({
      kind: 'end',
      state: 'failed',
      error: { code: 'WORKER_LOST' },
    })
  })
  test('that was handed back counts as nothing, even when the time of the run is over', () => {
    expect(settle(standing({ failures: 1, runOver: true }), ending('handed-back', { error: null }), random)).toEqual({
      kind: 'again',
      delayMs: 0,
      failures: 1,
      losses: 0,
    })
  })
  test('after the time of the whole run is over ends it', () => {
    expect(settle(standing({ runOver: true }), ending('failed'), random)).toMatchObject({
      state: 'failed',
      error: { code: 'RUN_TIMEOUT' },
    })
  })
  test('after a stop ends as stopped, whatever it was', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(
          'failed' as const,
          'timed-out' as const,
          'lost' as const,
          'handed-back' as const,
          'stopped' as const,
        ),
        fc.nat(20),
        fc.nat(20),
        fc.boolean(),
        (outcome, failures, losses, runOver) => {
          expect(settle(standing({ stop: true, failures, losses, runOver }), ending(outcome), random)).toMatchObject({
            kind: 'end',
            state: 'stopped',
          })
        },
      ),
    )
  })
  test('never goes on for ever: failures and losses are bounded by the job', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('failed' as const, 'lost' as const), { minLength: 40, maxLength: 40 }),
        (outcomes) => {
          let now = standing()
          let attempts = 0
          for (const outcome of outcomes) {
            attempts += 1
            const verdict = settle(now, ending(outcome), random)
            if (verdict.kind === 'end') break
            now = standing({ failures: verdict.failures, losses: verdict.losses })
          }
          expect(attempts).toBeLessThanOrEqual(1 + 2 + 10)
        },
      ),
    )
  })
})
