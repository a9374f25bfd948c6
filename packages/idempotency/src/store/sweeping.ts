// Removes expired records now and then. Any number of processes may do it at once.
import type { Store } from './store.ts'

export interface SweepingOptions {
  /** Default one minute. */
  readonly everyMs?: number
  /** Told how many records went, or why it did not work; the next try comes anyway. */
  readonly report?: (outcome: { readonly removed: number } | { readonly error: unknown }) => void
}

/** Sweeps the store periodically. It does not keep the process alive; the answer ends it. */
export const startSweeping = (store: Store, { everyMs = 60_000, report }: SweepingOptions = {}): (() => void) => {
  let busy = false
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    store
      .sweep()
      .then(
        (removed) => report?.({ removed }),
        (error: unknown) => report?.({ error }),
      )
      .finally(() => {
        busy = false
      })
  }, everyMs)
  timer.unref()
  return () => clearInterval(timer)
}
