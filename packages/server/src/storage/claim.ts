// Hands ready runs to worker sessions: the claim deletes them from run_ready and makes attempts with new leases (I3).
import type { Guarantee } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** What a worker needs to execute an attempt. Params are JSON text. */
export interface ClaimedRow {
  readonly run_id: number
  readonly lease: number
  readonly session_id: number
  readonly app_id: number
  readonly job_id: number
  /** Version of the job, whose other settings a Java worker is sent. */
  readonly job_version: number
  readonly number: number
  readonly name: string
  readonly processor: string
  readonly job_params: string | null
  readonly params: string | null
  readonly log_level: string
  readonly guarantee: Guarantee
  /** Times in ms since the epoch: parsing three dates per run would cost as much as the rest of the row. */
  readonly fire_ms: number | null
  readonly created_ms: number
  readonly due_ms: number
  readonly priority: number
  /** Time left until the attempt's deadline. */
  readonly timeout_ms: number | null
}

// of an attempt a, its run r and its job j
const handOver: Sql = sql`
  a.run_id, a.lease, a.session_id, a.app_id, a.job_id, j.version as job_version, a.number, j.name, j.processor, j.params as job_params,
  r.params, j.log_level, j.guarantee, r.priority,
  (extract(epoch from r.fire_at) * 1000)::float8 as fire_ms, (extract(epoch from r.created_at) * 1000)::float8 as created_ms,
  (extract(epoch from r.due_at) * 1000)::float8 as due_ms,
  -- greatest() passes over nulls: a missing deadline must stay missing
  case when a.deadline_at is not null then greatest(0, ceil(extract(epoch from a.deadline_at - now()) * 1000))::float8 end as timeout_ms`

/**
 * Claims at most one run per slot, in the order of the queue.
 * @param slots session ids, one entry per free slot, the best worker first; slots of ended sessions are passed over
 * @param routeIds the routes that every one of these sessions may execute
 *
 * Why this shape: routes are probed one by one in index order, so a long queue costs nothing; MATERIALIZED because a
 * LIMIT … SKIP LOCKED must not be run twice. The primary key of attempt is the arbiter: a second live attempt is impossible.
 */
export const claimRuns = (
  queries: Queries,
  slots: readonly number[],
  routeIds: readonly number[],
): Promise<ClaimedRow[]> =>
  queries.query<ClaimedRow>(
    sql`
with slot as materialized (
  select array_agg(s.id order by t.ord) as ids, count(*) as n
  from unnest(${[...slots]}::bigint[]) with ordinality as t(id, ord)
  join oncejob.worker_session s on s.id = t.id and s.ended_at is null
), x as materialized (
  select r.run_id, r.priority, r.run_at from unnest(${[...routeIds]}::int[]) as route(id) cross join lateral (
    select run_id, priority, run_at from oncejob.run_ready
    where route_id = route.id and run_at <= now()
    order by priority, run_at, run_id limit (select n from slot) for update skip locked
  ) r
), pick as materialized (
  select run_id, row_number() over (order by priority, run_at, run_id) as ord
  from x order by priority, run_at, run_id limit (select n from slot)
), c as (
  delete from oncejob.run_ready using pick where run_ready.run_id = pick.run_id
  returning run_ready.run_id, run_ready.job_id, run_ready.attempts, run_ready.follows, pick.ord
), a as (
  insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows, claimed_at, deadline_at)
  select c.run_id, nextval('oncejob.lease_seq'), slot.ids[c.ord], j.app_id, c.job_id, c.attempts + 1, c.follows,
    date_trunc('milliseconds', now()),
    least(
      now() + j.attempt_timeout_ms * interval '1 ms',
      case when j.run_timeout_ms is not null then
        (select coalesce(r.started_at, now()) from oncejob.run r where r.id = c.run_id) + j.run_timeout_ms * interval '1 ms'
      end)
  from c cross join slot join oncejob.job j on j.id = c.job_id
  returning run_id, lease, session_id, app_id, job_id, number, deadline_at
)
select ${handOver}
from a join oncejob.run r on r.id = a.run_id join oncejob.job j on j.id = a.job_id
order by a.lease`,
    { name: 'claim' },
  )

/** The live attempts of a session, with all that a second hand-over needs. */
export const attemptsOf = (
  queries: Queries,
  sessionId: number,
): Promise<(ClaimedRow & { stop: boolean; late: boolean })[]> =>
  queries.query<ClaimedRow & { stop: boolean; late: boolean }>(
    sql`
select ${handOver},
  a.stop_requested_at is not null as stop, coalesce(a.deadline_at < now(), false) as late
from oncejob.attempt a join oncejob.run r on r.id = a.run_id join oncejob.job j on j.id = a.job_id
where a.session_id = ${sessionId} order by a.lease`,
    { name: 'attempts_of' },
  )
