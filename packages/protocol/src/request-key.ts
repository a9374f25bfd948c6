// Request keys made by our SDKs: `ik_` and a ULID, so that a key carries the time of its making (contract 3a).

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

const timePart = (atMs: number): string => {
  let rest = atMs
  let text = ''
  for (let i = 0; i < 10; i += 1) {
    text = alphabet.charAt(rest % 32) + text
    rest = Math.floor(rest / 32)
  }
  return text
}

const chancePart = (random: Uint8Array): string => {
  let text = ''
  for (let i = 0; i < 16; i += 1) text += alphabet.charAt((random[i] ?? 0) % 32)
  return text
}

/**
 * A ULID: 26 characters of Crockford's base 32, the first 10 the time in ms, the others chance.
 * @param atMs milliseconds since the epoch
 * @param random at least 16 random bytes
 */
export const ulid = (atMs: number, random: Uint8Array): string => timePart(atMs) + chancePart(random)

// chance is fetched for many keys at once: one fetch costs as much as the rest of a key
const pool = new Uint8Array(16 * 256)
let used = pool.length

/** A request key for one intended call; keep it over every retry of that call. */
export const makeRequestKey = (): string => {
  if (used === pool.length) {
    crypto.getRandomValues(pool)
    used = 0
  }
  used += 16
  return `ik_${ulid(Date.now(), pool.subarray(used - 16, used))}`
}

/**
 * Reads an Idempotency-Key header: the quoted string of the IETF draft or the bare form; both name the same key.
 * @returns the key, or undefined when it is not 8 to 255 visible ASCII characters without comma or quote
 */
export const readRequestKey = (header: string): string | undefined => {
  const bare = header.startsWith('"') && header.endsWith('"') && header.length > 1 ? header.slice(1, -1) : header
  return /^[\x21\x23-\x2b\x2d-\x7e]{8,255}$/.test(bare) ? bare : undefined
}
