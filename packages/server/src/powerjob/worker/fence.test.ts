// What counts of the reports of Java workers: every pair of what is known of the live attempt and what a report says.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { judge, type LiveAttempt } from './fence.ts'

const address = '10.0.0.7:27777'
const live = (change: Partial<LiveAttempt> = {}): LiveAttempt => ({
  appId: 1,
  address,
  sent: true,
  startTime: null,
  reportTime: null,
  earlier: [],
  ...change,
})
type Said = Parameters<typeof judge>[1]
const report = (change: Partial<Said> = {}): Said => ({
  appId: 1,
  address,
  status: 'running',
  startTime: 100,
  reportTime: 200,
  ...change,
})
const accepted = { kind: 'accept' }
const ignored = (why: string, stop: boolean) => ({ kind: 'ignore', why, stop })

describe('a report', () => {
  it('counts when it is the first one of the live attempt', () => {
    expect(judge(live(), report())).toEqual(accepted)
    expect(judge(live(), report({ status: 'succeeded' }))).toEqual(accepted)
  })
  it('counts when it goes on where the one before was', () => {
    expect(judge(live({ startTime: 100, reportTime: 199 }), report())).toEqual(accepted)
  })
  it('changes nothing when the run has no live attempt; who still runs it is told to stop', () => {
    expect(judge(undefined, report())).toEqual(ignored('not-running', true))
    expect(judge(undefined, report({ status: 'succeeded' }))).toEqual(ignored('not-running', false))
    expect(judge(undefined, report({ status: 'failed' }))).toEqual(ignored('not-running', false))
  })
  it('changes nothing when another worker has the run', () => {
    expect(judge(live({ address: '10.0.0.8:27777' }), report())).toEqual(ignored('other-worker', true))
    expect(judge(live({ address: null }), report({ status: 'succeeded' }))).toEqual(ignored('other-worker', false))
  })
  it('changes and stops nothing when it speaks for another app', () => {
    expect(judge(live({ appId: 2 }), report())).toEqual(ignored('other-app', false))
    expect(judge(live(), report({ appId: null }))).toEqual(accepted)
  })
  it('changes nothing before the run was sent: it can only be about an earlier attempt', () => {
    expect(judge(live({ sent: false }), report({ status: 'succeeded' }))).toEqual(ignored('not-sent', false))
    expect(judge(live({ sent: false }), report())).toEqual(ignored('not-sent', true))
  })
  it('changes nothing when it began with an earlier attempt, and stops nothing: the worker may have begun anew', () => {
    expect(judge(live({ earlier: [100] }), report())).toEqual(ignored('earlier-start', false))
    expect(judge(live({ startTime: 90, reportTime: 95, earlier: [100] }), report())).toEqual(
      ignored('earlier-start', false),
    )
    expect(judge(live({ earlier: [100] }), report({ status: 'succeeded' }))).toEqual(ignored('earlier-start', false))
  })
  it('changes and stops nothing when the worker has begun anew since', () => {
    expect(judge(live({ startTime: 150, reportTime: 160, earlier: [100] }), report())).toEqual(
      ignored('other-start', false),
    )
  })
  it('counts when its worker has begun later: what was heard first was of an attempt that it still had', () => {
    const first = live({ startTime: 50, reportTime: 300 })
    expect(judge(first, report())).toEqual(accepted)
    expect(judge(first, report({ status: 'succeeded' }))).toEqual(accepted)
  })
  it('that the run goes on changes nothing when it is not newer than the one before', () => {
    for (const reportTime of [200, 201, 10_200])
      expect(judge(live({ startTime: 100, reportTime }), report())).toEqual(ignored('old', false))
  })
  it('counts when the clock of its worker was set back', () => {
    expect(judge(live({ startTime: 100, reportTime: 7_200_200 }), report())).toEqual(accepted)
  })
  it('of a result counts whatever the clock of its worker says', () => {
    for (const reportTime of [200, 201, 10_200, 7_200_200])
      for (const status of ['succeeded', 'failed'] as const)
        expect(judge(live({ startTime: 100, reportTime }), report({ status }))).toEqual(accepted)
  })
  it('of an earlier attempt never counts, in whatever order reports come', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ startTime: fc.nat(3), reportTime: fc.nat(20), final: fc.boolean() }), { maxLength: 30 }),
        fc.array(fc.nat(3), { maxLength: 3 }),
        (said, earlier) => {
          let now = live({ earlier })
          for (const one of said) {
            const verdict = judge(now, report({ ...one, status: one.final ? 'succeeded' : 'running' }))
            if (verdict.kind === 'ignore') continue
            expect(earlier).not.toContain(one.startTime)
            if (now.startTime !== null) expect(one.startTime).toBeGreaterThanOrEqual(now.startTime)
            now = { ...now, startTime: one.startTime, reportTime: one.reportTime }
          }
        },
      ),
    )
  })
})
