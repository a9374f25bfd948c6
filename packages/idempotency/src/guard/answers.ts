// Which answers are kept for repeats, and what of them.
import type { Answer } from '../store/store.ts'

/** Longer answers are not kept. */
export const longestBody = 256 * 1024

// These refuse the request before it did anything, or ask for another try: a repeat deserves a new attempt.
const refusals = new Set([400, 401, 403, 408, 412, 425, 428, 429])

/** Whether the answer is the outcome of the operation, a failure of it, or a refusal that changed nothing. */
export const kindOfAnswer = (status: number): 'outcome' | 'failure' | 'refusal' =>
  status >= 500 ? 'failure' : refusals.has(status) ? 'refusal' : 'outcome'

// What describes the body or the resource. Never cookies, dates or what a proxy adds.
const keptHeaders = [
  'content-type',
  'content-encoding',
  'content-language',
  'content-disposition',
  'location',
  'etag',
  'last-modified',
  'link',
  'cache-control',
]

const headerText = (value: unknown): string | undefined => {
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value.join(', ') : undefined
}

/**
 * An answer as it is kept.
 *
 * @param more names of further headers to keep
 * @returns undefined when the body is a stream (no bytes) or too long
 */
export const keptAnswer = (
  status: number,
  headers: Readonly<Record<string, unknown>>,
  body: Uint8Array | undefined,
  more: readonly string[] = [],
): Answer | undefined => {
  if (body === undefined || body.byteLength > longestBody) return undefined
  const names = new Set([...keptHeaders, ...more.map((name) => name.toLowerCase())])
  const kept = Object.entries(headers).flatMap(([name, value]) => {
    const text = headerText(value)
    return names.has(name.toLowerCase()) && text !== undefined ? [[name.toLowerCase(), text] as const] : []
  })
  return { status, headers: Object.fromEntries(kept), body }
}
