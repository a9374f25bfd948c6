// The decision table of run keys (I8), row by row, and what the rows of the table stand for.
import { describe, expect, it } from 'vitest'
import { onClosedPolicies, onOpenPolicies, runKeyTtlMs } from '@oncejob/protocol'
import { decideKey, inputHashOf, standingOf, wishOf, type KeyFacts, type KeyStanding } from './run-key.ts'

const wish = (more: Parameters<typeof wishOf>[1] = {}) => wishOf('order-1', more)
const run = { runId: 7, state: 'running', inputHash: 'h', freed: false } as const
const earlier = { runId: 5, state: 'running', inputHash: 'g', freed: false } as const
const open: KeyStanding = { kind: 'open', run, behind: null }
const queued: KeyStanding = { kind: 'open', run: { ...run, state: 'waiting' }, behind: earlier }
const closed = (state: 'succeeded' | 'failed' | 'canceled' | 'stopped'): KeyStanding => ({
  kind: 'closed',
  runId: 7,
  state,
  inputHash: 'h',
})
const facts: KeyFacts = { runId: 7, state: 'waiting', inputHash: 'h', before: null, expired: false, vacant: false }
const made = { kind: 'make', aside: [], behind: null, replaces: null }

describe('a policy', () => {
  it('that is left out is: this job, return, allowIfFailed, 30 days, reject', () => {
    expect(wishOf('k')).toEqual({
      key: 'k',
      scope: 'job',
      onOpen: 'return',
      onClosed: 'allowIfFailed',
      ttlMs: runKeyTtlMs,
      onInputMismatch: 'reject',
    })
    expect(runKeyTtlMs).toBe(30 * 24 * 3_600_000)
    expect(wish({ ttlMs: null }).ttlMs).toBeNull()
    expect(wish({ ttlMs: 0 }).ttlMs).toBe(0)
  })
})

describe('the input', () => {
  it('is the same whatever the order of its members, and another one with other values', () => {
    expect(inputHashOf('{"a":1,"b":[2]}', null)).toBe(inputHashOf('{"b":[2],"a":1}', null))
    expect(inputHashOf('{"a":1}', null)).not.toBe(inputHashOf('{"a":"1"}', null))
    expect(inputHashOf('null', null)).toBe(inputHashOf(null, null))
    expect(inputHashOf('1', null)).not.toBe(inputHashOf(null, null))
  })
  it('is another one for another job where the key is the app’s', () => {
    expect(inputHashOf('1', 3)).not.toBe(inputHashOf('1', 4))
    expect(inputHashOf('1', 3)).not.toBe(inputHashOf('1', null))
  })
})

describe('a free key', () => {
  it('gets a run, whatever the policies', () => {
    for (const onOpen of onOpenPolicies)
      for (const onClosed of onClosedPolicies)
        expect(decideKey({ kind: 'free', behind: null }, wish({ onOpen, onClosed }), 'x')).toEqual(made)
  })
  it('whose run is still stopping gets one that waits for it', () => {
    expect(decideKey({ kind: 'free', behind: run }, wish(), 'x')).toEqual({ ...made, behind: run })
  })
})

describe('an open run', () => {
  it.each([
    ['return', { kind: 'return', runId: 7 }],
    ['reject', { kind: 'refuse', code: 'RUN_KEY_CONFLICT', existing: run }],
    ['replace', { ...made, aside: [run], replaces: 7 }],
    ['after', { ...made, behind: run }],
  ] as const)('%s', (onOpen, decision) => {
    // onClosed has no say
    for (const onClosed of onClosedPolicies) expect(decideKey(open, wish({ onOpen, onClosed }), 'h')).toEqual(decision)
  })
  it('that waits for an earlier one: replace ends both, after takes its place', () => {
    const waiter = { ...run, state: 'waiting' as const }
    expect(decideKey(queued, wish({ onOpen: 'return' }), 'h')).toEqual({ kind: 'return', runId: 7 })
    expect(decideKey(queued, wish({ onOpen: 'replace' }), 'h')).toEqual({
      ...made,
      aside: [waiter, earlier],
      replaces: 7,
    })
    expect(decideKey(queued, wish({ onOpen: 'after' }), 'h')).toEqual({ ...made, aside: [waiter], behind: earlier })
  })
})

describe('an ended run', () => {
  it.each([
    ['return', 'succeeded', { kind: 'return', runId: 7 }],
    ['return', 'failed', { kind: 'return', runId: 7 }],
    ['reject', 'succeeded', { kind: 'refuse', code: 'RUN_KEY_CONFLICT', existing: closed('succeeded') }],
    ['reject', 'canceled', { kind: 'refuse', code: 'RUN_KEY_CONFLICT', existing: closed('canceled') }],
    ['allow', 'succeeded', made],
    ['allow', 'failed', made],
    ['allowIfFailed', 'succeeded', { kind: 'return', runId: 7 }],
    ['allowIfFailed', 'failed', made],
    ['allowIfFailed', 'canceled', made],
    ['allowIfFailed', 'stopped', made],
  ] as const)('%s, %s', (onClosed, state, decision) => {
    for (const onOpen of onOpenPolicies)
      expect(decideKey(closed(state), wish({ onOpen, onClosed }), 'h')).toEqual(decision)
  })
})

describe('other params', () => {
  it('are refused before any policy is asked, unless they are to be ignored', () => {
    for (const standing of [open, queued, closed('failed'), closed('succeeded')])
      for (const onOpen of onOpenPolicies)
        for (const onClosed of onClosedPolicies) {
          const policy = { onOpen, onClosed }
          expect(decideKey(standing, wish(policy), 'other')).toMatchObject({
            kind: 'refuse',
            code: 'RUN_KEY_INPUT_MISMATCH',
            existing: { runId: 7 },
          })
          expect(decideKey(standing, wish({ ...policy, onInputMismatch: 'ignore' }), 'other')).toEqual(
            decideKey(standing, wish(policy), 'h'),
          )
        }
  })
})

describe('a row', () => {
  it('stands for its newest run while that is open', () => {
    expect(standingOf(undefined)).toEqual({ kind: 'free', behind: null })
    expect(standingOf(facts)).toEqual({
      kind: 'open',
      run: { ...run, state: 'waiting' },
      behind: null,
    })
    expect(standingOf({ ...facts, state: 'unknown' })).toMatchObject({ kind: 'open' })
    expect(standingOf({ ...facts, before: earlier })).toMatchObject({ run: { runId: 7 }, behind: earlier })
  })
  it('goes back to the earlier run when the newest was canceled while it waited, even after its time', () => {
    const canceled = { ...facts, state: 'canceled', before: earlier, expired: true } as const
    expect(standingOf(canceled)).toEqual({ kind: 'open', run: earlier, behind: null })
  })
  it('is free when its time is over or it was set free, and then remembers who is still stopping', () => {
    expect(standingOf({ ...facts, state: 'succeeded' })).toMatchObject({ kind: 'closed', state: 'succeeded' })
    expect(standingOf({ ...facts, state: 'succeeded', expired: true })).toEqual({ kind: 'free', behind: null })
    expect(standingOf({ ...facts, state: 'stopped', vacant: true })).toEqual({ kind: 'free', behind: null })
    const freed = { ...earlier, freed: true }
    expect(standingOf({ ...facts, state: 'running', vacant: true, before: freed })).toEqual({
      kind: 'free',
      behind: freed,
    })
    // what was asked for since then was canceled: the key does not go back to the freed one
    expect(standingOf({ ...facts, state: 'canceled', before: freed })).toEqual({ kind: 'free', behind: freed })
    expect(standingOf({ ...facts, before: freed })).toMatchObject({ kind: 'open', run: { runId: 7 }, behind: freed })
  })
})
