// ULIDs: unique, ordered by time, and nothing else is one.
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { seeded } from './testing/seed.ts'
import { isUlid, makeUlid, ulidTimeMs } from './ulid.ts'

it('a million are all different (S-09)', () => {
  const seen = new Set<string>()
  for (let at = 0; at < 1_000_000; at += 1) seen.add(makeUlid(1_700_000_000_000))
  expect(seen.size).toBe(1_000_000)
})

it('has 26 characters, sorts by time and gives its time back', () => {
  const time = fc.nat({ max: 2 ** 48 - 1 })
  fc.assert(
    fc.property(time, time, (one, other) => {
      const [a, b] = [makeUlid(one), makeUlid(other)]
      expect(a).toHaveLength(26)
      expect(isUlid(a)).toBe(true)
      expect(ulidTimeMs(a)).toBe(one)
      if (one !== other) expect(a < b).toBe(one < other)
    }),
    seeded(2_000),
  )
})

it('carries 80 bits of chance as they are', () => {
  expect(makeUlid(0, new Uint8Array(10))).toBe('0'.repeat(26))
  expect(makeUlid(2 ** 48 - 1, new Uint8Array(10).fill(255))).toBe(`7${'Z'.repeat(25)}`)
})

it.each([
  '',
  '8ZZZZZZZZZZZZZZZZZZZZZZZZZ',
  '01jd8z3m9q4t6v2y7c5b1n0kxa',
  '01JD8Z3M9Q4T6V2Y7C5B1N0KXI',
  '01JD8Z3M9Q4T6V2Y7C5B1N0KX',
])('is not %j', (text) => {
  expect(isUlid(text)).toBe(false)
  expect(ulidTimeMs(text)).toBeUndefined()
})
