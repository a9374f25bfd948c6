// Offsets against Intl read another way, and local times that are missing or come twice.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { instantsOf, zoneOf } from './zone.ts'

const seed = process.env['ONCEJOB_SEED']
const settings = { numRuns: 3_000, ...(seed === undefined ? {} : { seed: Number(seed) }) }
const local = (text: string): number => Date.parse(`${text}Z`)
const zone = (name: string) => zoneOf(name)!

const readers = new Map<string, Intl.DateTimeFormat>()

/** "GMT+10:30" → 37,800,000: an independent way to ask the platform. */
const offsetByName = (name: string, atMs: number): number => {
  const reader = readers.get(name) ?? new Intl.DateTimeFormat('en-GB', { timeZone: name, timeZoneName: 'longOffset' })
  readers.set(name, reader)
  const text = reader.formatToParts(atMs).find((each) => each.type === 'timeZoneName')!.value
  const parts = /^GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(text)!
  const size = ((Number(parts[2] ?? 0) * 60 + Number(parts[3] ?? 0)) * 60 + Number(parts[4] ?? 0)) * 1_000
  return parts[1] === '-' ? -size : size
}

test('offsets are those of the platform, at any instant in any zone', () => {
  const names = [
    'UTC',
    ...Intl.supportedValuesOf('timeZone').filter((_, i) => i % 7 === 0),
    'Australia/Lord_Howe',
    'Pacific/Apia',
  ]
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.integer({ min: 0, max: 4_102_444_800_000 }), (name, atMs) => {
      expect(zone(name).offsetAt(atMs)).toBe(offsetByName(name, atMs))
    }),
    settings,
  )
})

test.each([
  ['America/New_York', '2026-03-08T07:00:00Z', -5, -4],
  ['Europe/Berlin', '2026-10-25T01:00:00Z', 2, 1],
  ['Australia/Lord_Howe', '2026-10-03T15:30:00Z', 10.5, 11],
  ['Pacific/Apia', '2011-12-30T10:00:00Z', -10, 14],
  ['Africa/Monrovia', '1972-01-07T00:44:30Z', -44.5 / 60, 0],
])('%s changes at %s, to the millisecond', (name, at, before, after) => {
  const hour = 3_600_000
  const atMs = Date.parse(at)
  expect([zone(name).offsetAt(atMs - 1) / hour, zone(name).offsetAt(atMs) / hour]).toEqual([before, after])
})

test('a local time is one instant, none or two', () => {
  const one = instantsOf(zone('Asia/Shanghai'), local('2026-06-01T12:00:00'))
  expect(one).toEqual({ kind: 'one', atMs: Date.parse('2026-06-01T04:00:00Z') })
  const gap = instantsOf(zone('America/New_York'), local('2026-03-08T02:30:00'))
  expect(gap).toEqual({ kind: 'gap', nextMs: Date.parse('2026-03-08T07:00:00Z') })
  const two = instantsOf(zone('America/New_York'), local('2026-11-01T01:30:00'))
  expect(two).toEqual({
    kind: 'two',
    firstMs: Date.parse('2026-11-01T05:30:00Z'),
    laterMs: Date.parse('2026-11-01T06:30:00Z'),
  })
})

test('the borders of gaps and overlaps belong to the right side', () => {
  const newYork = zone('America/New_York')
  expect(instantsOf(newYork, local('2026-03-08T01:59:59')).kind).toBe('one')
  expect(instantsOf(newYork, local('2026-03-08T02:00:00')).kind).toBe('gap')
  expect(instantsOf(newYork, local('2026-03-08T03:00:00')).kind).toBe('one')
  expect(instantsOf(newYork, local('2026-11-01T00:59:59')).kind).toBe('one')
  expect(instantsOf(newYork, local('2026-11-01T01:00:00')).kind).toBe('two')
  expect(instantsOf(newYork, local('2026-11-01T02:00:00')).kind).toBe('one')
})

test('Apia had no 30 December 2011, and Lord Howe skips half an hour', () => {
  const apia = zone('Pacific/Apia')
  for (const time of ['00:00:00', '12:00:00', '23:59:59']) {
    expect(instantsOf(apia, local(`2011-12-30T${time}`))).toEqual({
      kind: 'gap',
      nextMs: Date.parse('2011-12-30T10:00:00Z'),
    })
  }
  expect(instantsOf(apia, local('2011-12-31T00:00:00'))).toEqual({
    kind: 'one',
    atMs: Date.parse('2011-12-30T10:00:00Z'),
  })
  expect(instantsOf(zone('Australia/Lord_Howe'), local('2026-10-04T02:29:00')).kind).toBe('gap')
  expect(instantsOf(zone('Australia/Lord_Howe'), local('2026-10-04T02:30:00')).kind).toBe('one')
})

test('names are known in any case, as one zone; offsets and nonsense are not names', () => {
  expect(zoneOf('europe/berlin')).toBe(zoneOf('Europe/Berlin'))
  for (const name of ['+05:30', 'Mars/Olympus', '', ' UTC', 'Europe/Berlin\n', '-03'])
    expect(zoneOf(name), name).toBeUndefined()
})
