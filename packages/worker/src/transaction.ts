// Effects in the user's own PostgreSQL: the user's rows, the effect's row and the fence are one transaction.
import type { Hand } from './effect-ledger.ts'
import { isRecord } from './json.ts'

/** What is needed of a `pg` client; the package is yours, none is brought along. */
export interface PgClient {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: unknown[]; readonly rowCount: number | null }>
  on?(event: 'error', listener: (error: Error) => void): unknown
  removeListener?(event: 'error', listener: (error: Error) => void): unknown
}

interface Borrowed {
  release(error?: Error | boolean): void
}

/** A `pg` Pool. The second form of `connect` is not used: with both, the type of the pool's clients is found. */
export interface PgPool<Client extends PgClient = PgClient> {
  connect: { (): Promise<Client & Borrowed>; (callback: never): void }
}

// Two processes that start at once would otherwise both try to make the tables.
const migrationLock = 7_046_029_255

/**
 * The tables that `ctx.transaction` needs, as SQL for your own migrations; they go where the search_path says.
 * Running it again changes nothing.
 */
export const effectsMigrationSql = (): string => `
-- The newest lease that has written for a run: an attempt with an older one can write nothing more.
CREATE TABLE IF NOT EXISTS oncejob_fence (
  run_id bigint PRIMARY KEY,
  lease bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
-- One row per effect, committed together with the effect itself.
CREATE TABLE IF NOT EXISTS oncejob_effect (
  run_id bigint NOT NULL,
  name text NOT NULL,
  lease bigint NOT NULL,
  -- JSON text of what the work returned; null when it returned nothing
  output text,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run_id, name)
);
`

/** Makes the tables of `ctx.transaction` where they are missing. Any number of processes may call it at once, at every start. */
export const migrateEffects = async (pool: PgPool): Promise<void> => {
  const client = await pool.connect()
  try {
    // Several statements in one text are one transaction, and with its end the lock is released.
    await client.query(`SELECT pg_advisory_xact_lock(${migrationLock}); ${effectsMigrationSql()}`)
  } finally {
    client.release()
  }
}

/** `output` is JSON text; undefined when the work returned nothing. */
export type Transacted = { readonly kind: 'done'; readonly output: string | undefined } | { readonly kind: 'lost' }

interface Effect extends Hand {
  readonly name: string
}

/**
 * Raises the fence, in a transaction of its own: it waits until an older attempt that is writing has committed. A fence
 * that is high enough is not touched, for an upsert locks its row even when it changes nothing, and another transaction of
 * this attempt may hold it.
 */
const raiseFence = async (client: PgClient, { runId, lease }: Effect): Promise<void> => {
  await client.query(
    `INSERT INTO oncejob_fence (run_id, lease)
SELECT $1::bigint, $2::bigint WHERE NOT EXISTS (SELECT FROM oncejob_fence WHERE run_id = $1::bigint AND lease >= $2::bigint)
ON CONFLICT (run_id) DO UPDATE SET lease = excluded.lease, at = now() WHERE oncejob_fence.lease < excluded.lease`,
    [runId, lease],
  )
}

/** False: a newer attempt has raised the fence. The lock keeps it where it is until this transaction ends. */
const holdFence = async (client: PgClient, { runId, lease }: Effect): Promise<boolean> => {
  const { rows } = await client.query('SELECT 1 FROM oncejob_fence WHERE run_id = $1 AND lease = $2 FOR SHARE', [
    runId,
    lease,
  ])
  return rows.length > 0
}

const insertEffect = async (client: PgClient, { runId, lease, name }: Effect): Promise<boolean> => {
  const { rows } = await client.query(
    'INSERT INTO oncejob_effect (run_id, name, lease) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1',
    [runId, name, lease],
  )
  return rows.length > 0
}

const storedOutput = async (client: PgClient, { runId, name }: Effect): Promise<string | undefined> => {
  const { rows } = await client.query('SELECT output FROM oncejob_effect WHERE run_id = $1 AND name = $2', [
    runId,
    name,
  ])
  const [row] = rows
  const output = isRecord(row) ? row['output'] : undefined
  return typeof output === 'string' ? output : undefined
}

const insideOf = async <Client extends PgClient>(
  client: Client,
  effect: Effect,
  work: (client: Client) => Promise<string | undefined>,
): Promise<Transacted> => {
  if (!(await holdFence(client, effect))) return { kind: 'lost' }
  if (!(await insertEffect(client, effect))) return { kind: 'done', output: await storedOutput(client, effect) }
  const output = await work(client)
  // also a proof that the transaction is alive: COMMIT alone would not say that a statement in it has failed
  const { rowCount } = await client.query('UPDATE oncejob_effect SET output = $3 WHERE run_id = $1 AND name = $2', [
    effect.runId,
    effect.name,
    output ?? null,
  ])
  if (rowCount !== 1) throw new Error(`The row of the effect "${effect.name}" vanished inside its transaction`)
  return { kind: 'done', output }
}

const ignore = (): void => undefined

/**
 * Does `work` in a transaction with the row of the effect, or finds the output that an earlier attempt has committed.
 * Whatever breaks before the commit leaves nothing behind.
 */
export const transact = async <Client extends PgClient>(
  pool: PgPool<Client>,
  effect: Effect,
  work: (client: Client) => Promise<string | undefined>,
): Promise<Transacted> => {
  const client = await pool.connect()
  // A connection that breaks also fails the statement under way; without a listener it would end the process.
  client.on?.('error', ignore)
  let isBroken = false
  try {
    await raiseFence(client, effect)
    await client.query('BEGIN')
    const done = await insideOf(client, effect, work)
    await client.query('COMMIT')
    return done
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {
      // The first error is the one that matters; closing the connection rolls back too.
      isBroken = true
    })
    throw error
  } finally {
    client.removeListener?.('error', ignore)
    client.release(isBroken)
  }
}
