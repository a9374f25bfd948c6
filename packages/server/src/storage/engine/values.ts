// How values cross the border to the database; the same for both engines.
import { types } from 'node:util'
import pg from 'pg'

/** Reads the text form of a value. */
export type Read = (text: string) => unknown

const wholeNumber = (text: string): number => {
  const value = Number(text)
  // ids and counts stay below 2^53; a larger one must never be rounded in silence
  if (!Number.isSafeInteger(value)) throw new Error(`bigint out of the exact range of numbers: ${text}`)
  return value
}
const asText: Read = (text) => text
// pg's types name the scalar types only; 1009 is text[]
const textArrayOid: number = 1009
const textArray: Read = pg.types.getTypeParser(textArrayOid, 'text')

const arrayOf =
  (read: Read): Read =>
  (text) => {
    const items = textArray(text)
    if (!Array.isArray(items)) throw new Error(`not an array: ${text}`)
    return items.map((item: unknown) => (typeof item === 'string' ? read(item) : item))
  }

// bigint and bigint[] become numbers. Dates and times without a zone stay text: as a Date they would take on
// the zone of the process.
const own: ReadonlyMap<number, Read> = new Map([
  [20, wholeNumber],
  [1016, arrayOf(wholeNumber)],
  [1082, asText],
  [1114, asText],
  [1115, asText],
  [1182, asText],
])

/** The reader for a type; text when the type is not known. */
export const readerOf = (typeOid: number): Read => own.get(typeOid) ?? pg.types.getTypeParser(typeOid, 'text')

/** A parameter on its way out: text, bytes, or null. */
export type Parameter = string | Buffer | null

const mustEscape = /["\\]/
const quoted = (text: string): string =>
  mustEscape.test(text) ? `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"` : `"${text}"`

const arrayElement = (value: unknown): string => {
  // numbers and absent values are most of what the hot statements carry
  if (typeof value === 'number') return String(value)
  if (value === null || value === undefined) return 'NULL'
  if (Array.isArray(value)) return arrayText(value)
  const parameter = parameterOf(value)
  return quoted(typeof parameter === 'string' ? parameter : `\\x${parameter?.toString('hex') ?? ''}`)
}

const arrayText = (values: readonly unknown[]): string => `{${values.map(arrayElement).join(',')}}`

/**
 * Prepares a value for the database: undefined is null, Dates are instants, arrays are PostgreSQL arrays,
 * other objects are JSON, bytes are bytea. An array that is meant as JSON has to be stringified by the caller.
 */
export const parameterOf = (value: unknown): Parameter => {
  switch (typeof value) {
    case 'string':
      return value
    case 'number':
    case 'boolean':
    case 'bigint':
      return String(value)
    case 'undefined':
      return null
    case 'object':
      if (value === null) return null
      if (types.isDate(value)) return value.toISOString()
      if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      if (Array.isArray(value)) return arrayText(value)
      return JSON.stringify(value)
    default:
      throw new TypeError(`a ${typeof value} cannot be a parameter`)
  }
}

/** A driver's rows as the caller declares them. */
export const rowsAs = <R>(rows: readonly unknown[]): R[] =>
  // oxlint-disable-next-line typescript/consistent-type-assertions -- declared beside each statement, compared with the database by a test
  rows as R[]
