// Promises of how far ahead run ids are prepared.
import { describe, expect, it } from 'vitest'
import { lastFilled, missingRanges } from './partitions.ts'

const million = 1_000_000
const ranges = (...bounds: number[]) => bounds.slice(1).map((to, i) => ({ from: bounds[i] ?? 0, to }))
const hourMs = 3_600_000

describe('partitions ahead', () => {
  it('are two whole ones beyond the one in use', () => {
    expect(missingRanges(ranges(1, million + 1, 2 * million + 1), 5, undefined)).toEqual([
      { from: 2 * million + 1, to: 3 * million + 1 },
    ])
    expect(missingRanges(ranges(1, million + 1, 2 * million + 1, 3 * million + 1), 5, undefined)).toEqual([])
  })

  it('are made from nothing', () => {
    expect(missingRanges([], 1, undefined)).toEqual(ranges(1, million + 1, 2 * million + 1, 3 * million + 1))
  })

  it('catch up with ids that have overtaken them', () => {
    const made = missingRanges(ranges(1, million + 1), 3 * million + 5, undefined)
    expect(made.at(-1)).toEqual({ from: 5 * million + 1, to: 6 * million + 1 })
    expect(made[0]?.from).toBe(million + 1)
  })

  it('double when the last one filled within six hours, up to sixteen million', () => {
    const existing = ranges(1, million + 1, 2 * million + 1)
    expect(missingRanges(existing, 5, hourMs)).toEqual([{ from: 2 * million + 1, to: 4 * million + 1 }])
    expect(missingRanges(existing, 5, 7 * hourMs)).toEqual([{ from: 2 * million + 1, to: 3 * million + 1 }])
    expect(missingRanges(ranges(1, 16 * million + 1), 5, hourMs)[0]).toEqual({
      from: 16 * million + 1,
      to: 32 * million + 1,
    })
  })

  it('are not made larger because of one that filled before a gap', () => {
    const [kept, before, now] = [
      ranges(1, million + 1),
      ranges(5 * million + 1, 6 * million + 1),
      ranges(6 * million + 1, 7 * million + 1),
    ]
    const nextId = 6 * million + 5
    expect(lastFilled([...kept, ...before, ...now], nextId)).toEqual(before[0])
    expect(lastFilled([...kept, ...now], nextId)).toBeUndefined()
    expect(lastFilled(now, nextId)).toBeUndefined()
    // ids that have overtaken all partitions
    expect(lastFilled([...kept, ...before], nextId)).toEqual(before[0])
    expect(lastFilled([], 1)).toBeUndefined()
  })
})
