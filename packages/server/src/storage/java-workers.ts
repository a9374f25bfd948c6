// Sessions of Java workers: one for each address of an app, renewed by heartbeats that any server may hear.
import type { WorkerMetrics } from '@oncejob/protocol'
import { jsonText } from '../kernel/json.ts'
import type { Queries } from './db.ts'
import { isFrequent } from './frequent-jobs.ts'
import { sql, type Sql } from './sql.ts'

/** What a heartbeat says beside its metrics, as it is kept. */
export interface JavaFacts {
  readonly tag: string | null
  readonly overload: boolean
  readonly lightTasks: number
  readonly heavyTasks: number
  readonly containers: readonly {
    readonly containerId: number
    readonly version: string | null
    readonly deployedTime: number | null
  }[]
}

/** One heartbeat. */
export interface JavaBeat {
  readonly appId: number
  /** `ip:port` */
  readonly address: string
  readonly version: string | null
  readonly slots: number
  readonly metrics: (WorkerMetrics & { readonly score?: number | undefined }) | null
  readonly facts: JavaFacts
}

/** How long a heartbeat is good for, and who hears it. */
export interface Hearing {
  readonly serverId: number
  /** Until the session expires; it is ended a grace later. */
  readonly expireMs: number
}

const labelsOf = ({ facts }: JavaBeat): string => JSON.stringify(facts.tag === null ? {} : { tag: facts.tag })

export interface HeardRow {
  readonly ord: number
  readonly id: number
  /** Which server heard the one before; null: none. */
  readonly former: number | null
}

/** Renews the live sessions of these workers. One without a live session has no row in the answer. No worker may stand twice in the input. */
export const hearWorkers = (
  queries: Queries,
  beats: readonly JavaBeat[],
  { serverId, expireMs }: Hearing,
): Promise<HeardRow[]> =>
  queries.query<HeardRow>(
    sql`
with i as (
  select * from unnest(
    ${beats.map((_, ord) => ord)}::int[], ${beats.map((b) => b.appId)}::bigint[], ${beats.map((b) => b.address)}::text[],
    ${beats.map((b) => b.version)}::text[], ${beats.map((b) => b.slots)}::int[], ${beats.map(labelsOf)}::text[]::jsonb[],
    ${beats.map((b) => jsonText(b.metrics))}::text[]::jsonb[], ${beats.map((b) => b.facts.overload)}::boolean[],
    ${beats.map((b) => JSON.stringify(b.facts))}::text[]::jsonb[]
  ) as t(ord, app_id, address, version, slots, labels, metrics, overload, facts)
), held as (
  select s.id, s.server_id as former, i.* from oncejob.worker_session s
  join i on i.app_id = s.app_id and i.address = s.address
  where s.protocol = 'powerjob' and s.ended_at is null order by s.id for update of s
)
update oncejob.worker_session s
set expires_at = now() + ${expireMs}::bigint * interval '1 ms', server_id = ${serverId}, version = held.version, slots = held.slots,
  labels = held.labels, metrics = held.metrics, draining = held.overload, powerjob = held.facts
from held where s.id = held.id
returning held.ord, s.id, held.former`,
    { name: 'hear_workers' },
  )

/** Opens a session. Undefined: the worker has one already, opened by whoever was faster. */
export const openJavaSession = async (
  queries: Queries,
  beat: JavaBeat,
  { serverId, expireMs }: Hearing,
): Promise<number | undefined> => {
  const rows = await queries.query<{ id: number }>(sql`
insert into oncejob.worker_session (app_id, name, address, version, processors, labels, slots, metrics, draining, protocol, server_id,
  powerjob, expires_at)
values (${beat.appId}, ${beat.address}, ${beat.address}, ${beat.version}, '{*}', ${labelsOf(beat)}::text::jsonb, ${beat.slots},
  ${jsonText(beat.metrics)}::text::jsonb, ${beat.facts.overload}, 'powerjob', ${serverId}, ${JSON.stringify(beat.facts)}::text::jsonb,
  now() + ${expireMs}::bigint * interval '1 ms')
on conflict (app_id, address) where protocol = 'powerjob' and ended_at is null do nothing
returning id`)
  return rows[0]?.id
}

/** Ends a session because nobody listens at its address. False: it had ended before. */
export const loseSession = async (tx: Queries, sessionId: number): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(sql`
update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${sessionId} and ended_at is null returning id`)
  return rows.length > 0
}

export interface LookRow {
  readonly id: number
  readonly server_id: number | null
  readonly ended: boolean
  /** Null: it has no attempt. */
  readonly run_id: number | null
  readonly lease: number | null
  readonly job_id: number | null
  readonly number: number | null
  readonly stop: boolean | null
  readonly frequent: boolean | null
}

/** These sessions, each with its live attempts: one row for each, or one without an attempt. */
export const lookAtSessions = (queries: Queries, sessionIds: readonly number[]): Promise<LookRow[]> =>
  queries.query<LookRow>(
    sql`
select s.id, s.server_id, s.ended_at is not null as ended, a.run_id, a.lease, a.job_id, a.number,
  a.stop_requested_at is not null as stop, ${isFrequent} as frequent
from oncejob.worker_session s
left join oncejob.attempt a on a.session_id = s.id
left join oncejob.schedule c on c.job_id = a.job_id
where s.id = any(${[...sessionIds]}::bigint[])`,
    { name: 'look_at_sessions' },
  )

export interface JavaWorkerRow {
  readonly id: number
  readonly app_id: number
  readonly address: string
  readonly version: string | null
  readonly powerjob: JavaFacts
  readonly running: number
  readonly heard_ms: number
}

const workers = (where: Sql, silenceMs: number): Sql => sql`
select s.id, s.app_id, s.address, s.version, s.powerjob,
  (select count(*) from oncejob.attempt a where a.session_id = s.id)::int as running,
  (extract(epoch from s.expires_at) * 1000 - ${silenceMs})::float8 as heard_ms
from oncejob.worker_session s
where s.protocol = 'powerjob' and s.ended_at is null and ${where} order by s.id`

/** The live Java workers of an app. `expireMs` is that of their hearing. */
export const listJavaWorkers = (queries: Queries, appId: number, expireMs: number): Promise<JavaWorkerRow[]> =>
  queries.query<JavaWorkerRow>(workers(sql`s.app_id = ${appId}`, expireMs))

/** The live Java worker of an app at an address. */
export const javaWorkerAt = async (
  queries: Queries,
  appId: number,
  address: string,
  expireMs: number,
): Promise<JavaWorkerRow | undefined> => {
  const found = await queries.query<JavaWorkerRow>(
    workers(sql`s.app_id = ${appId} and s.address = ${address}`, expireMs),
  )
  return found[0]
}
