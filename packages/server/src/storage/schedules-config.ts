// The half of a schedule that people write. Every write counts the version up, so that a scheduler's
// compare-and-set that is under way misses and looks again.
import type { ScheduleView } from '@oncejob/protocol'
import { invariant } from '../kernel/errors.ts'
import { expressionOf, timeText } from '../runs/schedule-codec.ts'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** The database's clock in ms since the epoch; inside a transaction, its beginning. */
export const databaseNowMs = async (db: Queries): Promise<number> => {
  const rows = await db.query<{ at: Date }>(sql`select now() as at`)
  const at = rows[0]?.at
  invariant(at !== undefined, 'a select without from returns a row')
  return at.getTime()
}

const instant = (atMs: number | null): string | null => (atMs === null ? null : timeText(atMs))

// in the order of `columns`
const valuesOf = (view: ScheduleView): Sql => sql`
  ${view.trigger.kind}, ${expressionOf(view.trigger)}, ${view.zone}, ${view.startAt}, ${view.endAt}, ${view.jitterMs},
  ${view.misfire.policy}, ${view.misfire.maxRuns}, ${view.misfire.maxLatenessMs}, ${view.dst.gap}, ${view.dst.overlap}`

const columns: Sql = sql`
  kind, expression, zone, start_at, end_at, jitter_ms,
  misfire_policy, misfire_max_runs, misfire_max_lateness_ms, dst_gap, dst_overlap`

/** What a schedule does next. */
export interface Arming {
  readonly anchorAtMs: number
  /** Null: it does not fire by itself, or waits for a run to end. */
  readonly nextFireAtMs: number | null
  /** Go on waiting for the run that the schedule waits for (fixed delay); false: forget it. */
  readonly keepWaiting: boolean
}

/** Makes the schedule of a new job. */
export const insertSchedule = async (tx: Queries, jobId: number, view: ScheduleView, arming: Arming): Promise<void> => {
  await tx.query(sql`
    insert into oncejob.schedule (job_id, ${columns}, anchor_at, next_fire_at)
    values (${jobId}, ${valuesOf(view)}, ${instant(arming.anchorAtMs)}, ${instant(arming.nextFireAtMs)})`)
}

/** Writes the schedule of a job anew. */
export const updateSchedule = async (tx: Queries, jobId: number, view: ScheduleView, arming: Arming): Promise<void> => {
  await tx.query(sql`
    update oncejob.schedule
    set (${columns}) = row (${valuesOf(view)}),
      anchor_at = ${instant(arming.anchorAtMs)},
      next_fire_at = ${instant(arming.nextFireAtMs)},
      awaiting_run_id = case when ${arming.keepWaiting}::boolean then awaiting_run_id end,
      version = version + 1
    where job_id = ${jobId}`)
}

/** Switches the schedule of a deleted job off for good. */
export const retireSchedule = async (tx: Queries, jobId: number): Promise<void> => {
  await tx.query(sql`
    update oncejob.schedule set next_fire_at = null, awaiting_run_id = null, version = version + 1 where job_id = ${jobId}`)
}

export interface ArmedRow {
  readonly anchor_at: Date
  readonly next_fire_at: Date | null
  readonly awaiting_run_id: number | null
}

/** What the schedule does next, locked: the scheduler cannot advance it before the transaction ends. */
export const lockSchedule = async (tx: Queries, jobId: number): Promise<ArmedRow> => {
  const rows = await tx.query<ArmedRow>(sql`
    select anchor_at, next_fire_at, awaiting_run_id from oncejob.schedule where job_id = ${jobId} for update`)
  const row = rows[0]
  invariant(row !== undefined, 'every job has a schedule')
  return row
}

/** Makes the schedule of a new workflow. It waits: nothing fires for workflows yet. */
export const insertWorkflowSchedule = async (tx: Queries, workflowId: number, view: ScheduleView): Promise<void> => {
  await tx.query(sql`insert into oncejob.schedule (workflow_id, ${columns}) values (${workflowId}, ${valuesOf(view)})`)
}

/** Writes the schedule of a workflow anew; another trigger counts from now. */
export const updateWorkflowSchedule = async (tx: Queries, workflowId: number, view: ScheduleView): Promise<void> => {
  const { kind } = view.trigger
  await tx.query(sql`
    update oncejob.schedule
    set anchor_at = case when (kind, expression) = (${kind}::text, ${expressionOf(view.trigger)}::text) then anchor_at else now() end,
      (${columns}) = row (${valuesOf(view)}), version = version + 1
    where workflow_id = ${workflowId}`)
}
