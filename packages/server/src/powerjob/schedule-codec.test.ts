// Promises about time expressions of this wire: what is taken, what is refused with which words (contract 6.2), what they fire.
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import type { Trigger } from '@oncejob/protocol'
import { fullSchedule, timingOfView } from '../runs/schedule-codec.ts'
import { nextFire, parseTiming, preview } from '../timing/timing.ts'
import { WireError } from './call.ts'
import type { TimeExpressionType } from './codes.ts'
import { quartzText } from './cron-text.ts'
import { boundsOf, checkLifeCycle, checkNextTrigger, lifeCycleOf, readTime, timeOf } from './schedule-codec.ts'
import { runsOf } from './testing/jobs.ts'

const says = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    if (error instanceof WireError) return `${error.javaClass}: ${error.message}`
    throw error
  }
  return 'nothing'
}

describe('refused time expressions', () => {
  it.each<[TimeExpressionType, string | null, string]>([
    ['CRON', '0 0 3 * *', 'IllegalArgumentException: Cron expression contains 5 parts but we expect one of [6, 7]'],
    ['CRON', 'hello', 'IllegalArgumentException: Cron expression contains 1 parts but we expect one of [6, 7]'],
    ['CRON', '', 'IllegalArgumentException: Empty expression!'],
    ['CRON', '   ', 'IllegalArgumentException: Empty expression!'],
    ['CRON', null, 'NullPointerException: Expression must not be null'],
    ['CRON', '@daily', 'IllegalArgumentException: Nicknames not supported!'],
    ['FIXED_RATE', 'abc', 'PowerJobException: invalid timeExpression!'],
    ['FIXED_RATE', null, 'PowerJobException: invalid timeExpression!'],
    ['FIXED_RATE', ' 5000', 'PowerJobException: invalid timeExpression!'],
    ['FIXED_RATE', '120001', 'PowerJobException: the rate must be less than 120000ms'],
    ['FIXED_DELAY', '120001', 'PowerJobException: the delay must be less than 120000ms'],
    ['FIXED_RATE', '0', 'PowerJobException: the rate must be greater than 0 ms'],
    ['FIXED_DELAY', '-1', 'PowerJobException: the delay must be greater than 0 ms'],
    ['FIXED_DELAY', '49', 'PowerJobException: the delay must be at least 50 ms'],
  ])('%s %j: %s', (type, expression, expected) => {
    expect(says(() => readTime({ type, expression }))).toBe(expected)
  })

  it.each([
    '0 0 25 * * ?',
    '60 0 0 * * ?',
    '0 0 0 32 * ?',
    '0 0 0 ? 13 ?',
    '0 0 0 ? * 0',
    '0 0 0 ? * 8',
    '0 0 0 1 1 ? 2100',
  ])('CRON %j is out of the ranges', (expression) => {
    expect(says(() => readTime({ type: 'CRON', expression }))).toMatch(/^IllegalArgumentException: the .* field has/)
  })

  const daily = (change: Record<string, unknown>): string =>
    JSON.stringify({ interval: 30, startTimeOfDay: '09:00:00', endTimeOfDay: '18:00:00', ...change })
  const missing = (name: string) => `PowerJobException: ${name} can't be null or empty in DailyTimeIntervalExpress`
  it.each<[string | null, string]>([
    ['{}', missing('interval')],
    [daily({ interval: null }), missing('interval')],
    [daily({ startTimeOfDay: undefined }), missing('startTimeOfDay')],
    [daily({ endTimeOfDay: '' }), missing('endTimeOfDay')],
    [daily({ endTimeOfDay: '08:59:59' }), 'IllegalArgumentException: endTime should after startTime!'],
    [daily({ startTimeOfDay: '9' }), 'IllegalArgumentException: invalid TimeOfDay, make pattern like 15:30:10'],
    [daily({ startTimeOfDay: '24:00:00' }), 'IllegalArgumentException: Hour must be from 0 to 23'],
    [daily({ startTimeOfDay: '1:60:00' }), 'IllegalArgumentException: Minute must be from 0 to 59'],
    [daily({ startTimeOfDay: '1:0:60' }), 'IllegalArgumentException: Second must be from 0 to 59'],
    [
      daily({ intervalUnit: 'FORTNIGHTS' }),
      'IllegalArgumentException: No enum constant java.util.concurrent.TimeUnit.FORTNIGHTS',
    ],
    [null, 'IllegalArgumentException: argument "content" is null'],
  ])('DAILY_TIME_INTERVAL %s: %s', (expression, expected) => {
    expect(says(() => readTime({ type: 'DAILY_TIME_INTERVAL', expression }))).toBe(expected)
  })

  it('a daily text that is no JSON, and values that no window can have, are refused', () => {
    const refusal = (expression: string) => says(() => readTime({ type: 'DAILY_TIME_INTERVAL', expression }))
    expect(refusal('{"interval":')).toMatch(/^JsonParseException: /)
    expect(refusal('[]')).toMatch(/^IllegalArgumentException: /)
    expect(refusal(daily({ interval: {} }))).toMatch(/^HttpMessageNotReadableException: /)
    for (const change of [
      { interval: 0 },
      { interval: -5 },
      { interval: 999, intervalUnit: 'MILLISECONDS' },
      { interval: 25, intervalUnit: 'HOURS' },
      { daysOfWeek: [0] },
      { daysOfWeek: [8] },
    ])
      expect(refusal(daily(change))).toMatch(/^IllegalArgumentException: /)
  })
})

describe('time expressions that are taken', () => {
  it.each<[TimeExpressionType, string | null, Trigger]>([
    ['API', null, { kind: 'none' }],
    ['API', 'ignored', { kind: 'none' }],
    ['WORKFLOW', null, { kind: 'none' }],
    ['CRON', ' 0 0 3 ? * MON-FRI ', { kind: 'cron', expression: '0 0 3 ? * MON-FRI' }],
    ['CRON', '0 0 3 13 * FRI', { kind: 'cron', expression: '0 0 3 13 * FRI', days: 'both' }],
    ['CRON', '0 0 3 L * ? 2030', { kind: 'cron', expression: '0 0 3 L * ? 2030' }],
    ['FIXED_RATE', '50', { kind: 'fixed-rate', everyMs: 50 }],
    ['FIXED_DELAY', '+120000', { kind: 'fixed-delay', delayMs: 120_000 }],
    [
      'DAILY_TIME_INTERVAL',
      `{'interval':'30', 'startTimeOfDay':'9:5:0','endTimeOfDay':"09:05:00",'intervalUnit':'MINUTES','daysOfWeek':[7,1,1],'it\\'s "x"':1}`,
      { kind: 'daily', everyMs: 1_800_000, from: '09:05:00', to: '09:05:00', daysOfWeek: [1, 7] },
    ],
    [
      'DAILY_TIME_INTERVAL',
      '{"interval":90,"startTimeOfDay":"00:00:00","endTimeOfDay":"23:59:59"}',
      { kind: 'daily', everyMs: 90_000, from: '00:00:00', to: '23:59:59', daysOfWeek: [] },
    ],
  ])('%s %j becomes %j', (type, expression, trigger) => {
    expect(readTime({ type, expression })).toEqual(trigger)
  })

  it('both day fields of a cron expression must match', () => {
    const trigger = readTime({ type: 'CRON', expression: '0 0 0 13 * FRI' })
    const timing = timingOfView(fullSchedule({ trigger }))
    expect(preview(timing, Date.UTC(2026, 1, 1), 3).map((atMs) => new Date(atMs).toISOString().slice(0, 10))).toEqual([
      '2026-02-13',
      '2026-03-13',
      '2026-11-13',
    ])
  })

  it('Monday is the first day of a daily interval', () => {
    const expression =
      '{"interval":1,"startTimeOfDay":"9:0:0","endTimeOfDay":"9:0:0","intervalUnit":"HOURS","daysOfWeek":[1]}'
    const timing = timingOfView(fullSchedule({ trigger: readTime({ type: 'DAILY_TIME_INTERVAL', expression }) }))
    expect(new Date(nextFire(timing, Date.UTC(2026, 0, 1))!).toUTCString()).toBe('Mon, 05 Jan 2026 09:00:00 GMT')
  })
})

describe('life cycle and next trigger', () => {
  const now = Date.UTC(2026, 5, 1)
  const cron = (expression: string, life: { start?: number; end?: number } = {}) => ({
    ...fullSchedule({ trigger: readTime({ type: 'CRON', expression }) }),
    ...boundsOf({ start: life.start ?? null, end: life.end ?? null }),
  })
  it.each<[number | null, number | null, string]>([
    [null, null, 'nothing'],
    [1, null, 'nothing'],
    [now + 1, now + 1, 'nothing'],
    [1, 2, 'PowerJobException: lifecycle is out of date!'],
    [null, now, 'PowerJobException: lifecycle is out of date!'],
    [now + 5, now + 4, 'PowerJobException: lifecycle is invalid! start time must earlier then end time.'],
  ])('%s to %s: %s', (start, end, expected) => {
    expect(says(() => checkLifeCycle({ start, end }, now))).toBe(expected)
  })

  it('an expression without a time that is left is out of date, with its text', () => {
    const out = (expression: string, life = {}) => says(() => checkNextTrigger(cron(expression, life), expression, now))
    expect(out('0 0 0 1 1 ? 2001')).toBe('PowerJobException: time expression is out of date: 0 0 0 1 1 ? 2001')
    expect(out('0 0 0 31 2 ?')).toBe('PowerJobException: time expression is out of date: 0 0 0 31 2 ?')
    expect(out('0 0 0 31 * 2#1')).toBe('PowerJobException: time expression is out of date: 0 0 0 31 * 2#1')
    expect(out('0 0 3 * * ?')).toBe('nothing')
    expect(out('0 0 3 * * ?', { end: now + 3_600_000 })).toContain('out of date')
    expect(out('0 0 3 * * ?', { start: now + 1, end: now + 3 * 3_600_000 })).toBe('nothing')
    expect(out('0 0 3 * * ?', { start: 9e15 })).toContain('out of date')
  })

  it('bounds come back, and those that no date of ours can be are none', () => {
    const life = { start: now + 1, end: now + 999 }
    expect(lifeCycleOf({ ...fullSchedule(undefined), ...boundsOf(life) })).toEqual(life)
    expect(boundsOf({ start: -1, end: 253_402_300_800_000 })).toEqual({ startAt: null, endAt: null })
  })
})

describe('schedules of the native API on this wire', () => {
  test.each([
    ['0 3 * * *', '0 0 3 * * *'],
    ['*/5 9-17 * * 1-5', '0 */5 9-17 * * MON-FRI'],
    ['0 0 * * 0,6', '0 0 0 * * SUN,SAT'],
    ['0 0 * * 7', '0 0 0 * * SUN'],
    ['0 0 * * 5#2', '0 0 0 * * FRI#2'],
    ['0 0 * * 5L', '0 0 0 * * FRIL'],
    ['0 0 * * 0-7', '0 0 0 * * SUN-SAT'],
    ['0 0 * * 1/2', '0 0 0 * * MON/2'],
    ['0 0 * * 7/2', '0 0 0 * * SUN'],
    ['@hourly', '0 0 * * * *'],
    ['@weekly', '0 0 0 * * SUN'],
    ['0 0 3 ? * 2', '0 0 3 ? * 2'],
  ])('"%s" is shown as "%s"', (native, shown) => {
    expect(quartzText(native)).toBe(shown)
  })

  it('what is shown fires when the job does', () => {
    const day = fc.integer({ min: 0, max: 7 }).map(String)
    const part = fc.oneof(
      day,
      fc.tuple(day, day).map(([a, b]) => `${a}-${b}`),
      fc.tuple(day, fc.integer({ min: 1, max: 6 })).map(([a, step]) => `${a}/${step}`),
      fc.tuple(day, day, fc.integer({ min: 1, max: 6 })).map(([a, b, step]) => `${a}-${b}/${step}`),
      fc.integer({ min: 1, max: 6 }).map((step) => `*/${step}`),
      fc.tuple(day, fc.integer({ min: 1, max: 5 })).map(([a, nth]) => `${a}#${nth}`),
      day.map((a) => `${a}L`),
      fc.constantFrom('mon', 'FRI-SUN'),
    )
    const days = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join(','))
    const native = fc
      .tuple(fc.constantFrom('*', '1-7', 'LW', '13,14'), days)
      .map(([month, week]) => `7 3 ${month} * ${week}`)
    const fires = (expression: string): number[] => {
      const spec = {
        trigger: { kind: 'cron', expression } as const,
        zone: 'UTC',
        dst: { gap: 'next', overlap: 'first' } as const,
      }
      return preview(parseTiming(spec), Date.UTC(2026, 0, 1), 12)
    }
    fc.assert(
      fc.property(native, (expression) => {
        expect(fires(quartzText(expression))).toEqual(fires(expression))
      }),
      runsOf(500),
    )
  })

  it('a single date is shown as an expression that fires then', () => {
    const view = fullSchedule({ trigger: { kind: 'once', at: '2030-03-31T09:30:07' }, zone: 'Europe/Berlin' })
    const shown = timeOf(view)
    expect(shown).toEqual({ type: 'CRON', expression: '7 30 9 31 3 ? 2030' })
    const again = timingOfView({ ...view, trigger: readTime(shown) })
    expect(nextFire(again, 0)).toBe(nextFire(timingOfView(view), 0))
  })

  it('a daily interval is shown as one that can be read again', () => {
    const trigger: Trigger = { kind: 'daily', everyMs: 1500, from: '08:00:00', to: '18:00:00', daysOfWeek: [5, 6] }
    expect(readTime(timeOf(fullSchedule({ trigger })))).toEqual(trigger)
  })
})
