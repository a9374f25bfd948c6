// Runs: asking for one, looking at one, and why one has not started.
import { Type, type Static } from 'typebox'
import { Id, Json, Ms, Name, Time, TimeInput, longestMs, nullable } from './common.ts'
import {
  attemptOutcomes,
  guarantees,
  runDecisions,
  runStates,
  runTriggers,
  unknownReasons,
  type AttemptOutcome,
  type Guarantee,
  type RunState,
  type RunTrigger,
} from '../states.ts'
import { KeyPolicy, RunKey } from './run-key.ts'

const runFields = {
  params: Type.Optional(Json),
  delayMs: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: longestMs,
      description: 'Start that much later; not together with runAt',
    }),
  ),
  runAt: Type.Optional(TimeInput),
  priority: Type.Optional(Type.Integer({ minimum: -1000, maximum: 1000 })),
  queueTimeoutMs: Type.Optional(Ms),
  key: Type.Optional(RunKey),
  keyPolicy: Type.Optional(KeyPolicy),
}

/** Ask for one run of a job, named by id or by name. */
export const RunInput = Type.Object({ job: Type.Union([Id, Name]), ...runFields }, { additionalProperties: false })
export type RunInput = Static<typeof RunInput>
export const JobRunInput = Type.Object(runFields, { additionalProperties: false })
export type JobRunInput = Static<typeof JobRunInput>

/** The members beside the id come with a run key only. */
export const RunCreated = Type.Object({
  id: Id,
  deduplicated: Type.Optional(Type.Boolean({ description: 'The key had this run already; nothing was made' })),
  replaces: Type.Optional(Type.Integer({ description: 'The run of the key that gives way to this one' })),
  after: Type.Optional(Type.Integer({ description: 'The run of the key whose end this one waits for' })),
})
export type RunCreated = Static<typeof RunCreated>

/** Ask for many runs in one call: all are made or none. */
export const RunBatchInput = Type.Object(
  { runs: Type.Array(RunInput, { minItems: 1, maxItems: 5000 }) },
  { additionalProperties: false },
)
export type RunBatchInput = Static<typeof RunBatchInput>
export const RunBatchCreated = Type.Object({
  ids: Type.Array(Id),
  deduplicated: Type.Optional(
    Type.Array(Id, { description: 'Those of the ids that run keys had already; there when a run had a key' }),
  ),
})
export type RunBatchCreated = Static<typeof RunBatchCreated>

/** What went wrong in an attempt. */
export const RunError = Type.Object(
  {
    code: Type.String({ maxLength: 100 }),
    message: Type.String({ maxLength: 8192 }),
    stack: Type.Optional(Type.String({ maxLength: 16384 })),
  },
  { additionalProperties: false },
)
export type RunError = Static<typeof RunError>

/** One reason why a run has not started, as structured data. `code` tells which of the other members are there. */
export const WaitReason = Type.Object(
  {
    code: Type.Enum([
      'NOT_DUE',
      'RETRY_LATER',
      'NO_WORKER',
      'NO_WORKER_WITH_PROCESSOR',
      'NO_WORKER_WITH_LABEL',
      'NO_DESIGNATED_WORKER',
      'NO_WORKER_WITH_RESOURCES',
      'WORKERS_BUSY',
      'LIMIT_REACHED',
      'AFTER_RUN',
      'ABOUT_TO_START',
      'OUTCOME_UNKNOWN',
    ]),
    says: Type.String({ description: 'The reason in words' }),
    dueAt: Type.Optional(Time),
    label: Type.Optional(Type.String()),
    processor: Type.Optional(Type.String()),
    resource: Type.Optional(Type.String()),
    limit: Type.Optional(Type.Integer()),
    heldBy: Type.Optional(Type.Array(Id, { description: 'Runs that hold the limit, or whose end it waits for' })),
    ahead: Type.Optional(Type.Integer({ description: 'Runs that are before this one' })),
    since: Type.Optional(Time),
    cause: Type.Optional(Type.Enum(unknownReasons, { description: 'Why the outcome is unknown' })),
    effect: Type.Optional(Type.String({ description: 'The effect that was found unknown' })),
  },
  { additionalProperties: false },
)
export type WaitReason = Static<typeof WaitReason>

const runProperties = {
  id: Id,
  app: Type.String(),
  jobId: Id,
  job: Type.String({ description: 'Name of the job' }),
  state: Type.Enum(runStates),
  trigger: Type.Enum(runTriggers),
  fireAt: nullable(Time),
  requestKey: nullable(Type.String()),
  key: nullable(Type.String({ description: 'Run key' })),
  params: Json,
  priority: Type.Integer(),
  createdAt: Time,
  dueAt: Time,
  queueDeadlineAt: nullable(Time),
  startedAt: nullable(Time),
  endedAt: nullable(Time),
  attempts: Type.Integer({ description: 'How many attempts have begun' }),
  worker: nullable(Type.String({ description: 'Name of the worker of the current or last attempt' })),
  progress: nullable(Type.Object({ percent: nullable(Type.Number()), note: nullable(Type.String()) })),
  stopRequested: Type.Boolean(),
  guarantee: Type.Enum(guarantees, { description: 'That of its job' }),
  decidedBy: nullable(Type.String({ description: 'Who decided its end, when its outcome was unknown' })),
  result: Json,
  resultTruncated: Type.Boolean(),
  error: nullable(RunError),
}
export const Run = Type.Object(runProperties)
export interface Run {
  id: number
  app: string
  jobId: number
  job: string
  state: RunState
  trigger: RunTrigger
  fireAt: string | null
  requestKey: string | null
  key: string | null
  params: unknown
  priority: number
  createdAt: string
  dueAt: string
  queueDeadlineAt: string | null
  startedAt: string | null
  endedAt: string | null
  attempts: number
  worker: string | null
  progress: { percent: number | null; note: string | null } | null
  stopRequested: boolean
  guarantee: Guarantee
  decidedBy: string | null
  result: unknown
  resultTruncated: boolean
  error: RunError | null
}

export const Attempt = Type.Object({
  number: Type.Integer(),
  lease: Id,
  worker: nullable(Type.String()),
  startedAt: Time,
  endedAt: nullable(Time),
  outcome: nullable(Type.Enum(attemptOutcomes)),
  error: nullable(RunError),
})
export interface Attempt {
  number: number
  lease: number
  worker: string | null
  startedAt: string
  endedAt: string | null
  outcome: AttemptOutcome | null
  error: RunError | null
}

/** GET of one run: the run, its attempts, and why it waits when it waits (for its start, or for a decision). */
export const RunDetail = Type.Object({
  ...runProperties,
  attemptHistory: Type.Array(Attempt),
  why: Type.Array(WaitReason),
})
export interface RunDetail extends Run {
  attemptHistory: Attempt[]
  why: WaitReason[]
}

export const RunChanged = Type.Object({ id: Id, state: Type.Enum(runStates), changed: Type.Boolean() })
export type RunChanged = Static<typeof RunChanged>

/** Says what became of a run whose outcome is unknown. */
export const RunResolution = Type.Object(
  {
    as: Type.Enum(runDecisions, { description: 'retry: it waits again, for another attempt' }),
    result: Type.Optional(Json),
    message: Type.Optional(Type.String({ maxLength: 8192, description: 'Why it failed' })),
  },
  { additionalProperties: false, description: '`result` goes with succeeded, `message` with failed' },
)
export type RunResolution = Static<typeof RunResolution>

export const LogLine = Type.Object({
  seq: Type.Integer(),
  at: Time,
  level: Type.String(),
  text: Type.String(),
  attempt: Type.Integer(),
  worker: Type.Optional(Type.String({ description: 'Who wrote it, where several workers write for one attempt' })),
})
export type LogLine = Static<typeof LogLine>
/** One page of a run's log; `next` is the `after` of the next page, `complete` when the run has ended and all was read. */
export const LogPage = Type.Object({
  lines: Type.Array(LogLine),
  next: Type.Integer(),
  complete: Type.Boolean(),
  truncated: Type.Boolean(),
})
export type LogPage = Static<typeof LogPage>
