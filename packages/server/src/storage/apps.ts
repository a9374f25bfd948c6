// Apps: business systems with their own workers, jobs and tokens.
import type { App, AppInput, AppPatch } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { isStillReferred } from './namespaces.ts'
import { sql, type Sql } from './sql.ts'

interface AppRow extends Omit<App, 'createdAt'> {
  createdAt: Date
}

const viewOf = (row: AppRow): App => ({ ...row, createdAt: row.createdAt.toISOString() })

const view: Sql = sql`
  select app.id, app.name, namespace.name as namespace, app.title, app.require_request_keys as "requireRequestKeys",
    app.created_at as "createdAt"
  from oncejob.app app join oncejob.namespace namespace on namespace.id = app.namespace_id`

/** All apps by name. */
export const listApps = async (db: Queries): Promise<App[]> => {
  const rows = await db.query<AppRow>(sql`${view} order by app.name`)
  return rows.map(viewOf)
}

/** The app with this name. */
export const findApp = async (db: Queries, name: string): Promise<App | undefined> => {
  const [row] = await db.query<AppRow>(sql`${view} where app.name = ${name}`)
  return row === undefined ? undefined : viewOf(row)
}

/** Makes an app. `namespace` is the name of one that exists. */
export const insertApp = async (
  tx: Queries,
  input: AppInput & { readonly namespace: string },
): Promise<App | 'name-taken' | 'no-namespace'> => {
  const [namespace] = await tx.query<{ id: number }>(sql`
    select id from oncejob.namespace where name = ${input.namespace} for key share`)
  if (namespace === undefined) return 'no-namespace'
  const [row] = await tx.query<{ id: number; createdAt: Date }>(sql`
    insert into oncejob.app (namespace_id, name, title, require_request_keys)
    values (${namespace.id}, ${input.name}, ${input.title ?? null}, ${input.requireRequestKeys ?? false})
    on conflict (name) do nothing
    returning id, created_at as "createdAt"`)
  if (row === undefined) return 'name-taken'
  const { name, namespace: within, title = null, requireRequestKeys = false } = input
  return viewOf({ ...row, name, namespace: within, title, requireRequestKeys })
}

/** Changes title, namespace or the switch of request keys; what is absent stays. */
export const updateApp = async (
  tx: Queries,
  name: string,
  patch: AppPatch,
): Promise<App | 'no-namespace' | 'unknown'> => {
  if (patch.namespace !== undefined) {
    const found = await tx.query(sql`select id from oncejob.namespace where name = ${patch.namespace} for key share`)
    if (found.length === 0) return 'no-namespace'
  }
  const changed = await tx.query(sql`
    update oncejob.app set
      title = case when ${patch.title !== undefined}::boolean then ${patch.title ?? null}::text else title end,
      require_request_keys = coalesce(${patch.requireRequestKeys ?? null}::boolean, require_request_keys),
      namespace_id = coalesce((select id from oncejob.namespace where name = ${patch.namespace ?? null}::text), namespace_id)
    where name = ${name}
    returning id`)
  return changed.length === 0 ? 'unknown' : ((await findApp(tx, name)) ?? 'unknown')
}

/**
 * Removes an app together with its tokens, routes and the remains of deleted jobs. An app with jobs, or with
 * runs that have not ended, stays: its workers would never hear how those end.
 */
export const deleteApp = async (tx: Queries, name: string): Promise<'deleted' | 'not-empty' | 'unknown'> => {
  // the lock keeps new jobs out until this transaction has decided
  const [app] = await tx.query<{ id: number }>(sql`select id from oncejob.app where name = ${name} for update`)
  if (app === undefined) return 'unknown'
  const [used] = await tx.query<{ used: boolean }>(sql`
    select exists (select from oncejob.job where app_id = ${app.id} and deleted_at is null)
        or exists (select from oncejob.run where app_id = ${app.id} and state = 'open') as used`)
  if (used?.used === true) return 'not-empty'
  try {
    await tx.query(sql`
      delete from oncejob.schedule s using oncejob.job j where s.job_id = j.id and j.app_id = ${app.id}`)
    await tx.query(sql`delete from oncejob.job where app_id = ${app.id}`)
    await tx.query(sql`delete from oncejob.app where id = ${app.id}`)
    return 'deleted'
  } catch (error) {
    // translated: something else refers to the app or its jobs
    if (isStillReferred(error)) return 'not-empty'
    throw error
  }
}
