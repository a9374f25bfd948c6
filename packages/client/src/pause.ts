// Waiting on real time, given up by a signal.
import { setTimeout as sleep } from 'node:timers/promises'

/** Resolves after ms; rejects with the signal's own reason when it is aborted. */
export const pauseFor = async (ms: number, signal: AbortSignal | undefined): Promise<void> => {
  signal?.throwIfAborted()
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal })
  } catch {
    // The timer rejects only when aborted, but with an error of its own.
    throw signal?.reason
  }
}
