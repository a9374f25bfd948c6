// Namespaces: the outermost grouping of apps.
import type { Namespace, NamespaceInput } from '@oncejob/protocol'
import { DatabaseError } from '../kernel/errors.ts'
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

interface NamespaceRow extends Omit<Namespace, 'createdAt'> {
  createdAt: Date
}

const viewOf = (row: NamespaceRow): Namespace => ({ ...row, createdAt: row.createdAt.toISOString() })

/** True when the database refused because another row still refers to the one that was to go. */
export const isStillReferred = (error: unknown): boolean => error instanceof DatabaseError && error.sqlState === '23503'

/** All namespaces by name. */
export const listNamespaces = async (db: Queries): Promise<Namespace[]> => {
  const rows = await db.query<NamespaceRow>(sql`
    select id, name, title, created_at as "createdAt" from oncejob.namespace order by name`)
  return rows.map(viewOf)
}

/** Makes a namespace; undefined when the name is taken. */
export const insertNamespace = async (tx: Queries, input: NamespaceInput): Promise<Namespace | undefined> => {
  const [row] = await tx.query<NamespaceRow>(sql`
    insert into oncejob.namespace (name, title) values (${input.name}, ${input.title ?? null})
    on conflict (name) do nothing
    returning id, name, title, created_at as "createdAt"`)
  return row === undefined ? undefined : viewOf(row)
}

/** Removes an empty namespace. */
export const deleteNamespace = async (tx: Queries, name: string): Promise<'deleted' | 'not-empty' | 'unknown'> => {
  try {
    const rows = await tx.query<{ id: number }>(sql`
      delete from oncejob.namespace where name = ${name} returning id`)
    return rows.length === 0 ? 'unknown' : 'deleted'
  } catch (error) {
    // translated: the foreign key of app is the judge, without a race
    if (isStillReferred(error)) return 'not-empty'
    throw error
  }
}
