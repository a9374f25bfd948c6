// Executions within the long runs of jobs on short intervals: what is known of their end, and which are old enough to go.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

/** As code of the wire 4 and 5; `unknown`: it began, and nobody will tell any more how it ended. */
export type SubRunState = 'running' | 'failed' | 'succeeded' | 'unknown'

/**
 * The state of `k`, a row of powerjob_sub_run. A worker tells of its last ten only: what has left them without an
 * end, or was begun by an attempt that is over, gets none.
 */
export const subRunState = sql`case k.status when 5 then 'succeeded' when 4 then 'failed'
    else case when exists (select from oncejob.attempt a where a.run_id = k.run_id and a.lease = k.lease)
      and k.number > (select max(n.number) from oncejob.powerjob_sub_run n where n.run_id = k.run_id and n.lease = k.lease) - 10
      then 'running' else 'unknown' end
  end`

/** The jobs that have any, by one look into the index for each. */
export const jobsWithSubRuns = (queries: Queries): Promise<{ id: number }[]> =>
  queries.query<{ id: number }>(sql`
with recursive job as (
  select min(job_id) as id from oncejob.powerjob_sub_run
  union all
  select (select min(s.job_id) from oncejob.powerjob_sub_run s where s.job_id > job.id) from job where job.id is not null
)
select id from job where id is not null`)

/** Which executions of a job may go. */
export interface OldSubRuns {
  readonly jobId: number
  /** Those that began more than so many days ago, */
  readonly days: number
  /** and all but so many of the newest. */
  readonly keep: number
  readonly limit: number
}

/** Forgets up to `limit` of them; returns how many. */
export const deleteOldSubRuns = async (queries: Queries, old: OldSubRuns): Promise<number> => {
  const rows = await queries.query<{ n: number }>(sql`
with bound as (
  select greatest(now() - ${old.days}::float8 * interval '1 day', (
    select s.started_at from oncejob.powerjob_sub_run s where s.job_id = ${old.jobId}
    order by s.started_at desc offset ${old.keep} limit 1)) as at
), gone as (
  delete from oncejob.powerjob_sub_run where ctid = any (array(
    select s.ctid from oncejob.powerjob_sub_run s
    where s.job_id = ${old.jobId} and s.started_at <= (select at from bound)
    order by s.started_at limit ${old.limit} for update skip locked))
  returning 1
)
select count(*)::int as n from gone`)
  return rows[0]?.n ?? 0
}
