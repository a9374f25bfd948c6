// One spelling for every JSON value (RFC 8785), so that equal requests have equal fingerprints.

// Deeper than any honest body; far less than what would exhaust the stack.
const deepest = 500

/** The body is nested too deeply to be compared. */
export class BodyTooDeep extends Error {
  override readonly name = 'BodyTooDeep'
}

const isPlain = (value: object): value is Readonly<Record<string, unknown>> => !Array.isArray(value)

const write = (value: unknown, depth: number): string => {
  if (depth > deepest) throw new BodyTooDeep(`JSON nested deeper than ${deepest} levels`)
  // JSON.stringify spells numbers, strings and escapes as RFC 8785 wants them; members that it drops stay dropped.
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null'
  if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(',')}]`
  if ('toJSON' in value && typeof value.toJSON === 'function')
    return write(JSON.parse(JSON.stringify(value)), depth + 1)
  if (!isPlain(value)) return 'null'
  // The default order of sort, by UTF-16 units, is the one of the RFC.
  const members = Object.keys(value)
    .toSorted()
    .filter((name) => value[name] !== undefined)
    .map((name) => `${JSON.stringify(name)}:${write(value[name], depth + 1)}`)
  return `{${members.join(',')}}`
}

/**
 * The canonical JSON text of a value: members sorted, numbers and strings in one spelling.
 *
 * @throws BodyTooDeep when it is nested deeper than 500 levels
 */
export const canonicalJson = (value: unknown): string => write(value, 0)
