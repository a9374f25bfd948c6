// A database that is one transaction: what is built on it takes part in a transaction that someone else commits.
import { DatabaseError } from '../kernel/errors.ts'
import type { Db, Queries } from './db.ts'

/**
 * The same transaction, which remembers what made it fail: whoever tries again inside of it would else be told only that
 * it has failed, and not that, say, a deadlock was the reason.
 */
const remembering = (tx: Queries): Queries => {
  let first: Error | undefined
  return {
    query: async (statement, options) => {
      try {
        return await tx.query(statement, options)
      } catch (error) {
        // translated: "the transaction has failed" becomes why it has
        if (first !== undefined && error instanceof DatabaseError && error.sqlState === '25P02') throw first
        first ??= error instanceof Error ? error : undefined
        throw error
      }
    },
  }
}

/** Statements and transactions of the returned Db all belong to `tx`; it can not listen, notify or be closed. */
export const joinedTo = (db: Db, tx: Queries): Db => {
  const joined = remembering(tx)
  return {
    kind: db.kind,
    query: (statement, options) => joined.query(statement, options),
    transaction: (work) => work(joined),
    script: () => Promise.reject(new Error('invariant broken: a script inside a transaction')),
    notify: () => Promise.resolve(),
    listen: () => Promise.reject(new Error('invariant broken: listening inside a transaction')),
    hold: () => Promise.reject(new Error('invariant broken: a session of its own inside a transaction')),
    close: () => Promise.resolve(),
  }
}
