// The version of this server, as its package says it.
import { readFileSync } from 'node:fs'

const read: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

export const version: string =
  typeof read === 'object' && read !== null && 'version' in read && typeof read.version === 'string'
    ? read.version
    : 'unknown'
