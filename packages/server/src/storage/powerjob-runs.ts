// Runs as the PowerJob wire calls them, instances: one by its id, and pages of those that meet its conditions.
import type { EndedRunState } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { all, instant, sql, type Sql } from './sql.ts'

/** What is known of a run, for that wire. */
export interface WireRunRow {
  readonly id: number
  readonly app_id: number
  readonly job_id: number
  readonly state: 'open' | EndedRunState
  /** Code of the wire (contract 7.5). */
  readonly status: number
  /** JSON texts: of the job as it is now, and of this run. */
  readonly job_params: string | null
  readonly params: string | null
  readonly result: string | null
  readonly error: string | null
  readonly due_at: Date
  readonly started_at: Date | null
  readonly ended_at: Date | null
  readonly attempts: number
  /** Address, else name. */
  readonly worker: string | null
  readonly created_at: Date
  readonly modified_at: Date
}

// a run that was stopped before it started is canceled here, and stopped there: see dispatch/steering.ts
const status = sql`case r.state
  when 'succeeded' then 5 when 'failed' then 4 when 'stopped' then 10
  when 'canceled' then case when r.error like '{"code":"STOPPED"%' then 10 else 9 end
  else case when a.run_id is not null or u.run_id is not null then 3 else 1 end end`
const startedAt = sql`coalesce(r.started_at, a.claimed_at)`
const modifiedAt = sql`greatest(r.created_at, r.started_at, a.claimed_at, r.stop_requested_at, r.ended_at)`
const attempts = sql`coalesce(a.number, r.attempts)`
const worker = sql`coalesce(w.address, w.name)`

const hot = sql`
  left join oncejob.attempt a on a.run_id = r.id
  left join oncejob.run_undecided u on u.run_id = r.id`
const around = sql`
  join oncejob.job j on j.id = r.job_id ${hot}
  left join oncejob.worker_session w on w.id = coalesce(a.session_id, r.session_id)`

const columns = sql`
  r.id, r.app_id, r.job_id, r.state, ${status} as status, j.params as job_params, r.params, r.result, r.error, r.due_at,
  ${startedAt} as started_at, r.ended_at, ${attempts} as attempts, ${worker} as worker, r.created_at, ${modifiedAt} as modified_at`

/** A run of whatever app: the caller checks whose it is. */
export const wireRun = async (db: Queries, runId: number): Promise<WireRunRow | undefined> => {
  const rows = await db.query<WireRunRow>(sql`select ${columns} from oncejob.run r ${around} where r.id = ${runId}`)
  return rows[0]
}

/** Whose run it is, and how it stands. */
export const wireRunStatus = async (
  db: Queries,
  runId: number,
): Promise<{ app_id: number; status: number } | undefined> => {
  const rows = await db.query<{ app_id: number; status: number }>(
    sql`select r.app_id, ${status} as status from oncejob.run r ${hot} where r.id = ${runId}`,
    { name: 'wire_run_status' },
  )
  return rows[0]
}

/** Conditions that all have to hold; undefined members narrow nothing. Times in ms since the epoch. */
export interface WireRunFilter {
  readonly appId: number
  readonly instanceIdEq?: number | undefined
  readonly instanceIdLt?: number | undefined
  readonly instanceIdGt?: number | undefined
  readonly jobIdEq?: number | undefined
  /** Codes of the wire. */
  readonly statusIn?: readonly number[] | undefined
  readonly gmtCreateLt?: number | undefined
  readonly gmtCreateGt?: number | undefined
  readonly gmtModifiedLt?: number | undefined
  readonly gmtModifiedGt?: number | undefined
}

export const wireRunSorts = [
  'id',
  'jobId',
  'appId',
  'instanceId',
  'type',
  'wfInstanceId',
  'status',
  'result',
  'expectedTriggerTime',
  'actualTriggerTime',
  'finishedTime',
  'lastReportTime',
  'taskTrackerAddress',
  'runningTimes',
  'gmtCreate',
  'gmtModified',
  'jobParams',
  'instanceParams',
] as const
export type WireRunSort = (typeof wireRunSorts)[number]

const sortColumn = (sort: WireRunSort): Sql => {
  switch (sort) {
    case 'id':
    case 'instanceId':
    // the same for all runs of an app
    case 'appId':
    case 'type':
    case 'wfInstanceId':
      return sql`r.id`
    case 'jobId':
      return sql`r.job_id`
    case 'status':
      return status
    case 'result':
      return sql`coalesce(r.result, r.error)`
    case 'expectedTriggerTime':
      return sql`r.due_at`
    case 'actualTriggerTime':
      return startedAt
    case 'finishedTime':
      return sql`r.ended_at`
    case 'taskTrackerAddress':
      return worker
    case 'runningTimes':
      return attempts
    case 'gmtCreate':
      return sql`r.created_at`
    case 'lastReportTime':
    case 'gmtModified':
      return modifiedAt
    case 'jobParams':
      return sql`j.params`
    case 'instanceParams':
      return sql`r.params`
  }
}

const conditionsOf = (filter: WireRunFilter): Sql => {
  const conditions = [sql`r.app_id = ${filter.appId}`]
  const when = <T>(value: T | undefined, condition: (value: T) => Sql): void => {
    if (value !== undefined) conditions.push(condition(value))
  }
  when(filter.instanceIdEq, (id) => sql`r.id = ${id}`)
  when(filter.instanceIdLt, (id) => sql`r.id < ${id}`)
  when(filter.instanceIdGt, (id) => sql`r.id > ${id}`)
  when(filter.jobIdEq, (id) => sql`r.job_id = ${id}`)
  when(filter.statusIn, (codes) => sql`${status} = any(${[...codes]}::int[])`)
  when(filter.gmtCreateLt, (atMs) => sql`r.created_at < ${instant(atMs)}`)
  when(filter.gmtCreateGt, (atMs) => sql`r.created_at > ${instant(atMs)}`)
  when(filter.gmtModifiedLt, (atMs) => sql`${modifiedAt} < ${instant(atMs)}`)
  when(filter.gmtModifiedGt, (atMs) => sql`${modifiedAt} > ${instant(atMs)}`)
  return all(conditions)
}

export const countWireRuns = async (db: Queries, filter: WireRunFilter): Promise<number> => {
  const rows = await db.query<{ count: number }>(
    sql`select count(*) as count from oncejob.run r ${hot} where ${conditionsOf(filter)}`,
  )
  return rows[0]?.count ?? 0
}

export interface WireRunPage {
  readonly filter: WireRunFilter
  /** Null: in the order of the ids. */
  readonly sortBy: WireRunSort | null
  readonly ascending: boolean
  readonly offset: number
  readonly limit: number
}

/** One page; runs that the sort does not tell apart come in the order of their ids. */
export const listWireRuns = (db: Queries, page: WireRunPage): Promise<WireRunRow[]> => {
  const { filter, sortBy, ascending, offset, limit } = page
  const column = sortColumn(sortBy ?? 'id')
  const order = ascending || sortBy === null ? sql`${column}, r.id` : sql`${column} desc nulls last, r.id desc`
  // the page is found by narrow rows; only its own are read whole
  return db.query<WireRunRow>(sql`
    with page as materialized (
      select r.id from oncejob.run r ${around}
      where ${conditionsOf(filter)} order by ${order} limit ${limit} offset ${offset}
    )
    select ${columns} from page join oncejob.run r on r.id = page.id ${around} order by ${order}`)
}

/** The open runs of a job with an id beyond `afterId`, in order. */
export const openRunsOf = async (db: Queries, jobId: number, afterId: number, limit: number): Promise<number[]> => {
  const rows = await db.query<{ id: number }>(sql`
    select id from oncejob.run where job_id = ${jobId} and state = 'open' and id > ${afterId} order by id limit ${limit}`)
  return rows.map(({ id }) => id)
}
