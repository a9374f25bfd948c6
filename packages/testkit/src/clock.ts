// A clock that stands still until a test moves it.
import type { Clock, Millis } from '@oncejob/server/testing'

export interface FakeClock extends Clock {
  /**
   * Moves the clock by `ms` and fires what falls due on the way, in due order, each at its own time. What
   * a timer sets going is given the chance to run, and to set timers, before the next one fires.
   */
  advance(ms: Millis): Promise<void>
  /** How many sleeps and timers are waiting. */
  pending(): number
}

interface Timer {
  readonly dueAtMs: Millis
  readonly fn: () => void
}

// Lets promises that can go on do so; those behind real input and output take their own time.
const settle = async (): Promise<void> => {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => void setImmediate(resolve))
}

/** A clock that starts at `startMs`, in ms since the epoch. */
export const fakeClock = (startMs: Millis = 1_767_225_600_000): FakeClock => {
  let nowMs = startMs
  // in due order; equal times in the order they were set
  const timers: Timer[] = []

  const after = (ms: Millis, fn: () => void): (() => void) => {
    const timer: Timer = { dueAtMs: nowMs + Math.max(0, ms), fn }
    const at = timers.findIndex((other) => other.dueAtMs > timer.dueAtMs)
    timers.splice(at === -1 ? timers.length : at, 0, timer)
    return () => {
      const index = timers.indexOf(timer)
      if (index !== -1) timers.splice(index, 1)
    }
  }
  return {
    now: () => nowMs,
    monotonic: () => nowMs - startMs,
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
    advance: async (ms) => {
      const untilMs = nowMs + ms
      await settle()
      for (let next = timers[0]; next !== undefined && next.dueAtMs <= untilMs; next = timers[0]) {
        timers.shift()
        nowMs = Math.max(nowMs, next.dueAtMs)
        next.fn()
        await settle()
      }
      nowMs = Math.max(nowMs, untilMs)
    },
    pending: () => timers.length,
  }
}
