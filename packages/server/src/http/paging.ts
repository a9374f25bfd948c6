// Pages of lists: one item more than asked for says whether there is a next page.
import { createHash } from 'node:crypto'
import type { Page } from '@oncejob/protocol'
import { writeCursor } from './cursor.ts'

/** Text in a query string that is looked for in the database, which keeps no NUL. */
export const searchText = { maxLength: 255, pattern: '^[^\\u0000]*$' } as const

/** Name of a list for its cursors: a cursor of the same list with other filters is refused. */
export const listName = (list: string, filters: Readonly<Record<string, unknown>>): string => {
  const digest = createHash('sha256').update(JSON.stringify(filters)).digest('base64url').slice(0, 12)
  return `${list}:${digest}`
}

/**
 * @param found up to `limit` + 1 items
 * @param keysOf the sort keys of an item, which its cursor holds
 */
export const pageFrom = <T>(
  list: string,
  found: readonly T[],
  limit: number,
  keysOf: (item: T) => readonly (string | number | null)[],
): Page<T> => {
  const items = found.slice(0, limit)
  const last = items.at(-1)
  return { items, next: found.length > limit && last !== undefined ? writeCursor(list, keysOf(last)) : null }
}
