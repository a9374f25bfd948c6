// What PostgreSQL's background processes would do, which PGlite does not have: checkpoints, vacuum, analyze, freeze.
import type { Log } from '../../kernel/log.ts'
import type { EmbeddedSession } from './embedded-session.ts'

export interface UpkeepLimits {
  /** Statements between two looks at what is due. */
  readonly everyStatements: number
  /** Write-ahead log since the last checkpoint, in bytes. Bounds the disk used and the time a restart takes. */
  readonly walBytesMax: number
  /** Dead or changed rows of a table beside a fifth of its rows, as autovacuum counts. */
  readonly changedRowsMax: number
  /** Age of a table's oldest transaction at which its rows are frozen. */
  readonly transactionAgeMax: number
}

export const usualUpkeep: UpkeepLimits = {
  everyStatements: 1_000,
  walBytesMax: 32 * 2 ** 20,
  changedRowsMax: 1_000,
  transactionAgeMax: 100_000_000,
}

const walSinceCheckpoint = `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), redo_lsn)::bigint as bytes from pg_control_checkpoint()`

// One table a time, the neediest first, so that nobody waits for more than one.
const neediestTable = `select format('%I.%I', n.nspname, c.relname) as name
from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_stat_all_tables s on s.relid = c.oid
where c.relkind = 'r' and (
  greatest(s.n_dead_tup, s.n_mod_since_analyze) > $1::bigint + 0.2 * greatest(c.reltuples, 0)
  or age(c.relfrozenxid) > $2::bigint)
order by greatest(s.n_dead_tup, s.n_mod_since_analyze) desc nulls last
limit 1`

/**
 * Makes the function to call between two groups of statements: it does what is due, if anything. Never rejects;
 * what could not be done is due again next time.
 */
export const embeddedUpkeep = (session: EmbeddedSession, log: Log, limits: UpkeepLimits): (() => Promise<void>) => {
  let lookedAt = 0
  const look = async (): Promise<void> => {
    const wal = (await session.execute(walSinceCheckpoint, [], 'oncejob_upkeep_wal')).rows[0]?.['bytes']
    if (typeof wal === 'number' && wal > limits.walBytesMax) await session.script('checkpoint')
    const values = [limits.changedRowsMax, limits.transactionAgeMax]
    const name = (await session.execute(neediestTable, values, 'oncejob_upkeep_table')).rows[0]?.['name']
    if (typeof name === 'string') {
      await session.script(`vacuum (analyze) ${name}`)
      log.debug({ table: name }, 'table vacuumed')
    }
  }
  return async () => {
    if (session.statements - lookedAt < limits.everyStatements) return
    try {
      await look()
    } catch (error) {
      // upkeep must not stop the work; it is due again next time
      log.warn({ err: error }, 'database upkeep failed')
    }
    lookedAt = session.statements
  }
}
