// Named moments at which a process of a test kills itself with SIGKILL. Production code knows nothing of them: the test's
// program wraps what it hands to the worker (its pool, its function, the address of its server).
import { appendFileSync } from 'node:fs'

/** Around `ctx.once`, in the order in which an attempt comes there. */
export const oncePoints = [
  'once:before-intent',
  'once:intent-sent',
  'once:intent-answered',
  'once:before-effect',
  'once:after-effect',
  'once:before-outcome',
  'once:outcome-sent',
  'once:outcome-answered',
  'once:after',
] as const

/** Around `ctx.transaction`. What is sent was handed to the kernel; what has no name of its own lies between two others. */
export const transactionPoints = [
  'transaction:before',
  'transaction:fence-sent',
  'transaction:before-begin',
  'transaction:begun',
  'transaction:fence-held',
  'transaction:effect-noted',
  'transaction:written',
  'transaction:before-commit',
  'transaction:commit-sent',
  'transaction:committed',
  'transaction:after',
] as const

/** Around the report of the run's result. */
export const reportPoints = ['report:before', 'report:sent', 'report:answered', 'report:heard'] as const

export const faultPoints = [...oncePoints, ...transactionPoints, ...reportPoints] as const
export type FaultPoint = (typeof faultPoints)[number]

export interface Faults {
  /**
   * The process is at this point. Where it is to die, this does not return; those that come before the deadly one are held
   * here, so that they die at the very same point.
   */
  visit(point: FaultPoint): Promise<void>
}

export interface FaultSettings {
  /** Where to die; undefined: nowhere. */
  readonly at: { readonly point: FaultPoint; readonly passage: number } | undefined
  /** A file that gets a line for each visit. */
  readonly log: string | undefined
}

/** SIGKILL to this very process: no handler runs, nothing is flushed, and nothing behind this call happens. */
export const dieNow = (): never => {
  process.kill(process.pid, 'SIGKILL')
  // The kernel is quick, but it promises nothing about the next instruction.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

const isFaultPoint = (text: string): text is FaultPoint => faultPoints.some((point) => point === text)

/**
 * Reads `ONCEJOB_TEST_FAULT`, a point and optionally which passage of it (`once:after#3`), and `ONCEJOB_TEST_FAULT_LOG`.
 * @throws RangeError for a point that does not exist: a test that waits for a death must not wait for ever
 */
export const faultSettings = (env: NodeJS.ProcessEnv): FaultSettings => {
  const { ONCEJOB_TEST_FAULT: fault = '', ONCEJOB_TEST_FAULT_LOG: log } = env
  if (fault === '') return { at: undefined, log }
  const [point = '', passage = '1', ...rest] = fault.split('#')
  if (!isFaultPoint(point) || !/^[1-9]\d*$/.test(passage) || rest.length > 0)
    throw new RangeError(`There is no fault point "${fault}"; the points are ${faultPoints.join(', ')}`)
  return { at: { point, passage: Number(passage) }, log }
}

/** @param die what to do at the point; for the tests of this file */
export const createFaults = ({ at, log }: FaultSettings, die: () => void = dieNow): Faults => {
  let passages = 0
  return {
    visit: async (point) => {
      if (log !== undefined) appendFileSync(log, `${point}\n`)
      if (point !== at?.point) return
      passages += 1
      if (passages === at.passage) die()
      if (passages <= at.passage) await new Promise<never>(() => undefined)
    },
  }
}
