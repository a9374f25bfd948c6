// Requests as a Java application makes them.
import type { ClientVersion } from './java.ts'

/** The least that saveJob takes: a job by call for the worker of these tests. */
export const apiJob = (jobName: string, more: Readonly<Record<string, unknown>> = {}) => ({
  jobName,
  timeExpressionType: 'API',
  executeType: 'STANDALONE',
  processorType: 'BUILT_IN',
  processorInfo: 'com.example.Echo',
  ...more,
})

/** Every field of SaveJobInfoRequest, none with its default. Clients before 4.3.8 know less. */
export const fullJob = (jobName: string, version: ClientVersion) => ({
  jobName,
  jobDescription: 'every night, «ünïcode» 中文 😀',
  jobParams: '{"a": [1, 2]}\nline',
  timeExpressionType: 'CRON',
  timeExpression: '0 30 2 1 * ? 2090-2099',
  executeType: 'MAP_REDUCE',
  processorType: 'EXTERNAL',
  processorInfo: '17#com.example.Other',
  maxInstanceNum: 3,
  concurrency: 7,
  instanceTimeLimit: 90_000,
  instanceRetryNum: 2,
  taskRetryNum: 4,
  minCpuCores: 1.5,
  minMemorySpace: 2.25,
  minDiskSpace: 10.5,
  enable: false,
  designatedWorkers: '10.0.0.5:27777,10.0.0.6:27777',
  maxWorkerCount: 6,
  notifyUserIds: [3, 4],
  extra: '{"any":"text"}',
  ...(version === '4.3.6'
    ? { dispatchStrategy: 'RANDOM' }
    : {
        dispatchStrategy: 'SPECIFY',
        dispatchStrategyConfig: 'tagIn:blue',
        advancedRuntimeConfig: { taskTrackerBehavior: 11 },
      }),
  lifeCycle: { start: 1_700_000_000_000, end: 4_000_000_000_000 },
  alarmConfig: { alertThreshold: 3, statisticWindowLen: 60, silenceWindowLen: 120 },
  tag: 'finance',
  logConfig: { type: 2, level: 3, loggerName: 'audit' },
})
