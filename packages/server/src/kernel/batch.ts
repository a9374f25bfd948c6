// Self-clocking batches: what arrives while one batch is under way goes as the next. An idle system waits for nothing.

export interface BatchOptions<I, O> {
  /** Most items that one call of `run` is given. */
  readonly maxSize: number
  /** How many batches may be under way at once; default 1. */
  readonly concurrency?: number
  /** Answers every item, in order. When it rejects, every item of the batch is rejected with the same error. */
  readonly run: (items: readonly I[]) => Promise<readonly O[]>
}

interface Waiting<I, O> {
  readonly item: I
  readonly resolve: (value: O) => void
  readonly reject: (error: unknown) => void
}

/** Returns a function that adds one item and resolves with its answer. */
export const batcher = <I, O>(options: BatchOptions<I, O>): ((item: I) => Promise<O>) => {
  const { maxSize, concurrency = 1, run } = options
  let waiting: Waiting<I, O>[] = []
  let underWay = 0
  let scheduled = false

  const flush = async (): Promise<void> => {
    const batch = waiting.slice(0, maxSize)
    waiting = waiting.slice(maxSize)
    underWay += 1
    try {
      const answers = await run(batch.map((one) => one.item))
      batch.forEach((one, i) => {
        if (i >= answers.length) one.reject(new Error('invariant broken: a batch left an item unanswered'))
        // oxlint-disable-next-line typescript/consistent-type-assertions -- an answer may be undefined by its type; the length was checked
        else one.resolve(answers[i] as O)
      })
    } catch (error) {
      // translated: the batch's failure is every item's
      for (const one of batch) one.reject(error)
    } finally {
      underWay -= 1
      schedule()
    }
  }
  const schedule = (): void => {
    if (scheduled || waiting.length === 0 || underWay >= concurrency) return
    scheduled = true
    // one turn of the event loop: what arrived with the same read of the sockets goes together
    setImmediate(() => {
      scheduled = false
      if (waiting.length > 0 && underWay < concurrency) void flush()
      schedule()
    })
  }
  return (item) =>
    new Promise<O>((resolve, reject) => {
      waiting.push({ item, resolve, reject })
      schedule()
    })
}
