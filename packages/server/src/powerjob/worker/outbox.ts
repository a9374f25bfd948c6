// Sends what is put into it, a bounded number at once, in order.
import { within, type Clock, type Millis } from '../../kernel/clock.ts'

export interface Outbox {
  put(send: () => Promise<void>): void
  /** Resolves when all that has begun is over, at the latest after `ms`. */
  settled(ms: Millis): Promise<void>
  /** The same for all that was put in. */
  drained(ms: Millis): Promise<void>
}

const sendsAtOnce = 32
// a worker that answers later than that is loading a container, and others may go on beside it
const patientMs: Millis = 5_000

/** Creates one. */
export const createOutbox = (clock: Clock): Outbox => {
  const waiting: (() => Promise<void>)[] = []
  const underWay = new Set<Promise<void>>()
  let busy = 0
  const next = (): void => {
    while (busy < sendsAtOnce) {
      const send = waiting.shift()
      if (send === undefined) return
      busy += 1
      let counted = true
      const free = (): void => {
        if (!counted) return
        counted = false
        busy -= 1
        callOff()
        next()
      }
      const callOff = clock.after(patientMs, free)
      const sending = send().finally(() => {
        underWay.delete(sending)
        free()
      })
      underWay.add(sending)
    }
  }
  return {
    put: (send: () => Promise<void>): void => {
      waiting.push(send)
      next()
    },
    settled: async (ms: Millis): Promise<void> => {
      await within(clock, ms, Promise.allSettled(underWay))
    },
    drained: async (ms: Millis): Promise<void> => {
      const endMs = clock.monotonic() + ms
      while ((waiting.length > 0 || underWay.size > 0) && clock.monotonic() < endMs) await clock.sleep(20)
    },
  }
}
