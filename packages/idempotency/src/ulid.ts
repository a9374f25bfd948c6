// ULIDs: 48 bits of time and 80 of chance as 26 characters that sort by time.
import { randomBytes } from 'node:crypto'

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const timeChars = 10
const randomByteCount = 10
// 2^48 - 1 takes the first of ten characters up to 7.
const shape = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/

const encodeTime = (atMs: number): string => {
  let rest = atMs
  let text = ''
  for (let at = 0; at < timeChars; at += 1) {
    text = alphabet.charAt(rest % 32) + text
    rest = Math.floor(rest / 32)
  }
  return text
}

const encodeRandom = (bytes: Uint8Array): string => {
  let bits = 0n
  for (const byte of bytes) bits = (bits << 8n) | BigInt(byte)
  let text = ''
  for (let at = 0; at < (bytes.length * 8) / 5; at += 1) {
    text = alphabet.charAt(Number(bits & 31n)) + text
    bits >>= 5n
  }
  return text
}

/**
 * Makes a ULID: 26 characters of Crockford's base32.
 *
 * @param atMs the time it carries, milliseconds since 1970
 * @param random ten bytes from a secure source
 */
export const makeUlid = (atMs: number, random: Uint8Array = randomBytes(randomByteCount)): string =>
  encodeTime(atMs) + encodeRandom(random)

/** Whether the text is a ULID in its canonical spelling: capitals, no I, L, O or U. */
export const isUlid = (text: string): boolean => shape.test(text)

/** The milliseconds since 1970 that a ULID carries; undefined when it is none. */
export const ulidTimeMs = (ulid: string): number | undefined => {
  if (!isUlid(ulid)) return undefined
  let atMs = 0
  for (const char of ulid.slice(0, timeChars)) atMs = atMs * 32 + alphabet.indexOf(char)
  return atMs
}
