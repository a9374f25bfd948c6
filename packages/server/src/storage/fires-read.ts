// The fire ledger as people read it: what became of the planned occurrences of schedules.
import type { Fire, FireOutcome } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { all, sql, type Sql } from './sql.ts'

/** Where a page begins: behind the fire of this job at this time. */
export interface FireKey {
  readonly fireAt: string
  readonly jobId: number
}

export interface FireListing {
  readonly outcome: FireOutcome | undefined
  readonly before: FireKey | undefined
  readonly limit: number
}

interface FireRow {
  readonly schedule_id: number
  readonly fire_at: Date
  readonly job_id: number
  readonly outcome: FireOutcome
  readonly run_id: number | null
  readonly reason: string | null
  readonly covers: number
  readonly recorded_at: Date
}

const fireOf = (row: FireRow): Fire => ({
  jobId: row.job_id,
  scheduleId: row.schedule_id,
  fireAt: row.fire_at.toISOString(),
  outcome: row.outcome,
  runId: row.run_id,
  reason: row.reason,
  covers: row.covers,
  recordedAt: row.recorded_at.toISOString(),
})

const narrowing = ({ outcome, before }: FireListing): Sql[] => [
  ...(outcome === undefined ? [] : [sql`f.outcome = ${outcome}`]),
  ...(before === undefined ? [] : [sql`f.fire_at <= ${before.fireAt}::timestamptz`, beforeKey(before)]),
]

const beforeKey = ({ fireAt, jobId }: FireKey): Sql =>
  sql`(f.fire_at, f.job_id) < (${fireAt}::timestamptz, ${jobId}::bigint)`

/** The fires of one job, newest first. */
export const listFiresOfJob = async (db: Queries, jobId: number, listing: FireListing): Promise<Fire[]> => {
  const rows = await db.query<FireRow>(sql`
    select f.* from oncejob.fire f
    where ${all([sql`f.job_id = ${jobId}`, ...narrowing(listing)])}
    order by f.fire_at desc
    limit ${listing.limit}`)
  return rows.map(fireOf)
}

/**
 * The fires of all jobs of an app, those of deleted ones too, newest first. The newest n fires are among those of the
 * n jobs that fired last: one look into the index per job, and then only these jobs are read.
 */
export const listFiresOfApp = async (db: Queries, appId: number, listing: FireListing): Promise<Fire[]> => {
  const conditions = all([sql`f.job_id = j.id`, ...narrowing(listing)])
  const rows = await db.query<FireRow>(sql`
    with latest as materialized (
      select j.id from oncejob.job j
      cross join lateral (select f.fire_at from oncejob.fire f where ${conditions} order by f.fire_at desc limit 1) newest
      where j.app_id = ${appId}
      order by newest.fire_at desc, j.id desc
      limit ${listing.limit}
    )
    select f.* from latest j
    cross join lateral (select f.* from oncejob.fire f where ${conditions} order by f.fire_at desc limit ${listing.limit}) f
    order by f.fire_at desc, f.job_id desc
    limit ${listing.limit}`)
  return rows.map(fireOf)
}
