// Chance that can be repeated: xoshiro256++ from a seed.
import { randomBytes } from 'node:crypto'
import type { Random } from '@oncejob/server/testing'

export interface SeededRandom extends Random {
  /** The seed, to print when a test fails. */
  readonly seed: string
}

const mask = (1n << 64n) - 1n
const rotateLeft = (value: bigint, by: bigint): bigint => ((value << by) | (value >> (64n - by))) & mask

/** Spreads a seed over the state, as the authors of xoshiro advise. */
const splitMix = (seed: bigint): (() => bigint) => {
  let state = seed & mask
  return () => {
    state = (state + 0x9e3779b97f4a7c15n) & mask
    let z = state
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask
    return z ^ (z >> 31n)
  }
}

const hashOf = (seed: string): bigint => {
  // FNV-1a, so that any text is a seed
  let hash = 0xcbf29ce484222325n
  for (const byte of new TextEncoder().encode(seed)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask
  return hash
}

/** The 64-bit numbers of xoshiro256++ for a state of four, which it changes. */
export const xoshiro = (state: [bigint, bigint, bigint, bigint]): bigint => {
  const [s0, s1, s2, s3] = state
  const result = (rotateLeft((s0 + s3) & mask, 23n) + s0) & mask
  const t2 = s2 ^ s0
  const t3 = s3 ^ s1
  state[1] = s1 ^ t2
  state[0] = s0 ^ t3
  state[2] = t2 ^ ((s1 << 17n) & mask)
  state[3] = rotateLeft(t3, 45n)
  return result
}

/** The same seed gives the same numbers and bytes. */
export const seededRandom = (seed: string): SeededRandom => {
  const mix = splitMix(hashOf(seed))
  const state: [bigint, bigint, bigint, bigint] = [mix(), mix(), mix(), mix()]
  return {
    seed,
    // the upper 53 bits, all that a number holds exactly
    next: () => Number(xoshiro(state) >> 11n) / 2 ** 53,
    bytes: (length) => {
      const bytes = new Uint8Array(length)
      for (let i = 0; i < length; i += 8) {
        let word = xoshiro(state)
        for (let j = i; j < Math.min(i + 8, length); j++) {
          bytes[j] = Number(word & 0xffn)
          word >>= 8n
        }
      }
      return bytes
    },
  }
}

/** The seed in ONCEJOB_SEED, or a new one. */
export const seedFromEnv = (): string => process.env['ONCEJOB_SEED'] ?? randomBytes(6).toString('hex')
