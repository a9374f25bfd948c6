// The native worker protocol: a session, a long poll that brings runs and stops, reports that are each answered.
import { Type, type Static } from 'typebox'
import { Id, Json, Ms, Name, Time, nullable } from './common.ts'
import { EffectName } from './effects.ts'
import { RunError } from './run.ts'
import { guarantees } from '../states.ts'

export const WorkerMetrics = Type.Object(
  {
    cpuCores: Type.Number({ minimum: 0 }),
    cpuLoad: Type.Number({ description: 'Load average of the last minute; negative when unknown' }),
    freeMemoryGb: Type.Number({ minimum: 0 }),
    freeDiskGb: Type.Number({ minimum: 0 }),
  },
  { additionalProperties: false },
)
export type WorkerMetrics = Static<typeof WorkerMetrics>

export const SessionInput = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 255, description: 'Name of the worker, e.g. host and process' }),
    address: Type.Optional(Type.String({ maxLength: 255 })),
    pid: Type.Optional(Type.Integer({ minimum: 0 })),
    version: Type.Optional(Type.String({ maxLength: 100 })),
    processors: Type.Array(Type.String({ minLength: 1, maxLength: 255 }), { minItems: 1, maxItems: 1000 }),
    labels: Type.Optional(
      Type.Record(Type.String({ minLength: 1, maxLength: 100 }), Type.String({ maxLength: 255 }), {
        maxProperties: 50,
      }),
    ),
    slots: Type.Integer({ minimum: 1, maximum: 10_000, description: 'Runs at once' }),
    metrics: Type.Optional(WorkerMetrics),
  },
  { additionalProperties: false },
)
export type SessionInput = Static<typeof SessionInput>
export const SessionOpened = Type.Object({
  sessionId: Id,
  leaseMs: Type.Integer({ description: 'A session not renewed for so long is over' }),
  graceMs: Type.Integer({ description: 'Runs are taken back so long after that' }),
  pollMs: Type.Integer({ description: 'A poll is answered within this time' }),
  maxResultBytes: Type.Integer(),
})
export type SessionOpened = Static<typeof SessionOpened>

export const HeldLease = Type.Object(
  {
    runId: Id,
    lease: Id,
    progress: Type.Optional(
      Type.Object(
        {
          percent: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
          note: Type.Optional(Type.String({ maxLength: 1000 })),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)
export type HeldLease = Static<typeof HeldLease>
/** Asks for runs, renews the session, names every lease that is held (executing, or finished and not yet answered). */
export const PollInput = Type.Object(
  {
    free: Type.Integer({ minimum: 0, maximum: 10_000, description: 'How many runs are wanted' }),
    held: Type.Array(HeldLease, { maxItems: 20_000 }),
    waitMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 60_000,
        description: 'Answer at the latest after this; the server may answer sooner',
      }),
    ),
    metrics: Type.Optional(WorkerMetrics),
    draining: Type.Optional(Type.Boolean({ description: 'The worker wants nothing new; only renew' })),
  },
  { additionalProperties: false },
)
export type PollInput = Static<typeof PollInput>

export const Assignment = Type.Object({
  runId: Id,
  lease: Id,
  attempt: Type.Integer(),
  jobId: Id,
  job: Type.String(),
  processor: Type.String(),
  jobParams: Json,
  params: Json,
  fireAt: nullable(Time),
  createdAt: Time,
  dueAt: Time,
  priority: Type.Integer(),
  timeoutMs: nullable(Ms),
  idempotencyKey: Type.String({ description: 'The same for every attempt of the run' }),
  logLevel: Type.String(),
  guarantee: Type.Enum(guarantees),
})
export type Assignment = Static<typeof Assignment>
export const StopOrder = Type.Object({ runId: Id, lease: Id, reason: Type.Enum(['stop', 'timeout', 'lost']) })
export type StopOrder = Static<typeof StopOrder>
export const PollAnswer = Type.Object({ runs: Type.Array(Assignment), stops: Type.Array(StopOrder) })
export type PollAnswer = Static<typeof PollAnswer>

const reportBase = { runId: Id, lease: Id }
export const Report = Type.Union([
  Type.Object(
    {
      ...reportBase,
      outcome: Type.Literal('succeeded'),
      result: Type.Optional(Json),
      resultTruncated: Type.Optional(Type.Boolean()),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    {
      ...reportBase,
      outcome: Type.Enum(['failed', 'timed-out', 'stopped']),
      error: RunError,
      terminal: Type.Optional(Type.Boolean({ description: 'Do not try again, whatever the retry policy says' })),
      retryAfterMs: Type.Optional(Ms),
      unfinished: Type.Optional(
        Type.Boolean({ description: 'The processor goes on: what it still does is not known' }),
      ),
      effect: Type.Optional(EffectName),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    { ...reportBase, outcome: Type.Literal('handed-back') },
    { additionalProperties: false, description: 'The processor was not begun' },
  ),
])
export type Report = Static<typeof Report>
export const ReportInput = Type.Object(
  { reports: Type.Array(Report, { minItems: 1, maxItems: 5000 }) },
  { additionalProperties: false },
)
export type ReportInput = Static<typeof ReportInput>
/** accepted; duplicate: was recorded before, fine; lost: the lease is not the current one, drop it; unknown: no such run. */
export const ReportAnswer = Type.Object({
  answers: Type.Array(
    Type.Object({
      runId: Id,
      lease: Id,
      answer: Type.Enum(['accepted', 'duplicate', 'lost', 'unknown']),
      code: Type.Optional(Type.String({ description: 'LEASE_LOST or RUN_NOT_FOUND' })),
    }),
  ),
})
export type ReportAnswer = Static<typeof ReportAnswer>

export const WorkerLogInput = Type.Object(
  {
    entries: Type.Array(
      Type.Object(
        {
          runId: Id,
          lease: Id,
          at: Ms,
          level: Type.Enum(['debug', 'info', 'warn', 'error']),
          text: Type.String({ maxLength: 65_536 }),
        },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: 2000 },
    ),
  },
  { additionalProperties: false },
)
export type WorkerLogInput = Static<typeof WorkerLogInput>

/** A worker as lists show it. */
export const Worker = Type.Object({
  sessionId: Id,
  app: Type.String(),
  name: Name,
  address: nullable(Type.String()),
  pid: nullable(Type.Integer()),
  version: nullable(Type.String()),
  state: Type.Enum(['live', 'draining', 'late', 'ended']),
  endReason: nullable(Type.String({ description: 'left or lost' })),
  processors: Type.Array(Type.String()),
  labels: Type.Record(Type.String(), Type.String()),
  slots: Type.Integer(),
  running: Type.Integer(),
  metrics: nullable(WorkerMetrics),
  startedAt: Time,
  expiresAt: Time,
  endedAt: nullable(Time),
})
export type Worker = Static<typeof Worker>
