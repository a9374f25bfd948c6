// PostgreSQL as the database: a pool of sessions with bounded patience.
import pg from 'pg'
import { systemClock } from '../../kernel/clock.ts'
import type { Clock } from '../../kernel/clock.ts'
import { DatabaseError, Outage, StartFailure, invariant } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { Db, Queries, QueryOptions } from '../db.ts'
import type { Sql } from '../sql.ts'
import { failureOf } from './failures.ts'
import { inOrder } from './in-order.ts'
import { listenOn } from './postgres-listener.ts'
import { keepSession } from './postgres-session.ts'
import { withoutPassword } from './postgres-url.ts'
import { parameterOf, readerOf, rowsAs } from './values.ts'

export interface PostgresOptions {
  readonly url: string
  readonly log: Log
  readonly applicationName: string
  /** Most connections at once, beside one for listening. */
  readonly poolMax: number
  /** For the pauses between attempts to connect again. */
  readonly clock?: Clock
}

const oldestMajor = 15
const connectTimeoutMs = 5_000
const statementTimeoutMs = 15_000
// A connection that died without a word is given up shortly after the server would have given up the statement.
const answerTimeoutMs = statementTimeoutMs + 5_000
// Migrations may take long, and wait for each other.
const scriptTimeoutMs = 24 * 3_600_000

/** What every session of ours is set to. */
const sessionConfig = (options: PostgresOptions): pg.ClientConfig => ({
  connectionString: options.url,
  application_name: options.applicationName,
  // generic plans: the statements are written for index order, and planning anew would cost more than executing them;
  // what such a plan guesses to be long would be compiled for longer than it takes
  options: '-c timezone=UTC -c plan_cache_mode=force_generic_plan -c jit=off',
  statement_timeout: statementTimeoutMs,
  idle_in_transaction_session_timeout: statementTimeoutMs,
  lock_timeout: 10_000,
  query_timeout: answerTimeoutMs,
  connectionTimeoutMillis: connectTimeoutMs,
  keepAlive: true,
  types: { getTypeParser: (typeOid: number) => readerOf(typeOid) },
})

const queryConfig = (statement: Sql, options: QueryOptions | undefined): pg.QueryConfig => {
  const { text, values } = statement.toQuery()
  const prepared = { text, values: values.map(parameterOf) }
  return options?.name === undefined ? prepared : { ...prepared, name: options.name }
}

const run = async <R>(on: pg.Pool | pg.PoolClient, statement: Sql, options: QueryOptions | undefined): Promise<R[]> => {
  try {
    return rowsAs<R>((await on.query(queryConfig(statement, options))).rows)
  } catch (error) {
    // translated
    throw failureOf(error)
  }
}

const connect = async (pool: pg.Pool): Promise<pg.PoolClient> => {
  try {
    return await pool.connect()
  } catch (error) {
    // translated
    throw failureOf(error)
  }
}

const commit = async (client: pg.PoolClient): Promise<void> => {
  let command: string
  try {
    command = (await client.query('commit')).command
  } catch (error) {
    // translated; the connection may have died before or after the commit
    const failure = failureOf(error)
    if (!(failure instanceof Outage)) throw failure
    throw new Outage('database: the connection was lost during COMMIT, whether it took effect is unknown', {
      cause: error,
    })
  }
  if (command !== 'ROLLBACK') return
  throw new DatabaseError('the transaction had failed and was rolled back', {
    sqlState: '25P02',
    constraint: undefined,
    cause: undefined,
  })
}

/** Rolls back. Returns what makes the connection unfit for further use, if anything does. */
const undo = async (client: pg.PoolClient, failure: unknown): Promise<Error | undefined> => {
  if (failure instanceof Outage) return failure
  try {
    await client.query('rollback')
    return undefined
  } catch (cause) {
    // the caller throws the first failure, this one only costs the connection
    return new Outage('database: ROLLBACK failed', { cause })
  }
}

const transactionOn = async <T>(pool: pg.Pool, work: (tx: Queries) => Promise<T>): Promise<T> => {
  const client = await connect(pool)
  let open = true
  let broken: Error | undefined
  const statements = inOrder()
  const tx: Queries = {
    query: (statement, options) => {
      invariant(open, 'a transaction is not used after its end')
      return statements.add(() => run(client, statement, options))
    },
  }
  try {
    await client.query('begin')
    const value = await work(tx)
    open = false
    await statements.idle()
    await commit(client)
    return value
  } catch (error) {
    // to undo, then rethrown
    open = false
    await statements.idle()
    const failure = failureOf(error)
    broken = await undo(client, failure)
    throw failure
  } finally {
    // with an error the pool discards the connection
    client.release(broken)
  }
}

const scriptOn = async (pool: pg.Pool, text: string): Promise<void> => {
  const client = await connect(pool)
  let broken: Error | undefined
  try {
    const script = { text, query_timeout: scriptTimeoutMs }
    await client.query(script)
  } catch (error) {
    // translated; the script may have begun a transaction
    const failure = failureOf(error)
    broken = await undo(client, failure)
    throw failure
  } finally {
    client.release(broken)
  }
}

/**
 * Refuses a PostgreSQL that is too old. `version` is its `server_version_num`, for example 150004.
 * @throws StartFailure
 */
export const checkVersion = (version: number, shownUrl: string): void => {
  const major = Math.floor(version / 10_000)
  if (major >= oldestMajor) return
  throw new StartFailure(
    `the database ${shownUrl} is PostgreSQL ${major}; this server needs PostgreSQL ${oldestMajor} or newer`,
  )
}

const checkServer = async (pool: pg.Pool, url: string): Promise<void> => {
  const shown = withoutPassword(url)
  let version: unknown
  try {
    const { rows } = await pool.query<{ version: string }>(`select current_setting('server_version_num') as version`)
    version = rows[0]?.version
  } catch (error) {
    // translated for the operator
    const failure = failureOf(error)
    const reason = failure instanceof Error ? failure.message : String(failure)
    throw new StartFailure(`cannot use the database ${shown}: ${reason}`, { cause: error })
  }
  checkVersion(Number(version), shown)
}

// the pool hangs its whole client on the errors of idle connections
const briefly = ({ name, code, message }: Error & { readonly code?: unknown }) => ({ name, code, message })

/**
 * Opens a pool on PostgreSQL and makes sure that it can be used.
 * @throws StartFailure when it cannot be reached, refuses us, or is older than PostgreSQL 15.
 */
export const openPostgres = async (options: PostgresOptions): Promise<Db> => {
  const { log } = options
  if (!/^postgres(?:ql)?:\/\//.test(options.url))
    throw new StartFailure('the database URL does not begin with postgres://')
  const pool = new pg.Pool({ ...sessionConfig(options), max: options.poolMax })
  // Without listeners an error of a connection that nobody waits for would end the process.
  pool.on('error', (error) => log.warn({ err: briefly(error) }, 'database connection lost'))
  pool.on('connect', (client) =>
    client.on('error', (error) => log.debug({ err: briefly(error) }, 'database connection failed')),
  )
  try {
    await checkServer(pool, options.url)
  } catch (error) {
    // only to close, then rethrown
    await pool.end()
    throw error
  }
  const sessions = new Set<() => Promise<void>>()
  const close = async (): Promise<void> => {
    await Promise.all([...sessions].map((stop) => stop()))
    await pool.end()
  }
  let closing: Promise<void> | undefined
  return {
    kind: 'postgres',
    query: (statement, queryOptions) => run(pool, statement, queryOptions),
    transaction: (work) => transactionOn(pool, work),
    script: (text) => scriptOn(pool, text),
    notify: async (channel, payloads) => {
      if (payloads.length === 0) return
      try {
        await pool.query('select pg_notify($1, p) from unnest($2::text[]) as p', [channel, payloads])
      } catch (error) {
        // translated
        throw failureOf(error)
      }
    },
    listen: async (channel, heard, reconnected) => {
      const makeClient = (): pg.Client => new pg.Client(sessionConfig(options))
      const stop = await listenOn({ makeClient, channel, heard, reconnected, log, clock: options.clock ?? systemClock })
      sessions.add(stop)
      return async () => {
        sessions.delete(stop)
        await stop()
      }
    },
    hold: async (lock, changed) => {
      const stop = await keepSession({
        makeClient: () => new pg.Client(sessionConfig(options)),
        purpose: 'saying that this server lives',
        log,
        clock: options.clock ?? systemClock,
        begin: async (client) => {
          // waits while an earlier connection of ours is not seen as broken yet
          await client.query('select pg_advisory_lock($1::int, $2::int)', [lock.space, lock.id])
          changed(true)
        },
        ended: () => changed(false),
      })
      sessions.add(stop)
      return async () => {
        sessions.delete(stop)
        await stop()
      }
    },
    close: () => (closing ??= close()),
  }
}
