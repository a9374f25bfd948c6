// A job of this wire to and from our definition. What the columns cannot give back exactly is kept beside them, and
// counts as long as it still says the same as they do: the native API may have changed the job since.
import { longestMs, type ScheduleView, type Trigger } from '@oncejob/protocol'
import { canonicalJson } from '../runs/job-changes.ts'
import { definitionOf, type JobDefinition } from '../runs/job-definition.ts'
import type { WireDefinition } from '../scheduling/wire-jobs.ts'
import type { StoredJob } from '../storage/jobs.ts'
import { WireError } from './call.ts'
import { logLevels, logTypes, trackerBehaviors } from './codes.ts'
import { isFields } from './jackson.ts'
import { readJob, type WireJob } from './job-request.ts'
import { boundsOf, isByTheClock, lifeCycleOf, readTime, timeOf } from './schedule-codec.ts'

/** A job, as far as it has to be known to be shown or written anew. */
export type KnownJob = Pick<StoredJob, 'definition' | 'powerjob'>

const clamp = (value: number, min: number, max: number): number => Math.min(Math.max(value, min), max)

const modes = {
  STANDALONE: 'standalone',
  BROADCAST: 'broadcast',
  MAP: 'map',
  MAP_REDUCE: 'map-reduce',
} as const satisfies Record<WireJob['executeType'], JobDefinition['mode']>
const executeTypeOf = {
  standalone: 'STANDALONE',
  broadcast: 'BROADCAST',
  map: 'MAP',
  'map-reduce': 'MAP_REDUCE',
} as const satisfies Record<JobDefinition['mode'], WireJob['executeType']>

const levelNames = { DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error', OFF: 'off' } as const
const levelCodes = { debug: 'DEBUG', info: 'INFO', warn: 'WARN', error: 'ERROR', off: 'OFF' } as const
const typeNames = {
  ONLINE: 'online',
  LOCAL: 'local',
  STDOUT: 'stdout',
  LOCAL_AND_ONLINE: 'local-and-online',
  NULL: 'none',
} as const
const typeCodes = {
  online: 'ONLINE',
  local: 'LOCAL',
  stdout: 'STDOUT',
  'local-and-online': 'LOCAL_AND_ONLINE',
  none: 'NULL',
} as const

/** JSON parameters as the plain text of this wire. */
export const plainText = (value: unknown): string | null => {
  if (value === null || value === undefined) return null
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Users are numbers there; whom else we notify is not shown. */
export const userIdsIn = (notify: readonly string[]): number[] | null => {
  const ids = notify
    .filter((name) => /^-?\d{1,16}$/.test(name))
    .map(Number)
    .filter(Number.isSafeInteger)
  return ids.length === 0 ? null : ids
}

/** How many runs may be open at once, 0 = any number. */
const limitOf = ({ maxConcurrentRuns, schedule }: JobDefinition): number =>
  maxConcurrentRuns === 0 && schedule.overlap !== 'allow' ? 1 : maxConcurrentRuns

const millionRuns = 1_000_000

// jobs on short intervals have at most one instance there
const wantedLimit = ({ maxInstanceNum, timeExpressionType }: WireJob): number => {
  const isFrequent = timeExpressionType === 'FIXED_RATE' || timeExpressionType === 'FIXED_DELAY'
  return clamp(maxInstanceNum, isFrequent ? 1 : 0, millionRuns)
}

const limitsIn = (
  wire: WireJob,
  current: JobDefinition,
): { maxConcurrentRuns: number; overlap: JobDefinition['schedule']['overlap'] } => {
  const limit = wantedLimit(wire)
  // the choice of an overlap policy is the native API's, as long as the limit stays
  if (limit === limitOf(current))
    return { maxConcurrentRuns: current.maxConcurrentRuns, overlap: current.schedule.overlap }
  return { maxConcurrentRuns: limit, overlap: limit > 0 ? 'fail' : 'allow' }
}

const designatedIn = (text: string | null): string[] => {
  const names = (text ?? '').split(',').map((name) => name.trim())
  return [...new Set(names.filter((name) => name !== ''))]
}

const workersIn = (wire: WireJob, { workers }: JobDefinition): JobDefinition['workers'] => {
  const healthy = workers.strategy === 'least-loaded' ? workers.strategy : 'health-first'
  return {
    ...workers,
    designated:
      wire.designatedWorkers === designatedOf(workers) ? workers.designated : designatedIn(wire.designatedWorkers),
    minFreeCpuCores: Math.max(0, wire.minCpuCores),
    minFreeMemoryGb: Math.max(0, wire.minMemorySpace),
    minFreeDiskGb: Math.max(0, wire.minDiskSpace),
    maxWorkers: Math.max(0, wire.maxWorkerCount),
    strategy: wire.dispatchStrategy === 'HEALTH_FIRST' ? healthy : 'random',
  }
}

const timeLimitOf = ({ attemptTimeoutMs, runTimeoutMs }: JobDefinition): number => attemptTimeoutMs ?? runTimeoutMs ?? 0

/** Each attempt has the whole limit, and one that takes longer is tried again as often as the job says (worker contract 4.4, 5.2). */
const timeLimitIn = (
  { instanceTimeLimit }: WireJob,
  current: JobDefinition,
): Pick<JobDefinition, 'attemptTimeoutMs' | 'runTimeoutMs'> => {
  const { attemptTimeoutMs, runTimeoutMs } = current
  if (instanceTimeLimit === timeLimitOf(current)) return { attemptTimeoutMs, runTimeoutMs }
  const isLimit = instanceTimeLimit > 0 && instanceTimeLimit <= longestMs
  return { attemptTimeoutMs: isLimit ? instanceTimeLimit : null, runTimeoutMs: null }
}

const isSame = (one: unknown, other: unknown): boolean => canonicalJson(one) === canonicalJson(other)

const notifyIn = ({ notifyUserIds }: WireJob, current: JobDefinition): string[] =>
  isSame(notifyUserIds, userIdsIn(current.notify)) ? current.notify : (notifyUserIds ?? []).map(String)

const alarmIn = ({ alarmConfig }: WireJob, current: JobDefinition): JobDefinition['alarm'] => {
  if (alarmConfig === null || isSame(alarmConfig, alarmOf(current))) return alarmConfig && current.alarm
  return {
    threshold: Math.max(0, alarmConfig.alertThreshold ?? 0),
    windowMs: Math.max(0, alarmConfig.statisticWindowLen ?? 0) * 1000,
    silenceMs: Math.max(0, alarmConfig.silenceWindowLen ?? 0) * 1000,
  }
}

const logIn = ({ logConfig }: WireJob, current: JobDefinition): JobDefinition['log'] =>
  logConfig === null
    ? current.log
    : {
        level: levelNames[logLevels.nameOf(logConfig.level ?? 0) ?? 'INFO'],
        type: typeNames[logTypes.nameOf(logConfig.type ?? 0) ?? 'ONLINE'],
        loggerName: logConfig.loggerName,
      }

const trackerIn = ({ advancedRuntimeConfig }: WireJob, current: JobDefinition): JobDefinition['trackerBehavior'] => {
  if (advancedRuntimeConfig === null) return current.trackerBehavior
  const name = trackerBehaviors.nameOf(advancedRuntimeConfig.taskTrackerBehavior ?? 0)
  return name === 'PADDLING' ? 'paddling' : 'normal'
}

/** Where a job of this wire begins: failed runs wait ten seconds before they are tried again, as PowerJob means it. */
const fresh: JobDefinition = definitionOf({
  name: 'new',
  processor: 'new',
  retry: { backoff: 'fixed', delayMs: 10_000, maxDelayMs: 10_000, jitter: 0 },
})

const scheduleIn = (wire: WireJob, current: JobDefinition, trigger: Trigger, zone: string): ScheduleView => {
  const { schedule } = current
  const keepsZone = isByTheClock(schedule.trigger) || !isByTheClock(trigger)
  return {
    ...schedule,
    ...boundsOf(wire.lifeCycle),
    trigger,
    zone: keepsZone ? schedule.zone : zone,
    overlap: limitsIn(wire, current).overlap,
  }
}

/**
 * The definition of a job. What this wire does not know, and what it shows less exactly than it is, stays as in `current`.
 * @param zone of a trigger that is on the clock for the first time
 */
const encode = (wire: WireJob, current: JobDefinition, trigger: Trigger, zone: string): JobDefinition => ({
  ...current,
  name: wire.jobName,
  description: wire.jobDescription,
  processor: wire.processorInfo,
  processorType: wire.processorType === 'EXTERNAL' ? 'external' : 'built-in',
  mode: modes[wire.executeType],
  params: wire.jobParams === plainText(current.params) ? current.params : wire.jobParams,
  schedule: scheduleIn(wire, current, trigger, zone),
  enabled: wire.enable,
  maxConcurrentRuns: limitsIn(wire, current).maxConcurrentRuns,
  taskConcurrency: clamp(wire.concurrency, 1, 10_000),
  ...timeLimitIn(wire, current),
  retry: { ...current.retry, max: clamp(wire.instanceRetryNum, 0, 1000) },
  taskRetryMax: clamp(wire.taskRetryNum, 0, 1000),
  workers: workersIn(wire, current),
  notify: notifyIn(wire, current),
  alarm: alarmIn(wire, current),
  log: logIn(wire, current),
  trackerBehavior: trackerIn(wire, current),
  tag: wire.tag,
  extra: wire.extra,
})

const designatedOf = ({ designated }: JobDefinition['workers']): string | null =>
  designated.length === 0 ? null : designated.join(',')

const logOf = ({ log }: JobDefinition): WireJob['logConfig'] => {
  if (isSame(log, fresh.log)) return null
  const { type, level, loggerName } = log
  return { type: logTypes.codeOf(typeCodes[type]), level: logLevels.codeOf(levelCodes[level]), loggerName }
}

const alarmOf = ({ alarm }: JobDefinition): WireJob['alarmConfig'] =>
  alarm && {
    alertThreshold: alarm.threshold,
    statisticWindowLen: Math.ceil(alarm.windowMs / 1000),
    silenceWindowLen: Math.ceil(alarm.silenceMs / 1000),
  }

/** What the columns say by themselves. */
const decode = (definition: JobDefinition): WireJob => {
  const { workers, schedule } = definition
  const time = timeOf(schedule)
  return {
    jobName: definition.name,
    jobDescription: definition.description,
    jobParams: plainText(definition.params),
    timeExpressionType: time.type,
    timeExpression: time.expression,
    executeType: executeTypeOf[definition.mode],
    processorType: definition.processorType === 'external' ? 'EXTERNAL' : 'BUILT_IN',
    processorInfo: definition.processor,
    maxInstanceNum: limitOf(definition),
    concurrency: definition.taskConcurrency,
    instanceTimeLimit: timeLimitOf(definition),
    instanceRetryNum: definition.retry.max,
    taskRetryNum: definition.taskRetryMax,
    minCpuCores: workers.minFreeCpuCores,
    minMemorySpace: workers.minFreeMemoryGb,
    minDiskSpace: workers.minFreeDiskGb,
    enable: definition.enabled,
    designatedWorkers: designatedOf(workers),
    maxWorkerCount: workers.maxWorkers,
    notifyUserIds: userIdsIn(definition.notify),
    extra: definition.extra,
    dispatchStrategy: workers.strategy === 'random' ? 'RANDOM' : 'HEALTH_FIRST',
    dispatchStrategyConfig: null,
    lifeCycle: lifeCycleOf(schedule),
    alarmConfig: alarmOf(definition),
    tag: definition.tag,
    logConfig: logOf(definition),
    advancedRuntimeConfig:
      definition.trackerBehavior === 'paddling' ? { taskTrackerBehavior: trackerBehaviors.codeOf('PADDLING') } : null,
  }
}

// the parts that a definition may not give back exactly; those of a group are read together
const groups = [
  ['timeExpressionType', 'timeExpression'],
  ['processorType'],
  ['maxInstanceNum'],
  ['concurrency'],
  ['instanceTimeLimit'],
  ['instanceRetryNum'],
  ['taskRetryNum'],
  ['minCpuCores'],
  ['minMemorySpace'],
  ['minDiskSpace'],
  ['designatedWorkers'],
  ['maxWorkerCount'],
  ['notifyUserIds'],
  ['dispatchStrategy'],
  ['dispatchStrategyConfig'],
  ['lifeCycle'],
  ['alarmConfig'],
  ['logConfig'],
  ['advancedRuntimeConfig'],
] as const satisfies readonly (readonly (keyof WireJob)[])[]

const pick = (wire: object, keys: readonly string[]): Record<string, unknown> =>
  Object.fromEntries(keys.map((key) => [key, Reflect.get(wire, key)]))

/** What has to be kept beside the definition; null when nothing has. */
const besides = (wire: WireJob, definition: JobDefinition): unknown => {
  const plain = decode(definition)
  const kept = groups.filter((keys) => !isSame(pick(wire, keys), pick(plain, keys))).map((keys) => pick(wire, keys))
  return kept.length === 0 ? null : Object.assign({}, ...kept)
}

/** The trigger that a kept text stands for; undefined: it belongs to a time that is none any more. */
const triggerIn = ({ timeExpressionType: type, timeExpression: expression }: WireJob): Trigger | undefined => {
  try {
    return readTime({ type, expression })
  } catch (error) {
    // translated: what another time has left behind
    if (error instanceof WireError) return undefined
    throw error
  }
}

/** A stored job as this wire shows it. */
export const wireJobOf = ({ definition, powerjob }: KnownJob): WireJob => {
  const plain = decode(definition)
  if (!isFields(powerjob)) return plain
  const kept = readJob(powerjob)
  const { trigger, zone } = definition.schedule
  return groups.reduce<WireJob>((wire, keys) => {
    if (!keys.some((key) => Object.hasOwn(powerjob, key))) return wire
    const candidate: WireJob = Object.assign({ ...wire }, pick(kept, keys))
    const isTime = keys.some((key) => key === 'timeExpression')
    if (isTime) return isSame(triggerIn(candidate), trigger) ? candidate : wire
    const says = (one: WireJob): JobDefinition => encode(one, definition, trigger, zone)
    return isSame(says(candidate), says(wire)) ? candidate : wire
  }, plain)
}

/** The request with what an update keeps when it is left out (contract 6.2). */
const resolved = (asked: WireJob, shown: WireJob | undefined): WireJob => {
  const { notifyUserIds, alarmConfig, logConfig, advancedRuntimeConfig } = asked
  const ids = notifyUserIds ?? shown?.notifyUserIds ?? null
  return {
    ...asked,
    // an empty list is how a request clears it
    notifyUserIds: ids?.length === 0 ? null : ids,
    alarmConfig: alarmConfig ?? shown?.alarmConfig ?? null,
    logConfig: logConfig ?? shown?.logConfig ?? null,
    advancedRuntimeConfig: advancedRuntimeConfig ?? shown?.advancedRuntimeConfig ?? null,
  }
}

/**
 * What a job becomes when it is saved: every field of the request, what an update keeps, and what this wire does not know.
 * A time expression that comes back as it was shown stays the trigger that it stood for, also one that this wire could
 * not have written.
 * @throws WireError for a time expression that can not be read
 */
export const writtenJob = (asked: WireJob, current: KnownJob | undefined, zone: string): WireDefinition => {
  const shown = current && wireJobOf(current)
  const wire = resolved(asked, shown)
  const before = current?.definition ?? fresh
  const { timeExpressionType: type, timeExpression: expression } = wire
  const keepsTime = shown?.timeExpressionType === type && shown.timeExpression === expression
  const trigger = keepsTime ? before.schedule.trigger : readTime({ type, expression })
  const definition = encode(wire, before, trigger, zone)
  return { definition, powerjob: besides(wire, definition) }
}
