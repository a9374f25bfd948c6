// A clock that tests move by hand.
import type { Clock } from '../clock.ts'

interface Timer {
  readonly atMs: number
  readonly fn: () => void
}

export class FakeClock implements Clock {
  #nowMs = 0
  readonly #timers = new Set<Timer>()

  now(): number {
    return Date.UTC(2026, 0, 1) + this.#nowMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  after(ms: number, fn: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, ms), fn }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) return resolve()
      const done = (): void => {
        callOff()
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const callOff = this.after(ms, done)
      signal?.addEventListener('abort', done, { once: true })
    })
  }

  /** Moves time on and calls what became due, in due order. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (;;) {
      const due = [...this.#timers].filter(({ atMs }) => atMs <= untilMs).toSorted((a, b) => a.atMs - b.atMs)[0]
      if (due === undefined) break
      this.#timers.delete(due)
      this.#nowMs = Math.max(this.#nowMs, due.atMs)
      due.fn()
    }
    this.#nowMs = untilMs
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.size
  }
}
