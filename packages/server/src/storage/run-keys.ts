// Table run_key (I8): one row per key, locked by whoever decides on it; two statements, never an upsert that answers.
import type { RunState } from '@oncejob/protocol'
import { dateOf } from '../kernel/clock.ts'
import type { KeyFacts, Predecessor } from '../runs/run-key.ts'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'
import type { NewRun } from './submit.ts'

/** A key of a job, or with jobId 0 of the app. */
export interface KeyId {
  readonly appId: number
  readonly jobId: number
  readonly key: string
}

/** A text that tells keys apart. */
export const nameOfKey = ({ appId, jobId, key }: KeyId): string => `${appId} ${jobId} ${key}`

const keyRow = (row: KeyNameRow): KeyId => ({ appId: row.app_id, jobId: row.job_id, key: row.key })

interface KeyNameRow {
  readonly app_id: number
  readonly job_id: number
  readonly key: string
}

// the table t of these keys
const keysOf = (ids: readonly KeyId[]): Sql => sql`
unnest(
  ${ids.map((id) => id.appId)}::bigint[], ${ids.map((id) => id.jobId)}::bigint[], ${ids.map((id) => id.key)}::text[]
) as t(app_id, job_id, key)`

/**
 * Makes the rows of keys that have none and returns those; they stand for nothing until pointKeys. The primary key is the
 * arbiter, and keys are taken in one order everywhere: two callers never wait for each other.
 */
export const takeKeys = async (tx: Queries, ids: readonly KeyId[]): Promise<KeyId[]> => {
  const rows = await tx.query<KeyNameRow>(
    sql`
insert into oncejob.run_key (app_id, job_id, key, run_id, input_hash)
select t.app_id, t.job_id, t.key, 0, '' from ${keysOf(ids)}
order by t.app_id, t.job_id, t.key collate "C"
on conflict do nothing returning app_id, job_id, key`,
    { name: 'take_run_keys' },
  )
  return rows.map(keyRow)
}

/** Locks the rows of these keys until the transaction ends, in the same order; returns those that are there. */
export const lockKeys = async (tx: Queries, ids: readonly KeyId[]): Promise<KeyId[]> => {
  const rows = await tx.query<KeyNameRow>(
    sql`
select k.app_id, k.job_id, k.key from ${keysOf(ids)}
join oncejob.run_key k on k.app_id = t.app_id and k.job_id = t.job_id and k.key = t.key
order by k.app_id, k.job_id, k.key collate "C" for update of k`,
    { name: 'lock_run_keys' },
  )
  return rows.map(keyRow)
}

/** What a row says, with what only people ask for. */
export interface KeyReading extends KeyFacts {
  readonly id: KeyId
  readonly ttlMs: number | null
  readonly endedAt: Date | null
  readonly expiresAt: Date | null
  /** Jobs of the runs that it names. */
  readonly jobIds: readonly number[]
}

interface KeyReadingRow extends KeyNameRow {
  readonly run_id: number
  readonly input_hash: string
  readonly state: RunState
  readonly expired: boolean
  readonly vacant: boolean
  readonly freed: boolean
  readonly ttl_ms: number | null
  readonly ended_at: Date | null
  readonly expires_at: Date | null
  readonly run_job_id: number | null
  readonly before_run_id: number | null
  readonly before_input_hash: string | null
  readonly before_state: Predecessor['state'] | null
  readonly before_job_id: number | null
}

const readingOf = (row: KeyReadingRow): KeyReading => ({
  id: keyRow(row),
  runId: row.run_id,
  state: row.state,
  inputHash: row.input_hash,
  before:
    row.before_run_id === null || row.before_state === null
      ? null
      : { runId: row.before_run_id, state: row.before_state, inputHash: row.before_input_hash ?? '', freed: row.freed },
  expired: row.expired,
  vacant: row.vacant,
  ttlMs: row.ttl_ms,
  endedAt: row.ended_at,
  expiresAt: row.expires_at,
  jobIds: [row.run_job_id, row.before_job_id].filter((id) => id !== null),
})

/**
 * What these keys stand for, those without a row left out. To decide on it call it after lockKeys, as a statement of its own:
 * the one that waited for the lock has an old view of the runs.
 */
export const readKeys = async (queries: Queries, ids: readonly KeyId[]): Promise<KeyReading[]> => {
  const rows = await queries.query<KeyReadingRow>(
    sql`
select k.app_id, k.job_id, k.key, k.run_id, k.input_hash, k.freed, coalesce(k.run_id = k.before_run_id, false) as vacant, k.ttl_ms, e.state, e.ended_at,
  e.ended_at + k.ttl_ms * interval '1 ms' as expires_at,
  -- the clock and not now(): the run may have ended after this transaction began
  coalesce(e.ended_at is not null and (k.ttl_ms = 0 or e.ended_at + k.ttl_ms * interval '1 ms' <= clock_timestamp()), false) as expired,
  r.job_id as run_job_id, b.job_id as before_job_id, b.id as before_run_id, k.before_input_hash, b.state as before_state
from ${keysOf(ids)}
join oncejob.run_key k on k.app_id = t.app_id and k.job_id = t.job_id and k.key = t.key
-- offset 0: each is one look-up by id, however many keys are asked for
left join lateral (
  select run.job_id, run.ended_at,
    case when run.state <> 'open' then run.state
      when exists (select from oncejob.attempt where attempt.run_id = run.id) then 'running'
      when exists (select from oncejob.run_undecided u where u.run_id = run.id) then 'unknown'
      else 'waiting' end as state
  from oncejob.run where run.id = k.run_id offset 0
) r on true
left join lateral (
  select run.id, run.job_id,
    case when exists (select from oncejob.attempt where attempt.run_id = run.id) then 'running'
      when exists (select from oncejob.run_undecided u where u.run_id = run.id) then 'unknown'
      else 'waiting' end as state
  from oncejob.run where run.id = k.before_run_id and run.state = 'open' offset 0
) b on true
cross join lateral (select coalesce(r.state, k.state) as state, coalesce(r.ended_at, k.ended_at) as ended_at) e`,
    { name: 'read_run_keys' },
  )
  return rows.map(readingOf)
}

/** A key and the run that it stands for from now on. */
export interface KeyPoint {
  readonly id: KeyId
  readonly runId: number
  readonly inputHash: string
  readonly before: Predecessor | null
  readonly ttlMs: number | null
}

/** Lets keys stand for runs, and the runs show their keys. Call it under the locks of the keys. */
export const pointKeys = async (tx: Queries, points: readonly KeyPoint[]): Promise<void> => {
  const ids = points.map((point) => point.runId)
  await tx.query(
    sql`
with p as (
  select * from unnest(
    ${points.map((p) => p.id.appId)}::bigint[], ${points.map((p) => p.id.jobId)}::bigint[], ${points.map((p) => p.id.key)}::text[],
    ${ids}::bigint[], ${points.map((p) => p.inputHash)}::text[], ${points.map((p) => p.before?.runId ?? null)}::bigint[],
    ${points.map((p) => p.before?.inputHash ?? null)}::text[], ${points.map((p) => p.before?.freed ?? false)}::boolean[],
    ${points.map((p) => p.ttlMs)}::bigint[]
  ) as t(app_id, job_id, key, run_id, input_hash, before_run_id, before_input_hash, freed, ttl_ms)
), r as (
  update oncejob.run set run_key = p.key, run_key_scope = case when p.job_id = 0 then 'app' else 'job' end
  from p where run.id = p.run_id and run.run_key is null
    -- ids grow with time: the range leaves out the other partitions
    and run.id between ${Math.min(...ids)}::bigint and ${Math.max(...ids)}::bigint
)
update oncejob.run_key k set run_id = p.run_id, input_hash = p.input_hash, before_run_id = p.before_run_id,
  before_input_hash = p.before_input_hash, ttl_ms = p.ttl_ms, freed = p.freed, state = null, ended_at = null, expires_at = null
from p where k.app_id = p.app_id and k.job_id = p.job_id and k.key = p.key`,
    { name: 'point_run_keys' },
  )
}

/** Takes rows back that takeKeys made in this transaction and that stand for nothing yet. */
export const dropUnpointed = async (tx: Queries, ids: readonly KeyId[]): Promise<void> => {
  await tx.query(sql`
delete from oncejob.run_key k using ${keysOf(ids)}
where k.app_id = t.app_id and k.job_id = t.job_id and k.key = t.key and k.run_id = 0`)
}

/** Forgets a key. Call it under its lock. */
export const deleteKey = async (tx: Queries, { appId, jobId, key }: KeyId): Promise<void> => {
  await tx.query(sql`delete from oncejob.run_key where app_id = ${appId} and job_id = ${jobId} and key = ${key}`)
}

/** Frees a key whose run is still stopping: the row is vacant, and the next run waits for this one. Call it under its lock. */
export const freeKey = async (tx: Queries, { appId, jobId, key }: KeyId, stopping: Predecessor): Promise<void> => {
  await tx.query(sql`
update oncejob.run_key set run_id = ${stopping.runId}, input_hash = ${stopping.inputHash}, before_run_id = ${stopping.runId},
  before_input_hash = ${stopping.inputHash}, ttl_ms = 0, freed = true,
  -- the sweeper may have kept the end of the run that the key named until now
  state = null, ended_at = null, expires_at = null
where app_id = ${appId} and job_id = ${jobId} and key = ${key}`)
}

/** The key of a run that has ended, and what the run was asked to do; undefined when it has none or is open. */
export const keyOfEnded = async (
  queries: Queries,
  appId: number,
  runId: number,
): Promise<{ id: KeyId; params: string | null; runJobId: number } | undefined> => {
  const rows = await queries.query<{ key: string; scope: 'job' | 'app'; job_id: number; params: string | null }>(sql`
select run_key as key, run_key_scope as scope, job_id, params from oncejob.run
where id = ${runId} and app_id = ${appId} and run_key is not null and state <> 'open'`)
  const [row] = rows
  return (
    row && {
      id: { appId, jobId: row.scope === 'app' ? 0 : row.job_id, key: row.key },
      params: row.params,
      runJobId: row.job_id,
    }
  )
}

/** Of these jobs and names, as places in the list, those that there are. */
export const jobsThere = async (queries: Queries, runs: readonly NewRun[]): Promise<Set<number>> => {
  const rows = await queries.query<{ ord: number }>(
    sql`
select t.ord from unnest(
  ${runs.map((_, ord) => ord)}::int[], ${runs.map((r) => r.appId)}::bigint[], ${runs.map((r) => r.jobId)}::bigint[],
  ${runs.map((r) => r.name)}::text[]
) as t(ord, app_id, job_id, name)
join oncejob.job j on j.id = t.job_id and j.app_id = t.app_id and j.deleted_at is null and (t.name is null or j.name = t.name)`,
    { name: 'jobs_there' },
  )
  return new Set(rows.map((row) => row.ord))
}

/** One run that waits for the end of another one, and only then for its time and a slot. Undefined: there is no such job. */
export const insertBehind = async (tx: Queries, run: NewRun, afterRunId: number): Promise<number | undefined> => {
  const runAt = run.runAtMs === null ? null : dateOf(run.runAtMs)
  const rows = await tx.query<{ id: number }>(sql`
with n as materialized (
  select nextval('oncejob.run_id_seq') as id, j.app_id, j.id as job_id, j.route_id,
    coalesce(${run.priority}::int, j.priority)::smallint as priority, d.due_at,
    d.due_at + coalesce(${run.queueTimeoutMs}::bigint, j.queue_timeout_ms) * interval '1 ms' as queue_deadline_at
  from oncejob.job j
  cross join lateral (
    select date_trunc('milliseconds',
      coalesce(${runAt}::timestamptz, now() + coalesce(${run.delayMs}::bigint, 0) * interval '1 ms')) as due_at
  ) d
  where j.id = ${run.jobId} and j.app_id = ${run.appId} and j.deleted_at is null
), r as (
  insert into oncejob.run (id, app_id, job_id, request_key, params, priority, due_at, queue_deadline_at)
  select id, app_id, job_id, ${run.requestKey}::text, ${run.params}::text, priority, due_at, queue_deadline_at from n
), b as (
  insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at, after_run_id)
  select id, route_id, -priority, due_at, job_id, 0, true, queue_deadline_at, ${afterRunId}::bigint from n
)
select id from n`)
  return rows[0]?.id
}

/** Lets the end of a run be followed up wherever the run is. */
export const followEnd = async (tx: Queries, runId: number): Promise<void> => {
  // the claim moves a run from ready to attempt: looked at in this order, it is not missed
  await tx.query(sql`update oncejob.run_ready set follows = true where run_id = ${runId} and not follows`)
  await tx.query(sql`
with l as (update oncejob.run_later set follows = true where run_id = ${runId} and not follows),
b as (update oncejob.run_blocked set follows = true where run_id = ${runId} and not follows),
u as (update oncejob.run_undecided set follows = true where run_id = ${runId} and not follows)
update oncejob.attempt set follows = true where run_id = ${runId} and not follows`)
}

export interface ReleasedRow {
  readonly run_id: number
  readonly job_id: number
  /** Its time has not come: it waits for that now. */
  readonly later: boolean
}

/**
 * Lets runs go that waited for the end of one of these runs (null: of any). They now wait for a slot like all others, so
 * promoteBlocked comes next.
 */
export const releaseAfter = (queries: Queries, ended: readonly number[] | null): Promise<ReleasedRow[]> =>
  queries.query<ReleasedRow>(
    sql`
with o as materialized (
  select b.run_id from oncejob.run_blocked b
  where b.after_run_id is not null and (${ended === null}::boolean or b.after_run_id = any(${[...(ended ?? [])]}::bigint[]))
    and not exists (select from oncejob.run r where r.id = b.after_run_id and r.state = 'open')
  order by b.run_id limit 1000 for update of b skip locked
), early as (
  delete from oncejob.run_blocked b using o where b.run_id = o.run_id and b.run_at > now() returning b.*
), later as (
  insert into oncejob.run_later (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at, needs_slot)
  select e.run_id, e.route_id, e.priority, e.run_at, e.job_id, e.attempts, e.follows, e.expires_at, j.run_limit > 0
  from early e join oncejob.job j on j.id = e.job_id
), due as (
  update oncejob.run_blocked b set after_run_id = null from o
  where b.run_id = o.run_id and b.run_at <= now() returning b.run_id, b.job_id
)
select run_id, job_id, false as later from due union all select run_id, job_id, true from early`,
    { name: 'release_after' },
  )

/** Keeps the ends of the runs of a range, which are about to be dropped; every one of them has ended. */
export const keepEndsOfRange = async (tx: Queries, from: number, to: number): Promise<void> => {
  await tx.query(sql`
update oncejob.run_key k set state = r.state, ended_at = r.ended_at, expires_at = r.ended_at + k.ttl_ms * interval '1 ms'
from oncejob.run r
where k.run_id >= ${from} and k.run_id < ${to} and k.ended_at is null and r.id = k.run_id and r.state <> 'open'
  and r.id >= ${from} and r.id < ${to}`)
}

/**
 * Looks at up to `limit` keys whose end is not kept, from this run on, and locks those whose run has ended. `last`: the run to
 * go on after; null when all were looked at.
 */
export const lockUnkept = async (
  tx: Queries,
  afterRunId: number,
  limit: number,
): Promise<{ ids: KeyId[]; last: number | null }> => {
  const looked = await tx.query<{ run_id: number }>(sql`
select run_id from oncejob.run_key where ended_at is null and run_id > ${afterRunId} order by run_id limit ${limit}`)
  const last = looked.at(-1)?.run_id
  if (last === undefined) return { ids: [], last: null }
  const rows = await tx.query<KeyNameRow>(sql`
select k.app_id, k.job_id, k.key from oncejob.run_key k
where k.ended_at is null and k.run_id > ${afterRunId} and k.run_id <= ${last}
  and exists (select from oncejob.run r where r.id = k.run_id and r.state <> 'open' and r.id > ${afterRunId} and r.id <= ${last})
order by k.app_id, k.job_id, k.key collate "C" for update of k skip locked`)
  return { ids: rows.map(keyRow), last: looked.length < limit ? null : last }
}

/** Keeps the ends of the runs of these keys. Under their locks: a retry by hand, which opens a run again, needs them too. */
export const keepEnds = async (tx: Queries, ids: readonly KeyId[]): Promise<number> => {
  const rows = await tx.query<{ run_id: number }>(sql`
update oncejob.run_key k set state = r.state, ended_at = r.ended_at, expires_at = r.ended_at + k.ttl_ms * interval '1 ms'
from ${keysOf(ids)}
join oncejob.run_key j on j.app_id = t.app_id and j.job_id = t.job_id and j.key = t.key
join oncejob.run r on r.id = j.run_id and r.state <> 'open'
where k.app_id = t.app_id and k.job_id = t.job_id and k.key = t.key
returning k.run_id`)
  return rows.length
}

/** Forgets keys whose time is over, at most `limit`; returns how many. One whose earlier run is still open is kept. */
export const sweepRunKeys = async (queries: Queries, limit: number): Promise<number> => {
  const rows = await queries.query<{ key: string }>(sql`
delete from oncejob.run_key k using (
  select app_id, job_id, key from oncejob.run_key o
  where o.expires_at < now()
    and not exists (select from oncejob.run r where r.id = o.before_run_id and r.state = 'open')
  order by o.expires_at limit ${limit} for update of o skip locked
) old where k.app_id = old.app_id and k.job_id = old.job_id and k.key = old.key returning k.key`)
  return rows.length
}
