// Records the end of attempts, guarded by their leases (I4): success in one statement, the rest in settle.ts.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

export interface Success {
  readonly appId: number
  readonly runId: number
  readonly lease: number
  /** JSON text. */
  readonly result: string | null
  readonly truncated: boolean
}

export interface CompletedRow {
  readonly run_id: number
  readonly lease: number
  readonly job_id: number
  readonly app_id: number
  /** Its end has consequences: a slot to hand on, a fixed delay to arm. */
  readonly follows: boolean
}

/**
 * Ends runs as succeeded. A success whose lease is not the current one has no row in the answer, and changed nothing.
 * No lease may stand twice in the input.
 */
export const completeSucceeded = (queries: Queries, successes: readonly Success[]): Promise<CompletedRow[]> => {
  const ids = successes.map((s) => s.runId)
  return queries.query<CompletedRow>(
    sql`
with i as (
  select * from unnest(
    ${successes.map((s) => s.appId)}::bigint[], ${ids}::bigint[], ${successes.map((s) => s.lease)}::bigint[],
    ${successes.map((s) => s.result)}::text[], ${successes.map((s) => s.truncated)}::boolean[]
  ) as t(app_id, run_id, lease, result, truncated)
), d as (
  delete from oncejob.attempt a using i
  where a.run_id = i.run_id and a.lease = i.lease and a.app_id = i.app_id
  returning a.run_id, a.lease, a.session_id, a.job_id, a.app_id, a.number, a.follows, a.claimed_at, i.result, i.truncated
), h as (
  insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, outcome)
  select run_id, number, lease, session_id, claimed_at, 'succeeded' from d
), s as (
  delete from oncejob.run_slot using d where d.follows and run_slot.run_id = d.run_id
), u as (
  update oncejob.run set state = 'succeeded', ended_at = date_trunc('milliseconds', now()), attempts = d.number,
    started_at = coalesce(run.started_at, d.claimed_at), session_id = d.session_id, result = d.result, result_truncated = d.truncated
  from d where run.id = d.run_id and run.state = 'open'
    -- ids grow with time: the range leaves out the other partitions
    and run.id between ${Math.min(...ids)}::bigint and ${Math.max(...ids)}::bigint
)
select run_id, lease, job_id, app_id, follows from d`,
    { name: 'complete' },
  )
}

export interface LeaseRow {
  readonly ord: number
  readonly known: boolean
  readonly outcome: string | null
}

/** What became of leases that are not current: the recorded outcome of exactly that lease, or nothing. */
export const pastOutcomes = (
  queries: Queries,
  leases: readonly { readonly appId: number; readonly runId: number; readonly lease: number }[],
): Promise<LeaseRow[]> =>
  queries.query<LeaseRow>(sql`
select i.ord::int as ord, r.id is not null as known, l.outcome
from unnest(${leases.map((l) => l.appId)}::bigint[], ${leases.map((l) => l.runId)}::bigint[], ${leases.map((l) => l.lease)}::bigint[])
  with ordinality as i(app_id, run_id, lease, ord)
left join oncejob.run r on r.id = i.run_id and r.app_id = i.app_id
left join oncejob.attempt_log l on l.run_id = r.id and l.lease = i.lease
order by i.ord`)

/** Arms fixed-delay schedules whose awaited run has ended: the next fire is `delay` after that end. */
export const armFixedDelays = (queries: Queries): Promise<{ id: number }[]> =>
  queries.query<{ id: number }>(sql`
update oncejob.schedule s
set next_fire_at = case when j.enabled and j.deleted_at is null and (s.end_at is null or n.at <= s.end_at) then n.at end,
  awaiting_run_id = null, version = s.version + 1
from (
  -- the kind is checked before the cast: another kind's expression is no number
  select w.id, r.ended_at + case when w.kind = 'fixed-delay' then w.expression::bigint else 0 end * interval '1 ms' as at
  from oncejob.schedule w join oncejob.run r on r.id = w.awaiting_run_id
  where w.awaiting_run_id is not null and r.ended_at is not null
) n, oncejob.job j
where s.id = n.id and j.id = s.job_id and s.awaiting_run_id is not null
returning s.id`)
