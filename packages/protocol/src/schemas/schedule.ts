// When a job runs by itself, and what happens to fires that are late or overlap.
import { Type, type Static } from 'typebox'
import { Id, Ms, Time, TimeInput, maxId, nullable } from './common.ts'
import { fireOutcomes } from '../states.ts'

export const Trigger = Type.Union([
  Type.Object({ kind: Type.Literal('none') }, { additionalProperties: false, description: 'Only by call' }),
  Type.Object(
    {
      kind: Type.Literal('cron'),
      expression: Type.String({ minLength: 1, maxLength: 255 }),
      days: Type.Optional(
        Type.Enum(['either', 'both'], {
          description: 'What a day must match when both day fields are restricted; without it, either of them',
        }),
      ),
    },
    { additionalProperties: false, description: 'Cron with 5 fields, 6 (seconds first) or 7 (year last)' },
  ),
  Type.Object(
    { kind: Type.Literal('fixed-rate'), everyMs: Type.Integer({ minimum: 50 }) },
    { additionalProperties: false },
  ),
  Type.Object(
    { kind: Type.Literal('fixed-delay'), delayMs: Type.Integer({ minimum: 50 }) },
    { additionalProperties: false, description: 'The next fire is that long after the end of the run before' },
  ),
  Type.Object(
    {
      kind: Type.Literal('daily'),
      everyMs: Type.Integer({ minimum: 1000 }),
      from: Type.String({ pattern: '^\\d\\d:\\d\\d:\\d\\d$' }),
      to: Type.String({ pattern: '^\\d\\d:\\d\\d:\\d\\d$' }),
      daysOfWeek: Type.Optional(
        Type.Array(Type.Integer({ minimum: 1, maximum: 7 }), { maxItems: 7, description: '1 = Monday; empty = all' }),
      ),
    },
    { additionalProperties: false, description: 'Every so often between two times of the day' },
  ),
  Type.Object({ kind: Type.Literal('once'), at: TimeInput }, { additionalProperties: false, description: 'One date' }),
])
export type Trigger = Static<typeof Trigger>

export const misfirePolicies = ['run-once', 'run-all', 'skip'] as const
export const overlapPolicies = ['allow', 'queue', 'skip', 'fail', 'replace'] as const
export type MisfirePolicy = (typeof misfirePolicies)[number]
export type OverlapPolicy = (typeof overlapPolicies)[number]

export const Schedule = Type.Object(
  {
    trigger: Trigger,
    zone: Type.Optional(Type.String({ default: 'UTC', maxLength: 64, description: 'IANA time zone' })),
    startAt: Type.Optional(nullable(TimeInput)),
    endAt: Type.Optional(nullable(TimeInput)),
    jitterMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 86_400_000,
        default: 0,
        description: 'Each run starts up to this much later; the same for every server',
      }),
    ),
    misfire: Type.Optional(
      Type.Object(
        {
          policy: Type.Optional(Type.Enum(misfirePolicies, { default: 'run-once' })),
          maxRuns: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'Bound of run-all' }),
          ),
          maxLatenessMs: Type.Optional(nullable(Ms)),
        },
        { additionalProperties: false },
      ),
    ),
    overlap: Type.Optional(
      Type.Enum(overlapPolicies, {
        default: 'allow',
        description: 'What happens to a run beyond the maximum of concurrent runs',
      }),
    ),
    dst: Type.Optional(
      Type.Object(
        {
          gap: Type.Optional(Type.Enum(['next', 'skip'], { default: 'next' })),
          overlap: Type.Optional(Type.Enum(['first', 'both'], { default: 'first' })),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)
export type ScheduleInput = Static<typeof Schedule>

/** A schedule with every choice filled in, as the server answers it. */
export interface ScheduleView {
  trigger: Trigger
  zone: string
  startAt: string | null
  endAt: string | null
  jitterMs: number
  misfire: { policy: MisfirePolicy; maxRuns: number; maxLatenessMs: number | null }
  overlap: OverlapPolicy
  dst: { gap: 'next' | 'skip'; overlap: 'first' | 'both' }
}

export const PreviewInput = Type.Object(
  {
    schedule: Schedule,
    count: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 10 })),
    from: Type.Optional(TimeInput),
  },
  { additionalProperties: false },
)
export type PreviewInput = Static<typeof PreviewInput>
export const Preview = Type.Object({ fires: Type.Array(Time) })
export type Preview = Static<typeof Preview>

/** Entries of the fire history: planned occurrences, and executions that a Java worker began by itself. */
export const fireKinds = ['fire', 'sub-run'] as const
export type FireKind = (typeof fireKinds)[number]

const workersClock = 'by the clock of the worker'

/** One execution within the long run of a job that a Java worker repeats, as the worker has told of it. */
export const FireSubRun = Type.Object(
  {
    number: Type.Integer({ description: 'Counted by the worker, from 1 in each attempt of the run' }),
    lease: Type.Integer({ minimum: 1, maximum: maxId, description: 'Of the attempt' }),
    state: Type.Enum(['running', 'failed', 'succeeded', 'unknown'], {
      description: 'unknown: the worker has not told how it ended, and will not',
    }),
    endedAt: nullable(Type.String({ description: `RFC 3339 with milliseconds, UTC; ${workersClock}` })),
    result: nullable(Type.String({ description: 'The first 1000 characters' })),
  },
  { description: 'An execution that a Java worker began by itself; null for a planned occurrence' },
)
export type FireSubRun = Static<typeof FireSubRun>

export const Fire = Type.Object({
  jobId: Id,
  scheduleId: Id,
  fireAt: Type.String({
    description: `RFC 3339 with milliseconds, UTC: when it was planned; of a sub-run when it began, ${workersClock}`,
  }),
  outcome: Type.Enum(fireOutcomes, { description: 'fired for every sub-run' }),
  runId: nullable(Id),
  reason: nullable(Type.String()),
  covers: Type.Integer({ description: 'How many planned occurrences this row stands for' }),
  recordedAt: Time,
  subRun: nullable(FireSubRun),
})
export type Fire = Static<typeof Fire>
