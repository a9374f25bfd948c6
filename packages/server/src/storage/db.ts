// The database as the rest of storage sees it: one interface over PostgreSQL and the embedded one.
import type { Sql } from './sql.ts'

/** A row as the driver returns it: bigint columns are numbers, timestamptz are Dates, json and jsonb are parsed. */
export type Row = Readonly<Record<string, unknown>>

export interface QueryOptions {
  /** Name of a prepared statement; give one to statements of the hot path whose text never changes. */
  readonly name?: string
}

/** Something that runs statements: the pool, or one transaction. */
export interface Queries {
  /**
   * Runs one statement and returns its rows.
   * @throws DatabaseError with the SQLSTATE when the database refuses; Outage when it cannot be reached.
   */
  query<R>(statement: Sql, options?: QueryOptions): Promise<R[]>
}

/** An advisory lock by its two numbers, each from 0 to 2^31 - 1. */
export interface SessionLock {
  readonly space: number
  readonly id: number
}

export interface Db extends Queries {
  readonly kind: 'postgres' | 'embedded'
  /** Runs `work` in one transaction (READ COMMITTED): commits when it resolves, rolls back when it rejects. */
  transaction<T>(work: (tx: Queries) => Promise<T>): Promise<T>
  /** Runs a script of several statements without parameters, as one transaction (migrations). */
  script(text: string): Promise<void>
  /** Hints between servers. The embedded database has one server only: its `listen` is never called back. */
  notify(channel: string, payloads: readonly string[]): Promise<void>
  /**
   * Calls `heard` for every payload on the channel, reconnecting for ever; `reconnected` after each
   * new connection (hints may have been missed). Returns a function that ends it.
   */
  listen(channel: string, heard: (payload: string) => void, reconnected: () => void): Promise<() => Promise<void>>
  /**
   * Holds an advisory lock of two numbers on a connection of its own, reconnecting for ever, so that others see in pg_locks
   * that this process lives: its system gives the lock back when it dies. `changed` tells when it is held and when not.
   * On the embedded database nobody else could look, and it is held at once. Returns a function that ends it.
   */
  hold(lock: SessionLock, changed: (held: boolean) => void): Promise<() => Promise<void>>
  close(): Promise<void>
}
