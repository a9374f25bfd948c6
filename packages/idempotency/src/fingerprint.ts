// What makes two requests the same request: a hash of each part, so that a mismatch can say which part differs.
import { canonicalJson } from './canonical-json.ts'
import { hashOf } from './hashing.ts'

/** A request as the guards see it, whatever the framework. */
export interface GuardedRequest {
  readonly method: string
  /** The pattern that matched, such as `/order/:id`. */
  readonly route: string
  /** The path without the query. */
  readonly path: string
  readonly query: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** The parsed body, before defaults are filled in. */
  readonly body: unknown
  readonly requestId: string | undefined
}

/** Parts of a request that a fingerprint covers. */
export type RequestPart = 'method' | 'route' | 'path' | 'query' | 'ifMatch' | 'mediaType' | 'body'

// Stored with every fingerprint; another algorithm gets another number.
const version = 'v1'
const parts = ['method', 'route', 'path', 'query', 'ifMatch', 'mediaType', 'body'] as const satisfies RequestPart[]

/** The first value of a header, trimmed; undefined when there is none. */
export const headerOf = (request: Pick<GuardedRequest, 'headers'>, name: string): string | undefined => {
  const value = request.headers[name.toLowerCase()]
  const first = typeof value === 'string' ? value : value?.[0]
  return first === undefined || first.trim() === '' ? undefined : first.trim()
}

const without = (body: unknown, volatile: readonly string[]): unknown =>
  volatile.length === 0 || typeof body !== 'object' || body === null || Array.isArray(body)
    ? body
    : Object.fromEntries(Object.entries(body).filter(([name]) => !volatile.includes(name)))

const bodyHash = (body: unknown, volatile: readonly string[]): string => {
  if (body === undefined) return hashOf('none')
  if (body instanceof Uint8Array) return hashOf(body)
  return hashOf(`json:${canonicalJson(without(body, volatile))}`)
}

const sortedQuery = (query: string): string => {
  const sorted = new URLSearchParams(query)
  sorted.sort()
  return sorted.toString()
}

/**
 * The fingerprint of a request. Order of members, spelling of numbers and escapes of the body do not matter.
 *
 * @param volatile names of top-level members of the body that may differ between repeats
 * @throws BodyTooDeep
 */
export const fingerprintOf = (request: GuardedRequest, volatile: readonly string[] = []): string => {
  const mediaType = headerOf(request, 'content-type')?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const hashes: Record<RequestPart, string> = {
    method: hashOf(request.method.toUpperCase()),
    route: hashOf(request.route),
    path: hashOf(request.path),
    query: hashOf(sortedQuery(request.query)),
    ifMatch: hashOf(headerOf(request, 'if-match') ?? ''),
    mediaType: hashOf(mediaType),
    body: bodyHash(request.body, volatile),
  }
  return [version, ...parts.map((part) => hashes[part])].join('.')
}

/** Names of the parts in which two fingerprints differ; never what they contain. */
export const differingParts = (left: string, right: string): RequestPart[] => {
  const [ours, theirs] = [left.split('.'), right.split('.')]
  return parts.filter((_, index) => ours[index + 1] !== theirs[index + 1])
}
