// Jobs as people write them; lists of them are in jobs-list.ts.
import type { Job } from '@oncejob/protocol'
import type { JobDefinition } from '../runs/job-definition.ts'
import { scheduleView, type ScheduleColumns } from '../runs/schedule-codec.ts'
import { invariant } from '../kernel/errors.ts'
import { jsonText, jsonValue } from '../kernel/json.ts'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** A job with what belongs to it beside its definition. */
export interface StoredJob {
  readonly id: number
  readonly appId: number
  readonly app: string
  /** By which wire it was made; jobs of the PowerJob wire may share names. */
  readonly origin: 'native' | 'powerjob'
  readonly version: number
  readonly routeId: number
  readonly definition: JobDefinition
  /** What the PowerJob wire keeps beside the definition; null: nothing. */
  readonly powerjob: unknown
  readonly deletedAt: Date | null
  readonly nextFireAt: Date | null
  readonly createdAt: Date
  readonly updatedAt: Date
}

interface JobRow extends ScheduleColumns {
  readonly id: number
  readonly app_id: number
  readonly app: string
  readonly origin: StoredJob['origin']
  readonly version: number
  readonly route_id: number
  readonly name: string
  readonly description: string | null
  readonly processor: string
  readonly processor_type: JobDefinition['processorType']
  readonly mode: JobDefinition['mode']
  readonly params: string | null
  readonly enabled: boolean
  readonly priority: number
  readonly overlap: JobDefinition['schedule']['overlap']
  readonly max_concurrent_runs: number
  readonly task_concurrency: number
  readonly queue_timeout_ms: number | null
  readonly attempt_timeout_ms: number | null
  readonly run_timeout_ms: number | null
  readonly retry: JobDefinition['retry']
  readonly guarantee: JobDefinition['guarantee']
  readonly task_retry_max: number
  readonly workers: JobDefinition['workers']
  readonly notify: string[]
  readonly alarm: JobDefinition['alarm']
  readonly log: JobDefinition['log']
  readonly tracker_behavior: JobDefinition['trackerBehavior']
  readonly tag: string | null
  readonly extra: string | null
  readonly next_fire_at: Date | null
  readonly created_at: Date
  readonly updated_at: Date
  readonly powerjob: unknown
  readonly deleted_at: Date | null
}

/** Selects jobs as storedJob reads them; the caller adds where, order and limit. Tables: j (job), s (schedule), app. */
export const selectJobs: Sql = sql`
  select j.id, j.app_id, app.name as app, j.origin, j.powerjob, j.deleted_at, j.version, j.route_id, j.name, j.description, j.processor, j.processor_type, j.mode, j.params,
    j.enabled, j.priority, j.overlap, j.max_concurrent_runs, j.task_concurrency, j.queue_timeout_ms, j.attempt_timeout_ms,
    j.run_timeout_ms, j.guarantee, j.task_retry_max, j.notify, j.tracker_behavior, j.tag, j.extra, j.created_at, j.updated_at,
    jsonb_build_object('max', j.retry_max, 'backoff', j.retry_backoff, 'delayMs', j.retry_delay_ms,
      'maxDelayMs', j.retry_max_delay_ms, 'jitter', j.retry_jitter, 'retryOn', j.retry_on, 'noRetryOn', j.no_retry_on,
      'maxLost', j.max_lost) as retry,
    jsonb_build_object('labels', j.labels, 'designated', j.designated, 'minFreeCpuCores', j.min_free_cpu_cores,
      'minFreeMemoryGb', j.min_free_memory_gb, 'minFreeDiskGb', j.min_free_disk_gb, 'maxWorkers', j.max_workers,
      'strategy', j.strategy) as workers,
    case when j.alarm_threshold is not null then
      jsonb_build_object('threshold', j.alarm_threshold, 'windowMs', j.alarm_window_ms, 'silenceMs', j.alarm_silence_ms) end as alarm,
    jsonb_build_object('level', j.log_level, 'type', j.log_type, 'loggerName', j.logger_name) as log,
    s.kind, s.expression, s.zone, s.start_at, s.end_at, s.jitter_ms, s.misfire_policy, s.misfire_max_runs,
    s.misfire_max_lateness_ms, s.dst_gap, s.dst_overlap, s.next_fire_at
  from oncejob.job j join oncejob.schedule s on s.job_id = j.id join oncejob.app app on app.id = j.app_id`

const definitionIn = (row: JobRow): JobDefinition => ({
  name: row.name,
  description: row.description,
  processor: row.processor,
  processorType: row.processor_type,
  mode: row.mode,
  params: jsonValue(row.params),
  schedule: scheduleView(row, row.overlap),
  enabled: row.enabled,
  priority: row.priority,
  maxConcurrentRuns: row.max_concurrent_runs,
  taskConcurrency: row.task_concurrency,
  queueTimeoutMs: row.queue_timeout_ms,
  attemptTimeoutMs: row.attempt_timeout_ms,
  runTimeoutMs: row.run_timeout_ms,
  retry: row.retry,
  guarantee: row.guarantee,
  taskRetryMax: row.task_retry_max,
  workers: row.workers,
  notify: row.notify,
  alarm: row.alarm,
  log: row.log,
  trackerBehavior: row.tracker_behavior,
  tag: row.tag,
  extra: row.extra,
})

const storedJob = (row: JobRow): StoredJob => ({
  id: row.id,
  appId: row.app_id,
  app: row.app,
  origin: row.origin,
  version: row.version,
  routeId: row.route_id,
  definition: definitionIn(row),
  powerjob: row.powerjob,
  deletedAt: row.deleted_at,
  nextFireAt: row.next_fire_at,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

/** Runs a statement that begins with selectJobs. */
export const queryJobs = async (db: Queries, statement: Sql): Promise<StoredJob[]> =>
  (await db.query<JobRow>(statement)).map(storedJob)

/** The job as the API answers it. */
export const jobView = (job: StoredJob): Job => ({
  id: job.id,
  app: job.app,
  ...job.definition,
  version: job.version,
  nextFireAt: job.nextFireAt?.toISOString() ?? null,
  createdAt: job.createdAt.toISOString(),
  updatedAt: job.updatedAt.toISOString(),
})

/** A job of the app that is not deleted. */
export const jobById = async (db: Queries, appId: number, jobId: number): Promise<StoredJob | undefined> =>
  (await queryJobs(db, sql`${selectJobs} where j.id = ${jobId} and j.app_id = ${appId} and j.deleted_at is null`))[0]

/** A job of whatever app, deleted or not. */
export const jobEver = async (db: Queries, jobId: number): Promise<StoredJob | undefined> =>
  (await queryJobs(db, sql`${selectJobs} where j.id = ${jobId}`))[0]

/** The same for several jobs, in no order. */
export const jobsEver = (db: Queries, jobIds: readonly number[]): Promise<StoredJob[]> =>
  queryJobs(db, sql`${selectJobs} where j.id = any(${[...jobIds]}::bigint[])`)

/** Whether the app has this job, and it is not deleted. */
export const isJob = async (db: Queries, appId: number, jobId: number): Promise<boolean> => {
  const rows = await db.query<{ id: number }>(sql`
    select id from oncejob.job where id = ${jobId} and app_id = ${appId} and deleted_at is null`)
  return rows.length === 1
}

/** Whether the app has or had this job. */
export const wasJob = async (db: Queries, appId: number, jobId: number): Promise<boolean> => {
  const rows = await db.query<{ id: number }>(sql`select id from oncejob.job where id = ${jobId} and app_id = ${appId}`)
  return rows.length === 1
}

/** A job, locked against every other change of the job until the transaction ends. Runs can be submitted meanwhile. */
export const lockJob = async (tx: Queries, appId: number, jobId: number): Promise<StoredJob | undefined> => {
  // a statement of its own: the other tables are then read after the wait for the lock
  await tx.query(sql`select 1 from oncejob.job where id = ${jobId} and app_id = ${appId} for no key update`)
  return jobById(tx, appId, jobId)
}

/** The same for a job that may be deleted. */
export const lockJobEver = async (tx: Queries, appId: number, jobId: number): Promise<StoredJob | undefined> => {
  await tx.query(sql`select 1 from oncejob.job where id = ${jobId} and app_id = ${appId} for no key update`)
  const job = await jobEver(tx, jobId)
  return job?.appId === appId ? job : undefined
}

/** Takes the deletion of a job back. @throws DatabaseError 23505 on job_name when the name is taken */
export const undeleteJob = async (tx: Queries, jobId: number, name: string): Promise<void> => {
  await tx.query(sql`update oncejob.job set deleted_at = null, name = ${name} where id = ${jobId}`)
}

/** The id of the native job of this name; jobs saved through the PowerJob wire may share names and are left out. */
export const nativeJobNamed = async (db: Queries, appId: number, name: string): Promise<number | undefined> => {
  const rows = await db.query<{ id: number }>(sql`
    select id from oncejob.job where app_id = ${appId} and name = ${name} and origin = 'native' and deleted_at is null`)
  return rows[0]?.id
}

/** Those of the names that a native job of the app has. */
export const takenNames = async (db: Queries, appId: number, names: readonly string[]): Promise<Set<string>> => {
  const rows = await db.query<{ name: string }>(sql`
    select name from oncejob.job
    where app_id = ${appId} and name = any(${[...names]}::text[]) and origin = 'native' and deleted_at is null`)
  return new Set(rows.map(({ name }) => name))
}

/** An id for a job that is about to be made: its route may have to name it. */
export const nextJobId = async (tx: Queries): Promise<number> => {
  const rows = await tx.query<{ id: number }>(sql`select nextval(pg_get_serial_sequence('oncejob.job', 'id')) as id`)
  const id = rows[0]?.id
  invariant(id !== undefined, 'a sequence has a next value')
  return id
}

const definitionColumns: Sql = sql`
  name, description, processor, processor_type, mode, params, enabled, priority, overlap, max_concurrent_runs,
  task_concurrency, queue_timeout_ms, attempt_timeout_ms, run_timeout_ms, guarantee, task_retry_max,
  retry_max, retry_backoff, retry_delay_ms, retry_max_delay_ms, retry_jitter, retry_on, no_retry_on, max_lost,
  labels, designated, min_free_cpu_cores, min_free_memory_gb, min_free_disk_gb, max_workers, strategy,
  notify, alarm_threshold, alarm_window_ms, alarm_silence_ms, log_level, log_type, logger_name, tracker_behavior, tag, extra`

// in the order of definitionColumns
const definitionValues = ({ retry, workers, alarm, log, ...job }: JobDefinition): Sql => sql`
  ${job.name}, ${job.description}, ${job.processor}, ${job.processorType}, ${job.mode},
  ${jsonText(job.params)}, ${job.enabled}, ${job.priority}, ${job.schedule.overlap},
  ${job.maxConcurrentRuns}, ${job.taskConcurrency}, ${job.queueTimeoutMs}, ${job.attemptTimeoutMs}, ${job.runTimeoutMs},
  ${job.guarantee}, ${job.taskRetryMax}, ${retry.max}, ${retry.backoff}, ${retry.delayMs}, ${retry.maxDelayMs}, ${retry.jitter},
  ${retry.retryOn}, ${retry.noRetryOn}, ${retry.maxLost}, ${JSON.stringify(workers.labels)}::text::jsonb, ${workers.designated},
  ${workers.minFreeCpuCores}, ${workers.minFreeMemoryGb}, ${workers.minFreeDiskGb}, ${workers.maxWorkers}, ${workers.strategy},
  ${job.notify}, ${alarm?.threshold ?? null}, ${alarm?.windowMs ?? null}, ${alarm?.silenceMs ?? null},
  ${log.level}, ${log.type}, ${log.loggerName}, ${job.trackerBehavior}, ${job.tag}, ${job.extra}`

export interface WrittenJob {
  readonly id: number
  readonly routeId: number
  readonly definition: JobDefinition
  /** Of the PowerJob wire; undefined: as it is. */
  readonly powerjob?: unknown
}

/**
 * Makes a job at version 1; it waits for whoever is just taking the same name.
 * @returns false when the name is taken: nothing was made, and the transaction can go on
 */
export const insertJob = async (
  tx: Queries,
  appId: number,
  job: WrittenJob,
  origin: StoredJob['origin'] = 'native',
): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(sql`
    insert into oncejob.job (id, app_id, route_id, origin, powerjob, ${definitionColumns}) overriding system value
    values (${job.id}, ${appId}, ${job.routeId}, ${origin}, ${jsonText(job.powerjob)}::text::jsonb,
      ${definitionValues(job.definition)})
    on conflict (app_id, name) where origin = 'native' and deleted_at is null do nothing
    returning id`)
  return rows.length === 1
}

/**
 * Writes the definition anew when the job still has this version and is not deleted; counts the version up.
 * @returns whether it did
 * @throws DatabaseError 23505 on job_name when the name is taken
 */
export const updateJob = async (tx: Queries, job: WrittenJob, version: number): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(sql`
    update oncejob.job
    set (${definitionColumns}) = row (${definitionValues(job.definition)}),
      powerjob = case when ${job.powerjob === undefined}::boolean then powerjob else ${jsonText(job.powerjob)}::text::jsonb end,
      route_id = ${job.routeId}, version = version + 1, updated_at = now()
    where id = ${job.id} and version = ${version} and deleted_at is null
    returning id`)
  return rows.length === 1
}

/** Marks the job as deleted when it still has this version; its name is free again. @returns whether it did */
export const softDeleteJob = async (tx: Queries, jobId: number, version: number): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(sql`
    update oncejob.job set deleted_at = now(), updated_at = now(), version = version + 1
    where id = ${jobId} and version = ${version} and deleted_at is null
    returning id`)
  return rows.length === 1
}
