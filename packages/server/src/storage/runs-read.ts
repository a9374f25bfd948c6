// Runs as people look at them: cold facts joined with the hot tables that say where an open run is.
import {
  openRunStates,
  type Attempt,
  type AttemptOutcome,
  type EndedRunState,
  type Guarantee,
  type Run,
  type RunState,
  type RunTrigger,
} from '@oncejob/protocol'
import { jsonValue } from '../kernel/json.ts'
import type { Queries } from './db.ts'
import { all, instant, sql, type Sql } from './sql.ts'

interface RunRow {
  readonly id: number
  readonly app: string
  readonly job_id: number
  readonly job: string
  readonly state: RunState
  readonly trigger: RunTrigger
  readonly fire_at: Date | null
  readonly request_key: string | null
  readonly run_key: string | null
  readonly params: string | null
  readonly priority: number
  readonly created_at: Date
  readonly due_at: Date
  readonly queue_deadline_at: Date | null
  readonly started_at: Date | null
  readonly ended_at: Date | null
  readonly attempts: number
  readonly worker: string | null
  readonly progress: { readonly percent?: number | null; readonly note?: string | null } | null
  readonly stop_requested: boolean
  readonly guarantee: Guarantee
  readonly decided_by: string | null
  readonly result: string | null
  readonly result_truncated: boolean
  readonly error: string | null
}

const textOr = (value: unknown, otherwise: string): string => (typeof value === 'string' ? value : otherwise)

const errorOf = (text: string | null): Run['error'] => {
  const stored = jsonValue(text)
  if (typeof stored !== 'object' || stored === null) return null
  const stack: unknown = Reflect.get(stored, 'stack')
  return {
    code: textOr(Reflect.get(stored, 'code'), 'UNKNOWN'),
    message: textOr(Reflect.get(stored, 'message'), ''),
    ...(typeof stack === 'string' ? { stack } : {}),
  }
}

const iso = (at: Date | null): string | null => at?.toISOString() ?? null

const runOf = (row: RunRow): Run => ({
  id: row.id,
  app: row.app,
  jobId: row.job_id,
  job: row.job,
  state: row.state,
  trigger: row.trigger,
  fireAt: iso(row.fire_at),
  requestKey: row.request_key,
  key: row.run_key,
  params: jsonValue(row.params),
  priority: row.priority,
  createdAt: row.created_at.toISOString(),
  dueAt: row.due_at.toISOString(),
  queueDeadlineAt: iso(row.queue_deadline_at),
  startedAt: iso(row.started_at),
  endedAt: iso(row.ended_at),
  attempts: row.attempts,
  worker: row.worker,
  progress: row.progress === null ? null : { percent: row.progress.percent ?? null, note: row.progress.note ?? null },
  stopRequested: row.stop_requested,
  guarantee: row.guarantee,
  decidedBy: row.decided_by,
  result: jsonValue(row.result),
  resultTruncated: row.result_truncated,
  error: errorOf(row.error),
})

// `page` selects rows of oncejob.run; the joins then cost a few look-ups per row, however large the hot tables are
const described = (page: Sql): Sql => sql`
  with page as materialized (${page})
  select r.id, app.name as app, r.job_id, j.name as job,
    case when r.state <> 'open' then r.state when a.run_id is not null then 'running'
      when u.run_id is not null then 'unknown' else 'waiting' end as state,
    case when r.schedule_id is null then 'call' else 'schedule' end as trigger,
    r.fire_at, r.request_key, r.run_key, r.params, r.priority, r.created_at, r.due_at, r.queue_deadline_at,
    coalesce(r.started_at, a.claimed_at) as started_at, r.ended_at, coalesce(a.number, r.attempts) as attempts,
    w.name as worker, a.progress, (r.stop_requested_at is not null or a.stop_requested_at is not null) as stop_requested,
    j.guarantee, r.decided_by, r.result, r.result_truncated, r.error
  from page r
  join oncejob.job j on j.id = r.job_id
  join oncejob.app app on app.id = r.app_id
  left join oncejob.attempt a on a.run_id = r.id
  left join oncejob.run_undecided u on u.run_id = r.id
  left join oncejob.worker_session w on w.id = coalesce(a.session_id, r.session_id)
  order by r.id desc`

/** One run of the app. */
export const getRun = async (db: Queries, appId: number, runId: number): Promise<Run | undefined> => {
  const page = sql`select * from oncejob.run r where r.id = ${runId} and r.app_id = ${appId}`
  const rows = await db.query<RunRow>(described(page))
  return rows[0] === undefined ? undefined : runOf(rows[0])
}

/** What a list of runs is narrowed to; undefined members do not narrow. */
export interface RunListing {
  readonly appId: number
  readonly jobId?: number | undefined
  /** Undefined or empty: every state. */
  readonly states?: readonly RunState[] | undefined
  readonly trigger?: RunTrigger | undefined
  /** Bounds of the time at which the run was made, both inclusive. */
  readonly fromMs?: number | undefined
  readonly toMs?: number | undefined
  readonly requestKey?: string | undefined
  readonly key?: string | undefined
  /** Only runs with a smaller id. */
  readonly beforeId?: number | undefined
  readonly limit: number
}

const narrowing = (listing: RunListing): Sql[] => {
  const { appId, jobId, trigger, fromMs, toMs, requestKey, key, beforeId } = listing
  const conditions = [sql`r.app_id = ${appId}`]
  if (jobId !== undefined) conditions.push(sql`r.job_id = ${jobId}`)
  if (beforeId !== undefined) conditions.push(sql`r.id < ${beforeId}`)
  if (trigger === 'schedule') conditions.push(sql`r.schedule_id is not null`)
  if (trigger === 'call') conditions.push(sql`r.schedule_id is null`)
  if (fromMs !== undefined) conditions.push(sql`r.created_at >= ${instant(fromMs)}`)
  if (toMs !== undefined) conditions.push(sql`r.created_at <= ${instant(toMs)}`)
  if (requestKey !== undefined) conditions.push(sql`r.request_key = ${requestKey}`)
  if (key !== undefined) conditions.push(sql`r.run_key = ${key}`)
  return conditions
}

// the bound stands in each of them: a merge would otherwise walk every newer open run first
const running = (bound: Sql): Sql => sql`select run_id from oncejob.attempt where ${bound}`
const undecided = (bound: Sql): Sql => sql`select run_id from oncejob.run_undecided where ${bound}`
const waiting = (bound: Sql): Sql => sql`
  select run_id from oncejob.run_ready where ${bound}
  union all select run_id from oncejob.run_later where ${bound}
  union all select run_id from oncejob.run_blocked where ${bound}`

const isOpen = (state: RunState): boolean => openRunStates.some((open) => open === state)
const isEnded = (state: RunState): state is EndedRunState => !isOpen(state)

// open runs are few beside the history: the hot tables name them, and only those rows are looked up
const pageOfRuns = (listing: RunListing): Sql => {
  const wanted = new Set(listing.states ?? [])
  const ended = [...wanted].filter(isEnded)
  const bound = listing.beforeId === undefined ? sql`true` : sql`run_id < ${listing.beforeId}`
  const open = [
    ...(wanted.has('running') ? [running(bound)] : []),
    ...(wanted.has('waiting') ? [waiting(bound)] : []),
    ...(wanted.has('unknown') ? [undecided(bound)] : []),
  ]
  const places = open.length === 0 ? undefined : open.reduce((one, other) => sql`${one} union all ${other}`)
  const conditions = narrowing(listing)
  const tail = sql`order by r.id desc limit ${listing.limit}`
  if (places === undefined) {
    if (ended.length > 0) conditions.push(sql`r.state = any(${ended}::text[])`)
    return sql`select r.* from oncejob.run r where ${all(conditions)} ${tail}`
  }
  const openOnes = sql`
    select r.* from (${places}) hot join oncejob.run r on r.id = hot.run_id
    where ${all([...conditions, sql`r.state = 'open'`])} ${tail}`
  if (ended.length === 0) return openOnes
  conditions.push(sql`r.state = any(${ended}::text[])`)
  return sql`
    select r.* from (
      (${openOnes}) union all (select r.* from oncejob.run r where ${all(conditions)} ${tail})
    ) r ${tail}`
}

/** One page of the runs of an app, newest first. */
export const listRuns = async (db: Queries, listing: RunListing): Promise<Run[]> =>
  (await db.query<RunRow>(described(pageOfRuns(listing)))).map(runOf)

interface AttemptRow {
  readonly number: number
  readonly lease: number
  readonly worker: string | null
  readonly started_at: Date
  readonly ended_at: Date | null
  readonly outcome: AttemptOutcome | null
  readonly error: string | null
}

/** Every attempt of a run in order: the recorded ones, and the live one last. */
export const listAttempts = async (db: Queries, runId: number): Promise<Attempt[]> => {
  const rows = await db.query<AttemptRow>(sql`
    select t.number, t.lease, w.name as worker, t.started_at, t.ended_at, t.outcome, t.error
    from (
      select number, lease, session_id, started_at, ended_at, outcome, error from oncejob.attempt_log where run_id = ${runId}
      union all
      select number, lease, session_id, claimed_at, null, null, null from oncejob.attempt where run_id = ${runId}
    ) t
    left join oncejob.worker_session w on w.id = t.session_id
    order by t.lease`)
  return rows.map(({ started_at, ended_at, error, ...same }) => ({
    ...same,
    startedAt: started_at.toISOString(),
    endedAt: iso(ended_at),
    error: errorOf(error),
  }))
}
