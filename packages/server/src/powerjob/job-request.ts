// SaveJobInfoRequest (contract 4.2): read from JSON, checked in the contract's order (6.2).
import { WireError } from './call.ts'
import {
  dispatchStrategies,
  executeTypes,
  processorTypes,
  timeExpressionTypes,
  type DispatchStrategy,
  type ExecuteType,
  type ProcessorType,
  type TimeExpressionType,
} from './codes.ts'
import { asBoolean, asDouble, asEnum, asInt, asList, asLong, asObject, asText, field, type Fields } from './jackson.ts'
import type { LifeCycle } from './schedule-codec.ts'

/** Numbers in codes of the contract's 7.9 and 7.10. */
export interface LogConfig {
  readonly type: number | null
  readonly level: number | null
  readonly loggerName: string | null
}

export interface AlarmConfig {
  /** Failures. */
  readonly alertThreshold: number | null
  /** Seconds. */
  readonly statisticWindowLen: number | null
  /** Seconds. */
  readonly silenceWindowLen: number | null
}

export interface RuntimeConfig {
  readonly taskTrackerBehavior: number | null
}

/** Every field of a job on this wire; times in ms, memory and disk in GB. */
export interface WireJob {
  readonly jobName: string
  readonly jobDescription: string | null
  readonly jobParams: string | null
  readonly timeExpressionType: TimeExpressionType
  readonly timeExpression: string | null
  readonly executeType: ExecuteType
  readonly processorType: ProcessorType
  readonly processorInfo: string
  readonly maxInstanceNum: number
  readonly concurrency: number
  readonly instanceTimeLimit: number
  readonly instanceRetryNum: number
  readonly taskRetryNum: number
  readonly minCpuCores: number
  readonly minMemorySpace: number
  readonly minDiskSpace: number
  readonly enable: boolean
  readonly designatedWorkers: string | null
  readonly maxWorkerCount: number
  readonly notifyUserIds: readonly number[] | null
  readonly extra: string | null
  readonly dispatchStrategy: DispatchStrategy
  readonly dispatchStrategyConfig: string | null
  readonly lifeCycle: LifeCycle
  readonly alarmConfig: AlarmConfig | null
  readonly tag: string | null
  readonly logConfig: LogConfig | null
  readonly advancedRuntimeConfig: RuntimeConfig | null
}

/** What a request may leave out. */
type Needed = 'jobName' | 'timeExpressionType' | 'executeType' | 'processorType' | 'processorInfo'
export type ReadJob = Omit<WireJob, Needed> & { readonly [K in Needed]: WireJob[K] | null } & {
  readonly id: number | null
}

const lifeCycleIn = (fields: Fields | null): LifeCycle => ({
  start: fields === null ? null : field(fields, 'start', asLong),
  end: fields === null ? null : field(fields, 'end', asLong),
})

const alarmIn = (fields: Fields | null): AlarmConfig | null =>
  fields && {
    alertThreshold: field(fields, 'alertThreshold', asInt),
    statisticWindowLen: field(fields, 'statisticWindowLen', asInt),
    silenceWindowLen: field(fields, 'silenceWindowLen', asInt),
  }

const logIn = (fields: Fields | null): LogConfig | null =>
  fields && {
    type: field(fields, 'type', asInt),
    level: field(fields, 'level', asInt),
    loggerName: field(fields, 'loggerName', asText),
  }

const runtimeIn = (fields: Fields | null): RuntimeConfig | null =>
  fields && { taskTrackerBehavior: field(fields, 'taskTrackerBehavior', asInt) }

/** Reads the request, with the defaults of the contract. @throws WireError HttpMessageNotReadableException */
export const readJob = (fields: Fields): ReadJob => ({
  id: field(fields, 'id', asLong),
  jobName: field(fields, 'jobName', asText),
  jobDescription: field(fields, 'jobDescription', asText),
  jobParams: field(fields, 'jobParams', asText),
  timeExpressionType: field(fields, 'timeExpressionType', asEnum(timeExpressionTypes.names)),
  timeExpression: field(fields, 'timeExpression', asText),
  executeType: field(fields, 'executeType', asEnum(executeTypes.names)),
  processorType: field(fields, 'processorType', asEnum(processorTypes.names)),
  processorInfo: field(fields, 'processorInfo', asText),
  maxInstanceNum: field(fields, 'maxInstanceNum', asInt) ?? 0,
  concurrency: field(fields, 'concurrency', asInt) ?? 5,
  instanceTimeLimit: field(fields, 'instanceTimeLimit', asLong) ?? 0,
  instanceRetryNum: field(fields, 'instanceRetryNum', asInt) ?? 0,
  taskRetryNum: field(fields, 'taskRetryNum', asInt) ?? 0,
  minCpuCores: field(fields, 'minCpuCores', asDouble),
  minMemorySpace: field(fields, 'minMemorySpace', asDouble),
  minDiskSpace: field(fields, 'minDiskSpace', asDouble),
  enable: field(fields, 'enable', asBoolean(true)),
  designatedWorkers: field(fields, 'designatedWorkers', asText),
  maxWorkerCount: field(fields, 'maxWorkerCount', asInt) ?? 0,
  notifyUserIds: field(fields, 'notifyUserIds', asList(asLong))?.filter((id) => id !== null) ?? null,
  extra: field(fields, 'extra', asText),
  dispatchStrategy: field(fields, 'dispatchStrategy', asEnum(dispatchStrategies.names)) ?? 'HEALTH_FIRST',
  dispatchStrategyConfig: field(fields, 'dispatchStrategyConfig', asText),
  lifeCycle: lifeCycleIn(field(fields, 'lifeCycle', asObject)),
  alarmConfig: alarmIn(field(fields, 'alarmConfig', asObject)),
  tag: field(fields, 'tag', asText),
  logConfig: logIn(field(fields, 'logConfig', asObject)),
  advancedRuntimeConfig: runtimeIn(field(fields, 'advancedRuntimeConfig', asObject)),
})

const needed = <T>(value: T | null, name: string): T => {
  if (value !== null && value !== '') return value
  throw new WireError('PowerJobException', `${name} can't be empty`)
}

/** The request with everything that a job must have; the first that is missing is told. @throws WireError */
export const completeJob = (read: ReadJob, hasApp: boolean): WireJob => {
  const jobName = needed(read.jobName, 'jobName')
  needed(hasApp ? true : null, 'appId')
  const processorInfo = needed(read.processorInfo, 'processorInfo')
  const executeType = needed(read.executeType, 'executeType')
  const processorType = needed(read.processorType, 'processorType')
  const timeExpressionType = needed(read.timeExpressionType, 'timeExpressionType')
  return { ...read, jobName, processorInfo, executeType, processorType, timeExpressionType }
}

/** @throws WireError when one of the numbers is missing */
export const checkAlarm = ({ alarmConfig }: WireJob): void => {
  if (alarmConfig === null || Object.values(alarmConfig).every((value) => value !== null)) return
  throw new WireError('PowerJobException', 'illegal alarm config!')
}
