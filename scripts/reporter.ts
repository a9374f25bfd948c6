// Writes what a test run came to as one JSON file, for scripts/ci.ts: counts, failures in full, and second tries.
import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node'
import type { Failure, TestReport } from './report.ts'

interface TestError {
  readonly message: string
  readonly stack?: string | undefined
  readonly diff?: string | undefined
}

// The stack repeats the message; its first frames tell the place.
const placeOf = (stack: string): string =>
  stack
    .split('\n')
    .filter((line) => line.trim().startsWith('at '))
    .slice(0, 3)
    .join('\n')

const describeError = ({ message, diff = '', stack = '' }: TestError): string =>
  [message, diff, placeOf(stack)].filter((part) => part !== '').join('\n')

const fileOf = (module: TestModule): string => relative(process.cwd(), module.moduleId)

const nameOf = (test: TestCase): string => `[${test.project.name}] ${fileOf(test.module)} > ${test.fullName}`

// Both tries of a test often fail in the same words.
const failureOf = (name: string, errors: readonly TestError[]): Failure => ({
  name,
  messages: [...new Set(errors.map(describeError))],
})

// A file that cannot be loaded, or a hook, can fail without a test that failed: each counts as one.
const brokenSuites = (module: TestModule): Failure[] => {
  const suites: (TestModule | TestSuite)[] = [module, ...module.children.allSuites()]
  return suites
    .filter((suite) => suite.errors().length > 0)
    .map((suite) => {
      const part = suite.type === 'module' ? 'the file itself' : `${suite.fullName}: a hook`
      return failureOf(`[${module.project.name}] ${fileOf(module)} > ${part}`, suite.errors())
    })
}

/** Sums a finished run up; errors outside any test count as one failure each. */
export const summarize = (modules: readonly TestModule[], unhandled: readonly TestError[]): TestReport => {
  const tests = modules.flatMap((module) => [...module.children.allTests()])
  const inState = (state: string): TestCase[] => tests.filter((test) => test.result().state === state)
  const failures = [
    ...inState('failed').map((test) => failureOf(nameOf(test), test.result().errors ?? [])),
    ...modules.flatMap(brokenSuites),
    ...unhandled.map((error) => failureOf('an error outside any test', [error])),
  ]
  return {
    finished: true,
    passed: inState('passed').length,
    skipped: inState('skipped').length + inState('pending').length,
    failures,
    unsteady: inState('passed')
      .filter((test) => test.diagnostic()?.flaky === true)
      .map((test) => failureOf(nameOf(test), test.result().errors ?? [])),
    running: [],
  }
}

// oxlint-disable-next-line import/no-default-export -- the tool reads the default export
export default class CountingReporter implements Reporter {
  readonly #path = process.env['ONCEJOB_TEST_REPORT']
  readonly #running = new Set<string>()
  readonly #failures: Failure[] = []
  #passed = 0

  onTestCaseReady(test: TestCase): void {
    this.#running.add(nameOf(test))
    this.#noteProgress()
  }

  onTestCaseResult(test: TestCase): void {
    const { state, errors } = test.result()
    this.#running.delete(nameOf(test))
    if (state === 'passed') this.#passed += 1
    if (state === 'failed') this.#failures.push(failureOf(nameOf(test), errors ?? []))
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly TestError[]): void {
    this.#write(summarize(modules, unhandled))
  }

  // A run that is killed leaves its last note behind: it names the tests that hung.
  #noteProgress(): void {
    const running = [...this.#running]
    this.#write({ finished: false, passed: this.#passed, skipped: 0, failures: this.#failures, unsteady: [], running })
  }

  #write(report: TestReport): void {
    if (this.#path !== undefined) writeFileSync(this.#path, JSON.stringify(report, null, 1))
  }
}
