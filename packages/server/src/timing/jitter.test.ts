// Jitter is the same everywhere, stays within its bound and spreads evenly.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { jitterOf } from './jitter.ts'

const seed = process.env['ONCEJOB_SEED']
const settings = { numRuns: 2_000, ...(seed === undefined ? {} : { seed: Number(seed) }) }

test('a jitter is a whole number within its bound, and the same each time', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.maxSafeNat(), fc.nat(100_000_000), (scheduleId, fireAtMs, jitterMs) => {
      const jitter = jitterOf(scheduleId, fireAtMs, jitterMs)
      expect(Number.isInteger(jitter) && jitter >= 0 && jitter <= jitterMs).toBe(true)
      expect(jitterOf(scheduleId, fireAtMs, jitterMs)).toBe(jitter)
    }),
    settings,
  )
})

test('servers of different versions agree: the values are fixed', () => {
  const fireAtMs = Date.parse('2026-06-01T12:00:00Z')
  expect([1, 2, 3, 2 ** 40 + 1].map((id) => jitterOf(id, fireAtMs, 60_000))).toEqual([46_511, 5_973, 26_010, 50_767])
})

test('no jitter means none', () => {
  expect(jitterOf(7, 1, 0)).toBe(0)
})

test('schedules that are due together spread over the whole span, and so do the fires of one schedule', () => {
  const spread = (values: number[]): number[] => {
    const buckets = Array.from({ length: 10 }, () => 0)
    for (const value of values) buckets[Math.floor(value / 100)]! += 1
    return buckets
  }
  const bySchedule = spread(Array.from({ length: 10_000 }, (_, id) => jitterOf(id + 1, 1_780_000_000_000, 999)))
  const byFire = spread(Array.from({ length: 10_000 }, (_, i) => jitterOf(42, 1_780_000_000_000 + i * 60_000, 999)))
  for (const count of [...bySchedule, ...byFire]) {
    expect(count).toBeGreaterThan(850)
    expect(count).toBeLessThan(1_150)
  }
})
