// Ends attempts that did not succeed: takes them away, and writes what the rules in runs/settle.ts decided.
import type { AttemptOutcome, EndedRunState, Guarantee } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** An attempt that was just taken away, with all that its settling needs. */
export interface TakenRow {
  readonly run_id: number
  readonly lease: number
  readonly session_id: number
  readonly app_id: number
  readonly job_id: number
  readonly number: number
  readonly follows: boolean
  readonly claimed_at: Date
  readonly stop: boolean
  readonly failures: number
  readonly losses: number
  /** The whole run's time is over. */
  readonly run_over: boolean
  readonly retry_max: number
  readonly retry_backoff: 'fixed' | 'exponential'
  readonly retry_delay_ms: number
  readonly retry_max_delay_ms: number
  readonly retry_jitter: number
  readonly retry_on: string[]
  readonly no_retry_on: string[]
  readonly max_lost: number
  readonly guarantee: Guarantee
}

/** `deleted` must be a DELETE on oncejob.attempt that returns its rows: whoever deletes the row settles it. */
const taking = (tx: Queries, deleted: Sql): Promise<TakenRow[]> =>
  tx.query<TakenRow>(sql`
with d as (${deleted})
select d.run_id, d.lease, d.session_id, d.app_id, d.job_id, d.number, d.follows, d.claimed_at,
  d.stop_requested_at is not null or r.stop_requested_at is not null as stop, r.failures, r.losses,
  coalesce(coalesce(r.started_at, d.claimed_at) + j.run_timeout_ms * interval '1 ms' <= now(), false) as run_over,
  j.retry_max, j.retry_backoff, j.retry_delay_ms, j.retry_max_delay_ms, j.retry_jitter, j.retry_on, j.no_retry_on, j.max_lost,
  j.guarantee
from d join oncejob.run r on r.id = d.run_id join oncejob.job j on j.id = d.job_id
order by d.run_id`)

/** Takes the attempts of these leases, if they are current. */
export const takeByLease = (
  tx: Queries,
  leases: readonly { readonly appId: number; readonly runId: number; readonly lease: number }[],
): Promise<TakenRow[]> =>
  taking(
    tx,
    sql`
  delete from oncejob.attempt a using unnest(
    ${leases.map((l) => l.appId)}::bigint[], ${leases.map((l) => l.runId)}::bigint[], ${leases.map((l) => l.lease)}::bigint[]
  ) as i(app_id, run_id, lease)
  where a.run_id = i.run_id and a.lease = i.lease and a.app_id = i.app_id returning a.*`,
  )

/**
 * Ends sessions that were not renewed for lease + grace (I7). Only the database's clock decides.
 * @param withJava Java workers too: after an outage they need longer to find a server again
 */
export const endLostSessions = (
  queries: Queries,
  graceMs: number,
  withJava: boolean,
): Promise<{ id: number; name: string; app_id: number }[]> =>
  queries.query<{ id: number; name: string; app_id: number }>(sql`
update oncejob.worker_session set ended_at = now(), end_reason = 'lost'
where ended_at is null and expires_at < now() - ${graceMs}::bigint * interval '1 ms'
  and (protocol = 'native' or ${withJava}::boolean)
returning id, name, app_id`)

/**
 * Takes attempts whose session has ended, at most `limit`. Also those that a claim, racing with the end of the session,
 * made after it: they are found by the next round.
 */
export const takeOfEndedSessions = (tx: Queries, limit: number): Promise<TakenRow[]> =>
  taking(
    tx,
    sql`
  delete from oncejob.attempt a using (
    select t.run_id from oncejob.attempt t join oncejob.worker_session s on s.id = t.session_id
    where s.ended_at is not null order by t.run_id limit ${limit} for update of t skip locked
  ) gone where a.run_id = gone.run_id returning a.*`,
  )

/** Takes attempts that are past their deadline, and still are not over `patienceMs` later. */
export const takeOverdue = (tx: Queries, patienceMs: number, limit: number): Promise<TakenRow[]> =>
  taking(
    tx,
    sql`
  delete from oncejob.attempt a using (
    select run_id from oncejob.attempt where deadline_at < now() - ${patienceMs}::bigint * interval '1 ms'
    order by run_id limit ${limit} for update skip locked
  ) late where a.run_id = late.run_id returning a.*`,
  )

/** Takes attempts that were asked to stop `patienceMs` ago and did not. */
export const takeUnstopped = (tx: Queries, patienceMs: number, limit: number): Promise<TakenRow[]> =>
  taking(
    tx,
    sql`
  delete from oncejob.attempt a using (
    select run_id from oncejob.attempt where stop_requested_at < now() - ${patienceMs}::bigint * interval '1 ms'
    order by run_id limit ${limit} for update skip locked
  ) deaf where a.run_id = deaf.run_id returning a.*`,
  )

export interface Unheard {
  /** Whose workers they are: a server judges those that it hears. */
  readonly serverId: number
  /** Leases that are just being handed over: their workers have not answered, and may take long. */
  readonly sending: readonly number[]
  readonly silenceMs: number
  /** After this any server takes them. */
  readonly goneMs: number
}

/**
 * Takes attempts of Java workers of which nothing was heard for `silenceMs`, since they were claimed or last told of: they
 * never got there, or were dropped.
 */
export const takeUnheard = (
  tx: Queries,
  { serverId, sending, silenceMs, goneMs }: Unheard,
  limit: number,
): Promise<TakenRow[]> =>
  taking(
    tx,
    sql`
  delete from oncejob.attempt a using (
    select t.run_id from oncejob.attempt t
    join oncejob.worker_session s on s.id = t.session_id and s.protocol = 'powerjob' and s.ended_at is null
    left join oncejob.powerjob_attempt p on p.run_id = t.run_id and p.lease = t.lease
    where t.claimed_at < now() - ${silenceMs}::bigint * interval '1 ms'
      and coalesce(p.heard_at, t.claimed_at) < now() - case
        when s.server_id = ${serverId}::bigint and t.lease <> all(${[...sending]}::bigint[]) then ${silenceMs}::bigint
        else ${goneMs}::bigint end * interval '1 ms'
    order by t.run_id limit ${limit} for update of t skip locked
  ) unheard where a.run_id = unheard.run_id returning a.*`,
  )

/**
 * Takes attempts of which their worker says that it has no run at all since `sinceMs`, by its own clock. One goes when it had
 * taken it well before: `taken`, or because it has told of it by then; and only if it has told nothing of it since.
 */
export const takeForgotten = (
  tx: Queries,
  doubted: readonly { readonly runId: number; readonly lease: number; readonly taken: boolean }[],
  sinceMs: number,
  settledMs: number,
): Promise<TakenRow[]> =>
  taking(
    tx,
    sql`
  delete from oncejob.attempt a using (
    select i.run_id, i.lease from unnest(
      ${doubted.map((d) => d.runId)}::bigint[], ${doubted.map((d) => d.lease)}::bigint[], ${doubted.map((d) => d.taken)}::boolean[]
    ) as i(run_id, lease, taken)
    left join oncejob.powerjob_attempt p on p.run_id = i.run_id and p.lease = i.lease
    where (i.taken or p.start_time <= ${sinceMs}::bigint - ${settledMs}::bigint) and coalesce(p.report_time < ${sinceMs}::bigint, true)
    order by i.run_id
  ) gone where a.run_id = gone.run_id and a.lease = gone.lease returning a.*`,
  )

export interface HistoryRow {
  readonly taken: TakenRow
  readonly outcome: AttemptOutcome
  /** JSON text of a RunError, or null. */
  readonly error: string | null
}

/** Appends attempts to the history. */
export const logAttempts = async (tx: Queries, rows: readonly HistoryRow[]): Promise<void> => {
  await tx.query(sql`
insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, outcome, error)
select * from unnest(
  ${rows.map((r) => r.taken.run_id)}::bigint[], ${rows.map((r) => r.taken.number)}::int[], ${rows.map((r) => r.taken.lease)}::bigint[],
  ${rows.map((r) => r.taken.session_id)}::bigint[], ${rows.map((r) => r.taken.claimed_at)}::timestamptz[],
  ${rows.map((r) => r.outcome)}::text[], ${rows.map((r) => r.error)}::text[])`)
}

export interface EndRow {
  readonly taken: TakenRow
  readonly state: EndedRunState
  readonly error: string | null
}

/** Writes the terminal state of runs whose attempt was taken, and gives their slots back. */
export const endTaken = async (tx: Queries, rows: readonly EndRow[]): Promise<void> => {
  const ids = rows.map((r) => r.taken.run_id)
  await tx.query(sql`
with i as (
  select * from unnest(
    ${ids}::bigint[], ${rows.map((r) => r.taken.number)}::int[], ${rows.map((r) => r.taken.session_id)}::bigint[],
    ${rows.map((r) => r.taken.claimed_at)}::timestamptz[], ${rows.map((r) => r.state)}::text[], ${rows.map((r) => r.error)}::text[]
  ) as t(run_id, number, session_id, claimed_at, state, error)
), s as (
  delete from oncejob.run_slot where run_id = any(${ids}::bigint[])
)
update oncejob.run r set state = i.state, ended_at = date_trunc('milliseconds', now()), attempts = i.number,
  started_at = coalesce(r.started_at, i.claimed_at), session_id = i.session_id, error = i.error
from i where r.id = i.run_id and r.state = 'open'`)
}

export interface AgainRow {
  readonly taken: TakenRow
  readonly delayMs: number
  readonly failures: number
  readonly losses: number
}

/** Puts runs whose attempt was taken back into the queue, now or later. They keep their slot. */
export const requeueTaken = async (tx: Queries, rows: readonly AgainRow[]): Promise<void> => {
  await tx.query(sql`
with i as (
  select * from unnest(
    ${rows.map((r) => r.taken.run_id)}::bigint[], ${rows.map((r) => r.taken.number)}::int[], ${rows.map((r) => r.taken.session_id)}::bigint[],
    ${rows.map((r) => r.taken.claimed_at)}::timestamptz[], ${rows.map((r) => r.delayMs)}::bigint[],
    ${rows.map((r) => r.failures)}::int[], ${rows.map((r) => r.losses)}::int[], ${rows.map((r) => r.taken.follows)}::boolean[]
  ) as t(run_id, number, session_id, claimed_at, delay_ms, failures, losses, follows)
), u as (
  update oncejob.run r set attempts = i.number, started_at = coalesce(r.started_at, i.claimed_at), session_id = i.session_id,
    failures = i.failures, losses = i.losses
  from i where r.id = i.run_id and r.state = 'open'
  returning r.id, r.job_id, r.priority, i.number, i.delay_ms, i.follows
), q as (
  select u.*, j.route_id, date_trunc('milliseconds', now() + u.delay_ms * interval '1 ms') as run_at
  from u join oncejob.job j on j.id = u.job_id
), soon as (
  insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at)
  select id, route_id, -priority, run_at, job_id, number, follows, null from q where delay_ms = 0
)
insert into oncejob.run_later (run_id, route_id, priority, run_at, job_id, attempts, follows, expires_at, needs_slot)
select id, route_id, -priority, run_at, job_id, number, follows, null, false from q where delay_ms > 0`)
}
