// The sums that judge a change: what must never be counted as passed.
import { describe, expect, it } from 'vitest'
import { checkOutcome, isGood, skippedOutcome, tell, testOutcome } from './report.ts'
import type { Ending, TestReport } from './report.ts'

const ending = (exit: Ending['exit']): Ending => ({ exit, tookMs: 2_000, tail: 'last words' })
const report = (changes: Partial<TestReport> = {}): TestReport => ({
  finished: true,
  passed: 3,
  skipped: 0,
  failures: [],
  unsteady: [],
  running: [],
  ...changes,
})
const lastLine = (text: string): string | undefined => text.split('\n').at(-1)

describe('counting', () => {
  it('sums tests and counts every other check as one', () => {
    const outcomes = [checkOutcome('lint', ending(0)), testOutcome('npm test', ending(0), report())]
    expect(lastLine(tell(outcomes))).toBe('4 passed, 0 failed')
    expect(isGood(outcomes)).toBe(true)
  })

  it('names skips only when there are some', () => {
    expect(lastLine(tell([testOutcome('t', ending(0), report({ skipped: 2 })), skippedOutcome('e2e')]))).toBe(
      '3 passed, 0 failed, 3 skipped',
    )
  })

  it('tells each failed test with its message before the closing line', () => {
    const failures = [{ name: '[unit] a.test.ts > holds', messages: ['expected 1 to be 2'] }]
    const outcomes = [testOutcome('npm test', ending(1), report({ failures }))]
    expect(tell(outcomes)).toContain('FAILED [unit] a.test.ts > holds\n    expected 1 to be 2')
    expect(lastLine(tell(outcomes))).toBe('3 passed, 1 failed')
    expect(isGood(outcomes)).toBe(false)
  })

  it('lists aloud who passed on a second try, and why the first one failed', () => {
    const unsteady = [{ name: 'a > b', messages: ['expected 1 to be 2'] }]
    const outcomes = [testOutcome('npm test', ending(0), report({ unsteady }))]
    expect(tell(outcomes)).toContain('unsteady, passed on the second try: a > b\n    expected 1 to be 2')
    expect(lastLine(tell(outcomes))).toBe('3 passed, 0 failed')
  })
})

describe('what is never good', () => {
  it.each([
    ['a run without a report', testOutcome('t', ending(0), undefined)],
    ['a run in which no test ran', testOutcome('t', ending(0), report({ passed: 0 }))],
    ['an exit code that no failure explains', testOutcome('t', ending(1), report())],
    [
      'a run that was killed',
      testOutcome('t', ending('timed out'), report({ finished: false, running: ['hung one'] })),
    ],
    ['a check that could not start', checkOutcome('lint', ending('not started'))],
  ])('%s', (_, outcome) => {
    expect(outcome.failures).toHaveLength(1)
    expect(isGood([testOutcome('other', ending(0), report()), outcome])).toBe(false)
  })

  it('names the tests that were under way when a run was killed', () => {
    const outcome = testOutcome('t', ending('timed out'), report({ finished: false, running: ['hung one'] }))
    expect(tell([outcome])).toContain('under way: hung one')
  })

  it('gates alone, when no test ran at all', () => {
    expect(isGood([checkOutcome('lint', ending(0)), skippedOutcome('tests')])).toBe(false)
  })
})
