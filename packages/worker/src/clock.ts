// Time and chance as the worker uses them; tests pass their own.

/** What the worker needs of time. Local time only bounds how long a lease is trusted; the server's database judges. */
export interface Clock {
  /** Wall-clock time in ms since the epoch. */
  now(): number
  /** Time in ms that only grows. */
  monotonic(): number
  /** Resolves after `ms`, or at once when `signal` aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Calls `fn` once after `ms`; returns a function that calls it off. */
  after(ms: number, fn: () => void): () => void
}

/** What the worker needs of chance: a number in [0, 1). */
export interface Random {
  next(): number
}

// setTimeout fires at once for more than 2^31-1 ms.
const longestTimerMs = 2_147_483_647

const after = (ms: number, fn: () => void): (() => void) => {
  const timer = setTimeout(fn, Math.max(0, Math.min(ms, longestTimerMs)))
  return () => clearTimeout(timer)
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after,
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve()
      const done = (): void => {
        callOff()
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const callOff = after(ms, done)
      signal?.addEventListener('abort', done, { once: true })
    }),
}

export const systemRandom: Random = { next: () => Math.random() }

const firstDelayMs = 100
const longestDelayMs = 3000

/** How long to wait after so many failures in a row: doubling up to 3 s, half of it left to chance. */
export const backoffMs = (failures: number, random: Random): number => {
  const fullMs = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures - 1, 10))
  return fullMs / 2 + (fullMs / 2) * random.next()
}

/** Resolves after what is ready to run now has run. */
export const nextTick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
