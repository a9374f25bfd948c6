// Makes runs: one statement for as many submissions as came together.
import { dateOf } from '../kernel/clock.ts'
import type { Queries } from './db.ts'
import type { RequestKey } from './request-keys.ts'
import { sql } from './sql.ts'

/** A run of a job that is known by id. */
export interface NewRun {
  readonly appId: number
  readonly jobId: number
  /** Checked when it is given: the job of a cached id may have been renamed. */
  readonly name: string | null
  /** JSON text, or null. */
  readonly params: string | null
  /** Start that much later, judged by the database's clock; null: at once. */
  readonly delayMs: number | null
  /** Start at this time (ms since the epoch); null: see delayMs. */
  readonly runAtMs: number | null
  readonly priority: number | null
  readonly queueTimeoutMs: number | null
  /** Text of the request key, kept with the run. */
  readonly requestKey: string | null
  /** The key that the statement takes which makes the run; null: none. No key may stand twice in the input. */
  readonly keyed: RequestKey | null
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
 * Inserts runs of jobs that exist in the app, each together with its key and the answer to it. A submission without a row in
 * the answer has no such job, or its key was taken before: nothing of it was written. That is one statement for keys and runs
 * and not two, and the taken keys are those that are missing: an `on conflict … union select` would not see a concurrent winner.
 * Jobs whose policy is skip, fail or replace, and jobs of a mode that is not executed, are only reported: see dispatch/overlap.ts.
 */
export const insertRuns = (queries: Queries, runs: readonly NewRun[], windowMs: number): Promise<SubmittedRow[]> =>
  queries.query<SubmittedRow>(
    sql`
with i as (
  select * from unnest(
    ${runs.map((_, ord) => ord)}::int[], ${runs.map((r) => r.appId)}::bigint[], ${runs.map((r) => r.jobId)}::bigint[],
    ${runs.map((r) => r.name)}::text[], ${runs.map((r) => r.params)}::text[], ${runs.map((r) => r.delayMs)}::bigint[],
    ${runs.map((r) => instant(r.runAtMs))}::timestamptz[], ${runs.map((r) => r.priority)}::int[],
    ${runs.map((r) => r.queueTimeoutMs)}::bigint[], ${runs.map((r) => r.requestKey)}::text[],
    ${runs.map((r) => r.keyed?.fingerprint ?? null)}::text[], ${runs.map((r) => r.keyed?.requestId ?? null)}::text[],
    ${runs.map((r) => r.keyed?.route ?? null)}::text[]
  ) as t(ord, app_id, job_id, name, params, delay_ms, run_at, priority, queue_timeout_ms, request_key, fingerprint, request_id, route)
), w as materialized (
  select
    i.ord, i.app_id, i.job_id, i.params, i.request_key, i.fingerprint, i.request_id, i.route, j.route_id, j.run_limit > 0 as limited,
    coalesce(i.priority, j.priority)::smallint as priority, d.due_at,
    d.due_at + coalesce(i.queue_timeout_ms, j.queue_timeout_ms) * interval '1 ms' as queue_deadline_at,
    case
      when j.mode <> 'standalone' and j.origin = 'native' then 'undecided'
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
), k as (
  insert into oncejob.request_key (app_id, key, fingerprint, request_id, route, status, headers, body, expires_at)
  select app_id, request_key, fingerprint, request_id, route, 201,
    '{"location":"/api/v1/runs/' || id || '","content-type":"application/json; charset=utf-8"}', '{"id":' || id || '}',
    now() + ${windowMs}::bigint * interval '1 ms'
  from w where fingerprint is not null and at <> 'undecided'
  -- in one order everywhere: two servers that take the same keys never wait for each other
  order by app_id, request_key
  on conflict do nothing returning app_id, key
), n as materialized (
  -- a hashed subplan: joined, the two lists would be compared pair by pair
  select * from w where fingerprint is null or at = 'undecided' or (app_id, request_key) in (select app_id, key from k)
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
