// The fire history as people read it: what became of planned occurrences, and what Java workers repeat by themselves.
import type { Fire, FireKind, FireOutcome } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { all, Sql, sql } from './sql.ts'
import { subRunState, type SubRunState } from './sub-runs.ts'

/** Where a page begins: behind this entry. The last three name a sub-run, and are 0 for a fire. */
export type FireKey = readonly [fireAt: string, jobId: number, runId: number, lease: number, number: number]

export interface FireListing {
  readonly kind: FireKind | undefined
  readonly outcome: FireOutcome | undefined
  readonly before: FireKey | undefined
  readonly limit: number
}

interface EntryRow {
  readonly job_id: number
  readonly schedule_id: number
  readonly fire_at: Date
  readonly outcome: FireOutcome
  readonly run_id: number | null
  readonly reason: string | null
  readonly covers: number
  readonly recorded_at: Date
  /** Null: it is a fire; else the next columns are of the sub-run. */
  readonly number: number | null
  readonly lease: number
  readonly state: SubRunState
  readonly ended_at: Date | null
  readonly result: string | null
}

const entryOf = (row: EntryRow): Fire => ({
  jobId: row.job_id,
  scheduleId: row.schedule_id,
  fireAt: row.fire_at.toISOString(),
  outcome: row.outcome,
  runId: row.run_id,
  reason: row.reason,
  covers: row.covers,
  recordedAt: row.recorded_at.toISOString(),
  subRun:
    row.number === null
      ? null
      : {
          number: row.number,
          lease: row.lease,
          state: row.state,
          endedAt: row.ended_at?.toISOString() ?? null,
          result: row.result,
        },
})

/** The key of an entry, for the page behind it. */
export const fireKeyOf = ({ fireAt, jobId, runId, subRun }: Fire): FireKey => [
  fireAt,
  jobId,
  ...(subRun === null ? ([0, 0, 0] as const) : ([runId ?? 0, subRun.lease, subRun.number] as const)),
]

/**
 * A bound of rows, in the text of the statement: our plans are generic, and of a bound that it does not know the planner
 * thinks that it is a tenth of the table.
 */
const rows = (limit: number): Sql => {
  if (!Number.isSafeInteger(limit) || limit < 1) throw new Error(`invariant broken: ${limit} is no number of rows`)
  return new Sql([String(limit)], [])
}

const newestFirst = sql`order by e.at desc, e.job_id desc, e.sub_run_of desc, e.lease desc, e.number desc`

const behind = (column: Sql, keys: Sql, before: FireKey | undefined): Sql[] => {
  if (before === undefined) return []
  const [fireAt, jobId, runId, lease, number] = before
  // the first condition is what an index can begin with
  return [
    sql`${column} <= ${fireAt}::timestamptz`,
    sql`(${column}, ${keys}) < (${fireAt}::timestamptz, ${jobId}::bigint, ${runId}::bigint, ${lease}::bigint, ${number}::bigint)`,
  ]
}

const firesOf = (job: Sql, { outcome, before }: FireListing, limit: number): Sql => {
  const conditions = all([
    sql`f.job_id = ${job}`,
    ...(outcome === undefined ? [] : [sql`f.outcome = ${outcome}`]),
    ...behind(sql`f.fire_at`, sql`f.job_id, 0, 0, 0`, before),
  ])
  return sql`(
      select f.fire_at as at, f.job_id, 0::bigint as sub_run_of, 0::bigint as lease, 0::bigint as number,
        f.schedule_id, f.outcome, f.run_id, f.reason, f.covers, f.recorded_at
      from oncejob.fire f where ${conditions}
      order by f.fire_at desc limit ${rows(limit)})`
}

const subRunsOf = (job: Sql, { before }: FireListing, limit: number): Sql => {
  const conditions = all([
    sql`s.job_id = ${job}`,
    ...behind(sql`s.started_at`, sql`s.job_id, s.run_id, s.lease, s.number`, before),
  ])
  return sql`(
      select s.started_at as at, s.job_id, s.run_id as sub_run_of, s.lease, s.number,
        null::bigint as schedule_id, 'fired' as outcome, s.run_id, null as reason, 1 as covers, s.recorded_at
      from oncejob.powerjob_sub_run s where ${conditions}
      order by s.started_at desc, s.run_id desc, s.lease desc, s.number desc limit ${rows(limit)})`
}

type Kind = (job: Sql, listing: FireListing, limit: number) => Sql

/** What a listing is about: a sub-run is one that was fired. */
const kindsOf = ({ kind, outcome }: FireListing): Kind[] => [
  ...(kind === 'sub-run' ? [] : [firesOf]),
  ...(kind === 'fire' || (outcome !== undefined && outcome !== 'fired') ? [] : [subRunsOf]),
]

/** The newest entries of a job, of each kind: read by the index of the kind, from where the page begins. */
const newestOf = (kinds: readonly Kind[], job: Sql, listing: FireListing, limit: number): Sql =>
  kinds.map((kind) => kind(job, listing, limit)).reduce((one, other) => sql`${one} union all ${other}`)

const read = async (db: Queries, entries: Sql, limit: number): Promise<Fire[]> => {
  const found = await db.query<EntryRow>(sql`
    with e as materialized (select e.* from ${entries} e ${newestFirst} limit ${rows(limit)})
    select e.job_id, coalesce(e.schedule_id, (select c.id from oncejob.schedule c where c.job_id = e.job_id)) as schedule_id, e.at as fire_at,
      e.outcome, e.run_id, e.reason, e.covers, e.recorded_at, s.*
    from e left join lateral (
      select k.number, k.lease, ${subRunState} as state, k.finished_at as ended_at, left(k.result, 1000) as result
      from oncejob.powerjob_sub_run k where k.run_id = e.sub_run_of and k.lease = e.lease and k.number = e.number limit 1
    ) s on true
    ${newestFirst}`)
  return found.map(entryOf)
}

/** The fires and sub-runs of one job, newest first. */
export const listFiresOfJob = async (db: Queries, jobId: number, listing: FireListing): Promise<Fire[]> => {
  const kinds = kindsOf(listing)
  if (kinds.length === 0) return []
  return read(db, sql`(${newestOf(kinds, sql`${jobId}::bigint`, listing, listing.limit)})`, listing.limit)
}

/**
 * The fires and sub-runs of all jobs of an app, those of deleted ones too, newest first. The newest n entries are among
 * those of the n jobs that have the newest: one look into each index per job, and then only these jobs are read.
 */
export const listFiresOfApp = async (db: Queries, appId: number, listing: FireListing): Promise<Fire[]> => {
  const kinds = kindsOf(listing)
  if (kinds.length === 0) return []
  const { limit } = listing
  return read(
    db,
    sql`(
      with latest as materialized (
        select j.id from oncejob.job j
        cross join lateral (select max(h.at) as at from (${newestOf(kinds, sql`j.id`, listing, 1)}) h) newest
        where j.app_id = ${appId} and newest.at is not null
        order by newest.at desc, j.id desc
        limit ${rows(limit)}
      )
      select n.* from latest j cross join lateral (${newestOf(kinds, sql`j.id`, listing, limit)}) n)`,
    limit,
  )
}
