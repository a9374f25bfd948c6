// Runs every gate one after the other, goes on after a failure, and ends with true counts. Called by .ci/run.
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { stripVTControlCharacters } from 'node:util'
import { whyNoJava } from '../interop/support/java.ts'
import { findPostgres } from './postgres.ts'
import { checkOutcome, isGood, skippedOutcome, tell, testOutcome } from './report.ts'
import type { Ending, Outcome, TestReport } from './report.ts'

interface Step {
  readonly name: string
  readonly script: string
  readonly args?: readonly string[]
  readonly limitMs: number
  readonly tests?: true
  readonly needsPostgres?: true
  readonly needsJava?: true
}

const minutes = (count: number): number => count * 60_000

// Together they must end before whoever started us loses patience; a step gets its own limit or what is left.
const budgetMs = minutes(42)
const reportFolder = '.reports'

const steps: readonly Step[] = [
  { name: 'format', script: 'format:check', limitMs: minutes(2) },
  { name: 'lint', script: 'lint', limitMs: minutes(4) },
  { name: 'types', script: 'types', limitMs: minutes(4) },
  { name: 'layers', script: 'layers', limitMs: minutes(3) },
  { name: 'generated files current', script: 'generated:check', limitMs: minutes(3) },
  { name: 'build', script: 'build', limitMs: minutes(4) },
  { name: 'pack', script: 'pack', limitMs: minutes(2) },
  { name: 'npm test', script: 'test', limitMs: minutes(16), tests: true },
  { name: 'tests on PostgreSQL', script: 'test:postgres', limitMs: minutes(8), tests: true, needsPostgres: true },
  {
    name: 'tests with PostgreSQL and Redis',
    script: 'test:services',
    limitMs: minutes(6),
    tests: true,
    needsPostgres: true,
  },
  { name: 'e2e on PostgreSQL', script: 'e2e:postgres', limitMs: minutes(14), tests: true, needsPostgres: true },
  // a part on each database; `npm run interop` runs everything on both
  {
    name: 'real PowerJob clients and workers, embedded',
    script: 'interop',
    args: ['--', '--on=embedded', 'every-method', 'workers', 'spring'],
    limitMs: minutes(8),
    tests: true,
    needsJava: true,
  },
  {
    name: 'real PowerJob clients and workers, PostgreSQL',
    script: 'interop',
    args: ['--', '--on=postgres', 'no-duplicates', 'lost-header', 'worker-loss'],
    limitMs: minutes(10),
    tests: true,
    needsJava: true,
    needsPostgres: true,
  },
  { name: 'bench smoke', script: 'bench', args: ['--', '--smoke'], limitMs: minutes(4) },
]

const say = (line: string): void => void process.stdout.write(`${line}\n`)

// The whole group is ended: a hung test leaves servers and workers behind otherwise.
const killGroup = (pid: number | undefined): void => {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}

const runScript = ({ script, args = [] }: Step, limitMs: number, env: NodeJS.ProcessEnv): Promise<Ending> =>
  new Promise((resolve) => {
    const startedMs = performance.now()
    const child = spawn('npm', ['run', script, ...args], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let tail = ''
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      say(`time limit of ${Math.round(limitMs / 1_000)} s reached`)
      killGroup(child.pid)
    }, limitMs)
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        process.stdout.write(text)
        tail = (tail + stripVTControlCharacters(text)).slice(-1_500)
      })
    }
    const end = (exit: Ending['exit']): void => {
      clearTimeout(timer)
      killGroup(child.pid)
      resolve({ exit: timedOut ? 'timed out' : exit, tookMs: performance.now() - startedMs, tail })
    }
    child.on('error', () => end('not started'))
    // A grandchild that keeps a pipe open must not keep us: the exit counts, then a moment for the last lines.
    child.on('exit', (code) => setTimeout(() => end(code ?? 1), 200))
  })

const readReport = (path: string): TestReport | undefined => {
  try {
    const report: TestReport = JSON.parse(readFileSync(path, 'utf8'))
    return report
  } catch {
    return undefined
  }
}

const outcomeOf = async (step: Step, limitMs: number, postgresUrl: string | undefined): Promise<Outcome> => {
  const reportPath = `${reportFolder}/${step.name.replaceAll(/\W+/g, '-')}.json`
  const ending = await runScript(step, limitMs, {
    ...process.env,
    ...(step.tests === true ? { ONCEJOB_TEST_REPORT: reportPath } : {}),
    ...(postgresUrl === undefined ? {} : { ONCEJOB_TEST_DATABASE_URL: postgresUrl }),
  })
  return step.tests === true ? testOutcome(step.name, ending, readReport(reportPath)) : checkOutcome(step.name, ending)
}

const runAll = async (): Promise<Outcome[]> => {
  const postgresUrl = await findPostgres()
  const outcomes: Outcome[] = []
  for (const step of steps) {
    say(`\n== ${step.name}`)
    if (step.needsPostgres === true && postgresUrl === undefined) {
      say(`SKIPPED ${step.name}: no PostgreSQL can be reached (ONCEJOB_TEST_DATABASE_URL)`)
      outcomes.push(skippedOutcome(step.name))
      continue
    }
    const noJava = step.needsJava === true ? whyNoJava() : undefined
    if (noJava !== undefined) {
      say(`SKIPPED ${step.name}: ${noJava}`)
      outcomes.push(skippedOutcome(step.name))
      continue
    }
    const leftMs = budgetMs - performance.now()
    const outcome = await outcomeOf(step, Math.max(1_000, Math.min(step.limitMs, leftMs)), postgresUrl)
    outcomes.push(outcome)
  }
  return outcomes
}

rmSync(reportFolder, { recursive: true, force: true })
mkdirSync(reportFolder, { recursive: true })
const outcomes = await runAll()
say(`\n${tell(outcomes)}`)
process.exitCode = isGood(outcomes) ? 0 : 1
