// Tokens of the wire: JWTs in form, opaque to the clients. Bound to an app and to one version of its password.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Millis } from '../kernel/clock.ts'

/** What a token says. */
export interface Claims {
  readonly appId: number
  /** Version of the app's password that it was issued for. */
  readonly version: number
  /** Of this token alone: the first use of a token is evidence (contract 3b). */
  readonly jti: string
  /** End of its life in seconds since the epoch. */
  readonly exp: number
}

export type Read =
  | { readonly kind: 'good'; readonly claims: Claims }
  | { readonly kind: 'expired'; readonly claims: Claims }
  | { readonly kind: 'broken'; readonly says: string }

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const header = encode({ typ: 'JWT', alg: 'HS256' })
const longest = 2_048

const signatureOf = (text: string, key: Uint8Array): Buffer => createHmac('sha256', key).update(text).digest()

/** The token with these claims. */
export const signToken = ({ appId, version, jti, exp }: Claims, key: Uint8Array): string => {
  const text = `${header}.${encode({ sub: 'PowerJob', appId, version, exp, jti })}`
  return `${text}.${signatureOf(text, key).toString('base64url')}`
}

const claimsOf = (payload: string): Claims | undefined => {
  const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString())
  if (typeof claims !== 'object' || claims === null) return undefined
  const { appId, version, jti, exp }: { appId?: unknown; version?: unknown; jti?: unknown; exp?: unknown } = claims
  return typeof appId === 'number' && typeof version === 'number' && typeof jti === 'string' && typeof exp === 'number'
    ? { appId, version, jti, exp }
    : undefined
}

const broken = (says: string): Read => ({ kind: 'broken', says })

/** Reads a token; the signature first, so that nothing of a forged one is believed, not even its expiry. */
export const readToken = (token: string, key: Uint8Array, nowMs: Millis): Read => {
  const parts = token.length > longest ? [] : token.split('.')
  const [head = '', payload = '', signature = ''] = parts
  if (parts.length !== 3) return broken('the token has not the form of a JWT')
  // the algorithm is ours to choose: a token that names another one is not ours
  if (head !== header) return broken('the token was not issued by this server')
  const given = Buffer.from(signature, 'base64url')
  const expected = signatureOf(`${head}.${payload}`, key)
  if (given.length !== expected.length || !timingSafeEqual(given, expected))
    return broken('the signature does not match')
  const claims = claimsOf(payload)
  if (claims === undefined) return broken('the token lacks claims')
  return { kind: claims.exp * 1000 <= nowMs ? 'expired' : 'good', claims }
}
