// Table run, looked at for calls that were sent twice: equal ones, shortly one after the other, each with a run of its own.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

export interface SuspectedRow {
  readonly job_id: number
  readonly job_name: string
  readonly run_id: number
  readonly repeat_run_id: number
  readonly created_at: Date
  readonly gap_ms: number
}

export interface SuspectedLook {
  readonly appId: number
  /** Runs made since so long ago. */
  readonly hours: number
  /** Calls further apart are not suspected. */
  readonly withinMs: number
  /** Most runs to look at, the newest ones. */
  readonly runs: number
  readonly limit: number
}

/**
 * Pairs of runs of one job with equal params, made by calls at most `withinMs` apart, newest first. Each run is in one pair
 * at most: of five in a row, two pairs. A loop that means its calls looks the same; keys tell the difference.
 */
export const findSuspected = (queries: Queries, look: SuspectedLook): Promise<SuspectedRow[]> =>
  queries.query<SuspectedRow>(sql`
with called as (
  select id, job_id, params, created_at from oncejob.run
  where app_id = ${look.appId} and schedule_id is null
  order by id desc limit ${look.runs}
), gaps as (
  select c.*, lag(id) over calls as earlier, created_at - lag(created_at) over calls as gap from called c
  where created_at > now() - ${look.hours}::bigint * interval '1 hour'
  window calls as (partition by job_id, params order by id)
), rows as (
  select g.*, sum(case when gap <= ${look.withinMs}::bigint * interval '1 ms' then 0 else 1 end)
    over (partition by job_id, params order by id) as stretch
  from gaps g
), numbered as (
  select r.*, row_number() over (partition by job_id, params, stretch order by id) as place from rows r
)
select n.job_id, j.name as job_name, n.earlier as run_id, n.id as repeat_run_id, n.created_at,
  (extract(epoch from n.gap) * 1000)::int as gap_ms
from numbered n join oncejob.job j on j.id = n.job_id
where n.place % 2 = 0
order by n.id desc limit ${look.limit}`)

/** How many runs made by calls such a look takes in. */
export const countCalled = async (queries: Queries, look: SuspectedLook): Promise<number> => {
  const [row] = await queries.query<{ examined: number }>(sql`
with called as (
  select created_at from oncejob.run where app_id = ${look.appId} and schedule_id is null order by id desc limit ${look.runs}
)
select count(*) as examined from called where created_at > now() - ${look.hours}::bigint * interval '1 hour'`)
  return row?.examined ?? 0
}
