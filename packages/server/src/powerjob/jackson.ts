// Reads the JSON and the forms of this wire as PowerJob's mappers do: what they coerce is coerced, what they refuse is refused.
import { dateTimeIn, dateTimeMs, hourMs, isDate, isTimeOfDay, lastInstantMs, minuteMs } from '../timing/civil.ts'
import { WireError, type WireCall } from './call.ts'

/** The members of a JSON object. */
export type Fields = Readonly<Record<string, unknown>>

/** How one member is read: from its value, and its name for messages. */
type Read<T> = (value: unknown, name: string) => T

const unreadable = (says: string): never => {
  throw new WireError('HttpMessageNotReadableException', `JSON parse error: ${says}`)
}

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

const cannot = (kind: string, value: unknown, name: string): never =>
  unreadable(`Cannot deserialize value of type ${kind} from ${shown(value)} (field "${name}")`)

export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isNone = (value: unknown): value is null | undefined => value === null || value === undefined

/** The body of a call. @throws WireError when it is missing or no object */
export const bodyFields = ({ body, path }: WireCall): Fields => {
  if (isNone(body)) throw new WireError('HttpMessageNotReadableException', `Required request body is missing: ${path}`)
  return isFields(body) ? body : cannot('object', body, path)
}

/** One member; inherited names are none. */
export const member = (fields: Fields, name: string): unknown =>
  Object.hasOwn(fields, name) ? fields[name] : undefined

export const asText: Read<string | null> = (value, name) => {
  if (isNone(value)) return null
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : cannot('String', value, name)
}

const intMax = 2_147_483_647
const longMax = 9_223_372_036_854_775_807n

const whole = (value: unknown, name: string, kind: 'Integer' | 'Long'): number | null => {
  if (isNone(value)) return null
  const text = typeof value === 'string' ? value.trim() : undefined
  if (text === '') return null
  const isNumber = typeof value === 'number' || (text !== undefined && /^[+-]?\d{1,30}$/.test(text))
  const read = isNumber ? Math.trunc(Number(value)) : Number.NaN
  if (!Number.isFinite(read)) return cannot(kind, value, name)
  if (kind === 'Integer' && (read > intMax || read < -intMax - 1)) return cannot('Integer (out of range)', value, name)
  // 2^63 itself is what the largest long becomes here
  if (Math.abs(read) > Number(longMax)) return cannot('Long (out of range)', value, name)
  // -0 is no number of Java
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(read, Number.MAX_SAFE_INTEGER)) + 0
}

/** A fraction is cut off. */
export const asInt: Read<number | null> = (value, name) => whole(value, name, 'Integer')

/** 64 bits; what lies beyond 2^53 is taken for that: no id and no time of ours is as large. */
export const asLong: Read<number | null> = (value, name) => whole(value, name, 'Long')

/** A primitive: null is 0. */
export const asDouble: Read<number> = (value, name) => {
  if (isNone(value)) return 0
  const text = typeof value === 'string' ? value.trim() : undefined
  if (text === '') return 0
  const isNumber =
    typeof value === 'number' || (text !== undefined && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text))
  const read = isNumber ? Number(value) : Number.NaN
  return Number.isFinite(read) ? read + 0 : cannot('double', value, name)
}

/** A primitive: absent is `absent`, null is false. */
export const asBoolean =
  (absent: boolean): Read<boolean> =>
  (value, name) => {
    if (value === undefined) return absent
    if (value === null || value === '') return false
    if (typeof value === 'boolean') return value
    if (typeof value === 'number' && Number.isInteger(value)) return value !== 0
    const text = typeof value === 'string' ? value.trim() : ''
    if (/^(true|True|TRUE)$/.test(text)) return true
    if (/^(false|False|FALSE)$/.test(text)) return false
    return cannot('boolean', value, name)
  }

/** A name, or the zero-based place of its declaration as a number or in digits: not its code. */
export const asEnum =
  <Name extends string>(names: readonly Name[]): Read<Name | null> =>
  (value, name) => {
    if (isNone(value)) return null
    const text = typeof value === 'string' ? value.trim() : ''
    const isPlace = (typeof value === 'number' && Number.isInteger(value)) || /^\d{1,9}$/.test(text)
    const found = isPlace ? names[Number(value)] : names.find((one) => one === text)
    return found ?? cannot(`one of ${names.join(', ')}`, value, name)
  }

const isoShape = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:Z|([+-])(\d\d):?(\d\d)?)?)?$/
// from the year 1, which databases know, to the last date that JavaScript does
const firstDateMs = -62_135_596_800_000

/** An ISO-8601 date in ms, in UTC without an offset. Undefined: it does not look like one. NaN: there is no such date. */
export const isoMs = (text: string): number | undefined => {
  const parts = isoShape.exec(text)
  if (parts === null) return undefined
  const read = dateTimeIn(parts)
  if (read.year === 0 || !isDate(read) || !isTimeOfDay(read)) return Number.NaN
  const offsetMs = Number(parts[9] ?? 0) * hourMs + Number(parts[10] ?? 0) * minuteMs
  return dateTimeMs(read) - (parts[8] === '-' ? -offsetMs : offsetMs)
}

/** A java.util.Date, in ms: epoch milliseconds as a number or in digits, or ISO-8601, which is UTC without an offset. */
export const asDate: Read<number | null> = (value, name) => {
  if (isNone(value)) return null
  const text = typeof value === 'string' ? value.trim() : ''
  if (typeof value === 'string' && text === '') return null
  const ms = isoMs(text) ?? asLong(value, name) ?? 0
  return Number.isNaN(ms) ? cannot('Date', value, name) : Math.max(firstDateMs, Math.min(ms, lastInstantMs))
}

export const asList =
  <T>(read: Read<T>): Read<T[] | null> =>
  (value, name) => {
    if (isNone(value)) return null
    return Array.isArray(value) ? value.map((one: unknown) => read(one, name)) : cannot('List', value, name)
  }

export const asObject: Read<Fields | null> = (value, name) => {
  if (isNone(value)) return null
  return isFields(value) ? value : cannot('object', value, name)
}

/** Reads one member of an object. */
export const field = <T>(fields: Fields, name: string, read: Read<T>): T => read(member(fields, name), name)

/** A text where a form must have a number. */
export const notALong = (text: string): WireError =>
  new WireError(
    'MethodArgumentTypeMismatchException',
    "Failed to convert value of type 'java.lang.String' to required type 'java.lang.Long'; " +
      `nested exception is java.lang.NumberFormatException: For input string: "${text.slice(0, 100)}"`,
  )

/** A number of a form; null when it is missing or empty. @throws WireError when it is none */
export const formLong = ({ fields }: WireCall, name: string): number | null => {
  const text = fields.get(name)?.trim() ?? ''
  if (text === '') return null
  const read = /^[+-]?\d{1,30}$/.test(text) ? Number(text) : Number.NaN
  if (Math.abs(read) <= Number(longMax))
    return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(read, Number.MAX_SAFE_INTEGER)) + 0
  throw notALong(text)
}

/** A number of a form in the digits that were sent, for messages: beyond 2^53 it must not be told as another. */
export const formDigits = (call: WireCall, name: string): string =>
  formLong(call, name) === null ? 'null' : String(BigInt((call.fields.get(name) ?? '').trim().replace('+', '')))

/** A date as this wire answers it: ISO-8601 in UTC with milliseconds, and the offset in digits. */
export const isoText = (at: Date): string => at.toISOString().replace('Z', '+00:00')
