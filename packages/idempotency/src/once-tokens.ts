// One-time tokens: issued to an account for one operation, accepted once, refused for ever after.
import { randomUUID } from 'node:crypto'
import { keyedHash, sameText } from './hashing.ts'
import { IdempotencyRefusal } from './problems.ts'
import type { ClaimOutcome, Limits, RecordKey, Store } from './store/store.ts'
import { isUlid, makeUlid } from './ulid.ts'

export interface OnceTokenOptions {
  readonly store: Store
  /** At least 16 characters, the same in all processes. Of several the first signs and all verify: that is how to rotate. */
  readonly secret: string | readonly string[]
  /** How long a token may be used: 10 s to 1 h, default 5 minutes. */
  readonly ttlMs?: number
  /** Per account; default 60 issues a minute and 100 unused tokens. */
  readonly limits?: Partial<Limits>
  /** Milliseconds since 1970, for the time in the token; what has expired is judged by the store. */
  readonly now?: () => number
}

export interface TokenPurpose {
  readonly account: string
  readonly operation: string
}

export interface IssuedToken {
  readonly token: string
  readonly operation: string
  /** RFC 3339. */
  readonly expiresAt: string
  readonly ttlSeconds: number
}

/** A token whose signature fits its account and operation. Whether it is unused only the store knows. */
export interface CheckedToken {
  readonly key: RecordKey
  readonly bind: string
  readonly ttlMs: number
}

export type TokenCheck =
  | { readonly kind: 'fits'; readonly token: CheckedToken }
  /** Not made with our secret. */
  | { readonly kind: 'invalid' }
  /** Ours, for another account or operation; it stays usable there. */
  | { readonly kind: 'mismatch' }

export type ConsumeOutcome = 'accepted' | 'used' | 'expired' | 'invalid' | 'mismatch'

export interface OnceTokens {
  readonly store: Store
  readonly ttlMs: number
  /**
   * Makes a token.
   *
   * @throws IdempotencyRefusal `once-token-limit` when the account is over a limit
   */
  issue(purpose: TokenPurpose): Promise<IssuedToken>
  /** Checks the signature, without the store. */
  check(use: TokenPurpose & { readonly token: string }): TokenCheck
  /** Uses a token up, in one step: of any number of concurrent calls one is told `accepted`. */
  consume(use: TokenPurpose & { readonly token: string }): Promise<ConsumeOutcome>
}

const shortestSecret = 16
const ulidChars = 26
const signatureBytes = 8
const [shortestTtlMs, longestTtlMs] = [10_000, 3_600_000]
const defaultLimits: Limits = { perMinute: 60, outstanding: 100 }

// Two signatures: the first says that the token is ours, the second for whom. So «forged» and «misdirected» are told apart.
const signatures = (secret: string, ulid: string, { account, operation }: TokenPurpose) => ({
  ours: keyedHash(secret, ['ours', ulid], signatureBytes),
  bound: keyedHash(secret, ['bound', ulid, account, operation], signatureBytes),
})

const checkedToken = (secret: string, ulid: string, purpose: TokenPurpose, ttlMs: number): CheckedToken => ({
  key: {
    scope: keyedHash(secret, ['account', purpose.account], 18),
    id: `${keyedHash(secret, ['operation', purpose.operation], 9)}:${ulid}`,
  },
  bind: keyedHash(secret, ['bind', purpose.account, purpose.operation], 18),
  ttlMs,
})

/** What a claim that used the token up says to the caller. */
const consumed = (outcome: ClaimOutcome): ConsumeOutcome => {
  switch (outcome.kind) {
    case 'claimed':
      return 'accepted'
    case 'busy':
    case 'done':
    case 'reused':
      return 'used'
    // Its signature is ours, so it was issued; that it is gone means that it is old.
    case 'absent':
    case 'expired':
      return 'expired'
    case 'mismatch':
      return 'mismatch'
  }
}

const limitWords = { perMinute: 'tokens within a minute', outstanding: 'unused tokens' } as const

const checkOptions = (secrets: readonly string[], ttlMs: number): string => {
  const [signing] = secrets
  if (signing === undefined || secrets.some((secret) => secret.length < shortestSecret)) {
    throw new RangeError(`the secret of one-time tokens needs at least ${shortestSecret} characters`)
  }
  if (!(ttlMs >= shortestTtlMs && ttlMs <= longestTtlMs)) {
    throw new RangeError(`ttlMs must be from ${shortestTtlMs} to ${longestTtlMs}`)
  }
  return signing
}

/**
 * One-time tokens on a store.
 *
 * @throws RangeError when the secret is short or `ttlMs` is out of bounds
 */
export const createOnceTokens = ({
  store,
  secret,
  ttlMs = 300_000,
  limits,
  now = Date.now,
}: OnceTokenOptions): OnceTokens => {
  const secrets = typeof secret === 'string' ? [secret] : secret
  const signing = checkOptions(secrets, ttlMs)
  const perAccount = { ...defaultLimits, ...limits }

  const check: OnceTokens['check'] = ({ token, ...purpose }) => {
    const ulid = token.slice(0, ulidChars)
    if (!isUlid(ulid) || token[ulidChars] !== '.') return { kind: 'invalid' }
    const signature = token.slice(ulidChars + 1)
    for (const each of secrets) {
      const { ours, bound } = signatures(each, ulid, purpose)
      if (signature.length !== ours.length + bound.length) return { kind: 'invalid' }
      if (!sameText(signature.slice(0, ours.length), ours)) continue
      if (!sameText(signature.slice(ours.length), bound)) return { kind: 'mismatch' }
      return { kind: 'fits', token: checkedToken(each, ulid, purpose, ttlMs) }
    }
    return { kind: 'invalid' }
  }

  const issue: OnceTokens['issue'] = async (purpose) => {
    const ulid = makeUlid(now())
    const { key, bind } = checkedToken(signing, ulid, purpose, ttlMs)
    const outcome = await store.issue({ key, bind, ttlMs, limits: perAccount })
    if (outcome.kind === 'limited') {
      const detail = `The account has ${perAccount[outcome.limit]} ${limitWords[outcome.limit]}.`
      throw new IdempotencyRefusal({
        slug: 'once-token-limit',
        detail,
        retryAfterSeconds: outcome.retryAfterMs / 1000,
        members: { limit: outcome.limit },
      })
    }
    // 80 random bits: only a broken source of chance gets here.
    if (outcome.kind === 'exists') throw new Error('the source of chance gave the same token twice')
    const { ours, bound } = signatures(signing, ulid, purpose)
    return {
      token: `${ulid}.${ours}${bound}`,
      operation: purpose.operation,
      expiresAt: new Date(outcome.expiresAtMs).toISOString(),
      ttlSeconds: Math.floor(ttlMs / 1000),
    }
  }

  const consume: OnceTokens['consume'] = async (use) => {
    const checked = check(use)
    if (checked.kind !== 'fits') return checked.kind
    const outcome = await store.claim({
      key: checked.token.key,
      bind: checked.token.bind,
      owner: randomUUID(),
      fingerprint: '',
      leaseMs: 0,
      takeOver: false,
      createTtlMs: undefined,
      to: 'done',
      requestId: undefined,
    })
    return consumed(outcome)
  }

  return { store, ttlMs, issue, check, consume }
}
