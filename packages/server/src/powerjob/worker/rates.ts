// How many calls one address may make, a bucket for each that refills as time goes by; and how many lines its troubles get in the log.
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'

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

const repeatMs: Millis = 60_000
const mostTold = 1_000

/** A line for the first of many equal troubles, and how many came since for the next: noise must not fill the log. */
export const seldom = (clock: Clock, log: Log) => {
  const told = new Map<string, { atMs: Millis; since: number }>()
  return (kind: string, peer: string, facts: Readonly<Record<string, unknown>>): void => {
    const key = `${kind} ${peer}`
    const last = told.get(key)
    if (last !== undefined && clock.monotonic() - last.atMs < repeatMs) {
      last.since += 1
      return
    }
    if (told.size >= mostTold) told.clear()
    told.set(key, { atMs: clock.monotonic(), since: 0 })
    const since = last?.since ?? 0
    log.warn({ peer, ...facts, ...(since === 0 ? {} : { alsoSince: since }) }, kind)
  }
}
