// Hashes that name things without saying what they are called.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

/** SHA-256 as base64url, shortened to `bytes` (default 18: 24 characters). */
export const hashOf = (value: string | Uint8Array, bytes = 18): string =>
  createHash('sha256').update(value).digest().subarray(0, bytes).toString('base64url')

/** HMAC-SHA-256 over a list of words, as base64url. The list is encoded so that no two lists look alike. */
export const keyedHash = (secret: string, words: readonly string[], bytes: number): string =>
  createHmac('sha256', secret).update(JSON.stringify(words)).digest().subarray(0, bytes).toString('base64url')

/** Compares without telling by its duration where the texts differ. */
export const sameText = (left: string, right: string): boolean => {
  const [a, b] = [Buffer.from(left), Buffer.from(right)]
  return a.length === b.length && timingSafeEqual(a, b)
}
