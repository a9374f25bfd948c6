// Refuses requests that were made long ago or in the future. An aid only: equal times do not make equal requests.
import type { GuardedRequest } from '../fingerprint.ts'
import { headerOf } from '../fingerprint.ts'
import type { Problem } from '../problems.ts'

export interface TimeGuardOptions {
  /** Default `x-request-time`: RFC 3339, or milliseconds since 1970. */
  readonly header?: string
  /** How old a request may be; default 5 minutes. */
  readonly maxAgeMs?: number
  /** How far ahead its clock may be; default 5 minutes. */
  readonly maxAheadMs?: number
  /** Whether a request without a time is refused; default true. */
  readonly required?: boolean
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

const fiveMinutesMs = 300_000
const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i

const parseTimeMs = (text: string): number | undefined => {
  const atMs = /^\d{1,15}$/.test(text) ? Number(text) : rfc3339.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(atMs) ? undefined : atMs
}

/** A function that says why a request is refused; undefined when it is not. */
export const createTimeGuard = (options: TimeGuardOptions = {}) => {
  const { header = 'x-request-time', required = true, now = Date.now } = options
  const { maxAgeMs = fiveMinutesMs, maxAheadMs = fiveMinutesMs } = options
  return (request: GuardedRequest): Problem | undefined => {
    const text = headerOf(request, header)
    if (text === undefined) return required ? { slug: 'request-time-required' } : undefined
    const madeAtMs = parseTimeMs(text)
    if (madeAtMs === undefined)
      return { slug: 'request-time-invalid', detail: 'Send RFC 3339 or milliseconds since 1970.' }
    const ageMs = now() - madeAtMs
    if (ageMs > maxAgeMs) return { slug: 'request-too-old' }
    if (ageMs < -maxAheadMs) return { slug: 'request-too-early' }
    return undefined
  }
}
