// Calendar arithmetic against the platform's Date.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { civilFromDays, dayMs, daysFromCivil, daysInMonth, isoOf, weekdayOf } from './civil.ts'

const seed = process.env['ONCEJOB_SEED']
const settings = { numRuns: 2_000, ...(seed === undefined ? {} : { seed: Number(seed) }) }

test('days, dates and weekdays agree with Date over 20,000 years', () => {
  fc.assert(
    fc.property(fc.integer({ min: -3_000_000, max: 4_000_000 }), (days) => {
      const date = new Date(days * dayMs)
      const civil = civilFromDays(days)
      expect(civil).toEqual({ year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() })
      expect(daysFromCivil(civil.year, civil.month, civil.day)).toBe(days)
      expect(weekdayOf(days)).toBe(date.getUTCDay())
    }),
    settings,
  )
})

test('months have their lengths, February by the rule of centuries', () => {
  const lengths = (year: number) => Array.from({ length: 12 }, (_, i) => daysInMonth(year, i + 1))
  expect(lengths(2026)).toEqual([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
  expect([1900, 2000, 2024, 2100].map((year) => daysInMonth(year, 2))).toEqual([28, 29, 29, 28])
})

test('an instant is written as Date writes it, without milliseconds that are zero', () => {
  fc.assert(
    fc.property(fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 }), (atMs) => {
      expect(isoOf(atMs)).toBe(new Date(atMs).toISOString().replace('.000Z', 'Z'))
    }),
    settings,
  )
})
