// Time for everyone else: the only place that reads the process clock or sets timers.

/** Milliseconds since the Unix epoch. */
export type Millis = number

/**
 * Time as the server sees it. Local time only paces work and bounds trust;
 * who holds a lease and what is due is judged by the database's clock (I7).
 */
export interface Clock {
  /** Wall-clock time in ms since the epoch. */
  now(): Millis
  /** Time in ms that only grows; for measuring how long something took. */
  monotonic(): Millis
  /** Resolves after `ms`, or at once when `signal` aborts. Never rejects. */
  sleep(ms: Millis, signal?: AbortSignal): Promise<void>
  /** Calls `fn` once after `ms`; returns a function that calls it off. */
  after(ms: Millis, fn: () => void): () => void
}

// setTimeout fires at once for more than 2^31-1 ms.
const longestTimerMs = 2_147_483_647

const after = (ms: Millis, fn: () => void): (() => void) => {
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

/** Resolves after the events that are already waiting (sockets, timers) have been handled. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

/** Waits for work, for `ms` at most: whether it ended in time. @throws what the work throws meanwhile */
export const within = async (clock: Clock, ms: Millis, work: Promise<unknown>): Promise<boolean> => {
  const over = new AbortController()
  try {
    return await Promise.race([work.then(() => true), clock.sleep(ms, over.signal).then(() => false)])
  } finally {
    over.abort()
  }
}

/** A time as the database drivers take it. */
export const dateOf = (ms: Millis): Date => new Date(ms)
