// Worker sessions as people look at them, and as the question why a run waits needs them.
import type { Worker, WorkerMetrics } from '@oncejob/protocol'
import type { SessionFacts } from '../runs/eligibility.ts'
import type { Queries } from './db.ts'
import { all, sql, type Sql } from './sql.ts'

interface WorkerRow {
  readonly id: number
  readonly app: string
  readonly name: string
  readonly address: string | null
  readonly pid: number | null
  readonly version: string | null
  readonly state: Worker['state']
  readonly end_reason: string | null
  readonly processors: string[]
  readonly labels: Record<string, string>
  readonly slots: number
  readonly running: number
  readonly metrics: WorkerMetrics | null
  readonly started_at: Date
  readonly expires_at: Date
  readonly ended_at: Date | null
}

/** Those that are shown: a Java worker says more. */
const metricsOf = ({ cpuCores, cpuLoad, freeMemoryGb, freeDiskGb }: WorkerMetrics): WorkerMetrics => ({
  cpuCores,
  cpuLoad,
  freeMemoryGb,
  freeDiskGb,
})

const workerOf = ({ id, end_reason, started_at, expires_at, ended_at, metrics, ...same }: WorkerRow): Worker => ({
  ...same,
  metrics: metrics && metricsOf(metrics),
  sessionId: id,
  endReason: end_reason,
  startedAt: started_at.toISOString(),
  expiresAt: expires_at.toISOString(),
  endedAt: ended_at?.toISOString() ?? null,
})

const selectWorkers = (where: Sql, limit: number): Sql => sql`
  select w.id, app.name as app, w.name, w.address, w.pid, w.version,
    case
      when w.ended_at is not null then 'ended'
      when w.expires_at <= now() then 'late'
      when w.draining then 'draining'
      else 'live'
    end as state,
    w.end_reason, w.processors, w.labels, w.slots, coalesce(a.running, 0)::int as running, w.metrics,
    w.started_at, w.expires_at, w.ended_at
  from oncejob.worker_session w
  join oncejob.app app on app.id = w.app_id
  left join (select session_id, count(*) as running from oncejob.attempt group by session_id) a on a.session_id = w.id
  where ${where}
  order by w.id desc
  limit ${limit}`

export interface WorkerListing {
  /** `live`: those that have not ended. */
  readonly state: 'live' | 'all'
  readonly beforeId: number | undefined
  readonly limit: number
}

/** One page of the worker sessions of an app, newest first. */
export const listWorkers = async (db: Queries, appId: number, listing: WorkerListing): Promise<Worker[]> => {
  const conditions = [sql`w.app_id = ${appId}`]
  if (listing.state === 'live') conditions.push(sql`w.ended_at is null`)
  if (listing.beforeId !== undefined) conditions.push(sql`w.id < ${listing.beforeId}`)
  return (await db.query<WorkerRow>(selectWorkers(all(conditions), listing.limit))).map(workerOf)
}

/** One worker session of the app, ended or not. */
export const workerById = async (db: Queries, appId: number, sessionId: number): Promise<Worker | undefined> => {
  const rows = await db.query<WorkerRow>(selectWorkers(sql`w.app_id = ${appId} and w.id = ${sessionId}`, 1))
  return rows[0] === undefined ? undefined : workerOf(rows[0])
}

/** The sessions of an app that are renewed in time, and whether they take new runs. */
export const sessionsInTime = (
  db: Queries,
  appId: number,
): Promise<(SessionFacts & { readonly draining: boolean })[]> =>
  db.query<SessionFacts & { readonly draining: boolean }>(sql`
    select w.id, w.name, w.address, w.processors, w.labels, w.metrics, w.slots, coalesce(a.running, 0)::int as running, w.draining,
      w.protocol = 'powerjob' as java
    from oncejob.worker_session w
    left join (select session_id, count(*) as running from oncejob.attempt group by session_id) a on a.session_id = w.id
    where w.app_id = ${appId} and w.ended_at is null and w.expires_at > now()
    order by w.id`)
