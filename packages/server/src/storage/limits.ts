// Jobs with a limit of concurrent runs: who holds a slot, who waits for one, and what happens beyond the limit.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'
import type { NewRun } from './submit.ts'

// first number of our two-number advisory locks: one space for jobs
const jobLocks = 7001

/** Serialises decisions about the slots of these jobs until the transaction ends. */
export const lockJobs = async (tx: Queries, jobIds: readonly number[]): Promise<void> => {
  // ordered by the lock's own number: two transactions never wait for each other
  await tx.query(sql`
select pg_advisory_xact_lock(${jobLocks}::int, k) from (
  select distinct hashint8(id) as k from unnest(${[...jobIds]}::bigint[]) as t(id) order by 1
) locks`)
}

/** Moves blocked runs of these jobs to ready while there are free slots. Call it under lockJobs. Returns where to wake. */
export const promoteBlocked = (tx: Queries, jobIds: readonly number[]): Promise<{ run_id: number; app_id: number }[]> =>
  tx.query<{ run_id: number; app_id: number }>(sql`
with j as (
  select id, app_id, run_limit, (select count(*) from oncejob.run_slot s where s.job_id = job.id) as used
  from oncejob.job where id = any(${[...jobIds]}::bigint[])
), pick as (
  select p.run_id, j.app_id, j.run_limit > 0 as limited from j cross join lateral (
    -- those that wait for another run get their turn after its end
    select b.run_id from oncejob.run_blocked b where b.job_id = j.id and b.after_run_id is null
    order by b.priority, b.run_at, b.run_id
    limit case when j.run_limit = 0 then 10000 else greatest(0, j.run_limit - j.used) end
  ) p
), b as (
  delete from oncejob.run_blocked using pick where run_blocked.run_id = pick.run_id
  returning run_blocked.*, pick.app_id, pick.limited
), s as (
  insert into oncejob.run_slot (run_id, job_id) select run_id, job_id from b where limited
), r as (
  insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select run_id, route_id, priority, run_at, job_id, attempts, true, expires_at from b
)
select run_id, app_id from b`)

/** Jobs that have both a blocked run and room for it: what a lost wake-up left behind. */
export const jobsWithRoom = (queries: Queries): Promise<{ job_id: number }[]> =>
  queries.query<{ job_id: number }>(sql`
select b.job_id from (select distinct job_id from oncejob.run_blocked where after_run_id is null) b
join oncejob.job j on j.id = b.job_id
where j.run_limit = 0 or j.run_limit > (select count(*) from oncejob.run_slot s where s.job_id = b.job_id)
limit 1000`)

export interface LimitRow {
  readonly run_limit: number
  readonly overlap: 'allow' | 'queue' | 'skip' | 'fail' | 'replace'
  readonly mode: 'standalone' | 'broadcast' | 'map' | 'map-reduce'
  readonly origin: 'native' | 'powerjob'
  readonly open: number
}

/** The limit of a job and how many of its runs are open, this one not counted; call it under lockJobs. */
export const limitOf = async (
  tx: Queries,
  appId: number,
  jobId: number,
  withoutRun = 0,
): Promise<LimitRow | undefined> => {
  const rows = await tx.query<LimitRow>(sql`
select j.run_limit, j.overlap, j.mode, j.origin,
  (select count(*) from oncejob.run_slot s where s.job_id = j.id and s.run_id <> ${withoutRun})
    + (select count(*) from oncejob.run_blocked b where b.job_id = j.id and b.run_id <> ${withoutRun}) as open
from oncejob.job j where j.id = ${jobId} and j.app_id = ${appId} and j.deleted_at is null`)
  return rows[0]
}

/** The open runs of a job that hold or wait for a slot; what `replace` puts an end to. */
export const openLimitedRuns = (tx: Queries, jobId: number): Promise<{ run_id: number }[]> =>
  tx.query<{ run_id: number }>(sql`
select run_id from oncejob.run_slot where job_id = ${jobId}
union all select run_id from oncejob.run_blocked where job_id = ${jobId} order by 1`)

/** One run of a job with a limit, put into the queue for its slot, or born failed with `error` (JSON text). */
export const insertLimitedRun = async (tx: Queries, run: NewRun, error: string | null): Promise<number> => {
  const rows = await tx.query<{ id: number }>(sql`
with n as materialized (
  select nextval('oncejob.run_id_seq') as id, j.app_id, j.id as job_id, j.route_id,
    coalesce(${run.priority}::int, j.priority)::smallint as priority, date_trunc('milliseconds', now()) as due_at,
    date_trunc('milliseconds', now()) + coalesce(${run.queueTimeoutMs}::bigint, j.queue_timeout_ms) * interval '1 ms' as queue_deadline_at
  from oncejob.job j where j.id = ${run.jobId}
), r as (
  insert into oncejob.run (id, app_id, job_id, request_key, params, priority, due_at, queue_deadline_at, state, ended_at, error)
  select id, app_id, job_id, ${run.requestKey}::text, ${run.params}::text, priority, due_at, queue_deadline_at,
    case when ${error}::text is null then 'open' else 'failed' end,
    case when ${error}::text is null then null else now() end, ${error}::text
  from n
), b as (
  insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select id, route_id, -priority, due_at, job_id, 0, true, queue_deadline_at from n where ${error}::text is null
)
select id from n`)
  const id = rows[0]?.id
  if (id === undefined) throw new Error('invariant broken: a job vanished under its lock')
  return id
}
