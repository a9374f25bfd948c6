// Runs whose outcome is unknown: how they get there, and the three ways out. Whoever deletes the row decides the run.
import type { EndedRunState, UnknownReason } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import type { TakenRow } from './settle.ts'
import { sql, type Sql } from './sql.ts'
import { waitingAgain } from './steer.ts'

export interface UndecidedRow {
  readonly taken: TakenRow
  readonly reason: UnknownReason
  readonly effect: string | null
}

/** Lets runs whose attempt was taken wait for a decision. They give their slot back: nothing of them is executed. */
export const leaveUndecided = async (tx: Queries, rows: readonly UndecidedRow[]): Promise<void> => {
  const ids = rows.map((r) => r.taken.run_id)
  await tx.query(sql`
with i as (
  select * from unnest(
    ${ids}::bigint[], ${rows.map((r) => r.taken.number)}::int[], ${rows.map((r) => r.taken.lease)}::bigint[],
    ${rows.map((r) => r.taken.session_id)}::bigint[], ${rows.map((r) => r.taken.claimed_at)}::timestamptz[],
    ${rows.map((r) => r.taken.follows)}::boolean[], ${rows.map((r) => r.reason)}::text[], ${rows.map((r) => r.effect)}::text[]
  ) as t(run_id, number, lease, session_id, claimed_at, follows, reason, effect)
), s as (
  delete from oncejob.run_slot where run_id = any(${ids}::bigint[])
), u as (
  update oncejob.run r set attempts = i.number, started_at = coalesce(r.started_at, i.claimed_at), session_id = i.session_id
  from i where r.id = i.run_id and r.state = 'open'
  returning r.id, r.job_id, i.lease, i.session_id, i.reason, i.effect, i.follows
)
insert into oncejob.run_undecided (run_id, job_id, lease, session_id, reason, effect, follows)
select id, job_id, lease, session_id, reason, effect, follows from u`)
}

// of two decisions at once the second one waits here, and then finds no row
const decided = (appId: number, runId: number): Sql => sql`
  delete from oncejob.run_undecided u using oncejob.run r
  where u.run_id = ${runId}::bigint and r.id = u.run_id and r.app_id = ${appId}::bigint
  returning u.run_id, u.follows`

export interface DecidedEnd {
  readonly state: EndedRunState
  /** JSON text. */
  readonly result: string | null
  /** JSON text of a RunError, or null. */
  readonly error: string | null
  /** Who says so. */
  readonly actor: string
}

/** Ends a run of unknown outcome as someone says. Undefined: its outcome is not unknown, and nothing was changed. */
export const endUndecided = async (
  tx: Queries,
  appId: number,
  runId: number,
  end: DecidedEnd,
): Promise<{ job_id: number } | undefined> => {
  const rows = await tx.query<{ job_id: number }>(sql`
with d as (${decided(appId, runId)})
update oncejob.run r set state = ${end.state}::text, ended_at = date_trunc('milliseconds', now()), result = ${end.result}::text,
  error = ${end.error}::text, decided_by = ${end.actor}::text
from d where r.id = d.run_id and r.state = 'open'
returning r.job_id`)
  return rows[0]
}

/**
 * Puts a run of unknown outcome back into the queue, as a retry by hand does: with fresh counts, behind its job's limit.
 * Undefined: its outcome is not unknown, and nothing was changed.
 */
export const reopenUndecided = async (
  tx: Queries,
  appId: number,
  runId: number,
): Promise<{ job_id: number; limited: boolean } | undefined> => {
  const rows = await tx.query<{ job_id: number; limited: boolean }>(sql`
with d as (${decided(appId, runId)}), u as (
  update oncejob.run r set failures = 0, losses = 0, stop_requested_at = null, queue_deadline_at = null, started_at = null,
    due_at = date_trunc('milliseconds', now())
  from d where r.id = d.run_id and r.state = 'open'
  returning r.id, r.job_id, r.priority, r.attempts, r.due_at, d.follows
), ${waitingAgain}`)
  return rows[0]
}

/** Why the outcome of a run is unknown. */
export interface UndecidedFacts {
  readonly since: Date
  readonly reason: UnknownReason
  readonly effect: string | null
}

/** What is known of a run of unknown outcome; undefined when it is not one (any more). */
export const undecidedOf = async (queries: Queries, runId: number): Promise<UndecidedFacts | undefined> => {
  const rows = await queries.query<UndecidedFacts>(
    sql`select since, reason, effect from oncejob.run_undecided where run_id = ${runId}`,
  )
  return rows[0]
}

/** How a run stands that was to be decided, and is not undecided: what a repeat of the decision is compared with. */
export interface StandingRow {
  readonly state: 'open' | EndedRunState
  readonly running: boolean
  readonly unknown: boolean
  readonly decided: boolean
  /** JSON texts. */
  readonly result: string | null
  readonly error: string | null
  /** An attempt of it has ended. */
  readonly tried: boolean
}

export const standingOf = async (queries: Queries, appId: number, runId: number): Promise<StandingRow | undefined> => {
  const rows = await queries.query<StandingRow>(sql`
select r.state, r.decided_by is not null as decided, r.result, r.error,
  exists (select from oncejob.attempt a where a.run_id = r.id) as running,
  exists (select from oncejob.run_undecided u where u.run_id = r.id) as unknown,
  exists (select from oncejob.attempt_log l where l.run_id = r.id) as tried
from oncejob.run r where r.id = ${runId} and r.app_id = ${appId}`)
  return rows[0]
}
