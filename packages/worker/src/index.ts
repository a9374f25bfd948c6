// @oncejob/worker: execute OnceJob jobs in TypeScript.
export { createWorker } from './worker.ts'
export type { StopResult, Worker, WorkerDeps, WorkerOptions, WorkerState, WorkerStatus } from './worker.ts'
export { defineProcessors, processor } from './processor.ts'
export type { Processor, Processors, RunContext } from './processor.ts'
export type { RunLog } from './run-log.ts'
export type { OnceOptions } from './effects.ts'
export { effectsMigrationSql, migrateEffects } from './transaction.ts'
export type { PgClient, PgPool } from './transaction.ts'
export {
  AttemptTimedOut,
  LeaseLost,
  EffectUnknown,
  Outage,
  RetryLater,
  ServerRefused,
  StopRequested,
  TerminalError,
} from './errors.ts'
export type { LeaseLostHow } from './errors.ts'
export type { RunFinished, RunStarted, WorkerEvent } from './events.ts'
export type { DeliveryAnswer } from './reporter.ts'
export type { ReadMetrics } from './metrics.ts'
export { silentLog, stderrLog } from './log.ts'
export type { Log } from './log.ts'
export type { Clock, Random } from './clock.ts'
