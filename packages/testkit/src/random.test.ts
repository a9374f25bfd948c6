// Seeded chance: the same seed, the same numbers.
import { afterEach, expect, test, vi } from 'vitest'
import { seedFromEnv, seededRandom, xoshiro } from './random.ts'

afterEach(() => vi.unstubAllEnvs())

test('the generator is xoshiro256++', () => {
  // the reference implementation's first numbers from the state 1, 2, 3, 4
  const state: [bigint, bigint, bigint, bigint] = [1n, 2n, 3n, 4n]
  expect(Array.from({ length: 5 }, () => xoshiro(state))).toEqual([
    41_943_041n,
    58_720_359n,
    3_588_806_011_781_223n,
    3_591_011_842_654_386n,
    9_228_616_714_210_784_205n,
  ])
})

test('the same seed gives the same numbers and bytes, another one others', () => {
  const draw = (seed: string): unknown[] => {
    const random = seededRandom(seed)
    return [random.next(), [...random.bytes(13)], random.next()]
  }
  expect(draw('a')).toEqual(draw('a'))
  expect(draw('a')).not.toEqual(draw('b'))
})

test('numbers are in [0, 1) and even enough', () => {
  const random = seededRandom('even')
  const tenths = Array.from({ length: 10 }, () => 0)
  for (let i = 0; i < 10_000; i++) {
    const value = random.next()
    expect(value).toBeGreaterThanOrEqual(0)
    expect(value).toBeLessThan(1)
    const tenth = Math.floor(value * 10)
    tenths[tenth] = (tenths[tenth] ?? 0) + 1
  }
  expect(Math.min(...tenths)).toBeGreaterThan(800)
  expect(Math.max(...tenths)).toBeLessThan(1_200)
})

test('bytes come in any length', () => {
  for (const length of [0, 1, 7, 8, 9, 64]) expect(seededRandom('x').bytes(length)).toHaveLength(length)
})

test('the seed comes from the environment, or is new each time', () => {
  vi.stubEnv('ONCEJOB_SEED', '4711')
  expect(seedFromEnv()).toBe('4711')
  vi.stubEnv('ONCEJOB_SEED', undefined)
  expect(seedFromEnv()).not.toBe(seedFromEnv())
})
