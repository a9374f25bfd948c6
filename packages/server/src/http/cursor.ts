// Cursors of lists: where the next page begins, opaque to the caller and bound to its list.
import { Refusal } from '@oncejob/protocol'

interface KeyTypes {
  number: number
  string: string
  'number?': number | null
  'string?': string | null
}
type Keys<T extends readonly (keyof KeyTypes)[]> = { [I in keyof T]: KeyTypes[T[I]] }

/**
 * @param list name of the list together with what filters and orders it, e.g. `jobs:-name`
 * @param keys sort keys of the last item of the page
 */
export const writeCursor = (list: string, keys: readonly (string | number | null)[]): string =>
  Buffer.from(JSON.stringify([list, ...keys])).toString('base64url')

const fits = (value: unknown, type: keyof KeyTypes): boolean => {
  if (type.endsWith('?') && value === null) return true
  return type.startsWith('number') ? Number.isSafeInteger(value) : typeof value === 'string'
}

const parse = (cursor: string): unknown => {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString())
  } catch {
    // translated: whatever it is, it is none of our cursors
    return undefined
  }
}

/**
 * The sort keys in a cursor that writeCursor made for this list, or undefined when there is no cursor.
 * @param types what each key must be, e.g. `['string?', 'number']`
 * @throws Refusal CURSOR_INVALID
 */
export const readCursor = <const T extends readonly (keyof KeyTypes)[]>(
  list: string,
  cursor: string | undefined,
  types: T,
): Keys<T> | undefined => {
  if (cursor === undefined) return undefined
  const parsed = parse(cursor)
  const isOurs = (value: unknown): value is [string, ...Keys<T>] =>
    Array.isArray(value) &&
    value.length === types.length + 1 &&
    value[0] === list &&
    types.every((type, i) => fits(value[i + 1], type))
  if (!isOurs(parsed)) {
    throw new Refusal(
      'CURSOR_INVALID',
      'Take the cursor from `next` of the page before, with the same filters and order.',
    )
  }
  const [, ...keys] = parsed
  return keys
}
