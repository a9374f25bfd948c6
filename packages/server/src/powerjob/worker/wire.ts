// The JSON of the worker wire: read as tolerantly as PowerJob's own mapper reads, written as its workers expect it (contract 2.3, 2.4).
import { isUtf8 } from 'node:buffer'

/** A message that can not be read; its text says why. */
export class UnreadableMessage extends Error {
  override readonly name = 'UnreadableMessage'
}

/** The members of a JSON object. */
export type Members = Readonly<Record<string, unknown>>

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

// ids are Java longs: beyond 2^53 they come as the text of their digits, which no run here has as its id
const exactly = (_key: string, value: unknown, context?: { readonly source?: string }): unknown => {
  if (typeof value !== 'number' || !Number.isInteger(value) || Number.isSafeInteger(value)) return value
  const source = context?.source ?? ''
  return /^-?\d+$/.test(source) ? source : value
}

const escaped = (char: string): string => (char === '"' ? '\\"' : char)

/** The text with its single-quoted strings written as JSON has them; strings in double quotes stay as they are. */
const doubleQuoted = (text: string): string => {
  let out = ''
  let quote = ''
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i] ?? ''
    if (quote === '') {
      quote = char === '"' || char === "'" ? char : ''
      out += char === "'" ? '"' : char
    } else if (char === '\\') {
      i += 1
      // \' is no escape of JSON
      out += text[i] === "'" ? "'" : `\\${text[i] ?? ''}`
    } else if (char === quote) {
      quote = ''
      out += '"'
    } else out += quote === "'" ? escaped(char) : char
  }
  return out
}

// a reviver costs several times the reading itself, and few messages need it
const read = (text: string): unknown => (/\d{16}/.test(text) ? JSON.parse(text, exactly) : JSON.parse(text))

const parsed = (text: string): unknown => {
  try {
    return read(text)
  } catch (error) {
    // tried once more, else translated below
    if (!text.includes("'")) throw error
    return read(doubleQuoted(text))
  }
}

/** Reads the body of a message. @throws UnreadableMessage when it is no JSON object in UTF-8 */
export const readMessage = (bytes: Buffer): Members => {
  if (!isUtf8(bytes)) throw new UnreadableMessage('it has bytes that are not UTF-8')
  let value: unknown
  try {
    value = parsed(bytes.toString('utf8'))
  } catch (error) {
    // translated
    throw new UnreadableMessage(error instanceof Error ? error.message : String(error))
  }
  if (!isMembers(value)) throw new UnreadableMessage('it is no JSON object')
  return value
}

const member = (members: Members, name: string): unknown => (Object.hasOwn(members, name) ? members[name] : undefined)

const wrong = (name: string, kind: string): UnreadableMessage =>
  new UnreadableMessage(`its member ${JSON.stringify(name)} is no ${kind}`)

/** A text; null when it is absent. Numbers and booleans are taken as their text. */
export const textOf = (members: Members, name: string): string | null => {
  const value = member(members, name)
  if (value === undefined || value === null) return null
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw wrong(name, 'text')
}

/** A number, also as a text; null when it is absent. */
export const numberOf = (members: Members, name: string): number | null => {
  const value = member(members, name)
  if (value === undefined || value === null || value === '') return null
  const number =
    typeof value === 'string' && /^\s*[+-]?\d+(\.\d+)?([eE][+-]?\d+)?\s*$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isFinite(number)) throw wrong(name, 'number')
  return number
}

/** A whole number; what is behind the point is cut off as Jackson does. Null: absent, or beyond 2^53. */
export const wholeOf = (members: Members, name: string): number | null => {
  const number = numberOf(members, name)
  const whole = number === null ? null : Math.trunc(number) + 0
  return Number.isSafeInteger(whole) ? whole : null
}

/** A primitive boolean: false when it is absent. */
export const flagOf = (members: Members, name: string): boolean => {
  const value = member(members, name)
  if (value === undefined || value === null || value === '') return false
  if (typeof value === 'boolean') return value
  if (typeof value === 'number') return value !== 0
  const text = typeof value === 'string' ? value.trim().toLowerCase() : undefined
  if (text !== 'true' && text !== 'false') throw wrong(name, 'boolean')
  return text === 'true'
}

/** The objects of a list; an absent list is empty. */
export const objectsOf = (members: Members, name: string): readonly Members[] => {
  const value = member(members, name)
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw wrong(name, 'list')
  return value.filter(isMembers)
}

/** An object; null when it is absent. */
export const objectOf = (members: Members, name: string): Members | null => {
  const value = member(members, name)
  if (value === undefined || value === null) return null
  if (!isMembers(value)) throw wrong(name, 'object')
  return value
}

/** The answer to an ask, JSON text. `data` travels as base64url of its JSON: the worker's reader takes no other base64. */
export const askAnswer = (data?: unknown): string =>
  data === undefined
    ? '{"success":true}'
    : JSON.stringify({ success: true, data: Buffer.from(JSON.stringify(data)).toString('base64url') })

/** The answer to an ask that is refused, JSON text. */
export const askRefusal = (message: string): string => JSON.stringify({ success: false, message })

/** The answer of the discovery calls, JSON text: exactly these three members, older workers know no others. */
export const resultOf = (data: unknown): string => JSON.stringify({ success: true, data, message: null })

/** Its refusal, JSON text. */
export const resultRefusal = (message: string): string => JSON.stringify({ success: false, data: null, message })
