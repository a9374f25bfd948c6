// Jobs on short intervals that Java workers repeat by themselves: which of them lack their long run, and which their schedule.
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** The run key under which a job has its one long run (I8). */
export const frequentKey = 'powerjob-frequent'

/** Whether a Java worker repeats an attempt by itself: its job's schedule, c or none, tells. Runs of native jobs never come to one. */
export const isFrequent: Sql = sql`coalesce(c.kind in ('fixed-rate', 'fixed-delay'), false)`

export interface FrequentJob {
  readonly id: number
  readonly app_id: number
  readonly route_id: number
  /** A run of it is open, whoever made it. */
  readonly open: boolean
  /** Its schedule rests, because a Java worker fires for it. */
  readonly parked: boolean
  /** How long ago its long run ended; null: it is open, or there was none. */
  readonly ended_ms: number | null
  /** How long until its life begins; 0: it has begun. */
  readonly starts_ms: number
}

/** Enabled jobs of the PowerJob wire on short intervals, within their life cycle (a start is near enough 30 s ahead). */
export const frequentJobs = (queries: Queries): Promise<FrequentJob[]> =>
  queries.query<FrequentJob>(sql`
select j.id, j.app_id, j.route_id, s.next_fire_at is null and s.awaiting_run_id is null as parked,
  exists (select from oncejob.run_slot o where o.job_id = j.id) or exists (select from oncejob.run_blocked b where b.job_id = j.id)
    or exists (select from oncejob.run_later l where l.job_id = j.id)
    or exists (select from oncejob.attempt a where a.job_id = j.id)
    or exists (select from oncejob.run_undecided u where u.job_id = j.id) as open,
  (extract(epoch from now() - r.ended_at) * 1000)::float8 as ended_ms,
  greatest(0, ceil(extract(epoch from s.start_at - now()) * 1000))::float8 as starts_ms
from oncejob.job j join oncejob.schedule s on s.job_id = j.id
left join oncejob.run_key k on k.app_id = j.app_id and k.job_id = j.id and k.key = ${frequentKey}
left join oncejob.run r on r.id = k.run_id
where j.origin = 'powerjob' and j.enabled and j.deleted_at is null and s.kind in ('fixed-rate', 'fixed-delay')
  and (s.start_at is null or s.start_at <= now() + interval '30 s') and (s.end_at is null or s.end_at > now())
order by j.id`)

/**
 * Open long runs that nothing wants any more: their job was disabled or deleted, runs by another schedule now, or its life
 * was over before a worker had them.
 */
export const unwantedLongRuns = (queries: Queries): Promise<{ id: number; app_id: number; job_id: number }[]> =>
  queries.query<{ id: number; app_id: number; job_id: number }>(sql`
select r.id, r.app_id, r.job_id
from oncejob.run_key k join oncejob.run r on r.id = k.run_id join oncejob.job j on j.id = r.job_id
join oncejob.schedule s on s.job_id = j.id left join oncejob.attempt a on a.run_id = r.id
-- few keys are those of open runs, and they have an index
where k.ended_at is null and k.key = ${frequentKey} and k.job_id = r.job_id and j.origin = 'powerjob' and r.state = 'open' and r.stop_requested_at is null
  and (not j.enabled or j.deleted_at is not null or s.kind not in ('fixed-rate', 'fixed-delay')
    or (s.end_at <= now() and a.run_id is null))
order by r.id`)

/** Lets the schedules of these jobs fire again that rested, each an interval from now. */
export const wakeSchedules = (queries: Queries, jobIds: readonly number[]): Promise<{ id: number; app_id: number }[]> =>
  queries.query<{ id: number; app_id: number }>(sql`
update oncejob.schedule s
set next_fire_at = date_trunc('milliseconds', now()) + s.expression::bigint * interval '1 ms', anchor_at = date_trunc('milliseconds', now()),
  version = s.version + 1
from oncejob.job j
where j.id = s.job_id and j.id = any(${[...jobIds]}::bigint[]) and j.enabled and j.deleted_at is null
  and s.kind in ('fixed-rate', 'fixed-delay') and s.next_fire_at is null and s.awaiting_run_id is null
returning j.id, j.app_id`)

/** Whether the life of a job on a short interval is over: its end has passed. */
export const isLifeOver = async (queries: Queries, jobId: number): Promise<boolean> => {
  const rows = await queries.query<{ over: boolean }>(
    sql`select coalesce(end_at <= now(), false) as over from oncejob.schedule where job_id = ${jobId}`,
    { name: 'is_life_over' },
  )
  return rows[0]?.over === true
}
