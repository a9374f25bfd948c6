// A job: what to run, when, with which limits. Every field of a PowerJob job has its place here.
import { Type, type Static } from 'typebox'
import { Id, Json, Ms, Name, Time, nullable } from './common.ts'
import { Schedule, type ScheduleView } from './schedule.ts'
import { guarantees, type Guarantee } from '../states.ts'

export const executionModes = ['standalone', 'broadcast', 'map', 'map-reduce'] as const
export const workerStrategies = ['health-first', 'random', 'least-loaded'] as const
export type WorkerStrategy = (typeof workerStrategies)[number]
export const logLevels = ['debug', 'info', 'warn', 'error', 'off'] as const
export type LogLevel = (typeof logLevels)[number]

export const RetryPolicy = Type.Object(
  {
    max: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1000, default: 0, description: 'How often a failed run is tried again' }),
    ),
    backoff: Type.Optional(Type.Enum(['fixed', 'exponential'], { default: 'exponential' })),
    delayMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_592_000_000, default: 1000 })),
    maxDelayMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_592_000_000, default: 3_600_000 })),
    jitter: Type.Optional(
      Type.Number({ minimum: 0, maximum: 1, default: 0.1, description: 'Share of the delay that is left to chance' }),
    ),
    retryOn: Type.Optional(
      Type.Array(Type.String({ maxLength: 100 }), {
        maxItems: 50,
        description: 'Codes of errors that are tried again; empty = all but terminal ones',
      }),
    ),
    noRetryOn: Type.Optional(Type.Array(Type.String({ maxLength: 100 }), { maxItems: 50 })),
    maxLost: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1000,
        default: 10,
        description: 'How often a run may lose its worker before it fails',
      }),
    ),
  },
  { additionalProperties: false },
)

const workerChoice = {
  labels: Type.Optional(
    Type.Record(Type.String({ minLength: 1, maxLength: 100 }), Type.String({ maxLength: 255 }), {
      maxProperties: 50,
      description: 'Labels that a worker must have',
    }),
  ),
  designated: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 255 }), {
      maxItems: 500,
      description: 'Names or addresses of the only workers that may run it',
    }),
  ),
  minFreeCpuCores: Type.Optional(Type.Number({ minimum: 0 })),
  minFreeMemoryGb: Type.Optional(Type.Number({ minimum: 0 })),
  minFreeDiskGb: Type.Optional(Type.Number({ minimum: 0 })),
  maxWorkers: Type.Optional(
    Type.Integer({ minimum: 0, description: 'At most so many workers share the runs of this job; 0 = all' }),
  ),
  strategy: Type.Optional(Type.Enum(workerStrategies, { default: 'health-first' })),
}

const jobFields = {
  description: Type.Optional(nullable(Type.String({ maxLength: 4000 }))),
  processor: Type.String({ minLength: 1, maxLength: 255, description: 'Name of the processor on the workers' }),
  processorType: Type.Optional(Type.Enum(['built-in', 'external'], { default: 'built-in' })),
  mode: Type.Optional(Type.Enum(executionModes, { default: 'standalone' })),
  params: Type.Optional(Json),
  schedule: Type.Optional(Schedule),
  enabled: Type.Optional(Type.Boolean({ default: true })),
  priority: Type.Optional(
    Type.Integer({ minimum: -1000, maximum: 1000, default: 0, description: 'Higher starts first' }),
  ),
  maxConcurrentRuns: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 1_000_000, default: 0, description: '0 = no limit' }),
  ),
  taskConcurrency: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 10_000, default: 5, description: 'Tasks at once per worker' }),
  ),
  queueTimeoutMs: Type.Optional(nullable(Ms)),
  attemptTimeoutMs: Type.Optional(nullable(Ms)),
  runTimeoutMs: Type.Optional(nullable(Ms)),
  retry: Type.Optional(RetryPolicy),
  guarantee: Type.Optional(
    Type.Enum(guarantees, {
      default: 'at-least-once',
      description:
        'at-least-once: an attempt that got lost is followed by another. at-most-once: the run becomes unknown and waits for a decision',
    }),
  ),
  taskRetryMax: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000, default: 0 })),
  workers: Type.Optional(Type.Object(workerChoice, { additionalProperties: false })),
  notify: Type.Optional(
    Type.Array(Type.String({ maxLength: 255 }), { maxItems: 100, description: 'Who hears of failures' }),
  ),
  alarm: Type.Optional(
    nullable(
      Type.Object(
        { threshold: Type.Integer({ minimum: 0 }), windowMs: Ms, silenceMs: Ms },
        { additionalProperties: false, description: 'Alarm after so many failures within the window, then silence' },
      ),
    ),
  ),
  log: Type.Optional(
    Type.Object(
      {
        level: Type.Optional(Type.Enum(logLevels, { default: 'info' })),
        type: Type.Optional(
          Type.Enum(['online', 'local', 'stdout', 'local-and-online', 'none'], { default: 'online' }),
        ),
        loggerName: Type.Optional(nullable(Type.String({ maxLength: 255 }))),
      },
      { additionalProperties: false },
    ),
  ),
  trackerBehavior: Type.Optional(Type.Enum(['normal', 'paddling'], { default: 'normal' })),
  tag: Type.Optional(nullable(Type.String({ maxLength: 255 }))),
  extra: Type.Optional(nullable(Type.String({ maxLength: 4000 }))),
}

/** Create or replace a job; what is left out takes its default. */
export const JobInput = Type.Object({ name: Name, ...jobFields }, { additionalProperties: false })
export type JobInput = Static<typeof JobInput>
/** Change some fields; what is left out stays. Objects (schedule, retry, workers, log) are replaced whole. */
export const JobPatch = Type.Partial(Type.Object({ name: Name, ...jobFields }, { additionalProperties: false }), {
  additionalProperties: false,
})
export type JobPatch = Static<typeof JobPatch>

/** A job as the server answers it: every field is there. */
export interface Job {
  id: number
  app: string
  name: string
  version: number
  description: string | null
  processor: string
  processorType: 'built-in' | 'external'
  mode: (typeof executionModes)[number]
  params: unknown
  schedule: ScheduleView
  enabled: boolean
  priority: number
  maxConcurrentRuns: number
  taskConcurrency: number
  queueTimeoutMs: number | null
  attemptTimeoutMs: number | null
  runTimeoutMs: number | null
  retry: {
    max: number
    backoff: 'fixed' | 'exponential'
    delayMs: number
    maxDelayMs: number
    jitter: number
    retryOn: string[]
    noRetryOn: string[]
    maxLost: number
  }
  guarantee: Guarantee
  taskRetryMax: number
  workers: {
    labels: Record<string, string>
    designated: string[]
    minFreeCpuCores: number
    minFreeMemoryGb: number
    minFreeDiskGb: number
    maxWorkers: number
    strategy: WorkerStrategy
  }
  notify: string[]
  alarm: { threshold: number; windowMs: number; silenceMs: number } | null
  log: { level: LogLevel; type: 'online' | 'local' | 'stdout' | 'local-and-online' | 'none'; loggerName: string | null }
  trackerBehavior: 'normal' | 'paddling'
  tag: string | null
  extra: string | null
  nextFireAt: string | null
  createdAt: string
  updatedAt: string
}

/** The answer schema of a job; the interface above is its exact type. */
export const JobView = Type.Object(
  {
    id: Id,
    app: Type.String(),
    name: Type.String(),
    version: Type.Integer(),
    processor: Type.String(),
    schedule: Type.Unknown(),
    enabled: Type.Boolean(),
    guarantee: Type.Enum(guarantees),
    nextFireAt: nullable(Time),
    createdAt: Time,
    updatedAt: Time,
  },
  { additionalProperties: true },
)

export const CopyInput = Type.Object(
  { name: Type.Optional(Name), enabled: Type.Optional(Type.Boolean({ default: false })) },
  { additionalProperties: false },
)
export type CopyInput = Static<typeof CopyInput>

/** Jobs as a file: what export answers and import takes. */
export const JobExport = Type.Object(
  { format: Type.Literal('oncejob.jobs/1'), jobs: Type.Array(JobInput, { maxItems: 1000 }) },
  { additionalProperties: false },
)
export type JobExport = Static<typeof JobExport>
export const ImportResult = Type.Object({
  jobs: Type.Array(
    Type.Object({ id: Id, name: Type.String(), outcome: Type.Enum(['created', 'updated', 'unchanged']) }),
  ),
})
export type ImportResult = Static<typeof ImportResult>
