// Request keys: the caller names a request, and a repeat under the same name gets the first answer.
import { hashOf } from './hashing.ts'
import type { Problem } from './problems.ts'
import type { RecordKey, RecordState, Store } from './store/store.ts'
import { isUlid, ulidTimeMs } from './ulid.ts'

export interface RequestKeyOptions {
  readonly store: Store
  /** How long answers are kept: 1 h to 30 days, default 72 h, so that Friday's call can be repeated on Monday. */
  readonly retentionMs?: number
  /** Milliseconds since 1970, to judge the age of keys that carry their time. */
  readonly now?: () => number
}

/** A valid key, ready for the store. */
export interface CheckedKey {
  readonly key: RecordKey
  readonly bind: string
  readonly ttlMs: number
  /** As it was sent, without quotes. */
  readonly text: string
}

export type KeyCheck =
  | { readonly kind: 'fits'; readonly key: CheckedKey }
  | { readonly kind: 'refused'; readonly problem: Problem }

export interface RequestKeys {
  readonly store: Store
  readonly retentionMs: number
  /**
   * Reads the header. Quoted and bare spelling are the same key.
   *
   * @param scope whose key it is: keys of different scopes never meet
   */
  check(header: string, scope: string): KeyCheck
  /** What became of a call; undefined when nothing is known. */
  look(header: string, scope: string): Promise<RecordState | undefined>
}

const hourMs = 3_600_000
const [shortestRetentionMs, longestRetentionMs] = [hourMs, 720 * hourMs]
// Clocks of callers differ from ours by so much.
const clockToleranceMs = 300_000
const ulidPrefix = 'ik_'
const invalid = (detail: string): KeyCheck => ({
  kind: 'refused',
  problem: { slug: 'idempotency-key-invalid', detail },
})

const shape = /^[\x21-\x2b\x2d-\x7e]{8,255}$/

/** The key without the quotes of RFC 8941; undefined when it is none. */
const unquote = (header: string): string | undefined => {
  const quoted = /^"(.*)"$/.exec(header.trim())
  const text = quoted === null ? header.trim() : (quoted[1] ?? '').replaceAll(/\\(["\\])/g, '$1')
  return shape.test(text) ? text : undefined
}

/** Refuses a key that says itself that its answer is forgotten, or that its clock is wrong. */
const ageProblem = (text: string, retentionMs: number, nowMs: number): Problem | undefined => {
  const ulid = text.slice(ulidPrefix.length)
  if (!text.startsWith(ulidPrefix) || !isUlid(ulid)) return undefined
  const ageMs = nowMs - (ulidTimeMs(ulid) ?? nowMs)
  if (ageMs > retentionMs - clockToleranceMs) {
    return {
      slug: 'idempotency-key-expired',
      detail: 'Its answer may be forgotten: find out what became of the request before you send it under a new key.',
    }
  }
  if (ageMs < -clockToleranceMs) {
    return { slug: 'idempotency-key-invalid', detail: 'The key was made more than 5 minutes in the future.' }
  }
  return undefined
}

/**
 * Request keys on a store.
 *
 * @throws RangeError when `retentionMs` is out of bounds
 */
export const createRequestKeys = ({
  store,
  retentionMs = 72 * hourMs,
  now = Date.now,
}: RequestKeyOptions): RequestKeys => {
  if (!(retentionMs >= shortestRetentionMs && retentionMs <= longestRetentionMs)) {
    throw new RangeError(`retentionMs must be from ${shortestRetentionMs} to ${longestRetentionMs}`)
  }

  const recordKey = (text: string, scope: string): RecordKey => ({
    scope: hashOf(JSON.stringify(['scope', scope])),
    id: `key:${hashOf(text)}`,
  })

  const check: RequestKeys['check'] = (header, scope) => {
    const text = unquote(header)
    if (text === undefined) return invalid('A key has 8 to 255 visible ASCII characters and no comma.')
    const problem = ageProblem(text, retentionMs, now())
    if (problem !== undefined) return { kind: 'refused', problem }
    return { kind: 'fits', key: { key: recordKey(text, scope), bind: 'key', ttlMs: retentionMs, text } }
  }

  const look: RequestKeys['look'] = async (header, scope) => {
    const text = unquote(header)
    return text === undefined ? undefined : store.read(recordKey(text, scope))
  }

  return { store, retentionMs, check, look }
}
