// Transactions of what people do: several of them at once must not fail because they met.
import { DatabaseError } from '../kernel/errors.ts'
import type { Db, Queries } from '../storage/db.ts'

const attemptsMax = 3

/** Whether the database refused for one of these reasons, given as SQLSTATE. */
export const isDatabaseError = (error: unknown, ...states: string[]): error is DatabaseError =>
  error instanceof DatabaseError && states.includes(error.sqlState)

/** Runs a transaction, and again when it met another one in a deadlock. */
export const transact = async <T>(db: Db, work: (tx: Queries) => Promise<T>): Promise<T> => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await db.transaction(work)
    } catch (error) {
      // bounds the retries; the last error goes on
      if (attempt === attemptsMax || !isDatabaseError(error, '40P01', '40001')) throw error
    }
  }
}
