// How long this process may believe in its leases without hearing from a server.
import type { Clock } from './clock.ts'

/**
 * The server renews a session when it answers a poll, at some time after the poll was SENT: counting from the sending,
 * on a clock that only grows, this side is never the more trusting one.
 */
export class Fence {
  readonly #clock: Clock
  readonly #onLapse: () => void
  #leaseMs = 0
  #untilMs = Number.NEGATIVE_INFINITY
  #callOff: (() => void) | undefined

  constructor(clock: Clock, onLapse: () => void) {
    this.#clock = clock
    this.#onLapse = onLapse
  }

  /**
   * An answer has come to what was sent at `sentAtMs` (monotonic).
   * @returns false when it came too late: what it grants may be over already
   */
  renew(sentAtMs: number, leaseMs = this.#leaseMs): boolean {
    this.#leaseMs = leaseMs
    const untilMs = sentAtMs + leaseMs
    if (untilMs <= this.#clock.monotonic()) return false
    this.#untilMs = untilMs
    if (this.#callOff === undefined) this.#arm()
    return true
  }

  /** Nothing is trusted any more and nothing will lapse: the session is over. */
  drop(): void {
    this.#callOff?.()
    this.#callOff = undefined
    this.#untilMs = Number.NEGATIVE_INFINITY
  }

  // One timer for thousands of renewals: when it fires it looks how much was added meanwhile.
  #arm(): void {
    this.#callOff = this.#clock.after(this.#untilMs - this.#clock.monotonic(), () => {
      this.#callOff = undefined
      if (this.#untilMs > this.#clock.monotonic()) return this.#arm()
      this.#onLapse()
    })
  }
}
