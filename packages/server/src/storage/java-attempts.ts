// What Java workers tell of the attempts that they have: it orders their reports and tells late ones from current ones.
import type { Queries } from './db.ts'
import { isFrequent } from './frequent-jobs.ts'
import type { IdRange } from './partitions.ts'
import { sql } from './sql.ts'

/** A run's live attempt, and what its worker has told of it so far. Times of the worker are in ms, by its own clock. */
export interface FenceRow {
  readonly run_id: number
  readonly app_id: number
  readonly job_id: number
  readonly lease: number
  readonly session_id: number
  /** Null: a worker of the native protocol has it. */
  readonly address: string | null
  readonly frequent: boolean
  /** Of this attempt; null: nothing was told of it. */
  readonly start_time: number | null
  readonly report_time: number | null
  /** When earlier attempts of the run began. */
  readonly earlier: number[]
}

/** The live attempts of these runs; a run that is not running has no row. */
export const attemptFences = (queries: Queries, runIds: readonly number[]): Promise<FenceRow[]> =>
  queries.query<FenceRow>(
    sql`
select a.run_id, a.app_id, a.job_id, a.lease, a.session_id, case when s.protocol = 'powerjob' then s.address end as address,
  ${isFrequent} as frequent,
  case when p.lease = a.lease then p.start_time end as start_time, case when p.lease = a.lease then p.report_time end as report_time,
  case when p.run_id is null then '{}' when p.lease = a.lease then p.earlier_starts else p.earlier_starts || p.start_time end as earlier
from oncejob.attempt a
left join oncejob.worker_session s on s.id = a.session_id
left join oncejob.schedule c on c.job_id = a.job_id
left join oncejob.powerjob_attempt p on p.run_id = a.run_id
where a.run_id = any(${[...runIds]}::bigint[])`,
    { name: 'attempt_fences' },
  )

/** Whether an earlier attempt of the run was sent to this address. */
export const wasAt = async (queries: Queries, runId: number, address: string): Promise<boolean> => {
  const rows = await queries.query<{ id: number }>(sql`
select s.id from oncejob.attempt_log l join oncejob.worker_session s on s.id = l.session_id
where l.run_id = ${runId} and l.outcome <> 'handed-back' and s.protocol = 'powerjob' and s.address = ${address} limit 1`)
  return rows.length > 0
}

/** Whether the run still has this attempt. */
export const isLive = async (
  queries: Queries,
  { runId, lease }: { readonly runId: number; readonly lease: number },
): Promise<boolean> => {
  const rows = await queries.query<{ lease: number }>(
    sql`select lease from oncejob.attempt where run_id = ${runId} and lease = ${lease}`,
  )
  return rows.length > 0
}

/** What a report tells of the attempt with this lease. */
export interface Told {
  readonly runId: number
  readonly lease: number
  readonly startTime: number
  readonly reportTime: number
  readonly total: number
  readonly succeeded: number
  readonly failed: number
}

/**
 * Keeps what was told of live attempts. One that is not current, that began earlier, or that is older than what is
 * known has no row in the answer, and changes nothing. No run may stand twice in the input.
 * @param setBackMs what is older by more was said by a clock that was set back
 */
export const keepTold = (
  queries: Queries,
  told: readonly Told[],
  setBackMs: number,
): Promise<{ run_id: number; lease: number }[]> =>
  queries.query<{ run_id: number; lease: number }>(
    sql`
insert into oncejob.powerjob_attempt as p (run_id, lease, start_time, report_time, heard_at, total, succeeded, failed)
select i.run_id, i.lease, i.start_time, i.report_time, now(), i.total, i.succeeded, i.failed
from unnest(
  ${told.map((t) => t.runId)}::bigint[], ${told.map((t) => t.lease)}::bigint[], ${told.map((t) => t.startTime)}::bigint[],
  ${told.map((t) => t.reportTime)}::bigint[], ${told.map((t) => t.total)}::bigint[], ${told.map((t) => t.succeeded)}::bigint[],
  ${told.map((t) => t.failed)}::bigint[]
) as i(run_id, lease, start_time, report_time, total, succeeded, failed)
join oncejob.attempt a on a.run_id = i.run_id and a.lease = i.lease
order by i.run_id
on conflict (run_id) do update set
  earlier_starts = case when p.start_time = excluded.start_time then p.earlier_starts else p.earlier_starts || p.start_time end,
  lease = excluded.lease, start_time = excluded.start_time, report_time = excluded.report_time, heard_at = excluded.heard_at,
  total = excluded.total, succeeded = excluded.succeeded, failed = excluded.failed
where case when p.lease = excluded.lease and p.start_time = excluded.start_time
  then excluded.report_time > p.report_time or excluded.report_time < p.report_time - ${setBackMs}::bigint
  else p.lease <= excluded.lease and excluded.start_time <> all(p.earlier_starts)
    and case when p.lease = excluded.lease then excluded.start_time > p.start_time else excluded.start_time <> p.start_time end end
returning run_id, lease`,
    { name: 'keep_told' },
  )

/** The one long run of a job on a short interval is bounded by nothing: its time limit is that of each execution within. */
export const unboundAttempts = async (
  queries: Queries,
  leases: readonly { readonly runId: number; readonly lease: number }[],
): Promise<void> => {
  await queries.query(sql`
update oncejob.attempt a set deadline_at = null
from unnest(${leases.map((l) => l.runId)}::bigint[], ${leases.map((l) => l.lease)}::bigint[]) as i(run_id, lease)
where a.run_id = i.run_id and a.lease = i.lease and a.deadline_at is not null`)
}

/** One execution within the long run of a job on a short interval. */
export interface SubRun {
  readonly number: number
  /** By the worker's clock, ms since the epoch. */
  readonly startedMs: number
  /** Null: it goes on. */
  readonly finishedMs: number | null
  /** Code of the wire: 2 running, 4 failed, 5 succeeded. */
  readonly status: number
  readonly result: string | null
}

/**
 * Keeps executions as the worker tells them; one that has ended stays as it was told. One that begins more than a
 * day ahead, by a clock that is wrong, is taken to begin now: else it would be newer than all that follow, and never grow old.
 */
export const keepSubRuns = async (
  queries: Queries,
  runId: number,
  lease: number,
  subRuns: readonly SubRun[],
): Promise<void> => {
  if (subRuns.length === 0) return
  await queries.query(sql`
insert into oncejob.powerjob_sub_run as k (run_id, lease, number, job_id, started_at, finished_at, status, result)
select distinct on (i.number) r.id, ${lease}::bigint, i.number, r.job_id,
  case when b.at > now() + interval '1 day' then now() else b.at end, timestamptz 'epoch' + i.finished * interval '1 ms', i.status, i.result
from unnest(
  ${subRuns.map((s) => s.number)}::bigint[], ${subRuns.map((s) => s.startedMs)}::bigint[],
  ${subRuns.map((s) => s.finishedMs)}::bigint[], ${subRuns.map((s) => s.status)}::smallint[], ${subRuns.map((s) => s.result)}::text[]
) as i(number, started, finished, status, result)
cross join lateral (select timestamptz 'epoch' + i.started * interval '1 ms' as at) b
join oncejob.run r on r.id = ${runId}
order by i.number
on conflict (run_id, lease, number) do update
  set finished_at = excluded.finished_at, status = excluded.status, result = excluded.result,
    job_id = coalesce(k.job_id, excluded.job_id)
  where k.finished_at is null`)
}

/** Forgets what was told of the runs of a range of ids, at most `limit` rows of each table; returns how many. */
export const deleteTold = async (queries: Queries, { from, to }: IdRange, limit: number): Promise<number> => {
  const rows = await queries.query<{ n: number }>(sql`
with told as (
  delete from oncejob.powerjob_attempt where ctid = any (array(
    select ctid from oncejob.powerjob_attempt where run_id >= ${from} and run_id < ${to}
    order by run_id limit ${limit} for update skip locked)) returning 1
), subs as (
  delete from oncejob.powerjob_sub_run where ctid = any (array(
    select ctid from oncejob.powerjob_sub_run where run_id >= ${from} and run_id < ${to}
    order by run_id, lease, number limit ${limit} for update skip locked)) returning 1
)
select greatest((select count(*) from told), (select count(*) from subs))::int as n`)
  return rows[0]?.n ?? 0
}
