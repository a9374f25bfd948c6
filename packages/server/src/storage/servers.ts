// Table server: which servers are alive, judged by the database's clock.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

/** A server that has not been seen for so long counts as gone, in ms. */
export const serverGoneMs = 10_000

/** Adds this server and returns its id. */
export const registerServer = async (
  queries: Queries,
  server: { readonly name: string; readonly version: string },
): Promise<number> => {
  const [row] = await queries.query<{ id: number }>(sql`
    insert into oncejob.server (name, version) values (${server.name}, ${server.version}) returning id`)
  if (row === undefined) throw new Error('invariant broken: an insert returns its row')
  return row.id
}

/** `known`: the row is still there. `rank`: how many living servers are older. `alive`: how many live, this one included. */
export interface ServerBeat {
  readonly known: boolean
  readonly rank: number
  readonly alive: number
}

/**
 * Says that this server lives, and tells its place among the others.
 * @param workerAddress where it takes messages of Java workers; null: it takes none
 */
export const beatServer = async (
  queries: Queries,
  id: number,
  workerAddress: string | null = null,
): Promise<ServerBeat> => {
  const [row] = await queries.query<ServerBeat>(sql`
    with beaten as (
      update oncejob.server set seen_at = now(), worker_address = ${workerAddress} where id = ${id} returning id
    )
    select exists (select from beaten) as "known",
           count(*) filter (where other.id < ${id}) as "rank",
           count(*) + 1 as "alive"
      from oncejob.server other
     where other.id <> ${id} and other.seen_at > now() - ${serverGoneMs}::bigint * interval '1 ms'`)
  return row ?? { known: false, rank: 0, alive: 1 }
}

export interface LivingServer {
  readonly id: number
  readonly name: string
  readonly version: string
  readonly startedAt: Date
  readonly seenAt: Date
}

/** The servers seen within the last 10 s, oldest first. */
export const listServers = (queries: Queries): Promise<LivingServer[]> =>
  queries.query<LivingServer>(sql`
    select id as "id", name as "name", version as "version", started_at as "startedAt", seen_at as "seenAt"
      from oncejob.server where seen_at > now() - ${serverGoneMs}::bigint * interval '1 ms' order by id`)

/** Where a living server takes messages of Java workers. */
export interface Transport {
  /** host:port. */
  readonly address: string
  /** How long ago it was seen, in ms. */
  readonly silentMs: number
  /** How many Java workers send it their heartbeats. */
  readonly sessions: number
}

/** The servers seen within the last 10 s that take messages of Java workers; of two with one address the later. */
export const listTransports = (queries: Queries): Promise<Transport[]> =>
  queries.query<Transport>(sql`
    select distinct on (s.worker_address) s.worker_address as "address",
      (extract(epoch from now() - s.seen_at) * 1000)::float8 as "silentMs", coalesce(w.n, 0)::int as "sessions"
    from oncejob.server s
    left join (
      select server_id, count(*) as n from oncejob.worker_session
      where protocol = 'powerjob' and ended_at is null group by server_id
    ) w on w.server_id = s.id
    where s.worker_address is not null and s.seen_at > now() - ${serverGoneMs}::bigint * interval '1 ms'
    order by s.worker_address, s.id desc`)

/** This server stops: it is gone at once. */
export const removeServer = async (queries: Queries, id: number): Promise<void> => {
  await queries.query(sql`delete from oncejob.server where id = ${id}`)
}

/** Forgets servers that died a day ago; returns how many. */
export const deleteDeadServers = async (queries: Queries): Promise<number> => {
  const rows = await queries.query<{ id: number }>(sql`
    delete from oncejob.server where seen_at < now() - interval '1 day' returning id`)
  return rows.length
}
