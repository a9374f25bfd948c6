// Answers of the database that are believed for a moment, so that a hot path does not ask for each call.
import type { Clock, Millis } from './clock.ts'

/** How long an answer of the database is believed: a revoked token opens nothing after that, on any server. */
const believedMs: Millis = 1_000
const mostRemembered = 10_000

export interface Brief<K, T> {
  /** The value at once when it was found a moment ago; otherwise it is looked for, once for all who ask meanwhile. */
  get(key: K): T | Promise<T>
  /** Forgets everything, so that a change made here counts at once. */
  forget(): void
}

/** Remembers found values for a second; nothing is remembered about what was not found. */
export const briefly = <K extends string | number, T>(clock: Clock, find: (key: K) => Promise<T>): Brief<K, T> => {
  const known = new Map<K, { readonly value: T; readonly untilMs: Millis }>()
  const underWay = new Map<K, Promise<T>>()
  let generation = 0
  const look = async (key: K): Promise<T> => {
    const begun = generation
    // counted from before the question: what changes while it is asked must not be believed for longer
    const untilMs = clock.monotonic() + believedMs
    try {
      const value = await find(key)
      if (begun === generation) {
        if (known.size >= mostRemembered) known.clear()
        known.set(key, { value, untilMs })
      }
      return value
    } finally {
      if (begun === generation) underWay.delete(key)
    }
  }
  return {
    get: (key) => {
      const hit = known.get(key)
      if (hit !== undefined && hit.untilMs > clock.monotonic()) return hit.value
      known.delete(key)
      let pending = underWay.get(key)
      if (pending === undefined) {
        pending = look(key)
        underWay.set(key, pending)
      }
      return pending
    },
    forget: () => {
      generation += 1
      known.clear()
      underWay.clear()
    },
  }
}
