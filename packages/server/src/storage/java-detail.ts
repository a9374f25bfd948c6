// What Java workers have told of one run, for people who look at it.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'
import { subRunState, type SubRunState } from './sub-runs.ts'

/** Where a run is or was at a Java worker. Counters are null when no report has told them. */
export interface JavaRunRow {
  /** An attempt is live. */
  readonly running: boolean
  /** Address of the worker of the current or last attempt. */
  readonly worker: string | null
  /** By the worker's clock. */
  readonly startedMs: number | null
  readonly total: number | null
  readonly succeeded: number | null
  readonly failed: number | null
}

/** Undefined: the app has no such run, or its current or last attempt was at no Java worker. */
export const readJavaRun = async (db: Queries, appId: number, runId: number): Promise<JavaRunRow | undefined> => {
  const [row] = await db.query<JavaRunRow>(sql`
    select a.run_id is not null as "running", s.address as "worker", p.start_time as "startedMs", p.total as "total",
      p.succeeded as "succeeded", p.failed as "failed"
    from oncejob.run r
    left join oncejob.attempt a on a.run_id = r.id
    join oncejob.worker_session s on s.protocol = 'powerjob' and s.id = coalesce(a.session_id, r.session_id,
      (select l.session_id from oncejob.attempt_log l where l.run_id = r.id order by l.lease desc limit 1))
    left join oncejob.powerjob_attempt p on p.run_id = r.id
    where r.id = ${runId} and r.app_id = ${appId}`)
  return row
}

export interface SubRunRow {
  readonly number: number
  readonly started_at: Date
  readonly finished_at: Date | null
  readonly state: SubRunState
  readonly result: string | null
}

/** Single executions within a long run, of its latest attempt that told any, newest first. */
export const readSubRuns = (db: Queries, runId: number, limit: number): Promise<SubRunRow[]> =>
  db.query<SubRunRow>(sql`
    select k.number, k.started_at, k.finished_at, ${subRunState} as state, k.result from oncejob.powerjob_sub_run k
    where k.run_id = ${runId} and k.lease = (select max(lease) from oncejob.powerjob_sub_run where run_id = ${runId})
    order by k.number desc limit ${limit}`)
