// A database that holds back a statement, or its answers: what happens meanwhile is what a test is about.
import type { Db, Queries } from '../../storage/db.ts'

export interface HeldBackDb {
  readonly db: Db
  /** From now on this statement waits before it is run, or its answers do; `waits` resolves when the first one does. */
  holdBack(name: string, what: 'statement' | 'answers'): { readonly waits: Promise<void>; letGo(): void }
}

/** Wraps a database; nothing is held back until that is wished. */
export const heldBackDb = (around: Db): HeldBackDb => {
  const gates = new Map<string, { readonly what: string; readonly pass: () => Promise<void> }>()
  const query: Queries['query'] = async (statement, options) => {
    const gate = gates.get(options?.name ?? '')
    if (gate?.what === 'statement') await gate.pass()
    const rows = await around.query<never>(statement, options)
    if (gate?.what === 'answers') await gate.pass()
    return rows
  }
  const db: Db = {
    kind: around.kind,
    query,
    transaction: (work) => around.transaction(work),
    script: (text) => around.script(text),
    notify: (channel, payloads) => around.notify(channel, payloads),
    listen: (channel, heard, reconnected) => around.listen(channel, heard, reconnected),
    hold: (lock, changed) => around.hold(lock, changed),
    close: () => around.close(),
  }
  return {
    db,
    holdBack: (name, what) => {
      const reached = Promise.withResolvers<void>()
      const opened = Promise.withResolvers<void>()
      const pass = (): Promise<void> => {
        reached.resolve()
        return opened.promise
      }
      gates.set(name, { what, pass })
      return {
        waits: reached.promise,
        letGo: () => {
          gates.delete(name)
          opened.resolve()
        },
      }
    },
  }
}
