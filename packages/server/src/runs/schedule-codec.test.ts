// Promises of the way from a schedule as people write it to its row and back.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Refusal, type ScheduleInput, type Trigger } from '@oncejob/protocol'
import { nextFire } from '../timing/timing.ts'
import {
  expressionOf,
  fullSchedule,
  scheduleView,
  timeText,
  timingOf,
  timingOfView,
  triggerOf,
  type ScheduleColumns,
} from './schedule-codec.ts'

const row = (view: ReturnType<typeof fullSchedule>): ScheduleColumns => ({
  kind: view.trigger.kind,
  expression: expressionOf(view.trigger),
  zone: view.zone,
  start_at: view.startAt === null ? null : new Date(view.startAt),
  end_at: view.endAt === null ? null : new Date(view.endAt),
  jitter_ms: view.jitterMs,
  misfire_policy: view.misfire.policy,
  misfire_max_runs: view.misfire.maxRuns,
  misfire_max_lateness_ms: view.misfire.maxLatenessMs,
  dst_gap: view.dst.gap,
  dst_overlap: view.dst.overlap,
})
const says = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    if (error instanceof Refusal) return `${error.code} ${error.message}`
    throw error
  }
  return 'nothing'
}

describe('in the table', () => {
  it.each<[Trigger, string]>([
    [{ kind: 'none' }, ''],
    [{ kind: 'cron', expression: '*/5 * * * *' }, '*/5 * * * *'],
    [{ kind: 'cron', expression: '0 0 13 * FRI', days: 'both' }, '{"expression":"0 0 13 * FRI","days":"both"}'],
    [{ kind: 'fixed-rate', everyMs: 5000 }, '5000'],
    [{ kind: 'fixed-delay', delayMs: 50 }, '50'],
    [{ kind: 'once', at: '2030-01-01T00:00:00+01:00' }, '2030-01-01T00:00:00+01:00'],
    [
      { kind: 'daily', everyMs: 60_000, from: '08:00:00', to: '09:00:00', daysOfWeek: [1, 7] },
      '{"everyMs":60000,"from":"08:00:00","to":"09:00:00","daysOfWeek":[1,7]}',
    ],
  ])('%j is written as %s, and read again', (trigger, expression) => {
    expect(expressionOf(trigger)).toBe(expression)
    expect(triggerOf(trigger.kind, expression)).toEqual(trigger)
  })

  it('a whole schedule comes back from its row, and its timing fires the same', () => {
    const instant = fc.integer({ min: 1_800_000_000_000, max: 1_900_000_000_000 })
    const schedule = fc.record({
      trigger: fc.constantFrom<Trigger>(
        { kind: 'cron', expression: '17 3 * * 1' },
        { kind: 'cron', expression: '0 0 3 13 * FRI', days: 'both' },
        { kind: 'cron', expression: '0 0 3 13 * FRI', days: 'either' },
        { kind: 'fixed-rate', everyMs: 61_000 },
        { kind: 'daily', everyMs: 3_600_000, from: '01:00:00', to: '23:00:00', daysOfWeek: [3, 2] },
      ),
      zone: fc.constantFrom('UTC', 'Europe/Berlin', 'Australia/Lord_Howe'),
      startAt: fc.option(instant.map(timeText)),
      jitterMs: fc.nat(1000),
      overlap: fc.constantFrom('allow', 'skip'),
      dst: fc.record({ gap: fc.constantFrom('next', 'skip'), overlap: fc.constantFrom('first', 'both') }),
    })
    fc.assert(
      fc.property(schedule, instant, (input, afterMs) => {
        const view = fullSchedule(input)
        const stored = row(view)
        expect(scheduleView(stored, view.overlap)).toEqual(view)
        const options = { anchorMs: 1_700_000_000_000 }
        expect(nextFire(timingOf(stored), afterMs, options)).toBe(nextFire(timingOfView(view), afterMs, options))
      }),
    )
  })

  it('a stored daily schedule that is none is a bug, not a fire', () => {
    expect(() => triggerOf('daily', '{"everyMs":1}')).toThrow('invariant')
  })
})

describe('filled in', () => {
  it('without a schedule a job runs by call only', () => {
    expect(fullSchedule(undefined)).toEqual({
      trigger: { kind: 'none' },
      zone: 'UTC',
      startAt: null,
      endAt: null,
      jitterMs: 0,
      misfire: { policy: 'run-once', maxRuns: 100, maxLatenessMs: null },
      overlap: 'allow',
      dst: { gap: 'next', overlap: 'first' },
    })
  })

  it('filling in twice changes nothing', () => {
    const input: ScheduleInput = {
      trigger: { kind: 'daily', everyMs: 1000, from: '00:00:00', to: '00:00:10', daysOfWeek: [5, 5, 1] },
      startAt: '2030-06-01T12:00:00.123456+02:00',
    }
    const view = fullSchedule(input)
    expect(view).toMatchObject({ startAt: '2030-06-01T10:00:00.123Z', trigger: { daysOfWeek: [1, 5] } })
    expect(fullSchedule(view)).toEqual(view)
  })

  it('times are written with milliseconds and in UTC', () => {
    expect([0, 1, 1_700_000_000_010].map(timeText)).toEqual([
      '1970-01-01T00:00:00.000Z',
      '1970-01-01T00:00:00.001Z',
      '2023-11-14T22:13:20.010Z',
    ])
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 253_402_300_799_999 }),
        (ms) => timeText(ms) === new Date(ms).toISOString(),
      ),
    )
  })

  it('start and end need an offset and must exist', () => {
    const trigger: Trigger = { kind: 'none' }
    expect(says(() => fullSchedule({ trigger, startAt: '2030-01-01T00:00:00' }))).toMatch(
      /^SCHEDULE_INVALID startAt is .*offset/,
    )
    expect(says(() => fullSchedule({ trigger, endAt: '2030-02-30T00:00:00Z' }))).toMatch(
      /^SCHEDULE_INVALID endAt is .*no such date/,
    )
    expect(says(() => fullSchedule({ trigger, endAt: 'tomorrow at teatime+01:00' }))).toMatch(
      /^SCHEDULE_INVALID endAt is /,
    )
  })
})

describe('judged', () => {
  const cron: ScheduleInput = { trigger: { kind: 'cron', expression: '0 0 * * *' } }

  it('an end before the start is refused, and an unknown zone', () => {
    const window = { startAt: '2031-01-01T00:00:00Z', endAt: '2030-01-01T00:00:00Z' }
    expect(says(() => timingOfView(fullSchedule({ ...cron, ...window })))).toMatch(/^SCHEDULE_INVALID/)
    expect(says(() => timingOfView(fullSchedule({ ...cron, zone: 'Mars/Base' })))).toContain('Mars/Base')
  })

  it('with a present, a schedule without a fire left is refused; without one it is taken', () => {
    const spent = fullSchedule({ ...cron, endAt: '2020-01-01T00:00:00Z' })
    expect(says(() => timingOfView(spent, 1_800_000_000_000))).toMatch(/^SCHEDULE_INVALID/)
    expect(says(() => timingOfView(spent))).toBe('nothing')
  })
})
