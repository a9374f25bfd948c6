// The message that hands a run to a Java worker (contract 3.2): the same members in the same order as PowerJob's, absent ones absent.
import type { ClaimedRow } from '../../storage/claim.ts'
import type { StoredJob } from '../../storage/jobs.ts'
import { plainText, wireJobOf } from '../job-codec.ts'
import type { AlarmConfig, LogConfig, RuntimeConfig } from '../job-request.ts'

/** What of a job stands in every hand-over of it. */
export interface JobFacts {
  readonly routeId: number
  readonly maxWorkers: number
  /** A worker repeats it by itself. */
  readonly frequent: boolean
  /** More than one thread of its worker works on it, which takes at most 64 of that kind. */
  readonly heavy: boolean
  readonly before: Readonly<Record<string, unknown>>
  /** Time limit of a run in ms; 0: none. */
  readonly timeLimitMs: number
  readonly after: Readonly<Record<string, unknown>>
}

// configurations travel as JSON texts that fastjson wrote: keys in alphabetical order, nulls left out
const embedded = (config: AlarmConfig | LogConfig | RuntimeConfig | null): string | undefined => {
  if (config === null) return undefined
  const members = Object.entries(config).filter(([, value]) => value !== null)
  return JSON.stringify(Object.fromEntries(members.toSorted(([a], [b]) => (a < b ? -1 : 1))))
}

/** Takes out of a job what its hand-overs need. */
export const factsOf = (job: StoredJob): JobFacts => {
  const wire = wireJobOf(job)
  const frequent = wire.timeExpressionType === 'FIXED_RATE' || wire.timeExpressionType === 'FIXED_DELAY'
  const { alarmConfig } = wire
  // one missing number breaks the worker's handling of failures
  const isWhole = alarmConfig !== null && Object.values(alarmConfig).every((value) => value !== null)
  return {
    routeId: job.routeId,
    maxWorkers: Math.max(0, wire.maxWorkerCount),
    frequent,
    heavy: frequent || wire.executeType !== 'STANDALONE',
    before: {
      executeType: wire.executeType,
      processorType: wire.processorType,
      processorInfo: wire.processorInfo,
    },
    timeLimitMs: Math.max(0, wire.instanceTimeLimit),
    after: {
      threadConcurrency: wire.concurrency,
      taskRetryNum: wire.taskRetryNum,
      timeExpressionType: wire.timeExpressionType,
      timeExpression: wire.timeExpression ?? undefined,
      maxInstanceNum: wire.maxInstanceNum,
      alarmConfig: isWhole ? embedded(alarmConfig) : undefined,
      logConfig: embedded(wire.logConfig),
      advancedRuntimeConfig: embedded(wire.advancedRuntimeConfig),
    },
  }
}

/** A text of parameters; the empty one is none. */
const paramsOf = (json: string | null): string | undefined => {
  const value: unknown = json === null ? null : JSON.parse(json)
  return plainText(value) || undefined
}

/** What is left of the time, at most the limit of the job; a long run of a short interval has it for each execution. */
const timeoutOf = ({ timeLimitMs, frequent }: JobFacts, leftMs: number | null): number => {
  if (leftMs === null || frequent) return timeLimitMs
  const least = Math.max(1, Math.ceil(leftMs))
  return timeLimitMs === 0 ? least : Math.min(timeLimitMs, least)
}

export type Handed = Pick<ClaimedRow, 'run_id' | 'job_id' | 'job_params' | 'params' | 'timeout_ms'>

/** @param workers addresses that may take part in it */
export const runJobBody = (
  facts: JobFacts,
  run: Handed,
  workers: readonly string[],
): Readonly<Record<string, unknown>> => ({
  allWorkerAddress: workers,
  maxWorkerCount: facts.maxWorkers,
  jobId: run.job_id,
  instanceId: run.run_id,
  ...facts.before,
  instanceTimeoutMS: timeoutOf(facts, run.timeout_ms),
  jobParams: paramsOf(run.job_params),
  instanceParams: paramsOf(run.params),
  ...facts.after,
})
