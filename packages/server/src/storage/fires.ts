// The fire ledger (I2): one statement moves schedules on by compare-and-set and makes their fires and runs.
import type { FireOutcome } from '@oncejob/protocol'
import type { ScheduleColumns } from '../runs/schedule-codec.ts'
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

export interface DueSchedule extends ScheduleColumns {
  readonly id: number
  readonly job_id: number
  readonly app_id: number
  readonly version: number
  readonly anchor_at: Date
  readonly next_fire_at: Date
  readonly overlap: 'allow' | 'queue' | 'skip' | 'fail' | 'replace'
  readonly run_limit: number
  readonly route_id: number
  /** A job of the PowerJob wire on a short interval: a Java worker, where there is one, repeats it by itself. */
  readonly repeatable: boolean
  /** The database's clock. */
  readonly now_at: Date
}

/** Schedules that are due, the longest due first. */
export const dueSchedules = (queries: Queries, limit: number): Promise<DueSchedule[]> =>
  queries.query<DueSchedule>(
    sql`
select s.id, s.job_id, j.app_id, s.version, s.kind, s.expression, s.zone, s.start_at, s.end_at, s.jitter_ms, s.misfire_policy,
  s.misfire_max_runs, s.misfire_max_lateness_ms, s.dst_gap, s.dst_overlap, s.anchor_at, s.next_fire_at, j.overlap, j.run_limit, j.route_id,
  j.origin = 'powerjob' and s.kind in ('fixed-rate', 'fixed-delay') as repeatable, now() as now_at
from oncejob.schedule s join oncejob.job j on j.id = s.job_id
where s.next_fire_at <= now()
order by s.next_fire_at limit ${limit}`,
    { name: 'due_schedules' },
  )

/** Milliseconds until the next fire; null when nothing is planned; negative when it is overdue. */
export const nextFireIn = async (queries: Queries): Promise<number | null> => {
  const rows = await queries.query<{ ms: number | null }>(
    sql`select ceil(extract(epoch from min(next_fire_at) - now()) * 1000)::float8 as ms from oncejob.schedule where next_fire_at is not null`,
    { name: 'next_fire_in' },
  )
  return rows[0]?.ms ?? null
}

/** How a schedule moves on: from the version and fire time that were read, to the next fire time. */
export interface Move {
  readonly scheduleId: number
  readonly version: number
  readonly dueAt: Date
  readonly nextFireAt: Date | null
}

export interface NewFire {
  readonly scheduleId: number
  readonly fireAt: Date
  readonly outcome: FireOutcome
  readonly reason: string | null
  readonly covers: number
  /** When its run is due: the fire time and its jitter. */
  readonly runAt: Date
  /** Set for a run that is born failed (overlap policy fail): JSON text of its error. */
  readonly error: string | null
}

export interface MadeFire {
  readonly schedule_id: number
  readonly job_id: number
  readonly app_id: number
  readonly outcome: FireOutcome
  readonly run_id: number | null
  readonly fire_at: Date
  readonly at: 'ready' | 'later' | 'blocked' | 'nowhere'
}

/**
 * Makes the fires of the schedules that are still as they were read. A schedule that was moved or changed by
 * someone else in between has no row in the answer: nothing of it was written.
 */
export const makeFires = (queries: Queries, moves: readonly Move[], fires: readonly NewFire[]): Promise<MadeFire[]> =>
  queries.query<MadeFire>(
    sql`
with s as (
  select * from unnest(
    ${moves.map((m) => m.scheduleId)}::bigint[], ${moves.map((m) => m.version)}::bigint[],
    ${moves.map((m) => m.dueAt)}::timestamptz[], ${moves.map((m) => m.nextFireAt)}::timestamptz[]
  ) as t(id, version, due_at, next_at)
), x as materialized (
  select f.*, case when f.outcome = 'fired' then nextval('oncejob.run_id_seq') end as run_id
  from unnest(
    ${fires.map((f) => f.scheduleId)}::bigint[], ${fires.map((f) => f.fireAt)}::timestamptz[], ${fires.map((f) => f.outcome)}::text[],
    ${fires.map((f) => f.reason)}::text[], ${fires.map((f) => f.covers)}::int[], ${fires.map((f) => f.runAt)}::timestamptz[],
    ${fires.map((f) => f.error)}::text[]
  ) as f(schedule_id, fire_at, outcome, reason, covers, run_at, error)
  -- a clock that was set back, and a schedule armed again since: what has fired does not fire twice, and stops nobody else
  where not exists (select from oncejob.fire past where past.schedule_id = f.schedule_id and past.fire_at = f.fire_at)
), moved as (
  update oncejob.schedule c
  set next_fire_at = s.next_at, version = c.version + 1,
    awaiting_run_id = case when c.kind = 'fixed-delay'
      then (select max(x.run_id) from x where x.schedule_id = c.id and x.error is null) end
  from s where c.id = s.id and c.version = s.version and c.next_fire_at = s.due_at
  returning c.id, c.job_id, c.kind
), n as materialized (
  select x.*, m.job_id, j.app_id, j.route_id, j.priority, j.run_limit > 0 or m.kind = 'fixed-delay' as follows, j.run_limit > 0 as limited,
    x.run_at + j.queue_timeout_ms * interval '1 ms' as queue_deadline_at,
    case
      when x.run_id is null or x.error is not null then 'nowhere'
      when x.run_at > now() then 'later'
      when j.run_limit > 0 then 'blocked'
      else 'ready'
    end as at
  from x join moved m on m.id = x.schedule_id join oncejob.job j on j.id = m.job_id
), ledger as (
  insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, run_id, reason, covers)
  select schedule_id, fire_at, job_id, outcome, run_id, reason, covers from n
), r as (
  insert into oncejob.run (id, app_id, job_id, schedule_id, fire_at, priority, due_at, queue_deadline_at, state, ended_at, error)
  select run_id, app_id, job_id, schedule_id, fire_at, priority, run_at, queue_deadline_at,
    case when error is null then 'open' else 'failed' end, case when error is null then null else now() end, error
  from n where run_id is not null
), ready as (
  insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select run_id, route_id, -priority, run_at, job_id, 0, follows, queue_deadline_at from n where at = 'ready'
), later as (
  insert into oncejob.run_later (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at, needs_slot)
  select run_id, route_id, -priority, run_at, job_id, 0, follows, queue_deadline_at, limited from n where at = 'later'
), blocked as (
  insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select run_id, route_id, -priority, run_at, job_id, 0, follows, queue_deadline_at from n where at = 'blocked'
)
select schedule_id, job_id, app_id, outcome, run_id, fire_at, at from n`,
    { name: 'make_fires' },
  )
