// Passwords of apps. Clients send a password in clear text (/assert) or as its MD5 (/authApp); a slow, salted hash over
// the MD5 answers both, and neither can be read back from it.
import { createHash, createHmac, scrypt, timingSafeEqual } from 'node:crypto'
import type { Clock, Millis } from '../kernel/clock.ts'
import type { Random } from '../kernel/random.ts'

/** Lower-case hex MD5 of a password, as clients of PowerJob send it. */
export const md5Of = (password: string): string => createHash('md5').update(password).digest('hex')

// about 40 ms and 16 MB; stored with each hash, so that it can grow
const cost = { N: 16_384, r: 8, p: 1 } as const
const saltBytes = 16
const hashBytes = 32

const slow = (md5: string, salt: Uint8Array, { N, r, p }: { N: number; r: number; p: number }): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    scrypt(md5, salt, hashBytes, { N, r, p }, (error, key) => (error === null ? resolve(key) : reject(error)))
  })

/** What is stored of a password: `scrypt$N$r$p$salt$hash`. */
export const hashPassword = async (password: string, random: Random): Promise<string> => {
  const salt = Buffer.from(random.bytes(saltBytes))
  const key = await slow(md5Of(password), salt, cost)
  return ['scrypt', cost.N, cost.r, cost.p, salt.toString('base64url'), key.toString('base64url')].join('$')
}

/** Stands for a password in the fingerprint of a call: equal for the same password and key, and as slow to guess as the stored hash. */
export const fingerprintPassword = async (password: string, key: string): Promise<string> =>
  (await slow(md5Of(password), createHash('sha256').update(key).digest(), cost)).toString('base64url')

/** Whether this is the MD5 (32 hex digits in any case) of the stored password. */
export const matches = async (md5: string, stored: string): Promise<boolean> => {
  const [kind, N, r, p, salt = '', hash = ''] = stored.split('$')
  if (kind !== 'scrypt' || !/^[0-9a-f]{32}$/i.test(md5)) return false
  const expected = Buffer.from(hash, 'base64url')
  const given = await slow(md5.toLowerCase(), Buffer.from(salt, 'base64url'), {
    N: Number(N),
    r: Number(r),
    p: Number(p),
  })
  return given.length === expected.length && timingSafeEqual(given, expected)
}

// ten wrong guesses in a row, then one a second: for each app, and within it for each address that guesses
const patience = { ofPeer: { burst: 10, everyMs: 1_000 }, ofApp: { burst: 100, everyMs: 100 } } as const
const mostRemembered = 10_000

/** A budget of wrong guesses for each name; it refills as time goes by. */
const budgets = (clock: Clock, { burst, everyMs }: { readonly burst: number; readonly everyMs: Millis }) => {
  // when the budget of a name will be full again
  const fullAtMs = new Map<string, Millis>()
  return {
    isSpent: (name: string): boolean => (fullAtMs.get(name) ?? 0) - clock.monotonic() > (burst - 1) * everyMs,
    /** @returns what gives it back */
    spend: (name: string): (() => void) => {
      const nowMs = clock.monotonic()
      if (fullAtMs.size >= mostRemembered) {
        for (const [other, atMs] of fullAtMs) if (atMs <= nowMs) fullAtMs.delete(other)
        if (fullAtMs.size >= mostRemembered) fullAtMs.clear()
      }
      fullAtMs.set(name, Math.max(fullAtMs.get(name) ?? 0, nowMs) + everyMs)
      return () => void fullAtMs.set(name, (fullAtMs.get(name) ?? 0) - everyMs)
    },
  }
}

export type Verdict = 'right' | 'wrong' | 'too-many'

/** A password that someone claims to know. */
export interface Claimed {
  readonly appId: number
  /** Counts up with each change of the password. */
  readonly version: number
  readonly stored: string
  readonly md5: string
  /** Address that it comes from. */
  readonly peer: string
}

/**
 * Checks passwords. A password that was right is remembered (as a keyed hash, in memory): clients that authenticate for each
 * call do not pay for the slow hash, and guessing by others never locks them out.
 */
export const createPasswords = (clock: Clock, random: Random) => {
  const memoryKey = random.bytes(32)
  const right = new Map<string, true>()
  const underWay = new Map<string, Promise<boolean>>()
  const ofPeer = budgets(clock, patience.ofPeer)
  const ofApp = budgets(clock, patience.ofApp)

  const check = async (name: string, { md5, stored }: Claimed): Promise<boolean> => {
    try {
      const found = await matches(md5, stored)
      if (found) {
        if (right.size >= mostRemembered) right.clear()
        right.set(name, true)
      }
      return found
    } finally {
      underWay.delete(name)
    }
  }
  return async (claimed: Claimed): Promise<Verdict> => {
    const { appId, version, stored, md5, peer } = claimed
    const name = createHmac('sha256', memoryKey)
      .update(`${appId} ${version} ${stored} ${md5.toLowerCase()}`)
      .digest('base64url')
    if (right.has(name)) return 'right'
    const [app, address] = [String(appId), `${appId} ${peer}`]
    if (ofPeer.isSpent(address) || ofApp.isSpent(app)) return 'too-many'
    // those who ask the same at once share one answer
    const asked = underWay.get(name)
    if (asked !== undefined) return (await asked) ? 'right' : 'wrong'
    // paid in advance, so that guesses sent at once count as well
    const refunds = [ofPeer.spend(address), ofApp.spend(app)]
    const pending = check(name, claimed)
    underWay.set(name, pending)
    if (!(await pending)) return 'wrong'
    for (const refund of refunds) refund()
    return 'right'
  }
}
