// A database that is one transaction: what is built on it takes part in a transaction that someone else commits.
import type { Db, Queries } from './db.ts'

/** Statements and transactions of the returned Db all belong to `tx`; it can not listen, notify or be closed. */
export const joinedTo = (db: Db, tx: Queries): Db => ({
  kind: db.kind,
  query: (statement, options) => tx.query(statement, options),
  transaction: (work) => work(tx),
  script: () => Promise.reject(new Error('invariant broken: a script inside a transaction')),
  notify: () => Promise.resolve(),
  listen: () => Promise.reject(new Error('invariant broken: listening inside a transaction')),
  close: () => Promise.resolve(),
})
