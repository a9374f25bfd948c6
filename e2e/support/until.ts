// Waiting for what must come: conditions with generous limits, never a fixed sleep that hopes.
import { setTimeout as pause } from 'node:timers/promises'

export { pause }

/** The machine may be busy with others: this bounds what hangs, not what is slow. */
export const patienceMs = 90_000

/** Thrown by a look: it will never come, so waiting ends. */
export class GivenUp extends Error {}

type Look<T> = () => Promise<T | undefined | false> | T | undefined | false

/**
 * Looks until there is something.
 * @param what named in the error when it does not come
 * @param look answers undefined or false for "not yet"; what it throws counts as "not yet" too, but a GivenUp
 */
export const until = async <T>(what: string, look: Look<T>, limitMs = patienceMs): Promise<T> => {
  const startedMs = performance.now()
  let failure: unknown
  for (let waitMs = 10; ; waitMs = Math.min(waitMs * 1.5, 250)) {
    try {
      const found = await look()
      if (found !== undefined && found !== false) return found
      failure = undefined
    } catch (error) {
      if (error instanceof GivenUp) throw error
      failure = error
    }
    if (performance.now() - startedMs > limitMs) {
      throw new Error(`waited ${limitMs} ms in vain for: ${what}`, { cause: failure })
    }
    await pause(waitMs)
  }
}

/** Rejects when the promise has not settled in time. */
export const within = async <T>(what: string, promise: Promise<T>, limitMs = patienceMs): Promise<T> => {
  const over = new AbortController()
  const timeout = pause(limitMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`waited ${limitMs} ms in vain for: ${what}`)
  })
  // It loses the race when all is well, and is called off then.
  timeout.catch(() => undefined)
  try {
    return await Promise.race([promise, timeout])
  } finally {
    over.abort()
  }
}
