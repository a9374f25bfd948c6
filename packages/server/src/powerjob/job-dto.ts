// Jobs as this wire answers them: JobInfoDTO, and the SaveJobInfoRequest of exportJob.
import { isFrequent } from '../runs/java-needs.ts'
import type { StoredJob } from '../storage/jobs.ts'
import { dispatchStrategies, executeTypes, processorTypes, switchableStatuses, timeExpressionTypes } from './codes.ts'
import { isoText } from './jackson.ts'
import { wireJobOf } from './job-codec.ts'
import type { LifeCycle } from './schedule-codec.ts'

// written by fastjson there: keys in alphabetical order, no nulls
const lifeCycleText = ({ start, end }: LifeCycle): string =>
  JSON.stringify({ ...(end === null ? {} : { end }), ...(start === null ? {} : { start }) })

const statusOf = ({ deletedAt, definition }: StoredJob): number => {
  if (deletedAt !== null) return switchableStatuses.codeOf('DELETED')
  return switchableStatuses.codeOf(definition.enabled ? 'ENABLE' : 'DISABLE')
}

// short intervals have no next trigger time there
const nextTriggerOf = ({ definition, nextFireAt }: StoredJob): number | null =>
  isFrequent(definition) ? null : (nextFireAt?.getTime() ?? null)

/** JobInfoDTO (contract 5.1). */
export const jobInfo = (job: StoredJob): Readonly<Record<string, unknown>> => {
  const wire = wireJobOf(job)
  return {
    id: job.id,
    jobName: wire.jobName,
    jobDescription: wire.jobDescription,
    appId: job.appId,
    jobParams: wire.jobParams,
    timeExpressionType: timeExpressionTypes.codeOf(wire.timeExpressionType),
    timeExpression: wire.timeExpression,
    executeType: executeTypes.codeOf(wire.executeType),
    processorType: processorTypes.codeOf(wire.processorType),
    processorInfo: wire.processorInfo,
    maxInstanceNum: wire.maxInstanceNum,
    concurrency: wire.concurrency,
    instanceTimeLimit: wire.instanceTimeLimit,
    instanceRetryNum: wire.instanceRetryNum,
    taskRetryNum: wire.taskRetryNum,
    status: statusOf(job),
    nextTriggerTime: nextTriggerOf(job),
    minCpuCores: wire.minCpuCores,
    minMemorySpace: wire.minMemorySpace,
    minDiskSpace: wire.minDiskSpace,
    designatedWorkers: wire.designatedWorkers,
    maxWorkerCount: wire.maxWorkerCount,
    notifyUserIds: wire.notifyUserIds?.join(',') ?? null,
    gmtCreate: isoText(job.createdAt),
    gmtModified: isoText(job.updatedAt),
    extra: wire.extra,
    dispatchStrategy: dispatchStrategies.codeOf(wire.dispatchStrategy),
    dispatchStrategyConfig: wire.dispatchStrategyConfig,
    lifecycle: lifeCycleText(wire.lifeCycle),
    alarmConfig: wire.alarmConfig,
    tag: wire.tag,
    logConfig: wire.logConfig,
    advancedRuntimeConfig: wire.advancedRuntimeConfig,
  }
}

/** The job as a request that makes it once more, under a name with the time of the export, always enabled. */
export const exportedJob = (job: StoredJob, nowMs: number): Readonly<Record<string, unknown>> => {
  const wire = wireJobOf(job)
  return {
    id: null,
    jobName: `${wire.jobName}_EXPORT_${nowMs}`,
    jobDescription: wire.jobDescription,
    appId: job.appId,
    jobParams: wire.jobParams,
    timeExpressionType: wire.timeExpressionType,
    timeExpression: wire.timeExpression,
    executeType: wire.executeType,
    processorType: wire.processorType,
    processorInfo: wire.processorInfo,
    maxInstanceNum: wire.maxInstanceNum,
    concurrency: wire.concurrency,
    instanceTimeLimit: wire.instanceTimeLimit,
    instanceRetryNum: wire.instanceRetryNum,
    taskRetryNum: wire.taskRetryNum,
    minCpuCores: wire.minCpuCores,
    minMemorySpace: wire.minMemorySpace,
    minDiskSpace: wire.minDiskSpace,
    enable: true,
    designatedWorkers: wire.designatedWorkers,
    maxWorkerCount: wire.maxWorkerCount,
    notifyUserIds: wire.notifyUserIds,
    extra: wire.extra,
    dispatchStrategy: wire.dispatchStrategy,
    dispatchStrategyConfig: wire.dispatchStrategyConfig,
    lifeCycle: wire.lifeCycle,
    alarmConfig: wire.alarmConfig,
    tag: wire.tag,
    logConfig: wire.logConfig,
    advancedRuntimeConfig: wire.advancedRuntimeConfig,
  }
}
