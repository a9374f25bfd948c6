// Table effect: what attempts were about to do and what came of it, written by the holder of the current lease only (I4).
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** An effect of a run, and the lease that asks. */
export interface EffectKey {
  readonly appId: number
  readonly runId: number
  readonly lease: number
  readonly name: string
}

/**
 * One row while the lease is the current one. The lock keeps it so until the statement is committed: whoever takes the
 * attempt away waits, and the next attempt sees what was written here.
 */
const held = ({ appId, runId, lease }: EffectKey): Sql => sql`
  select run_id from oncejob.attempt
  where run_id = ${runId}::bigint and lease = ${lease}::bigint and app_id = ${appId}::bigint for key share`

/** Notes that the effect begins. False: the lease is not the current one, or the effect has a row; `findEffect` tells. */
export const insertIntent = async (queries: Queries, key: EffectKey): Promise<boolean> => {
  const rows = await queries.query<{ run_id: number }>(
    sql`
with held as materialized (${held(key)})
insert into oncejob.effect (run_id, name, lease) select run_id, ${key.name}::text, ${key.lease}::bigint from held
on conflict do nothing returning run_id`,
    { name: 'insert_intent' },
  )
  return rows.length === 1
}

/** Records what came of an effect that was begun. False: no such lease, no such effect, or it is recorded already. */
export const completeEffect = async (queries: Queries, key: EffectKey, outcome: string | null): Promise<boolean> => {
  const rows = await queries.query<{ run_id: number }>(
    sql`
with held as materialized (${held(key)})
update oncejob.effect e set state = 'done', outcome = ${outcome}::text, lease = ${key.lease}::bigint, ended_at = now()
from held where e.run_id = held.run_id and e.name = ${key.name}::text and e.state = 'intent'
returning e.run_id`,
    { name: 'complete_effect' },
  )
  return rows.length === 1
}

/** What is known of an effect. Its columns are null when it has no row. */
export interface EffectRow {
  /** The lease that asks is the current one. */
  readonly held: boolean
  readonly state: string | null
  readonly lease: number | null
  /** JSON text. */
  readonly outcome: string | null
}

/**
 * Looks at an effect after one of the statements above has changed nothing. A statement of its own: the row that was in
 * the way may be younger than the snapshot of the one that met it.
 */
export const findEffect = async (queries: Queries, key: EffectKey): Promise<EffectRow> => {
  const rows = await queries.query<EffectRow>(
    sql`
select exists (
    select from oncejob.attempt a
    where a.run_id = ${key.runId}::bigint and a.lease = ${key.lease}::bigint and a.app_id = ${key.appId}::bigint
  ) as held, e.state, e.lease, e.outcome
from (select 1) one left join oncejob.effect e on e.run_id = ${key.runId}::bigint and e.name = ${key.name}::text`,
    { name: 'find_effect' },
  )
  return rows[0] ?? { held: false, state: null, lease: null, outcome: null }
}

/** Forgets up to `limit` effects of runs below an id; returns how many. */
export const deleteEffectsBelow = async (queries: Queries, runId: number, limit: number): Promise<number> => {
  const rows = await queries.query<{ id: number }>(sql`
    delete from oncejob.effect
     where ctid = any (array(
             select ctid from oncejob.effect where run_id < ${runId} order by run_id limit ${limit} for update skip locked))
    returning run_id as id`)
  return rows.length
}
