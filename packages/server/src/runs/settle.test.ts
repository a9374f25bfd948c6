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
  guarantee: 'at-least-once',
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
            if (verdict.kind !== 'again') break
            now = standing({ failures: verdict.failures, losses: verdict.losses })
          }
          expect(attempts).toBeLessThanOrEqual(1 + 2 + 10)
        },
      ),
    )
  })
})

describe('at most once', () => {
  const once = (more: Partial<Standing> = {}) => standing({ guarantee: 'at-most-once', ...more })

  test('what was lost is unknown, whatever losses and time are left', () => {
    for (const more of [{}, { losses: 10 }, { runOver: true }, { maxLost: 0 }])
      expect(settle(once(more), ending('lost'), random)).toEqual({ kind: 'unknown', reason: 'lost', effect: null })
  })
  test('a time-out that the worker did not end is unknown', () => {
    for (const more of [{}, { runOver: true }, { failures: 2 }])
      expect(settle(once(more), ending('timed-out', { unfinished: true }), random)).toEqual({
        kind: 'unknown',
        reason: 'timed-out',
        effect: null,
      })
  })
  test('what a worker reported is known: the retry policy decides', () => {
    for (const outcome of ['failed', 'timed-out'] as const) {
      expect(settle(once(), ending(outcome), random)).toMatchObject({ kind: 'again', failures: 1 })
      expect(settle(once({ failures: 2 }), ending(outcome), random)).toMatchObject({ kind: 'end', state: 'failed' })
    }
  })
  test('what never began is run again', () => {
    expect(settle(once({ runOver: true }), ending('handed-back', { error: null }), random)).toMatchObject({
      kind: 'again',
      delayMs: 0,
      losses: 0,
    })
  })
  test('a stop that was asked for ends it as stopped', () => {
    for (const outcome of ['lost', 'timed-out', 'failed', 'handed-back'] as const)
      expect(settle(once({ stop: true }), ending(outcome, { unfinished: true }), random)).toMatchObject({
        kind: 'end',
        state: 'stopped',
      })
  })
  test('no number of losses and time-outs makes a second attempt', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('lost' as const, 'timed-out' as const),
        fc.nat(20),
        fc.nat(20),
        fc.boolean(),
        (outcome, failures, losses, runOver) => {
          const verdict = settle(once({ failures, losses, runOver }), ending(outcome, { unfinished: true }), random)
          expect(verdict).toMatchObject({ kind: 'unknown', reason: outcome })
        },
      ),
    )
  })
})

describe('an attempt that found an effect unknown', () => {
  const asks = (more: Partial<Ending> = {}) =>
    ending('failed', { error: { code: 'EFFECT_UNKNOWN', message: 'm' }, terminal: true, effect: 'mail', ...more })

  test('makes the run unknown in every job, whatever retries are left', () => {
    for (const guarantee of ['at-least-once', 'at-most-once'] as const)
      for (const more of [{}, { failures: 9 }, { runOver: true }])
        expect(settle(standing({ guarantee, ...more }), asks(), random)).toEqual({
          kind: 'unknown',
          reason: 'effect',
          effect: 'mail',
        })
    expect(settle(standing(), asks({ effect: undefined, terminal: false }), random)).toMatchObject({ effect: null })
  })
  test('ends as stopped after a stop', () => {
    expect(settle(standing({ stop: true }), asks(), random)).toMatchObject({ kind: 'end', state: 'stopped' })
  })
})
