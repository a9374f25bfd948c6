// Apps: business systems with their own workers, jobs and tokens.
import type { App, AppInput, AppPatch, WireSwitches } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { isStillReferred } from './namespaces.ts'
import { sql, type Sql } from './sql.ts'
import { deleteWorkflowRemains } from './workflows.ts'

interface AppRow extends Omit<App, 'createdAt' | 'powerjob'>, WireSwitches {
  createdAt: Date
}

const viewOf = ({
  tokenless,
  copyEnabled,
  collapse,
  tagSubstring,
  workerNetworks,
  createdAt,
  ...row
}: AppRow): App => ({
  ...row,
  powerjob: { tokenless, copyEnabled, collapse, tagSubstring, workerNetworks },
  createdAt: createdAt.toISOString(),
})

const view: Sql = sql`
  select app.id, app.name, namespace.name as namespace, app.title, app.require_request_keys as "requireRequestKeys",
    app.password_hash is not null as "hasPassword", app.powerjob_tokenless as tokenless,
    app.powerjob_copy_enabled as "copyEnabled", app.powerjob_collapse as collapse,
    app.powerjob_tag_substring as "tagSubstring", app.powerjob_worker_networks as "workerNetworks", app.created_at as "createdAt"
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

/** Makes an app. `namespace` is the name of one that exists; `passwordHash`: what is kept of the password, null without one. */
export const insertApp = async (
  tx: Queries,
  input: Omit<AppInput, 'password'> & { readonly namespace: string },
  passwordHash: string | null = null,
): Promise<App | 'name-taken' | 'no-namespace'> => {
  const [namespace] = await tx.query<{ id: number }>(sql`
    select id from oncejob.namespace where name = ${input.namespace} for key share`)
  if (namespace === undefined) return 'no-namespace'
  const { name, namespace: within, title = null, requireRequestKeys = false, powerjob = {} } = input
  const { tokenless = false, copyEnabled = false, collapse = 'evidence' } = powerjob
  const { tagSubstring = false, workerNetworks = [] } = powerjob
  const [row] = await tx.query<{ id: number; createdAt: Date }>(sql`
    insert into oncejob.app (namespace_id, name, title, require_request_keys, password_hash, password_version,
      powerjob_tokenless, powerjob_copy_enabled, powerjob_collapse, powerjob_tag_substring, powerjob_worker_networks)
    values (${namespace.id}, ${name}, ${title}, ${requireRequestKeys}, ${passwordHash}::text, ${passwordHash === null ? 0 : 1},
      ${tokenless}, ${copyEnabled}, ${collapse}, ${tagSubstring}, ${workerNetworks}::text[])
    on conflict (name) do nothing
    returning id, created_at as "createdAt"`)
  if (row === undefined) return 'name-taken'
  const hasPassword = passwordHash !== null
  const switches = { tokenless, copyEnabled, collapse, tagSubstring, workerNetworks }
  return viewOf({ ...row, name, namespace: within, title, requireRequestKeys, hasPassword, ...switches })
}

/**
 * Changes title, namespace or switches; what is absent stays.
 * @param passwordHash what is kept of a new password; null removes the password, undefined leaves it
 */
export const updateApp = async (
  tx: Queries,
  name: string,
  patch: Omit<AppPatch, 'password'>,
  passwordHash?: string | null,
): Promise<App | 'no-namespace' | 'unknown'> => {
  if (patch.namespace !== undefined) {
    const found = await tx.query(sql`select id from oncejob.namespace where name = ${patch.namespace} for key share`)
    if (found.length === 0) return 'no-namespace'
  }
  const { tokenless = null, copyEnabled = null, collapse = null } = patch.powerjob ?? {}
  const { tagSubstring = null, workerNetworks = null } = patch.powerjob ?? {}
  const changed = await tx.query(sql`
    update oncejob.app set
      powerjob_tokenless = coalesce(${tokenless}::boolean, powerjob_tokenless),
      powerjob_copy_enabled = coalesce(${copyEnabled}::boolean, powerjob_copy_enabled),
      powerjob_collapse = coalesce(${collapse}::text, powerjob_collapse),
      powerjob_tag_substring = coalesce(${tagSubstring}::boolean, powerjob_tag_substring),
      powerjob_worker_networks = coalesce(${workerNetworks}::text[], powerjob_worker_networks),
      password_hash = case when ${passwordHash !== undefined}::boolean then ${passwordHash ?? null}::text else password_hash end,
      password_version = password_version + ${passwordHash === undefined ? 0 : 1}::int,
      title = case when ${patch.title !== undefined}::boolean then ${patch.title ?? null}::text else title end,
      require_request_keys = coalesce(${patch.requireRequestKeys ?? null}::boolean, require_request_keys),
      namespace_id = coalesce((select id from oncejob.namespace where name = ${patch.namespace ?? null}::text), namespace_id)
    where name = ${name}
    returning id`)
  return changed.length === 0 ? 'unknown' : ((await findApp(tx, name)) ?? 'unknown')
}

/**
 * Removes an app together with its tokens, routes and the remains of deleted jobs and workflows. An app with jobs,
 * workflows, or runs that have not ended stays: its workers would never hear how those end.
 */
export const deleteApp = async (tx: Queries, name: string): Promise<'deleted' | 'not-empty' | 'unknown'> => {
  // the lock keeps new jobs out until this transaction has decided
  const [app] = await tx.query<{ id: number }>(sql`select id from oncejob.app where name = ${name} for update`)
  if (app === undefined) return 'unknown'
  const [used] = await tx.query<{ used: boolean }>(sql`
    select exists (select from oncejob.job where app_id = ${app.id} and deleted_at is null)
        or exists (select from oncejob.workflow where app_id = ${app.id} and deleted_at is null)
        or exists (select from oncejob.run where app_id = ${app.id} and state = 'open') as used`)
  if (used?.used === true) return 'not-empty'
  try {
    await deleteWorkflowRemains(tx, app.id)
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
