// Chance for everyone else: system randomness in production, seeded in tests.
import { randomBytes } from 'node:crypto'

export interface Random {
  /** A number in [0, 1). */
  next(): number
  /** `length` random bytes; from the system's secure source in production. */
  bytes(length: number): Uint8Array
}

export const systemRandom: Random = {
  next: () => Math.random(),
  bytes: (length) => randomBytes(length),
}

/** A whole number in [0, below). */
export const below = (random: Random, limit: number): number => Math.floor(random.next() * limit)
