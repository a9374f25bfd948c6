// Makes runs: one statement for as many submissions as came together.
import { dateOf } from '../kernel/clock.ts'
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

/** A submission whose job is known by id. `name` is checked when given: a cached id may have been renamed. */
export interface NewRun {
  readonly appId: number
  readonly jobId: number
  readonly name: string | null
  readonly params: string | null
  readonly delayMs: number | null
  readonly runAtMs: number | null
  readonly priority: number | null
  readonly queueTimeoutMs: number | null
  readonly requestKey: string | null
}

/** `id` is null when the job's overlap policy must decide under a lock; `at`: where the run was put. */
export interface SubmittedRow {
  readonly ord: number
  readonly id: number | null
  readonly job_id: number
  readonly at: 'ready' | 'later' | 'blocked' | 'undecided'
}

const instant = (ms: number | null): Date | null => (ms === null ? null : dateOf(ms))

/**
 * Inserts runs of jobs that exist in the app. A submission without a row in the answer has no such job.
 * Jobs whose policy is skip, fail or replace are only reported: see limits.ts.
 */
export const insertRuns = (queries: Queries, runs: readonly NewRun[]): Promise<SubmittedRow[]> =>
  queries.query<SubmittedRow>(
    sql`
with i as (
  select * from unnest(
    ${runs.map((_, ord) => ord)}::int[], ${runs.map((r) => r.appId)}::bigint[], ${runs.map((r) => r.jobId)}::bigint[],
    ${runs.map((r) => r.name)}::text[], ${runs.map((r) => r.params)}::text[], ${runs.map((r) => r.delayMs)}::bigint[],
    ${runs.map((r) => instant(r.runAtMs))}::timestamptz[], ${runs.map((r) => r.priority)}::int[],
    ${runs.map((r) => r.queueTimeoutMs)}::bigint[], ${runs.map((r) => r.requestKey)}::text[]
  ) as t(ord, app_id, job_id, name, params, delay_ms, run_at, priority, queue_timeout_ms, request_key)
), n as materialized (
  select
    i.ord, i.app_id, i.job_id, i.params, i.request_key, j.route_id, j.run_limit > 0 as limited,
    coalesce(i.priority, j.priority)::smallint as priority, d.due_at,
    d.due_at + coalesce(i.queue_timeout_ms, j.queue_timeout_ms) * interval '1 ms' as queue_deadline_at,
    case
      when d.due_at > now() then 'later'
      when j.run_limit = 0 then 'ready'
      when j.overlap in ('allow', 'queue') then 'blocked'
      else 'undecided'
    end as at,
    nextval('oncejob.run_id_seq') as id
  from i
  join oncejob.job j on j.id = i.job_id and j.app_id = i.app_id and j.deleted_at is null and (i.name is null or j.name = i.name)
  -- cut, not rounded: a due time rounded up would lie in the future
  cross join lateral (select date_trunc('milliseconds', coalesce(i.run_at, now() + coalesce(i.delay_ms, 0) * interval '1 ms')) as due_at) d
), r as (
  insert into oncejob.run (id, app_id, job_id, request_key, params, priority, due_at, queue_deadline_at)
  select id, app_id, job_id, request_key, params, priority, due_at, queue_deadline_at from n where at <> 'undecided'
), ready as (
  insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select id, route_id, -priority, due_at, job_id, 0, limited, queue_deadline_at from n where at = 'ready'
), later as (
  insert into oncejob.run_later (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at, needs_slot)
  select id, route_id, -priority, due_at, job_id, 0, limited, queue_deadline_at, limited from n where at = 'later'
), blocked as (
  insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select id, route_id, -priority, due_at, job_id, 0, limited, queue_deadline_at from n where at = 'blocked'
)
select ord, case when at = 'undecided' then null else id end as id, job_id, at from n`,
    { name: 'submit' },
  )

export interface NamedJob {
  readonly id: number
  readonly name: string
}

/** Jobs of an app that have this name; more than one only for jobs saved through the PowerJob wire. */
export const jobsNamed = (queries: Queries, appId: number, name: string): Promise<NamedJob[]> =>
  queries.query<NamedJob>(
    sql`select id, name from oncejob.job where app_id = ${appId} and name = ${name} and deleted_at is null order by id limit 2`,
    { name: 'jobs_named' },
  )
