// PostgreSQL for the tests that need it: a schema of their own, or a note that none can be reached.
import { randomBytes } from 'node:crypto'
import pg from 'pg'

const postgresUrl = process.env['ONCEJOB_TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'

export const postgresReachable = async (): Promise<boolean> => {
  const client = new pg.Client({ connectionString: postgresUrl, connectionTimeoutMillis: 5_000 })
  // Without a listener a refused connection ends the process.
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.end()
    return true
  } catch {
    return false
  }
}

/** Ends the name of a suite: says so when it is skipped, and how to have it run. */
export const skipNote = (reachable: boolean): string =>
  reachable ? '' : ' (SKIPPED: no PostgreSQL can be reached, set ONCEJOB_TEST_DATABASE_URL)'

export interface TestPostgres {
  readonly pool: pg.Pool
  /** Ends a connection of the pool from outside, as the death of its process would. */
  kill(pid: number): Promise<void>
  close(): Promise<void>
}

/** An empty schema of its own. */
export const openTestPostgres = async (): Promise<TestPostgres> => {
  const schema = `worker_${randomBytes(6).toString('hex')}`
  const admin = new pg.Pool({ connectionString: postgresUrl, max: 1 })
  await admin.query(`CREATE SCHEMA ${schema}`)
  const url = new URL(postgresUrl)
  url.searchParams.set('options', `-c search_path=${schema}`)
  const pool = new pg.Pool({ connectionString: url.href, max: 8 })
  pool.on('error', () => undefined)
  return {
    pool,
    kill: async (pid) => {
      await admin.query('SELECT pg_terminate_backend($1, 20000)', [pid])
    },
    close: async () => {
      await pool.end()
      await admin.query(`DROP SCHEMA ${schema} CASCADE`)
      await admin.end()
    },
  }
}
