// Waiting for what a test expects, generously: only what never comes fails.

const patienceMs = 30_000

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))

/** Resolves when `condition` holds; rejects with `what` when it does not within 30 s. `step` is called between tries. */
export const until = async (what: string, condition: () => boolean, step?: () => void): Promise<void> => {
  const endAtMs = performance.now() + patienceMs
  while (!condition()) {
    if (performance.now() > endAtMs) throw new Error(`did not happen: ${what}`)
    step?.()
    await pause()
  }
}
