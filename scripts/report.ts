// What one step of the judging came to, and how all of them are told: the closing lines of .ci/run.

export interface Failure {
  readonly name: string
  readonly messages: readonly string[]
}

/** What scripts/reporter.ts writes; `finished` is false while the run lasts, and stays so when it is killed. */
export interface TestReport {
  readonly finished: boolean
  readonly passed: number
  readonly skipped: number
  readonly failures: readonly Failure[]
  /** Tests that passed only when tried again, and why they had failed. */
  readonly unsteady: readonly Failure[]
  readonly running: readonly string[]
}

export interface Outcome {
  readonly step: string
  readonly tookMs: number
  readonly passed: number
  readonly skipped: number
  readonly failures: readonly Failure[]
  readonly unsteady: readonly Failure[]
  /** Whether tests ran in this step, as opposed to one check. */
  readonly tested: boolean
}

/** How the process of a step ended: its exit code, or why it has none. */
export interface Ending {
  readonly exit: number | 'timed out' | 'not started'
  readonly tookMs: number
  /** The end of what it printed. */
  readonly tail: string
}

const describeExit = ({ exit }: Ending): string => (typeof exit === 'number' ? `exit code ${exit}` : exit)

/** A step that is one check: passed or not. */
export const checkOutcome = (step: string, ending: Ending): Outcome => {
  const passed = ending.exit === 0
  return {
    step,
    tookMs: ending.tookMs,
    passed: passed ? 1 : 0,
    skipped: 0,
    failures: passed ? [] : [{ name: step, messages: [`${describeExit(ending)}\n${ending.tail}`] }],
    unsteady: [],
    tested: false,
  }
}

/**
 * A step that runs tests. A run without a report, without a test, or with an exit code that the report does not
 * explain has failed, whatever it printed.
 */
export const testOutcome = (step: string, ending: Ending, report: TestReport | undefined): Outcome => {
  if (report === undefined)
    return { ...checkOutcome(step, { ...ending, exit: ending.exit === 0 ? 1 : ending.exit }), tested: false }
  const failures = [...report.failures]
  const unexplained = (message: string): number =>
    failures.push({ name: step, messages: [`${message}\n${ending.tail}`] })
  if (!report.finished) {
    unexplained(`${describeExit(ending)} before the run was over; under way: ${report.running.join(', ') || 'no test'}`)
  } else if (report.passed + failures.length === 0) {
    unexplained('no test ran')
  } else if (ending.exit !== 0 && failures.length === 0) {
    unexplained(`${describeExit(ending)} although no test failed`)
  }
  return {
    step,
    tookMs: ending.tookMs,
    passed: report.passed,
    skipped: report.skipped,
    failures,
    unsteady: report.unsteady,
    tested: report.passed + report.failures.length > 0,
  }
}

/** A step that could not be tried here; the reason is printed by the caller. */
export const skippedOutcome = (step: string): Outcome => ({
  step,
  tookMs: 0,
  passed: 0,
  skipped: 1,
  failures: [],
  unsteady: [],
  tested: false,
})

const sum = (outcomes: readonly Outcome[], count: (outcome: Outcome) => number): number =>
  outcomes.reduce((total, outcome) => total + count(outcome), 0)

const clip = (text: string, most: number): string => (text.length <= most ? text : `${text.slice(0, most)} [cut]`)

const indent = (text: string): string => text.replaceAll('\n', '\n    ')

const tellFailure = (what: string, { name, messages }: Failure): string =>
  [`${what} ${name}`, ...messages.map((message) => `    ${indent(clip(message, 2_000))}`)].join('\n')

const tellStep = ({ step, tookMs, passed, skipped, failures }: Outcome): string =>
  `${failures.length > 0 ? 'FAILED' : passed === 0 ? 'skipped' : 'ok'} ${step}: ` +
  `${passed} passed, ${failures.length} failed, ${skipped} skipped, ${Math.round(tookMs / 1_000)} s`

/** The closing lines, the sum last; failures are told in full because only the end of a long log may be kept. */
export const tell = (outcomes: readonly Outcome[]): string => {
  const failed = sum(outcomes, ({ failures }) => failures.length)
  const skipped = sum(outcomes, (outcome) => outcome.skipped)
  const passed = sum(outcomes, (outcome) => outcome.passed)
  return [
    '== steps',
    ...outcomes.map(tellStep),
    ...outcomes.flatMap(({ unsteady }) =>
      unsteady.map((one) => tellFailure('unsteady, passed on the second try:', one)),
    ),
    ...outcomes.flatMap(({ failures }) => failures.map((one) => tellFailure('FAILED', one))),
    `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`,
  ].join('\n')
}

/** True when nothing failed and tests did run. */
export const isGood = (outcomes: readonly Outcome[]): boolean =>
  outcomes.some(({ tested }) => tested) && outcomes.every(({ failures }) => failures.length === 0)
