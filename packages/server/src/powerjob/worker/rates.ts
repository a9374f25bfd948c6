// How many calls one address may make: a bucket for each that refills as time goes by.
import type { Clock } from '../../kernel/clock.ts'

const mostRemembered = 10_000

export interface Rate {
  /** So many at once. */
  readonly burst: number
  /** So many a second for ever. */
  readonly perSecond: number
}

/** @returns whether one more call of that name is within its rate; then it counts */
export const rateLimit = (clock: Clock, { burst, perSecond }: Rate): ((name: string) => boolean) => {
  // when the bucket of a name will be full again
  const fullAtMs = new Map<string, number>()
  const eachMs = 1_000 / perSecond
  return (name) => {
    const nowMs = clock.monotonic()
    const fromMs = Math.max(fullAtMs.get(name) ?? 0, nowMs)
    if (fromMs - nowMs > (burst - 1) * eachMs) return false
    if (fullAtMs.size >= mostRemembered && !fullAtMs.has(name)) {
      for (const [other, atMs] of fullAtMs) if (atMs <= nowMs) fullAtMs.delete(other)
      if (fullAtMs.size >= mostRemembered) fullAtMs.clear()
    }
    fullAtMs.set(name, fromMs + eachMs)
    return true
  }
}
