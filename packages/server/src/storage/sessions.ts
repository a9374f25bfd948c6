// Worker sessions: opened once, renewed by polls, ended once.
import type { WorkerMetrics } from '@oncejob/protocol'
import { jsonText } from '../kernel/json.ts'
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

export interface NewSession {
  readonly appId: number
  readonly name: string
  readonly address: string | null
  readonly pid: number | null
  readonly version: string | null
  readonly processors: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly slots: number
  readonly metrics: WorkerMetrics | null
}

/** Opens a session; its lease runs from now. */
export const insertSession = async (queries: Queries, session: NewSession, leaseMs: number): Promise<number> => {
  const rows = await queries.query<{ id: number }>(sql`
insert into oncejob.worker_session (app_id, name, address, pid, version, processors, labels, slots, metrics, expires_at)
values (${session.appId}, ${session.name}, ${session.address}, ${session.pid}, ${session.version}, ${[...session.processors]}::text[],
  ${JSON.stringify(session.labels)}::text::jsonb, ${session.slots}, ${jsonText(session.metrics)}::text::jsonb,
  now() + ${leaseMs}::bigint * interval '1 ms')
returning id`)
  const id = rows[0]?.id
  if (id === undefined) throw new Error('invariant broken: an insert returned no row')
  return id
}

export interface Renewal {
  readonly sessionId: number
  readonly draining: boolean
  readonly metrics: WorkerMetrics | null
}

/** Renews sessions; an ended one has no row in the answer. No session may stand twice in the input. */
export const renewSessions = (
  queries: Queries,
  renewals: readonly Renewal[],
  leaseMs: number,
): Promise<{ id: number }[]> =>
  queries.query<{ id: number }>(
    sql`
update oncejob.worker_session s
set expires_at = now() + ${leaseMs}::bigint * interval '1 ms', draining = i.draining, metrics = coalesce(i.metrics, s.metrics)
from unnest(
  ${renewals.map((r) => r.sessionId)}::bigint[], ${renewals.map((r) => r.draining)}::boolean[],
  ${renewals.map((r) => jsonText(r.metrics))}::text[]::jsonb[]
) as i(id, draining, metrics)
where s.id = i.id and s.ended_at is null
returning s.id`,
    { name: 'renew' },
  )

export interface Progress {
  readonly runId: number
  readonly lease: number
  /** JSON text of { percent, note }. */
  readonly progress: string
}

/** Stores the progress of attempts, guarded by their leases. */
export const storeProgress = async (queries: Queries, items: readonly Progress[]): Promise<void> => {
  await queries.query(sql`
update oncejob.attempt a set progress = i.progress
from unnest(${items.map((p) => p.runId)}::bigint[], ${items.map((p) => p.lease)}::bigint[], ${items.map((p) => p.progress)}::text[]::jsonb[])
  as i(run_id, lease, progress)
where a.run_id = i.run_id and a.lease = i.lease`)
}

export interface SessionRow {
  readonly id: number
  readonly app_id: number
  readonly name: string
  readonly address: string | null
  readonly processors: string[]
  readonly labels: Record<string, string>
  readonly metrics: WorkerMetrics | null
  readonly slots: number
  readonly draining: boolean
  readonly running: number
  /** A Java worker on the PowerJob wire. */
  readonly java: boolean
}

/** Every session that has not ended, with how many runs it holds. */
export const liveSessions = (queries: Queries): Promise<SessionRow[]> =>
  queries.query<SessionRow>(
    sql`
select s.id, s.app_id, s.name, s.address, s.processors, s.labels, s.metrics, s.slots, s.draining, coalesce(a.n, 0)::int as running,
  s.protocol = 'powerjob' as java
from oncejob.worker_session s
left join (select session_id, count(*) as n from oncejob.attempt group by session_id) a on a.session_id = s.id
where s.ended_at is null order by s.id`,
    { name: 'live_sessions' },
  )

/** One session, ended or not. */
export const sessionById = async (
  queries: Queries,
  sessionId: number,
): Promise<(SessionRow & { ended: boolean }) | undefined> => {
  const rows = await queries.query<SessionRow & { ended: boolean }>(sql`
select id, app_id, name, address, processors, labels, metrics, slots, draining, 0 as running, protocol = 'powerjob' as java, ended_at is not null as ended
from oncejob.worker_session where id = ${sessionId}`)
  return rows[0]
}

/** Ends a session because its worker leaves. No row: it had ended before. */
export const endSession = (queries: Queries, sessionId: number): Promise<{ id: number }[]> =>
  queries.query<{ id: number }>(sql`
update oncejob.worker_session set ended_at = now(), end_reason = 'left' where id = ${sessionId} and ended_at is null returning id`)

/** Which of these routes have a run ready and due. */
export const routesWithReady = (queries: Queries, routeIds: readonly number[]): Promise<{ route_id: number }[]> =>
  queries.query<{ route_id: number }>(
    sql`
select t.id as route_id from unnest(${[...routeIds]}::int[]) as t(id)
where exists (select 1 from oncejob.run_ready r where r.route_id = t.id and r.run_at <= now())`,
    { name: 'routes_with_ready' },
  )
