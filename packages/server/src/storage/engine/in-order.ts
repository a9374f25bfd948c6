// Runs what is asked for at once one after another: a connection can do one thing at a time.

export interface InOrder {
  /** Runs `work` after all that was added before, whatever became of it. */
  add<T>(work: () => Promise<T>): Promise<T>
  /** Resolves when everything added so far is done. */
  idle(): Promise<void>
}

export const inOrder = (): InOrder => {
  let last: Promise<unknown> = Promise.resolve()
  return {
    add: (work) => {
      const result = last.then(work)
      // whoever asked hears of a failure; the next one does not care
      last = result.catch(() => undefined)
      return result
    },
    idle: async () => {
      await last
    },
  }
}
