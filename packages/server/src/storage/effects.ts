// Table effect: what attempts were about to do and what came of it, written by the holder of the current lease only (I4).
import type { RunEffect } from '@oncejob/protocol'
import { jsonValue } from '../kernel/json.ts'
import type { Queries } from './db.ts'
import type { IdRange } from './partitions.ts'
import { instant, sql, type Sql } from './sql.ts'

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

/** Forgets up to `limit` effects of the runs of a range of ids; returns how many. */
export const deleteEffects = async (queries: Queries, { from, to }: IdRange, limit: number): Promise<number> => {
  const rows = await queries.query<{ id: number }>(sql`
    delete from oncejob.effect
     where ctid = any (array(
             select ctid from oncejob.effect where run_id >= ${from} and run_id < ${to}
              order by run_id limit ${limit} for update skip locked))
    returning run_id as id`)
  return rows.length
}

/** Where an effect stands in the list of its run's. */
export interface EffectPlace {
  readonly startedMs: number
  readonly name: string
}

/** One page of the effects of a run in the order in which they were begun; `after` is the last one of the page before. */
export const listEffects = async (
  queries: Queries,
  runId: number,
  after: EffectPlace | undefined,
  limit: number,
): Promise<RunEffect[]> => {
  const rows = await queries.query<{
    name: string
    state: RunEffect['state']
    outcome: string | null
    started_at: Date
    ended_at: Date | null
    lease: number
    attempt: number | null
    decided_by: string | null
  }>(sql`
select e.name, case when e.state = 'intent' and live.run_id is null then 'unknown' else e.state end as state, e.outcome,
  e.started_at, e.ended_at, e.lease, coalesce(live.number, past.number) as attempt, e.decided_by
from oncejob.effect e
left join oncejob.attempt live on live.run_id = e.run_id and live.lease = e.lease
left join oncejob.attempt_log past on past.run_id = e.run_id and past.lease = e.lease
where e.run_id = ${runId}::bigint
  and (e.started_at, e.name) > (${instant(after?.startedMs ?? 0)}, ${after?.name ?? ''}::text)
order by e.started_at, e.name limit ${limit}`)
  return rows.map(({ name, state, outcome, started_at, ended_at, lease, attempt, decided_by }) => ({
    name,
    state,
    ...(outcome === null ? {} : { outcome: jsonValue(outcome) }),
    startedAt: started_at.toISOString(),
    endedAt: ended_at?.toISOString() ?? null,
    lease,
    attempt,
    decidedBy: decided_by,
  }))
}

/**
 * Where the run is, held there until the transaction ends: nobody claims, moves or reopens it meanwhile, so no attempt
 * can find an effect half decided. No row: the app has no such run, or it is just moving; look again.
 */
export const holdStill = async (
  tx: Queries,
  appId: number,
  runId: number,
): Promise<'running' | 'still' | 'moving' | 'missing'> => {
  const ofRun = sql`where run_id = ${runId}::bigint for update`
  const rows = await tx.query<{ running: boolean; still: boolean }>(sql`
with ended as (select id as run_id from oncejob.run where id = ${runId}::bigint and app_id = ${appId}::bigint and state <> 'open' for update),
  undecided as (select run_id from oncejob.run_undecided ${ofRun}), ready as (select run_id from oncejob.run_ready ${ofRun}),
  later as (select run_id from oncejob.run_later ${ofRun}), blocked as (select run_id from oncejob.run_blocked ${ofRun}),
  held as (
    select run_id from ended union all select run_id from undecided union all select run_id from ready
    union all select run_id from later union all select run_id from blocked)
select exists (select from oncejob.attempt a where a.run_id = r.id) as running, exists (select from held) as still
from oncejob.run r where r.id = ${runId}::bigint and r.app_id = ${appId}::bigint`)
  const [row] = rows
  if (row === undefined) return 'missing'
  if (row.still) return 'still'
  return row.running ? 'running' : 'moving'
}

/** State and outcome (JSON text) of an effect; undefined when the run has none of this name. */
export const effectOf = async (
  queries: Queries,
  runId: number,
  name: string,
): Promise<{ state: 'intent' | 'done'; outcome: string | null } | undefined> => {
  const rows = await queries.query<{ state: 'intent' | 'done'; outcome: string | null }>(
    sql`select state, outcome from oncejob.effect where run_id = ${runId}::bigint and name = ${name}::text`,
  )
  return rows[0]
}

/** Records that an effect was done, as someone says. Call it under holdStill. */
export const decideDone = async (
  tx: Queries,
  runId: number,
  name: string,
  said: { readonly outcome: string | null; readonly actor: string },
): Promise<void> => {
  await tx.query(sql`
update oncejob.effect set state = 'done', outcome = ${said.outcome}::text, ended_at = now(), decided_by = ${said.actor}::text
where run_id = ${runId}::bigint and name = ${name}::text and state = 'intent'`)
}

/** Takes an intent back, as someone says that it did not happen. Call it under holdStill. */
export const withdrawIntent = async (tx: Queries, runId: number, name: string): Promise<void> => {
  await tx.query(
    sql`delete from oncejob.effect where run_id = ${runId}::bigint and name = ${name}::text and state = 'intent'`,
  )
}
