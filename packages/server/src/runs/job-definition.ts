// A job's definition: filled with defaults, patched, and checked for what a schema cannot say. Pure.
import { longestMs, type Job, type JobInput, type JobPatch } from '@oncejob/protocol'
import { Refusal } from '../kernel/errors.ts'
import { fullSchedule } from './schedule-codec.ts'

/** Everything that people decide about a job. */
export type JobDefinition = Omit<Job, 'id' | 'app' | 'version' | 'nextFireAt' | 'createdAt' | 'updatedAt'>

const fullRetry = (retry: JobInput['retry']): JobDefinition['retry'] => ({
  max: retry?.max ?? 0,
  backoff: retry?.backoff ?? 'exponential',
  delayMs: retry?.delayMs ?? 1000,
  // a long delay alone is no contradiction
  maxDelayMs: retry?.maxDelayMs ?? Math.max(3_600_000, retry?.delayMs ?? 0),
  jitter: retry?.jitter ?? 0.1,
  retryOn: retry?.retryOn ?? [],
  noRetryOn: retry?.noRetryOn ?? [],
  maxLost: retry?.maxLost ?? 10,
})

const fullWorkers = (workers: JobInput['workers']): JobDefinition['workers'] => ({
  labels: workers?.labels ?? {},
  designated: workers?.designated ?? [],
  minFreeCpuCores: workers?.minFreeCpuCores ?? 0,
  minFreeMemoryGb: workers?.minFreeMemoryGb ?? 0,
  minFreeDiskGb: workers?.minFreeDiskGb ?? 0,
  maxWorkers: workers?.maxWorkers ?? 0,
  strategy: workers?.strategy ?? 'health-first',
})

const fullLog = (log: JobInput['log']): JobDefinition['log'] => ({
  level: log?.level ?? 'info',
  type: log?.type ?? 'online',
  loggerName: log?.loggerName ?? null,
})

/**
 * The whole definition; what the input leaves out takes its default.
 * @throws Refusal SCHEDULE_INVALID when start or end of the schedule is no date
 */
export const definitionOf = (input: JobInput): JobDefinition => ({
  name: input.name,
  description: input.description ?? null,
  processor: input.processor,
  processorType: input.processorType ?? 'built-in',
  mode: input.mode ?? 'standalone',
  params: input.params ?? null,
  schedule: fullSchedule(input.schedule),
  enabled: input.enabled ?? true,
  priority: input.priority ?? 0,
  maxConcurrentRuns: input.maxConcurrentRuns ?? 0,
  taskConcurrency: input.taskConcurrency ?? 5,
  queueTimeoutMs: input.queueTimeoutMs ?? null,
  attemptTimeoutMs: input.attemptTimeoutMs ?? null,
  runTimeoutMs: input.runTimeoutMs ?? null,
  retry: fullRetry(input.retry),
  guarantee: input.guarantee ?? 'at-least-once',
  taskRetryMax: input.taskRetryMax ?? 0,
  workers: fullWorkers(input.workers),
  notify: input.notify ?? [],
  alarm: input.alarm ?? null,
  log: fullLog(input.log),
  trackerBehavior: input.trackerBehavior ?? 'normal',
  tag: input.tag ?? null,
  extra: input.extra ?? null,
})

/** The definition after a patch: fields that it names are replaced whole, the others stay. */
export const patchedDefinition = (current: JobDefinition, patch: JobPatch): JobDefinition =>
  definitionOf({ ...current, ...patch })

/** The definition as a file holds it: an input that gives the same definition again. */
export const inputOf = (definition: JobDefinition): JobInput => ({ ...definition })

// PostgreSQL keeps neither NUL nor halves of surrogate pairs
const isStorable = (value: unknown): boolean => {
  if (typeof value === 'string') return value.isWellFormed() && !value.includes('\0')
  if (typeof value !== 'object' || value === null) return true
  return Object.entries(value).every(([key, member]) => isStorable(key) && isStorable(member))
}

const unstorableField = (definition: JobDefinition): string | undefined =>
  // parameters are kept as JSON text, in which both are escaped
  Object.entries(definition).find(([field, value]) => field !== 'params' && !isStorable(value))?.[0]

const timeoutFault = (definition: JobDefinition): string | undefined => {
  const { queueTimeoutMs, attemptTimeoutMs, runTimeoutMs } = definition
  for (const [field, value] of Object.entries({ queueTimeoutMs, attemptTimeoutMs, runTimeoutMs })) {
    if (value !== null && value > longestMs)
      return `${field} is ${value}; at most 100 years (${longestMs}) are possible`
    if (value === 0 && field !== 'queueTimeoutMs')
      return `${field} is 0, so that every run would time out; write null for no limit`
  }
  return undefined
}

const retryFault = ({ retry }: JobDefinition): string | undefined => {
  if (retry.maxDelayMs < retry.delayMs) {
    return `retry.maxDelayMs is ${retry.maxDelayMs}, less than retry.delayMs, which is ${retry.delayMs}; raise the one or lower the other`
  }
  const both = retry.retryOn.find((code) => retry.noRetryOn.includes(code))
  return both === undefined
    ? undefined
    : `the error code "${both}" is in retry.retryOn and in retry.noRetryOn; take it out of one`
}

/** Modes that workers of the native protocol execute; Java workers execute all. */
export const isExecuted = (mode: JobDefinition['mode']): boolean => mode === 'standalone'

/**
 * Refuses a definition that contradicts itself or asks for what this version cannot do.
 * The schedule's own rules are those of timingOfView.
 * @param modes `any`: for jobs of the PowerJob wire, whose workers execute all
 * @throws Refusal JOB_INVALID
 */
export const checkDefinition = (definition: JobDefinition, modes: 'executed' | 'any' = 'executed'): void => {
  const refuse = (says: string): never => {
    throw new Refusal('JOB_INVALID', says)
  }
  const unstorable = unstorableField(definition)
  if (unstorable !== undefined) refuse(`${unstorable} contains a NUL character or half a surrogate pair; take it out`)
  if (modes === 'executed' && !isExecuted(definition.mode))
    refuse(`mode "${definition.mode}" is not executed by this version; use "standalone"`)
  const fault = timeoutFault(definition) ?? retryFault(definition)
  if (fault !== undefined) refuse(fault)
}
