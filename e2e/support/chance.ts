// Chance that can be repeated: ONCEJOB_SEED, or a new seed that is printed.
import type { SeededRandom } from '@oncejob/testkit'

/** A whole number in [0, limit). */
export const below = (random: SeededRandom, limit: number): number => Math.floor(random.next() * limit)
