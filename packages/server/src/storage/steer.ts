// What people and duties do to runs that wait or run: cancel, stop, retry by hand, expire, promote when due.
import type { EndedRunState } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** Removes waiting runs from wherever they wait and ends them. Runs that are not waiting have no row in the answer. */
export const endWaiting = (
  tx: Queries,
  runIds: readonly number[],
  state: EndedRunState,
  error: string | null,
): Promise<{ run_id: number; job_id: number; app_id: number }[]> => {
  const ids = [...runIds]
  return tx.query<{ run_id: number; job_id: number; app_id: number }>(sql`
with gone as (
  delete from oncejob.run_ready where run_id = any(${ids}::bigint[]) returning run_id
), gone_later as (
  delete from oncejob.run_later where run_id = any(${ids}::bigint[]) returning run_id
), gone_blocked as (
  delete from oncejob.run_blocked where run_id = any(${ids}::bigint[]) returning run_id
), d as (
  select run_id from gone union all select run_id from gone_later union all select run_id from gone_blocked
), s as (
  delete from oncejob.run_slot using d where run_slot.run_id = d.run_id
)
update oncejob.run r set state = ${state}, ended_at = date_trunc('milliseconds', now()), error = ${error}::text
from d where r.id = d.run_id and r.state = 'open'
returning r.id as run_id, r.job_id, r.app_id`)
}

export interface StopRow {
  readonly run_id: number
  readonly session_id: number
  /** Nobody had asked before. */
  readonly fresh: boolean
}

/** Asks the worker of a running run to stop. No row: it is not running. */
export const requestStop = (tx: Queries, runIds: readonly number[]): Promise<StopRow[]> =>
  tx.query<StopRow>(sql`
with held as (
  -- locked first: of two that ask at once one is the first
  select run_id, stop_requested_at is null as fresh from oncejob.attempt where run_id = any(${[...runIds]}::bigint[])
  order by run_id for update
), a as (
  update oncejob.attempt a set stop_requested_at = coalesce(a.stop_requested_at, now()) from held where a.run_id = held.run_id
  returning a.run_id, a.session_id, held.fresh
), u as (
  update oncejob.run r set stop_requested_at = now() from a where r.id = a.run_id and r.stop_requested_at is null
)
select run_id, session_id, fresh from a`)

export interface RunStateRow {
  readonly state: 'open' | EndedRunState
  readonly running: boolean
  /** Its outcome is unknown. */
  readonly unknown: boolean
}

/** The state of one run of the app. */
export const runState = async (queries: Queries, appId: number, runId: number): Promise<RunStateRow | undefined> => {
  const rows = await queries.query<RunStateRow>(sql`
select r.state, exists (select 1 from oncejob.attempt a where a.run_id = r.id) as running,
  exists (select 1 from oncejob.run_undecided d where d.run_id = r.id) as unknown
from oncejob.run r where r.id = ${runId} and r.app_id = ${appId}`)
  return rows[0]
}

/** The rest of a statement whose part `u` has opened a run again: it waits, for a slot where its job has a limit. */
export const waitingAgain: Sql = sql`
q as (
  select u.*, j.route_id, j.run_limit > 0 as limited from u join oncejob.job j on j.id = u.job_id
), ready as (
  insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select id, route_id, -priority, due_at, job_id, attempts, follows, null from q where not limited
), blocked as (
  insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select id, route_id, -priority, due_at, job_id, attempts, true, null from q where limited
)
select job_id, limited from q`

/** Leaves a terminal state (I5): the run waits again with fresh counts; its attempts stay in the history. */
export const reopen = async (
  tx: Queries,
  appId: number,
  runId: number,
): Promise<{ job_id: number; limited: boolean } | undefined> => {
  const rows = await tx.query<{ job_id: number; limited: boolean }>(sql`
with u as (
  update oncejob.run set state = 'open', ended_at = null, result = null, result_truncated = false, error = null,
    failures = 0, losses = 0, stop_requested_at = null, queue_deadline_at = null, started_at = null,
    due_at = date_trunc('milliseconds', now()), decided_by = null
  where id = ${runId} and app_id = ${appId} and state <> 'open'
  returning id, job_id, priority, attempts, due_at, false as follows
), ${waitingAgain}`)
  return rows[0]
}

export interface DueRow {
  readonly run_id: number
  readonly job_id: number
  readonly app_id: number
  readonly blocked: boolean
}

/** Moves runs that have become due to ready, or into the queue for a slot. At most `limit`. */
export const promoteDue = (queries: Queries, limit: number): Promise<DueRow[]> =>
  queries.query<DueRow>(
    sql`
with d as (
  delete from oncejob.run_later l using (
    select run_id from oncejob.run_later where run_at <= now() order by run_at limit ${limit} for update skip locked
  ) due where l.run_id = due.run_id returning l.*
), ready as (
  insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at from d where not needs_slot
), blocked as (
  insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at from d where needs_slot
)
select d.run_id, d.job_id, j.app_id, d.needs_slot as blocked from d join oncejob.job j on j.id = d.job_id`,
    { name: 'promote_due' },
  )

/** Milliseconds until the next delayed run is due; null when there is none; negative when it is overdue. */
export const nextDueIn = async (queries: Queries): Promise<number | null> => {
  const rows = await queries.query<{ ms: number | null }>(
    sql`select ceil(extract(epoch from min(run_at) - now()) * 1000)::float8 as ms from oncejob.run_later`,
    { name: 'next_due_in' },
  )
  return rows[0]?.ms ?? null
}

/** Waiting runs whose queue deadline has passed. */
export const expiredWaiting = (queries: Queries, limit: number): Promise<{ run_id: number; app_id: number }[]> =>
  queries.query<{ run_id: number; app_id: number }>(sql`
select e.run_id, j.app_id from (
  select run_id, job_id from oncejob.run_ready where expires_at <= now()
  union all select run_id, job_id from oncejob.run_later where expires_at <= now()
  union all select run_id, job_id from oncejob.run_blocked where expires_at <= now()
) e join oncejob.job j on j.id = e.job_id order by e.run_id limit ${limit}`)

/** Which of these runs have ended. */
export const endedAmong = (queries: Queries, runIds: readonly number[]): Promise<{ id: number }[]> =>
  queries.query<{ id: number }>(
    sql`select id from oncejob.run where id = any(${[...runIds]}::bigint[]) and state <> 'open'`,
    { name: 'ended_among' },
  )
