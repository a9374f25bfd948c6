// Our cron evaluator against a second implementation, croner, over random expressions, zones and instants.
//
// Compared is what both promise. Left out, because croner differs there on purpose or by limit:
// - wrapping ranges (22-4), a/n and L-3: croner refuses them; cron-next.test.ts has tables for them;
// - */1 in a day field: for croner that restricts, for us it is `*` (rule 2);
// - weekday numbers: croner always counts from 0 = Sunday, Quartz from 1 (rule 1), so names are used;
// - overlap "both" and gap "skip": croner has neither; the brute force in walk.test.ts covers them;
// - fires within a day of a change of offset: there the two differ for what rules 6–8 define; walk.test.ts
//   has tables, and a brute force over all instants, for exactly those days.
import { Cron } from 'croner'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { nextFire, parseTiming } from './timing.ts'
import { zoneOf } from './zone.ts'

const seed = process.env['ONCEJOB_SEED']
const settings = {
  numRuns: Number(process.env['ONCEJOB_RUNS'] ?? 1_500),
  ...(seed === undefined ? {} : { seed: Number(seed) }),
}

const zones = [
  'UTC',
  'America/New_York',
  'Europe/Berlin',
  'Australia/Lord_Howe',
  'Asia/Shanghai',
  'Asia/Kathmandu',
  'Pacific/Kiritimati',
  'Pacific/Pago_Pago',
  'America/Santiago',
  'Africa/Casablanca',
]

const number = (min: number, max: number) => fc.integer({ min, max })

const range = (min: number, max: number) =>
  fc.tuple(number(min, max), number(min, max)).map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`)

const part = (min: number, max: number) =>
  fc.oneof(
    number(min, max).map(String),
    range(min, max),
    fc.tuple(range(min, max), number(1, Math.ceil((max - min) / 3))).map(([r, step]) => `${r}/${step}`),
  )

const field = (min: number, max: number, leastStep = 1) =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant('*') },
    { weight: 1, arbitrary: number(leastStep, Math.ceil((max - min) / 2)).map((step) => `*/${step}`) },
    { weight: 4, arbitrary: fc.array(part(min, max), { minLength: 1, maxLength: 3 }).map((parts) => parts.join(',')) },
  )

const dayName = fc.constantFrom('SUN', 'MON', 'tue', 'WED', 'Thu', 'FRI', 'SAT')
const monthName = fc.constantFrom('JAN', 'feb', 'MAR', 'Jun', 'OCT', 'DEC')

const dayOfMonth = fc.oneof(
  { weight: 4, arbitrary: field(1, 31, 2) },
  { weight: 1, arbitrary: fc.constantFrom('L', 'LW', '?') },
  { weight: 1, arbitrary: number(1, 31).map((day) => `${day}W`) },
)
const month = fc.oneof({ weight: 4, arbitrary: field(1, 12) }, { weight: 1, arbitrary: monthName })
const dayOfWeek = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('*', '?', 'MON-FRI', 'TUE-THU', 'MON-SAT/2') },
  { weight: 2, arbitrary: fc.array(dayName, { minLength: 1, maxLength: 3 }).map((days) => days.join(',')) },
  { weight: 1, arbitrary: dayName.map((day) => `${day}L`) },
  { weight: 1, arbitrary: fc.tuple(dayName, number(1, 5)).map(([day, nth]) => `${day}#${nth}`) },
)
const year = fc.oneof(fc.constant('*'), number(2_010, 2_060).map(String), range(2_010, 2_060))

const expression = fc
  .tuple(number(5, 7), field(0, 59), field(0, 59), field(0, 23), dayOfMonth, month, dayOfWeek, year)
  .map(([count, ...fields]) => fields.slice(count === 5 ? 1 : 0, count === 7 ? 7 : 6).join(' '))

const nearChange = (zoneName: string, atMs: number): boolean => {
  const zone = zoneOf(zoneName)!
  const day = 86_400_000
  return zone.offsetAt(atMs - day) !== zone.offsetAt(atMs) || zone.offsetAt(atMs) !== zone.offsetAt(atMs + day)
}

test.each(['either', 'both'] as const)(
  'random expressions whose days match %s fire when croner says, in every zone',
  (days) => {
    let compared = 0
    fc.assert(
      fc.property(
        expression,
        fc.constantFrom(...zones),
        number(946_684_800, 2_524_608_000),
        (cron, zone, fromSeconds) => {
          // croner answers undefined, and we refuse, when no date fits: not compared
          let timing
          try {
            timing = parseTiming({
              trigger: { kind: 'cron', expression: cron, days },
              zone,
              dst: { gap: 'next', overlap: 'first' },
            })
          } catch (error) {
            expect(String(error)).toContain('can never fire')
            return
          }
          const other = new Cron(cron, { timezone: zone, paused: true, domAndDow: days === 'both' })
          let fromMs = fromSeconds * 1_000
          for (let i = 0; i < 4; i += 1) {
            const ours = nextFire(timing, fromMs)
            // croner looks ahead for a limited number of years only
            if (ours !== undefined && ours - fromMs > 10 * 365 * 86_400_000) return
            const theirs = other.nextRun(new Date(fromMs))?.getTime()
            if (ours === undefined) {
              expect(theirs).toBeUndefined()
              return
            }
            const unclear = [fromMs, ours, theirs ?? ours].some((atMs) => nearChange(zone, atMs))
            if (!unclear) {
              expect(theirs, `after ${new Date(fromMs).toISOString()}`).toBe(ours)
              compared += 1
            }
            fromMs = ours
          }
        },
      ),
      settings,
    )
    expect(compared).toBeGreaterThan(settings.numRuns)
  },
)
