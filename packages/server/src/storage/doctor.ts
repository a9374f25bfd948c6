// What the database tells about itself and about the backlog: for the doctor and for the gauges of the metrics.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

/** How many runs and sessions are where; `lagMs` is the age of the oldest due run that no worker has taken. */
export interface Backlog {
  readonly ready: number
  readonly later: number
  readonly blocked: number
  readonly running: number
  /** Of unknown outcome: they wait for a decision. */
  readonly unknown: number
  readonly lagMs: number
  readonly live: number
  readonly draining: number
  readonly late: number
}

/** Reads the backlog of the whole cluster in one statement. */
export const readBacklog = async (queries: Queries): Promise<Backlog> => {
  const [row] = await queries.query<Backlog>(sql`
    select ready.count as "ready",
           (select count(*) from oncejob.run_later) as "later",
           (select count(*) from oncejob.run_blocked) as "blocked",
           (select count(*) from oncejob.attempt) as "running",
           (select count(*) from oncejob.run_undecided) as "unknown",
           ready.lag as "lagMs",
           session.live as "live", session.draining as "draining", session.late as "late"
      from (select count(*) as count,
                   coalesce(greatest(0, extract(epoch from now() - min(run_at)) * 1000), 0)::float8 as lag
              from oncejob.run_ready) ready,
           (select count(*) filter (where expires_at > now() and not draining) as live,
                   count(*) filter (where expires_at > now() and draining) as draining,
                   count(*) filter (where expires_at <= now()) as late
              from oncejob.worker_session where ended_at is null) session`)
  return row ?? { ready: 0, later: 0, blocked: 0, running: 0, unknown: 0, lagMs: 0, live: 0, draining: 0, late: 0 }
}

/** Which PostgreSQL this is, and its clock in ms since the epoch at the moment of reading. */
export interface DatabaseFacts {
  readonly version: string
  readonly versionNumber: number
  readonly nowMs: number
}

export const readDatabaseFacts = async (queries: Queries): Promise<DatabaseFacts | undefined> => {
  const [row] = await queries.query<DatabaseFacts>(sql`
    select current_setting('server_version') as "version",
           current_setting('server_version_num')::integer as "versionNumber",
           floor(extract(epoch from clock_timestamp()) * 1000)::bigint as "nowMs"`)
  return row
}

/** One setting as the session began with it: what a transaction changes for itself does not count. */
export interface Setting {
  readonly name: string
  readonly value: string
}

export const readSettings = (queries: Queries, names: readonly string[]): Promise<Setting[]> =>
  queries.query<Setting>(sql`
    select name as "name", coalesce(reset_val, setting) as "value"
      from pg_catalog.pg_settings where name = any(${[...names]}::text[])`)

/** Something that keeps old row versions from being cleaned up; `seconds` is null where there is no start time. */
export interface HorizonHolder {
  readonly kind: 'connection' | 'prepared transaction' | 'replication slot'
  readonly name: string
  readonly transactions: number
  readonly seconds: number | null
}

/** The oldest holders of the xmin horizon, worst first, at most `limit`; this connection is left out. */
export const readHorizonHolders = (queries: Queries, limit: number): Promise<HorizonHolder[]> =>
  queries.query<HorizonHolder>(sql`
    select kind as "kind", name as "name", transactions as "transactions", seconds as "seconds"
      from (select 'connection' as kind,
                   format('pid %s of %s (%s)', pid, coalesce(nullif(application_name, ''), 'an unnamed program'), state) as name,
                   age(coalesce(backend_xmin, backend_xid)) as transactions,
                   extract(epoch from now() - xact_start)::float8 as seconds
              from pg_catalog.pg_stat_activity
             where pid <> pg_backend_pid() and coalesce(backend_xmin, backend_xid) is not null
               and backend_type <> 'autovacuum worker'
            union all
            select 'prepared transaction', gid, age(transaction), extract(epoch from now() - prepared)::float8
              from pg_catalog.pg_prepared_xacts
            union all
            select 'replication slot', slot_name::text || case when active then '' else ' (inactive)' end,
                   greatest(age(xmin), age(catalog_xmin)), null
              from pg_catalog.pg_replication_slots where xmin is not null or catalog_xmin is not null) holder
     order by transactions desc nulls last, seconds desc nulls last
     limit ${limit}`)

/** Rows of a table by the statistics of the database; `dead` are versions that a vacuum would remove. */
export interface TableHealth {
  readonly name: string
  readonly live: number
  readonly dead: number
}

export const readTableHealth = (queries: Queries, names: readonly string[]): Promise<TableHealth[]> =>
  queries.query<TableHealth>(sql`
    select relname::text as "name", n_live_tup as "live", n_dead_tup as "dead"
      from pg_catalog.pg_stat_user_tables
     where schemaname = 'oncejob' and relname = any(${[...names]}::text[])
     order by n_dead_tup desc, relname`)
