// Fires across changes of the clock: tables for the rules 5–9, and a brute force over every minute around real changes.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { DstPolicy } from './spec.ts'
import { nextFire, parseTiming, preview } from './timing.ts'

const seed = process.env['ONCEJOB_SEED']
const settings = {
  numRuns: Number(process.env['ONCEJOB_RUNS'] ?? 1_000),
  ...(seed === undefined ? {} : { seed: Number(seed) }),
}

const cron = (expression: string, zone: string, dst: Partial<DstPolicy> = {}) =>
  parseTiming({ trigger: { kind: 'cron', expression }, zone, dst: { gap: 'next', overlap: 'first', ...dst } })

const firesOf = (expression: string, zone: string, dst: Partial<DstPolicy>, from: string, count: number): string =>
  preview(cron(expression, zone, dst), Date.parse(from) - 1, count)
    .map((atMs) => new Date(atMs).toISOString().replace('T', ' ').slice(5, 16))
    .join(', ')

const next = { gap: 'next' } as const
const skip = { gap: 'skip' } as const
const first = { overlap: 'first' } as const
const both = { overlap: 'both' } as const

test.each([
  // New York skips 02:00–03:00 on 8 March 2026: 07:00Z is 03:00 EDT
  ['30 2 * * *', 'America/New_York', next, '2026-03-07T12:00Z', '03-08 07:00, 03-09 06:30'],
  ['30 2 * * *', 'America/New_York', skip, '2026-03-07T12:00Z', '03-09 06:30, 03-10 06:30'],
  ['0 3 * * *', 'America/New_York', next, '2026-03-07T12:00Z', '03-08 07:00, 03-09 07:00'],
  ['*/20 2 * * *', 'America/New_York', next, '2026-03-07T12:00Z', '03-08 07:00, 03-09 06:00'],
  ['*/20 2 * * *', 'America/New_York', skip, '2026-03-07T12:00Z', '03-09 06:00, 03-09 06:20'],
  ['0,30 2,3 * * *', 'America/New_York', next, '2026-03-07T12:00Z', '03-08 07:00, 03-08 07:30, 03-09 06:00'],
  ['0 */2 * * *', 'America/New_York', next, '2026-03-08T05:00Z', '03-08 05:00, 03-08 07:00, 03-08 08:00'],
  ['30 2 8 3 *', 'America/New_York', skip, '2026-01-01T00:00Z', '03-08 07:30, 03-08 07:30'],
  // Berlin skips 02:00–03:00 on 29 March 2026: 01:00Z is 03:00 CEST
  ['15 2 * * *', 'Europe/Berlin', next, '2026-03-28T12:00Z', '03-29 01:00, 03-30 00:15'],
  ['59 1 * * *', 'Europe/Berlin', next, '2026-03-28T12:00Z', '03-29 00:59, 03-29 23:59'],
  // Lord Howe skips 02:00–02:30 on 4 October 2026: 15:30Z is 02:30
  ['15 2 * * *', 'Australia/Lord_Howe', next, '2026-10-03T00:00Z', '10-03 15:30, 10-04 15:15'],
  ['15 2 * * *', 'Australia/Lord_Howe', skip, '2026-10-03T00:00Z', '10-04 15:15, 10-05 15:15'],
  ['45 2 * * *', 'Australia/Lord_Howe', skip, '2026-10-03T00:00Z', '10-03 15:45, 10-04 15:45'],
  // Apia had no 30 December 2011: 10:00Z is 00:00 on the 31st
  ['0 9 * * *', 'Pacific/Apia', next, '2011-12-29T18:00Z', '12-29 19:00, 12-30 10:00, 12-30 19:00'],
  ['0 9 * * *', 'Pacific/Apia', skip, '2011-12-29T18:00Z', '12-29 19:00, 12-30 19:00, 12-31 19:00'],
  ['0 0 30 12 *', 'Pacific/Apia', next, '2011-12-28T00:00Z', '12-30 10:00, 12-29 10:00'],
  ['0 0 30 12 *', 'Pacific/Apia', skip, '2011-12-28T00:00Z', '12-29 10:00, 12-29 10:00'],
  ['0 0 * * *', 'Pacific/Apia', next, '2011-12-29T00:00Z', '12-29 10:00, 12-30 10:00, 12-31 10:00'],
])('rule 6: "%s" in %s with %o fires from %s at %s', (expression, zone, dst, from, expected) => {
  expect(firesOf(expression, zone, dst, from, expected.split(', ').length)).toBe(expected)
})

test.each([
  // New York repeats 01:00–02:00 on 1 November 2026: 05:00Z–06:00Z and 06:00Z–07:00Z
  ['30 1 * * *', 'America/New_York', first, '2026-10-31T12:00Z', '11-01 05:30, 11-02 06:30'],
  ['30 1 * * *', 'America/New_York', both, '2026-10-31T12:00Z', '11-01 05:30, 11-01 06:30, 11-02 06:30'],
  ['0,30 1 * * *', 'America/New_York', first, '2026-11-01T05:00Z', '11-01 05:00, 11-01 05:30, 11-02 06:00'],
  ['0,30 1 * * *', 'America/New_York', both, '2026-11-01T05:00Z', '11-01 05:00, 11-01 05:30, 11-01 06:00, 11-01 06:30'],
  // Tripoli repeated 01:00–02:00 on 10 November 2012, from 00:00Z on
  ['30 1 * * *', 'Africa/Tripoli', first, '2012-11-09T12:00Z', '11-09 23:30, 11-11 00:30'],
  // the second pass counts although no later local time fits
  ['0 30 1 1 11 ? 2026', 'America/New_York', both, '2026-10-31T12:00Z', '11-01 05:30, 11-01 06:30'],
  // asked in the middle of the second pass
  ['30 1 * * *', 'America/New_York', first, '2026-11-01T06:10Z', '11-02 06:30'],
  ['30 1 * * *', 'America/New_York', both, '2026-11-01T06:10Z', '11-01 06:30'],
  ['0 2 * * *', 'America/New_York', first, '2026-11-01T05:00Z', '11-01 07:00, 11-02 07:00'],
  // Berlin repeats 02:00–03:00 on 25 October 2026, from 01:00Z on
  ['0 2 * * *', 'Europe/Berlin', first, '2026-10-24T12:00Z', '10-25 00:00, 10-26 01:00'],
  ['0 2 * * *', 'Europe/Berlin', both, '2026-10-24T12:00Z', '10-25 00:00, 10-25 01:00, 10-26 01:00'],
  // Lord Howe repeats 01:30–02:00 on 5 April 2026: at 15:00Z 02:00 becomes 01:30
  ['45 1 * * *', 'Australia/Lord_Howe', first, '2026-04-04T12:00Z', '04-04 14:45, 04-05 15:15'],
  ['45 1 * * *', 'Australia/Lord_Howe', both, '2026-04-04T12:00Z', '04-04 14:45, 04-04 15:15, 04-05 15:15'],
  ['15 1 * * *', 'Australia/Lord_Howe', both, '2026-04-04T12:00Z', '04-04 14:15, 04-05 14:45'],
])('rule 7: "%s" in %s with %o fires from %s at %s', (expression, zone, dst, from, expected) => {
  expect(firesOf(expression, zone, dst, from, expected.split(', ').length)).toBe(expected)
})

test.each([
  [
    '*/30 * * * *',
    'America/New_York',
    '2026-11-01T05:00Z',
    '11-01 05:00, 11-01 05:30, 11-01 06:00, 11-01 06:30, 11-01 07:00',
  ],
  [
    '0 */15 * * * *',
    'Europe/Berlin',
    '2026-10-25T00:30Z',
    '10-25 00:30, 10-25 00:45, 10-25 01:00, 10-25 01:15, 10-25 01:30',
  ],
  ['*/30 * * * *', 'America/New_York', '2026-03-08T06:30Z', '03-08 06:30, 03-08 07:00, 03-08 07:30'],
  ['15 0-23 * * *', 'Australia/Lord_Howe', '2026-10-03T14:00Z', '10-03 14:45, 10-03 16:15'],
  ['*/10 * * * *', 'Australia/Lord_Howe', '2026-10-03T15:20Z', '10-03 15:20, 10-03 15:30, 10-03 15:40'],
  ['*/20 * * * *', 'Australia/Lord_Howe', '2026-04-04T14:40Z', '04-04 14:40, 04-04 15:10, 04-04 15:30'],
])('rule 8: "%s" in %s follows real time from %s whatever the policy: %s', (expression, zone, from, expected) => {
  for (const gap of ['next', 'skip'] as const) {
    for (const overlap of ['first', 'both'] as const) {
      expect(firesOf(expression, zone, { gap, overlap }, from, expected.split(', ').length)).toBe(expected)
    }
  }
})

test('rule 8: every five seconds stays every five seconds through the repeated hour', () => {
  const fires = preview(cron('*/5 * * * * *', 'America/New_York'), Date.parse('2026-11-01T04:59:59Z'), 3 * 720)
  expect(fires.every((atMs, i) => i === 0 || 5_000 === atMs - fires[i - 1]!)).toBe(true)
})

test('zones without changes and at the ends of the world keep their hour', () => {
  expect(firesOf('0 8 * * *', 'Asia/Shanghai', {}, '2026-03-07T12:00Z', 3)).toBe(
    '03-08 00:00, 03-09 00:00, 03-10 00:00',
  )
  expect(firesOf('0 8 * * *', 'Pacific/Kiritimati', {}, '2026-03-07T12:00Z', 2)).toBe('03-07 18:00, 03-08 18:00')
  expect(firesOf('0 8 * * *', 'Etc/GMT+12', {}, '2026-03-07T12:00Z', 2)).toBe('03-07 20:00, 03-08 20:00')
  // Shanghai had summer time until 1991: 02:00–03:00 did not exist on 14 April 1991
  expect(firesOf('30 2 * * *', 'Asia/Shanghai', {}, '1991-04-13T00:00Z', 2)).toBe('04-13 18:00, 04-14 17:30')
})

// --- brute force: what the local clock shows, minute by minute, read straight from Intl ---

const minute = 60_000
const day = 1_440 * minute

const shownAt = (zone: string, atsMs: readonly number[]): number[] => {
  const reader = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' })
  return atsMs.map((atMs) => Date.parse(`${reader.format(atMs).replace(' ', 'T')}Z`))
}

const changes = [
  ['America/New_York', '2026-03-08T07:00Z'],
  ['America/New_York', '2026-11-01T06:00Z'],
  ['Europe/Berlin', '2026-03-29T01:00Z'],
  ['Europe/Berlin', '2026-10-25T01:00Z'],
  ['Australia/Lord_Howe', '2026-10-03T15:30Z'],
  ['Australia/Lord_Howe', '2026-04-04T15:00Z'],
  ['Asia/Shanghai', '1991-04-13T18:00Z'],
  ['Pacific/Apia', '2011-12-30T10:00Z'],
  ['Pacific/Apia', '2012-03-31T14:00Z'],
  ['Africa/Casablanca', '2026-02-15T02:00Z'],
  ['America/Santiago', '2026-09-06T04:00Z'],
  ['Antarctica/Troll', '2026-03-29T01:00Z'],
  // set back exactly at the border of a block of the zone's cache (DESIGN.md, Zones)
  ['Africa/Tripoli', '2012-11-10T00:00Z'],
  ['Africa/Windhoek', '2015-04-05T00:00Z'],
  ['Antarctica/Rothera', '1976-12-01T00:00Z'],
].map(([zone = '', at = '']) => {
  const fromMs = Date.parse(at) - 1.5 * day
  const instants = Array.from({ length: 4 * 1_440 }, (_, i) => fromMs + i * minute)
  return { zone, instants, shown: shownAt(zone, instants) }
})

type Change = (typeof changes)[number]

const bruteForce = (
  change: Change,
  matches: (localMs: number) => boolean,
  dst: DstPolicy,
  everyHour: boolean,
): number[] => {
  const { instants, shown } = change
  const seen = new Set<number>()
  return instants.filter((_, i) => {
    const localMs = shown[i]!
    const repeated = seen.has(localMs)
    seen.add(localMs)
    if (matches(localMs) && (!repeated || everyHour || dst.overlap === 'both')) return true
    if (i === 0 || everyHour || dst.gap === 'skip') return false
    for (let missing = shown[i - 1]! + minute; missing < localMs; missing += minute) if (matches(missing)) return true
    return false
  })
}

const someOf = (max: number) => fc.uniqueArray(fc.integer({ min: 0, max }), { minLength: 1, maxLength: 5 })

test('rules 5–8 hold at every minute around real changes, for random expressions and policies', () => {
  const policy = fc.record<DstPolicy>({
    gap: fc.constantFrom('next', 'skip'),
    overlap: fc.constantFrom('first', 'both'),
  })
  const hours = fc.oneof(
    fc.constant(undefined),
    someOf(23),
    fc.uniqueArray(fc.integer({ min: 0, max: 4 }), { minLength: 1 }),
  )
  fc.assert(
    fc.property(fc.constantFrom(...changes), someOf(59), hours, policy, (change, minutes, wanted, dst) => {
      const matches = (localMs: number): boolean =>
        minutes.includes(Math.floor(localMs / minute) % 60) &&
        (wanted === undefined || wanted.includes(Math.floor(localMs / (60 * minute)) % 24))
      const timing = cron(`${minutes.join(',')} ${wanted?.join(',') ?? '*'} * * *`, change.zone, dst)
      const expected = bruteForce(change, matches, dst, wanted === undefined)
      const ours: number[] = []
      let atMs = nextFire(timing, change.instants[0]! - 1)
      while (atMs !== undefined && atMs <= change.instants.at(-1)!) {
        ours.push(atMs)
        atMs = nextFire(timing, atMs)
      }
      expect(ours.map((each) => new Date(each).toISOString())).toEqual(
        expected.map((each) => new Date(each).toISOString()),
      )
    }),
    settings,
  )
})

test('the answer does not depend on the instant it is asked from: the next fire is the smallest later one', () => {
  const policy = fc.record<DstPolicy>({
    gap: fc.constantFrom('next', 'skip'),
    overlap: fc.constantFrom('first', 'both'),
  })
  fc.assert(
    fc.property(fc.constantFrom(...changes), someOf(23), policy, fc.nat(2 * day), (change, hours, dst, sinceMs) => {
      const timing = cron(`7,37 ${hours.join(',')} * * *`, change.zone, dst)
      const startMs = change.instants[0]!
      const askedMs = startMs + sinceMs
      const all = preview(timing, startMs - 1, 96)
      expect(nextFire(timing, askedMs)).toBe(all.find((atMs) => atMs > askedMs) ?? nextFire(timing, all.at(-1)!))
    }),
    settings,
  )
})
