// The audit trail: who did what to which thing. Rows are only ever added.
import type { AuditEntry } from '@oncejob/protocol'
import { jsonText } from '../kernel/json.ts'
import type { Queries } from './db.ts'
import { all, sql, type Sql } from './sql.ts'

export interface AuditNote {
  /** Name of the token, or `server`. */
  readonly actor: string
  /** The app concerned; null when it concerns none. */
  readonly appId: number | null
  /** What was done, e.g. `job.update`. */
  readonly action: string
  /** To what, e.g. `job/42`. */
  readonly target: string
  /** What a reader wants to know beside that; any JSON value, null when there is nothing. No secrets. */
  readonly detail: unknown
}

/** Adds one entry; give it the transaction of the change, so that both are there or neither. */
export const appendAudit = async (tx: Queries, note: AuditNote): Promise<void> => {
  await tx.query(sql`
    insert into oncejob.audit (actor, app_id, action, target, detail)
    values (${note.actor}, ${note.appId}, ${note.action}, ${note.target}, ${jsonText(note.detail)}::text::jsonb)`)
}

interface AuditRow extends Omit<AuditEntry, 'at'> {
  at: Date
}

/**
 * One page of entries, newest first.
 * @param filter.appId only entries of this app; null: all
 * @param filter.beforeId only entries older than this one; null: from the newest
 */
export const listAudit = async (
  db: Queries,
  filter: { readonly appId: number | null; readonly beforeId: number | null; readonly limit: number },
): Promise<AuditEntry[]> => {
  const conditions: Sql[] = []
  if (filter.appId !== null) conditions.push(sql`a.app_id = ${filter.appId}`)
  if (filter.beforeId !== null) conditions.push(sql`a.id < ${filter.beforeId}`)
  const rows = await db.query<AuditRow>(sql`
    select a.id, a.at, a.actor, app.name as app, a.action, a.target, a.detail
    from oncejob.audit a left join oncejob.app app on app.id = a.app_id
    where ${all(conditions)}
    order by a.id desc
    limit ${filter.limit}`)
  return rows.map((row) => ({ ...row, at: row.at.toISOString() }))
}
