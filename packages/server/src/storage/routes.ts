// Routes: what a job asks of its workers, shared by all jobs of an app that ask the same. Rows are never changed.
import { createHash } from 'node:crypto'
import { invariant } from '../kernel/errors.ts'
import { jsonText } from '../kernel/json.ts'
import type { JavaNeeds, RouteFacts } from '../runs/eligibility.ts'
import { canonicalJson } from '../runs/job-changes.ts'
import type { JobDefinition } from '../runs/job-definition.ts'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** What a job asks of its workers, before it has a row. */
export interface NewRoute {
  readonly appId: number
  readonly jobId: number
  readonly processor: string
  readonly workers: JobDefinition['workers']
  /** Of a job of the PowerJob wire; null: a native job. */
  readonly java: Omit<JavaNeeds, 'tagSubstring'> | null
}

/**
 * Names what is asked: equal digests mean that the same workers serve both jobs. A job that limits its workers
 * counts them for itself, so it shares with nobody.
 */
const digestOf = ({ jobId, processor, workers, java }: NewRoute): string => {
  const asked = {
    ...workers,
    processor,
    designated: [...new Set(workers.designated)].toSorted(),
    jobId: workers.maxWorkers > 0 ? jobId : null,
    // left out for native jobs, whose digests are as they were before there was such a thing
    ...(java === null ? {} : { java }),
  }
  return createHash('sha256').update(canonicalJson(asked)).digest('base64url')
}

const selectRoute = async (tx: Queries, appId: number, digest: string): Promise<number | undefined> => {
  const rows = await tx.query<{ id: number }>(
    sql`select id from oncejob.route where app_id = ${appId} and digest = ${digest}`,
  )
  return rows[0]?.id
}

const insertRoute = async (tx: Queries, route: NewRoute, digest: string): Promise<void> => {
  const { appId, processor, workers, java } = route
  await tx.query(sql`
    insert into oncejob.route (app_id, processor, labels, designated, min_free_cpu_cores, min_free_memory_gb,
      min_free_disk_gb, max_workers, strategy, digest, java)
    values (${appId}, ${processor}, ${JSON.stringify(workers.labels)}::text::jsonb, ${[...new Set(workers.designated)].toSorted()},
      ${workers.minFreeCpuCores}, ${workers.minFreeMemoryGb}, ${workers.minFreeDiskGb}, ${workers.maxWorkers},
      ${workers.strategy}, ${digest}, ${jsonText(java)}::text::jsonb)
    on conflict (app_id, digest) do nothing`)
}

/** The id of the route that asks this; it is made when there is none yet. */
export const internRoute = async (tx: Queries, route: NewRoute): Promise<number> => {
  const digest = digestOf(route)
  const known = await selectRoute(tx, route.appId, digest)
  if (known !== undefined) return known
  await insertRoute(tx, route, digest)
  // a statement of its own: it sees the row of a transaction that was faster
  const id = await selectRoute(tx, route.appId, digest)
  invariant(id !== undefined, 'a route is there once it was inserted')
  return id
}

/** Gives the waiting runs of a job its new route: who mends a job's labels also means the runs that wait for them. */
export const rerouteWaiting = async (tx: Queries, jobId: number, from: number, to: number): Promise<void> => {
  await tx.query(sql`
    with ready as (
      update oncejob.run_ready set route_id = ${to} where route_id = ${from} and job_id = ${jobId}
    ), later as (
      update oncejob.run_later set route_id = ${to} where route_id = ${from} and job_id = ${jobId}
    )
    update oncejob.run_blocked set route_id = ${to} where route_id = ${from} and job_id = ${jobId}`)
}

const routeFacts: Sql = sql`
  id, processor, labels, designated, min_free_cpu_cores as "minFreeCpuCores", min_free_memory_gb as "minFreeMemoryGb",
  min_free_disk_gb as "minFreeDiskGb", max_workers as "maxWorkers", strategy,
  case when java is not null then java || (
    select jsonb_build_object('tagSubstring', app.powerjob_tag_substring) from oncejob.app where app.id = route.app_id) end as java`

/** The routes of every app: what kinds of worker the jobs ask for. Few, however many jobs there are. */
export const allRoutes = (db: Queries): Promise<(RouteFacts & { readonly appId: number })[]> =>
  db.query<RouteFacts & { readonly appId: number }>(
    sql`select app_id as "appId", ${routeFacts} from oncejob.route order by id`,
    { name: 'all_routes' },
  )

/** One route. */
export const routeById = async (db: Queries, routeId: number): Promise<RouteFacts | undefined> => {
  const rows = await db.query<RouteFacts>(sql`select ${routeFacts} from oncejob.route where id = ${routeId}`)
  return rows[0]
}
