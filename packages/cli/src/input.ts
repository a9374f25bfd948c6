// Values that are typed or read from files.
import { readFileSync } from 'node:fs'
import { UsageError } from './exit-codes.ts'

/** Reads JSON. `from` names where it stood. */
export const readJson = (text: string, from: string): unknown => {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UsageError(`${from} is not JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
}

const readFile = (from: string | number, name: string): string => {
  try {
    return readFileSync(from, 'utf8')
  } catch (error) {
    throw new UsageError(`${name} can not be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** The text of a file; - reads stdin. */
export const readText = (file: string): string => readFile(file === '-' ? 0 : file, file)

/** The bytes of a file. */
export const readBytes = (file: string): Uint8Array => {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new UsageError(`${file} can not be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** Parameters as typed: JSON, or `@file` with JSON in it. */
export const readParams = (text: string): unknown => {
  if (!text.startsWith('@')) return readJson(text, '--params')
  const file = text.slice(1)
  return readJson(readFile(file, file), file)
}
