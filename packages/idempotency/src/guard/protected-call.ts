// One request that owns a claim: it is settled once, with the answer, and before that its lease is renewed.
import type { Answer, RecordKey, Store } from '../store/store.ts'
import { kindOfAnswer } from './answers.ts'

/** What a guard did; for logs. Names nothing in clear: `record` is the hash under which the store keeps it. */
export interface GuardEvent {
  readonly kind:
    | 'claimed'
    | 'taken-over'
    | 'replayed'
    | 'refused'
    | 'kept'
    | 'answer-not-kept'
    | 'given-back'
    /** Somebody took the record over while this request was at work; its effect may have happened twice. */
    | 'lost'
    | 'store-failed'
    /** The store failed and the request was let through, as `failMode: 'open'` says. */
    | 'unprotected'
  readonly record: string | undefined
  readonly requestId: string | undefined
  readonly error?: unknown
}

export type Report = (event: GuardEvent) => void

export interface ProtectedCallOptions {
  readonly store: Store
  readonly key: RecordKey
  readonly owner: string
  readonly requestId: string | undefined
  readonly leaseMs: number
  /** How long the record is kept after it is done. */
  readonly ttlMs: number
  /** Failures (5xx) give the claim back, or use it up like an outcome. Refusals that changed nothing always give it back. */
  readonly onFailure: 'restore' | 'burn'
  readonly keepsAnswers: boolean
  readonly storeTimeoutMs: number
  readonly report: Report
}

// A handler that has not answered by then is taken for dead.
const longestRenewalMs = 600_000

/** The store did not answer in time. */
export class StoreTimeout extends Error {
  override readonly name = 'StoreTimeout'
}

/** Waits for the store, but not for ever. */
export const withinMs = async <T>(work: Promise<T>, limitMs: number): Promise<T> => {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new StoreTimeout(`the store did not answer within ${limitMs} ms`)), limitMs)
  try {
    return await Promise.race([work, promise])
  } finally {
    clearTimeout(timer)
  }
}

export class ProtectedCall {
  readonly #options: ProtectedCallOptions
  readonly #renewal: NodeJS.Timeout
  #renewedMs = 0
  #settled = false

  constructor(options: ProtectedCallOptions) {
    this.#options = options
    const everyMs = Math.max(1, Math.floor(options.leaseMs / 3))
    this.#renewal = setInterval(() => this.#renew(everyMs), everyMs)
    this.#renewal.unref()
  }

  /** Whether the claim was settled; a settled call has nothing more to say. */
  get settled(): boolean {
    return this.#settled
  }

  /**
   * Records how the request ended. Call it before a byte of the answer goes out. Only the first call counts.
   * It never throws: the effect has happened, and the caller must hear of it even when the store does not.
   *
   * @param answer undefined when it is too long or a stream
   */
  async settle(status: number, answer: Answer | undefined): Promise<void> {
    if (!this.#end()) return
    const { store, key, owner, ttlMs, onFailure, keepsAnswers } = this.#options
    const kind = kindOfAnswer(status)
    if (kind === 'refusal' || (kind === 'failure' && onFailure === 'restore')) return this.#giveBack()
    const kept = keepsAnswers ? answer : undefined
    await this.#tell(async () => {
      const told = await store.complete({ key, owner, status, answer: kept, ttlMs })
      if (told === 'stale') return 'lost'
      return keepsAnswers && answer === undefined ? 'answer-not-kept' : 'kept'
    })
  }

  /** The request ended before its handler began: the claim is given back. */
  async abandon(): Promise<void> {
    if (this.#end()) await this.#giveBack()
  }

  async #giveBack(): Promise<void> {
    const { store, key, owner } = this.#options
    await this.#tell(async () => ((await store.release({ key, owner })) === 'stale' ? 'lost' : 'given-back'))
  }

  async #tell(work: () => Promise<GuardEvent['kind']>): Promise<void> {
    const { report, requestId, key, storeTimeoutMs } = this.#options
    try {
      report({ kind: await withinMs(work(), storeTimeoutMs), record: key.id, requestId })
    } catch (error) {
      report({ kind: 'store-failed', record: key.id, requestId, error })
    }
  }

  #end(): boolean {
    if (this.#settled) return false
    this.#settled = true
    clearInterval(this.#renewal)
    return true
  }

  #renew(everyMs: number): void {
    const { store, key, owner, leaseMs, report, requestId } = this.#options
    this.#renewedMs += everyMs
    if (this.#renewedMs >= longestRenewalMs) clearInterval(this.#renewal)
    store.extend({ key, owner, leaseMs }).then(
      (told) => {
        if (told === 'stale' && !this.#settled) report({ kind: 'lost', record: key.id, requestId })
      },
      (error: unknown) => report({ kind: 'store-failed', record: key.id, requestId, error }),
    )
  }
}
