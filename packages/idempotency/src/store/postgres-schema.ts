// The table of the PostgreSQL store: as text for your own migrations, or made by a function.
import { readFileSync } from 'node:fs'
import type { PgQueryable } from './postgres-client.ts'

// Two processes that start at once would otherwise both try to make the table.
const migrationLock = 7_046_029_254

/** The SQL of the store's table. Running it again changes nothing. */
export const postgresSchemaSql = (): string =>
  readFileSync(new URL('../../sql/001_records.sql', import.meta.url), 'utf8')

/** Makes the store's table where it is missing. Any number of processes may call it at once, at every start. */
export const migratePostgres = async (database: PgQueryable): Promise<void> => {
  // Several statements in one text are one transaction, and end with it the lock is released.
  await database.query(`SELECT pg_advisory_xact_lock(${migrationLock}); ${postgresSchemaSql()}`)
}
