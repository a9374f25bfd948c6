// Finds a PostgreSQL that tests may create databases on: the one named by the environment, else one on this machine.
import pg from 'pg'

const usualAddresses = [
  'postgres://postgres:postgres@127.0.0.1:5432/postgres',
  'postgres://postgres@127.0.0.1:5432/postgres',
]

const mayCreateDatabases = async (url: string): Promise<boolean> => {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  // A connection that breaks later is reported by the query that needed it.
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query(
      "select current_setting('server_version_num')::int >= 150000 and (rolsuper or rolcreatedb) as fit from pg_roles where rolname = current_user",
    )
    return rows.length === 1 && rows[0].fit === true
  } catch {
    // Not reachable is an answer.
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** The URL of the first PostgreSQL 15+ that answers and lets us create databases; undefined when there is none. */
export const findPostgres = async (): Promise<string | undefined> => {
  const named = process.env['ONCEJOB_TEST_DATABASE_URL']
  for (const url of named === undefined ? usualAddresses : [named]) {
    if (await mayCreateDatabases(url)) return url
  }
  return undefined
}
