// A schedule in its three forms: as people write it, as columns of the table, as the timing that computes its fires.
import { Value } from 'typebox/value'
import { Trigger, type OverlapPolicy, type ScheduleInput, type ScheduleView } from '@oncejob/protocol'
import { Refusal, invariant } from '../kernel/errors.ts'
import { isoOf } from '../timing/civil.ts'
import { parseOnce } from '../timing/once.ts'
import type { DstPolicy, TimingSpec, TriggerSpec } from '../timing/spec.ts'
import { parseTiming, type Timing } from '../timing/timing.ts'
import { zoneOf } from '../timing/zone.ts'

/** The columns of oncejob.schedule that say when it fires, as they are read. */
export interface TimingColumns {
  readonly kind: Trigger['kind']
  /** cron: its text, or JSON {expression, days} when both day fields must match; fixed-rate, fixed-delay: ms; daily: JSON {everyMs, from, to, daysOfWeek}; once: the date; none: ''. */
  readonly expression: string
  readonly zone: string
  readonly start_at: Date | null
  readonly end_at: Date | null
  readonly dst_gap: 'next' | 'skip'
  readonly dst_overlap: 'first' | 'both'
}

/** Every column of oncejob.schedule that people write, as they are read. */
export interface ScheduleColumns extends TimingColumns {
  readonly jitter_ms: number
  readonly misfire_policy: ScheduleView['misfire']['policy']
  readonly misfire_max_runs: number
  readonly misfire_max_lateness_ms: number | null
}

/** RFC 3339 in UTC, always with milliseconds. */
export const timeText = (atMs: number): string => isoOf(atMs).replace(/(:\d\d)Z$/, '$1.000Z')

const dstDefault: DstPolicy = { gap: 'next', overlap: 'first' }

const readInstant = (name: 'startAt' | 'endAt', text: string): number => {
  const utc = zoneOf('UTC')
  invariant(utc !== undefined, 'the platform knows UTC')
  if (!/([Zz]|[+-]\d\d:\d\d)$/.test(text)) {
    throw new Refusal(
      'SCHEDULE_INVALID',
      `${name} is "${text}"; write a date-time with Z or an offset, such as 2030-01-31T09:30:00Z`,
    )
  }
  try {
    return parseOnce(text, utc, dstDefault)
  } catch (error) {
    // translated: the same rules, told of another field
    if (error instanceof Refusal) throw new Refusal('SCHEDULE_INVALID', error.message.replace(/^at is/, `${name} is`))
    throw error
  }
}

const instantText = (name: 'startAt' | 'endAt', text: string | null | undefined): string | null =>
  text === null || text === undefined ? null : timeText(readInstant(name, text))

const fullTrigger = (trigger: Trigger): Trigger => {
  if (trigger.kind === 'daily')
    return { ...trigger, daysOfWeek: [...new Set(trigger.daysOfWeek ?? [])].toSorted((a, b) => a - b) }
  if (trigger.kind !== 'cron') return trigger
  const { kind, expression, days } = trigger
  return days === 'both' ? { kind, expression, days } : { kind, expression }
}

/**
 * Fills in every choice of a schedule; without one, the job runs by call only.
 * @throws Refusal SCHEDULE_INVALID when start or end is no date
 */
export const fullSchedule = (input: ScheduleInput | undefined): ScheduleView => ({
  trigger: fullTrigger(input?.trigger ?? { kind: 'none' }),
  zone: input?.zone ?? 'UTC',
  startAt: instantText('startAt', input?.startAt),
  endAt: instantText('endAt', input?.endAt),
  jitterMs: input?.jitterMs ?? 0,
  misfire: {
    policy: input?.misfire?.policy ?? 'run-once',
    maxRuns: input?.misfire?.maxRuns ?? 100,
    maxLatenessMs: input?.misfire?.maxLatenessMs ?? null,
  },
  overlap: input?.overlap ?? 'allow',
  dst: { gap: input?.dst?.gap ?? dstDefault.gap, overlap: input?.dst?.overlap ?? dstDefault.overlap },
})

const triggerSpec = (trigger: Trigger): TriggerSpec =>
  trigger.kind === 'daily' ? { ...trigger, daysOfWeek: trigger.daysOfWeek ?? [] } : trigger

/**
 * The timing of a schedule.
 * @param nowMs given for a schedule that is new or changed: one without a fire from then on is refused as well
 * @throws Refusal SCHEDULE_INVALID with what is wrong
 */
export const timingOfView = (view: ScheduleView, nowMs?: number): Timing => {
  const spec: TimingSpec = {
    trigger: triggerSpec(view.trigger),
    zone: view.zone,
    startAtMs: view.startAt === null ? undefined : readInstant('startAt', view.startAt),
    endAtMs: view.endAt === null ? undefined : readInstant('endAt', view.endAt),
    dst: view.dst,
  }
  return parseTiming(spec, nowMs === undefined ? {} : { nowMs })
}

/** What the column `expression` holds for a trigger. */
export const expressionOf = (trigger: Trigger): string => {
  switch (trigger.kind) {
    case 'none':
      return ''
    case 'cron': {
      const { expression, days } = trigger
      return days === 'both' ? JSON.stringify({ expression, days }) : expression
    }
    case 'fixed-rate':
      return String(trigger.everyMs)
    case 'fixed-delay':
      return String(trigger.delayMs)
    case 'daily': {
      const { everyMs, from, to, daysOfWeek = [] } = trigger
      return JSON.stringify({ everyMs, from, to, daysOfWeek })
    }
    case 'once':
      return trigger.at
  }
}

const readStored = (kind: 'daily' | 'cron', expression: string): Trigger => {
  const stored: unknown = JSON.parse(expression)
  const trigger: unknown = { kind, ...(typeof stored === 'object' ? stored : {}) }
  invariant(Value.Check(Trigger, trigger), `a stored ${kind} schedule is readable: ${expression}`)
  return trigger
}

/** The trigger in a row; the inverse of expressionOf. */
export const triggerOf = (kind: Trigger['kind'], expression: string): Trigger => {
  switch (kind) {
    case 'none':
      return { kind }
    case 'cron':
      // no cron expression begins so
      return expression.startsWith('{') ? readStored(kind, expression) : { kind, expression }
    case 'fixed-rate':
      return { kind, everyMs: Number(expression) }
    case 'fixed-delay':
      return { kind, delayMs: Number(expression) }
    case 'daily':
      return readStored(kind, expression)
    case 'once':
      return { kind, at: expression }
  }
}

/**
 * The timing of a stored schedule, for whoever computes its next fire.
 * @throws Refusal SCHEDULE_INVALID only when the rules have become stricter since it was stored
 */
export const timingOf = (row: TimingColumns): Timing =>
  parseTiming({
    trigger: triggerSpec(triggerOf(row.kind, row.expression)),
    zone: row.zone,
    startAtMs: row.start_at?.getTime(),
    endAtMs: row.end_at?.getTime(),
    dst: { gap: row.dst_gap, overlap: row.dst_overlap },
  })

/** A stored schedule as the API shows it. The overlap policy is a column of the job. */
export const scheduleView = (row: ScheduleColumns, overlap: OverlapPolicy): ScheduleView => ({
  trigger: triggerOf(row.kind, row.expression),
  zone: row.zone,
  startAt: row.start_at?.toISOString() ?? null,
  endAt: row.end_at?.toISOString() ?? null,
  jitterMs: row.jitter_ms,
  misfire: { policy: row.misfire_policy, maxRuns: row.misfire_max_runs, maxLatenessMs: row.misfire_max_lateness_ms },
  overlap,
  dst: { gap: row.dst_gap, overlap: row.dst_overlap },
})
