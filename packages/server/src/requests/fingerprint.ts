// What makes two calls the same: method, path, query, precondition and body. Stored beside the key, compared at a repeat.
import { hash } from 'node:crypto'
import { canonicalJson } from '../runs/job-changes.ts'

export interface AskedFor {
  readonly method: string
  /** Path without the query. */
  readonly path: string
  /** Parameters of the query as they were sent. */
  readonly query: Readonly<Record<string, unknown>>
  readonly ifMatch: string | undefined
  /** The body as it was parsed, before any default was filled in: a new default must not make a repeat another call. */
  readonly body: unknown
}

// Counts up when the way of making fingerprints changes; older ones are then compared by their own version.
const version = '1'
const names = ['version', 'method', 'path', 'query', 'if-match', 'body'] as const
const separator = '\n'

/** The fingerprint of a call, as text in six lines. The body is only a hash: it may hold secrets. */
export const fingerprintOf = ({ method, path, query, ifMatch, body }: AskedFor): string =>
  [
    version,
    method,
    path.replaceAll(separator, ' '),
    Object.keys(query).length === 0 ? '' : canonicalJson(query),
    (ifMatch ?? '').replaceAll(separator, ' '),
    body === undefined ? '' : hash('sha256', canonicalJson(body), 'base64url'),
  ].join(separator)

/** Which parts differ, by name and never by content. */
export const differences = (one: string, other: string): string[] => {
  const [left, right] = [one.split(separator), other.split(separator)]
  return names.filter((_, i) => left[i] !== right[i])
}
