// Same key, same answer (I1, contract 3a): the key, the effect and the answer are one transaction; a repeat gets the answer.
import { readRequestKey, Refusal } from '@oncejob/protocol'
import type { Clock } from '../kernel/clock.ts'
import type { Random } from '../kernel/random.ts'
import type { Db, Queries } from '../storage/db.ts'
import {
  findKeys,
  insertKey,
  lockKey,
  storeAnswer,
  type KnownKey,
  type RequestKey,
  type StoredAnswer,
} from '../storage/request-keys.ts'
import { differences } from './fingerprint.ts'

/**
 * The key in the header Idempotency-Key of a call; null when it has none.
 * @throws Refusal IDEMPOTENCY_KEY_INVALID
 */
export const keyIn = (header: string | string[] | undefined): string | null => {
  if (header === undefined) return null
  // node joins a header that is sent twice with a comma, and a key has none
  const key = typeof header === 'string' ? readRequestKey(header) : undefined
  if (key !== undefined) return key
  throw new Refusal(
    'IDEMPOTENCY_KEY_INVALID',
    'Send one Idempotency-Key of 8 to 255 visible ASCII characters without comma and quote, e.g. a ULID.',
  )
}

/** Headers that tell of a key, on the first answer and on each repeat. `expiresAt`: of a key that is taken now. */
export const keyHeaders = (key: string, replayOf: KnownKey | undefined, expiresAt: string): Record<string, string> => ({
  'idempotency-key': key,
  'idempotency-expires': replayOf?.expires_at.toISOString() ?? expiresAt,
  ...(replayOf && { 'idempotent-replayed': 'true', 'original-request-id': replayOf.request_id }),
})

/** An answer and where it comes from: this call, or an earlier one with the same key. */
export interface KeyedAnswer {
  readonly answer: StoredAnswer
  /** The row of the first call; undefined when this call was the first. */
  readonly replayOf: KnownKey | undefined
}

export interface KeysOptions {
  /** How long a key is remembered, in ms. */
  readonly windowMs: number
}

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly random: Random
}

/** How long a repeat waits for a first call that is still under way. */
const inFlightMs = 2_000
/** How far a clock of a caller may be off. */
const skewMs = 5 * 60_000
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** The time in a key of our SDKs, in ms since the epoch; undefined for any other key. */
export const timeOfKey = (key: string): number | undefined => {
  const [, time] = /^ik_([0-7][0-9A-HJKMNP-TV-Z]{9})[0-9A-HJKMNP-TV-Z]{16}$/.exec(key) ?? []
  return time === undefined ? undefined : Array.from(time).reduce((ms, letter) => ms * 32 + alphabet.indexOf(letter), 0)
}

/**
 * Refuses keys that carry a time outside the window: executing an old one again would be a second effect.
 * Keys without a time can not be judged; after the window they are new.
 */
export const checkAge = (key: string, nowMs: number, windowMs: number): void => {
  const madeMs = timeOfKey(key)
  if (madeMs === undefined) return
  if (madeMs < nowMs - windowMs + skewMs) {
    throw new Refusal(
      'IDEMPOTENCY_KEY_EXPIRED',
      'The key is older than the window in which keys are remembered; what became of its call can not be told. Look first, then use a new key.',
    )
  }
  if (madeMs > nowMs + skewMs)
    throw new Refusal(
      'IDEMPOTENCY_KEY_INVALID',
      'The key carries a time in the future: the clock of the caller is wrong.',
    )
}

/** Refuses a key that stands for another call. */
export const checkSame = (known: KnownKey, key: RequestKey): void => {
  if (known.fingerprint === key.fingerprint) return
  const differs = differences(known.fingerprint, key.fingerprint)
  const says = `The key belongs to ${known.route} of ${known.created_at.toISOString()}, and this call differs in: ${differs.join(', ')}. Use a new key for a new call.`
  throw new Refusal('IDEMPOTENCY_KEY_REUSED', says, { differs, firstRequestId: known.request_id })
}

const inProgress = (): Refusal =>
  new Refusal(
    'IDEMPOTENCY_IN_PROGRESS',
    'The first call with this key is still under way. Send it again with the same key after Retry-After.',
  )

/** Thrown to leave a transaction that found its key taken. */
class Taken extends Error {}
/** Thrown to leave a transaction while another one holds the key. */
class Busy extends Error {}

export interface RequestKeys {
  /**
   * Does `work` at most once per key: its effects, the key and its answer commit together. A repeat does not do it again.
   * What `work` refuses, or breaks at, leaves nothing behind, and the key is free.
   * @throws Refusal IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_IN_PROGRESS, IDEMPOTENCY_KEY_EXPIRED
   */
  once(key: RequestKey, work: (tx: Queries) => Promise<StoredAnswer>): Promise<KeyedAnswer>
  /** The answer of an earlier call with this key, for paths that take the key in a statement of their own. */
  recall(key: RequestKey): Promise<KnownKey | undefined>
  readonly windowMs: number
}

/** Creates the store of request keys. */
export const createRequestKeys = (needs: Needs, options: KeysOptions): RequestKeys => {
  const { db, clock, random } = needs
  const { windowMs } = options

  const recall = async (key: RequestKey): Promise<KnownKey | undefined> => {
    const [known] = await findKeys(db, [key])
    if (known !== undefined) checkSame(known, key)
    return known
  }
  const attempt = async (key: RequestKey, work: (tx: Queries) => Promise<StoredAnswer>): Promise<StoredAnswer> =>
    db.transaction(async (tx) => {
      if (!(await lockKey(tx, key))) throw new Busy()
      if (!(await insertKey(tx, key, windowMs))) throw new Taken()
      const answer = await work(tx)
      await storeAnswer(tx, key, answer)
      return answer
    })
  const once: RequestKeys['once'] = async (key, work) => {
    checkAge(key.key, clock.now(), windowMs)
    const startedMs = clock.monotonic()
    for (;;) {
      // most repeats come long after the first call: they need no transaction
      const known = await recall(key)
      if (known !== undefined) return { answer: known, replayOf: known }
      try {
        return { answer: await attempt(key, work), replayOf: undefined }
      } catch (error) {
        // translated: someone else has the key; anything else is the failure of the work itself
        if (!(error instanceof Taken) && !(error instanceof Busy)) throw error
      }
      if (clock.monotonic() - startedMs > inFlightMs) throw inProgress()
      // without a connection: a storm of repeats must not take them from the first call
      await clock.sleep(25 + 75 * random.next())
    }
  }
  return { once, recall, windowMs }
}
