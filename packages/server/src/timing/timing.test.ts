// Every kind of trigger: what is refused, what bounds do, and what comes next.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Refusal } from '../kernel/errors.ts'
import type { TimingSpec, TriggerSpec } from './spec.ts'
import { nextAfterEnd, nextFire, parseTiming, preview } from './timing.ts'

const seed = process.env['ONCEJOB_SEED']
const settings = { numRuns: 500, ...(seed === undefined ? {} : { seed: Number(seed) }) }
const ms = (text: string): number => Date.parse(text)

const specOf = (trigger: TriggerSpec, more: Partial<TimingSpec> = {}): TimingSpec => ({
  trigger,
  zone: 'UTC',
  dst: { gap: 'next', overlap: 'first' },
  ...more,
})
const timingOf = (trigger: TriggerSpec, more: Partial<TimingSpec> = {}) => parseTiming(specOf(trigger, more))
const cronOf = (expression: string): TriggerSpec => ({ kind: 'cron', expression })
const daily = (more: Partial<Extract<TriggerSpec, { kind: 'daily' }>> = {}): TriggerSpec => ({
  kind: 'daily',
  everyMs: 3_600_000,
  from: '09:00:00',
  to: '17:00:00',
  daysOfWeek: [],
  ...more,
})

const refusalOf = (spec: TimingSpec, nowMs?: number): string => {
  try {
    parseTiming(spec, nowMs === undefined ? {} : { nowMs })
  } catch (error) {
    if (error instanceof Refusal && error.code === 'SCHEDULE_INVALID') return error.message
    throw error
  }
  throw new Error('it was accepted')
}

const now = ms('2026-06-01T00:00:00Z')

test.each<[string, TimingSpec, string[]]>([
  ['an unknown zone', specOf(cronOf('* * * * *'), { zone: 'Mars/Olympus' }), ['"Mars/Olympus"', 'Europe/Berlin']],
  ['a fixed offset as zone', specOf({ kind: 'none' }, { zone: '+02:00' }), ['"+02:00"', 'IANA']],
  ['30 February', specOf(cronOf('0 0 30 2 *')), ['can never fire', '0 0 30 2 *']],
  ['31 April', specOf(cronOf('0 0 31 4,6,9,11 *')), ['can never fire']],
  ['29 February in common years', specOf(cronOf('0 0 0 29 2 ? 2026,2027')), ['can never fire']],
  ['a year that is past', specOf(cronOf('0 0 0 1 1 ? 2020')), ['can never fire', 'before 2026-06-01']],
  [
    'a cron that ends before its first fire',
    specOf(cronOf('0 0 1 1 *'), { endAtMs: ms('2026-12-31') }),
    ['its end 2026-12-31', '2027-01-01'],
  ],
  [
    'a cron with no fire in its window',
    specOf(cronOf('0 0 1 1 *'), { startAtMs: ms('2026-07-01'), endAtMs: ms('2026-08-01') }),
    ['between', '2027-01-01'],
  ],
  [
    'a start after the end',
    specOf({ kind: 'none' }, { startAtMs: ms('2027-01-01'), endAtMs: ms('2026-01-01') }),
    ['start 2027', 'after the end 2026'],
  ],
  ['a start that is no whole number', specOf({ kind: 'none' }, { startAtMs: 1.5 }), ['startAtMs', '1.5']],
  ['an end beyond all dates', specOf({ kind: 'none' }, { endAtMs: 9e15 }), ['endAtMs']],
  ['a rate below 50 ms', specOf({ kind: 'fixed-rate', everyMs: 49 }), ['everyMs is 49', '50 ms']],
  ['a negative rate', specOf({ kind: 'fixed-rate', everyMs: -1 }), ['everyMs is -1']],
  ['half milliseconds', specOf({ kind: 'fixed-rate', everyMs: 100.5 }), ['whole milliseconds']],
  ['an endless rate', specOf({ kind: 'fixed-rate', everyMs: Infinity }), ['everyMs']],
  ['a delay below 50 ms', specOf({ kind: 'fixed-delay', delayMs: 0 }), ['delayMs is 0', '50 ms']],
  [
    'a delay that ended',
    specOf({ kind: 'fixed-delay', delayMs: 50 }, { endAtMs: ms('2026-01-01') }),
    ['can never fire', 'its end 2026-01-01'],
  ],
  [
    'a rate that ended',
    specOf({ kind: 'fixed-rate', everyMs: 50 }, { endAtMs: ms('2026-01-01') }),
    ['can never fire', 'its end'],
  ],
  ['a daily interval below a second', specOf(daily({ everyMs: 999 })), ['everyMs is 999', '1000']],
  [
    'a daily end before its begin',
    specOf(daily({ to: '08:59:59' })),
    ['to (08:59:59)', 'before from', 'two schedules'],
  ],
  ['a time of day of 24 hours', specOf(daily({ to: '24:00:00' })), ['to is "24:00:00"', 'HH:mm:ss']],
  ['a short time of day', specOf(daily({ from: '9:00' })), ['from is "9:00"', 'HH:mm:ss']],
  ['weekday 0', specOf(daily({ daysOfWeek: [0] })), ['daysOfWeek has 0', '1 (Monday) to 7 (Sunday)']],
  ['weekday 1.5', specOf(daily({ daysOfWeek: [1.5] })), ['daysOfWeek has 1.5']],
  ['a date that is no date', specOf({ kind: 'once', at: 'tomorrow' }), ['"tomorrow"', 'ISO 8601']],
  ['a date without time', specOf({ kind: 'once', at: '2030-01-01' }), ['ISO 8601']],
  ['29 February 2027', specOf({ kind: 'once', at: '2027-02-29T00:00:00Z' }), ['no such date']],
  ['24 o’clock', specOf({ kind: 'once', at: '2027-02-28T24:00:00Z' }), ['no such time']],
  ['a date in the past', specOf({ kind: 'once', at: '2020-01-01T00:00:00Z' }), ['2020-01-01T00:00:00Z', 'in the past']],
  [
    'a date outside the window',
    specOf({ kind: 'once', at: '2027-01-01T00:00:00Z' }, { endAtMs: ms('2026-12-01') }),
    ['outside its window, up to its end 2026-12-01'],
  ],
  [
    'a date before the start',
    specOf({ kind: 'once', at: '2026-07-01T00:00:00Z' }, { startAtMs: ms('2026-12-01') }),
    ['outside its window, from its start 2026-12-01'],
  ],
  [
    'a date in a gap, with skip',
    specOf(
      { kind: 'once', at: '2027-03-14T02:30:00' },
      { zone: 'America/New_York', dst: { gap: 'skip', overlap: 'first' } },
    ),
    ['America/New_York', 'skip', '"next"'],
  ],
])('%s is refused with words that help', (_name, spec, essentials) => {
  const message = refusalOf(spec, now)
  for (const essential of essentials) expect(message).toContain(essential)
})

test('a stored schedule whose time has passed can still be read; only a new one is refused', () => {
  const past = specOf(cronOf('0 0 0 1 1 ? 2020'))
  expect(nextFire(parseTiming(past), now)).toBeUndefined()
  expect(refusalOf(past, now)).toContain('can never fire')
  expect(nextFire(parseTiming(specOf({ kind: 'once', at: '2020-01-01T00:00:00Z' })), now)).toBeUndefined()
})

test('a schedule by call only never fires', () => {
  expect(nextFire(timingOf({ kind: 'none' }), 0)).toBeUndefined()
  expect(preview(timingOf({ kind: 'none' }), 0, 5)).toEqual([])
})

test('rule 4: start and end are inclusive, and nothing fires beyond them', () => {
  const window = { startAtMs: ms('2026-01-02T00:00:00Z'), endAtMs: ms('2026-01-04T00:00:00Z') }
  const days = (timing: ReturnType<typeof timingOf>, anchorMs = 0) =>
    preview(timing, 0, 9, anchorMs).map((atMs) => new Date(atMs).toISOString().slice(0, 10))
  expect(days(timingOf(cronOf('0 0 * * *'), window))).toEqual(['2026-01-02', '2026-01-03', '2026-01-04'])
  expect(days(timingOf({ kind: 'fixed-rate', everyMs: 86_400_000 }, window))).toEqual([
    '2026-01-02',
    '2026-01-03',
    '2026-01-04',
  ])
  expect(days(timingOf(daily({ from: '00:00:00', to: '00:00:00' }), window))).toEqual([
    '2026-01-02',
    '2026-01-03',
    '2026-01-04',
  ])
  expect(days(timingOf({ kind: 'once', at: '2026-01-04T00:00:00' }, window))).toEqual(['2026-01-04'])
})

test('rule 11: a fixed rate counts from its start, or else from the moment it was made', () => {
  const rate = timingOf({ kind: 'fixed-rate', everyMs: 100 })
  expect(preview(rate, 999, 3, 1_000)).toEqual([1_000, 1_100, 1_200])
  expect(preview(rate, 1_000, 2, 1_000)).toEqual([1_100, 1_200])
  expect(nextFire(rate, 1_000_000_049, { anchorMs: 1_007 })).toBe(1_000_000_107)
  const started = timingOf({ kind: 'fixed-rate', everyMs: 100 }, { startAtMs: 5_030 })
  expect(preview(started, 0, 2, 1_000)).toEqual([5_030, 5_130])
})

test('a rate has no upper limit, and an instant beyond all dates is never', () => {
  const rate = timingOf({ kind: 'fixed-rate', everyMs: 400 * 365 * 86_400_000 })
  expect(nextFire(rate, now, { anchorMs: now })).toBe(now + 400 * 365 * 86_400_000)
  expect(nextFire(timingOf({ kind: 'fixed-rate', everyMs: 9e15 }), now, { anchorMs: now })).toBeUndefined()
})

test('a rate without start and anchor is a bug of the caller', () => {
  expect(() => nextFire(timingOf({ kind: 'fixed-rate', everyMs: 100 }), 0)).toThrow('invariant broken')
})

test('rule 11: a fixed delay fires first at its anchor and then after the end of each run', () => {
  const delay = timingOf({ kind: 'fixed-delay', delayMs: 50 })
  expect(preview(delay, 999, 3, 1_000)).toEqual([1_000])
  expect(nextFire(delay, 1_000, { anchorMs: 1_000 })).toBeUndefined()
  expect(nextAfterEnd(delay, 7_777)).toBe(7_827)
  const bounded = timingOf({ kind: 'fixed-delay', delayMs: 50 }, { startAtMs: 5_000, endAtMs: 6_000 })
  expect(nextFire(bounded, 0, { anchorMs: 1 })).toBe(5_000)
  expect([nextAfterEnd(bounded, 4_000), nextAfterEnd(bounded, 5_950), nextAfterEnd(bounded, 5_951)]).toEqual([
    5_000,
    6_000,
    undefined,
  ])
  expect(nextAfterEnd(timingOf(cronOf('* * * * *')), 5_000)).toBeUndefined()
})

const shown = (timing: ReturnType<typeof timingOf>, from: string, count: number): string[] =>
  preview(timing, ms(from) - 1, count).map((atMs) => new Date(atMs).toISOString().slice(5, 16).replace('T', ' '))

test('a daily interval counts from its begin, ends at its end and keeps to its weekdays', () => {
  const timing = timingOf(daily({ everyMs: 4 * 3_600_000, from: '09:00:00', to: '17:30:00', daysOfWeek: [5, 7] }), {
    zone: 'Asia/Shanghai',
  })
  // 2 January 2026 is a Friday; Shanghai is 8 hours ahead
  expect(shown(timing, '2026-01-01T00:00Z', 7)).toEqual([
    '01-02 01:00',
    '01-02 05:00',
    '01-02 09:00',
    '01-04 01:00',
    '01-04 05:00',
    '01-04 09:00',
    '01-09 01:00',
  ])
})

test('a daily interval with one time fires once a day, on all days when none are named', () => {
  const timing = timingOf(daily({ everyMs: 1_000, from: '23:59:59', to: '23:59:59' }))
  expect(shown(timing, '2026-02-27T00:00Z', 3)).toEqual(['02-27 23:59', '02-28 23:59', '03-01 23:59'])
})

test('rule 9: a daily interval in a gap follows the policy, in an overlap it goes on when it is at least hourly', () => {
  const zone = 'America/New_York'
  const half = daily({ everyMs: 1_800_000, from: '01:00:00', to: '03:30:00' })
  expect(shown(timingOf(half, { zone }), '2026-03-08T06:00Z', 4)).toEqual([
    '03-08 06:00',
    '03-08 06:30',
    '03-08 07:00',
    '03-08 07:30',
  ])
  expect(shown(timingOf(half, { zone }), '2026-11-01T05:00Z', 5)).toEqual([
    '11-01 05:00',
    '11-01 05:30',
    '11-01 06:00',
    '11-01 06:30',
    '11-01 07:00',
  ])
  const single = daily({ everyMs: 1_000, from: '01:30:00', to: '01:30:00' })
  expect(shown(timingOf(single, { zone }), '2026-11-01T05:00Z', 2)).toEqual(['11-01 05:30', '11-02 06:30'])
  const twice = timingOf(single, { zone, dst: { gap: 'next', overlap: 'both' } })
  expect(shown(twice, '2026-11-01T05:00Z', 2)).toEqual(['11-01 05:30', '11-01 06:30'])
  const lost = daily({ everyMs: 1_000, from: '02:30:00', to: '02:30:00' })
  expect(shown(timingOf(lost, { zone }), '2026-03-08T06:00Z', 2)).toEqual(['03-08 07:00', '03-09 06:30'])
  expect(shown(timingOf(lost, { zone, dst: { gap: 'skip', overlap: 'first' } }), '2026-03-08T06:00Z', 1)).toEqual([
    '03-09 06:30',
  ])
})

test.each([
  ['2030-01-31T09:30:00Z', 'Asia/Shanghai', '2030-01-31T09:30:00.000Z'],
  ['2030-01-31T09:30:00+08:00', 'UTC', '2030-01-31T01:30:00.000Z'],
  ['2030-01-31T09:30:00.250-0330', 'UTC', '2030-01-31T13:00:00.250Z'],
  ['2030-01-31T09:30', 'Asia/Shanghai', '2030-01-31T01:30:00.000Z'],
  ['2030-01-31 09:30:15', 'Pacific/Kiritimati', '2030-01-30T19:30:15.000Z'],
  // rule 10
  ['2027-03-14T02:30:00', 'America/New_York', '2027-03-14T07:00:00.000Z'],
  ['2026-11-01T01:30:00', 'America/New_York', '2026-11-01T05:30:00.000Z'],
  ['2011-12-30T12:00:00', 'Pacific/Apia', '2011-12-30T10:00:00.000Z'],
])('once at %s in %s is %s, and then never again', (at, zone, expected) => {
  for (const overlap of ['first', 'both'] as const) {
    const timing = timingOf({ kind: 'once', at }, { zone, dst: { gap: 'next', overlap } })
    expect(preview(timing, 0, 3).map((atMs) => new Date(atMs).toISOString())).toEqual([expected])
  }
})

const trigger = fc.oneof<fc.Arbitrary<TriggerSpec>[]>(
  fc
    .constantFrom('* * * * * *', '*/7 * * * *', '30 1,2 * * *', '0 0 L * ?', '0 0 12 ? * 2-6', '0 0 15W * FRIL')
    .map(cronOf),
  fc.integer({ min: 50, max: 10_000_000_000 }).map((everyMs) => ({ kind: 'fixed-rate', everyMs })),
  fc.integer({ min: 50, max: 10_000_000_000 }).map((delayMs) => ({ kind: 'fixed-delay', delayMs })),
  fc
    .integer({ min: 1_000, max: 90_000_000 })
    .map((everyMs) => daily({ everyMs, from: '00:30:00', to: '23:15:10', daysOfWeek: [1, 3, 7] })),
  fc.constant<TriggerSpec>({ kind: 'once', at: '2030-05-05T05:05:05' }),
)
const instant = fc.integer({ min: ms('2020-01-01'), max: ms('2040-01-01') })

test('fires only grow, stay within bounds, and a preview is what asking again and again gives', () => {
  fc.assert(
    fc.property(
      trigger,
      fc.constantFrom('UTC', 'America/New_York', 'Australia/Lord_Howe', 'Pacific/Apia'),
      fc.option(instant, { nil: undefined }),
      fc.option(instant, { nil: undefined }),
      fc.record({
        gap: fc.constantFrom('next' as const, 'skip' as const),
        overlap: fc.constantFrom('first' as const, 'both' as const),
      }),
      instant,
      instant,
      (kind, zone, startAtMs, endAtMs, dst, fromMs, anchorMs) => {
        let timing
        try {
          timing = parseTiming({ trigger: kind, zone, startAtMs, endAtMs, dst })
        } catch (error) {
          expect(error).toBeInstanceOf(Refusal)
          return
        }
        const fires = preview(timing, fromMs, 20, anchorMs)
        let beforeMs = fromMs
        for (const atMs of fires) {
          expect(atMs).toBe(nextFire(timing, beforeMs, { anchorMs }))
          expect(atMs).toBeGreaterThan(beforeMs)
          expect(atMs).toBeGreaterThanOrEqual(startAtMs ?? -Infinity)
          expect(atMs).toBeLessThanOrEqual(endAtMs ?? Infinity)
          beforeMs = atMs
        }
        if (fires.length < 20) expect(nextFire(timing, beforeMs, { anchorMs })).toBeUndefined()
      },
    ),
    settings,
  )
})
