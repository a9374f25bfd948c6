// What a guard decides about a request, and how it gets a claim.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Problem } from '../problems.ts'
import type { Answer, ClaimOutcome, RecordKey, Store } from '../store/store.ts'
import type { Report } from './protected-call.ts'
import { ProtectedCall, withinMs } from './protected-call.ts'

/** What to do with a request. */
export type Decision =
  /** Nothing to protect: handle it. */
  | { readonly kind: 'pass' }
  /** Handle it, send these headers, and settle the call with the answer. */
  | { readonly kind: 'run'; readonly call: ProtectedCall; readonly headers: Readonly<Record<string, string>> }
  | { readonly kind: 'refuse'; readonly problem: Problem }
  | { readonly kind: 'replay'; readonly answer: Answer; readonly headers: Readonly<Record<string, string>> }

export interface ClaimSettings {
  readonly leaseMs: number
  readonly takeOver: boolean
  readonly onFailure: 'restore' | 'burn'
  readonly keepsAnswers: boolean
  /** How long a repeat waits for the first to finish. */
  readonly waitMs: number
  readonly storeTimeoutMs: number
  readonly failMode: 'closed' | 'open'
  readonly report: Report
}

export interface ClaimFor extends ClaimSettings {
  readonly store: Store
  readonly key: RecordKey
  readonly bind: string
  readonly ttlMs: number
  readonly creates: boolean
  readonly fingerprint: string
  readonly requestId: string | undefined
}

export type Claimed =
  | { readonly kind: 'call'; readonly call: ProtectedCall; readonly expiresAtMs: number }
  | { readonly kind: 'unprotected' }
  | { readonly kind: 'unavailable' }
  | { readonly kind: 'denied'; readonly outcome: Exclude<ClaimOutcome, { kind: 'claimed' }> }

const [shortestPauseMs, longestPauseMs] = [25, 100]

const claimOnce = async (wanted: ClaimFor, owner: string): Promise<ClaimOutcome> => {
  const { store, key, storeTimeoutMs, report, requestId } = wanted
  const work = store.claim({
    key,
    bind: wanted.bind,
    owner,
    fingerprint: wanted.fingerprint,
    leaseMs: wanted.leaseMs,
    takeOver: wanted.takeOver,
    createTtlMs: wanted.creates ? wanted.ttlMs : undefined,
    to: 'claimed',
    requestId,
  })
  try {
    return await withinMs(work, storeTimeoutMs)
  } catch (error) {
    // The store may grant it after we have given up; nobody would settle that claim.
    work
      .then(
        (late) => (late.kind === 'claimed' ? store.release({ key, owner }) : undefined),
        () => undefined,
      )
      .catch((failure: unknown) => report({ kind: 'store-failed', record: key.id, requestId, error: failure }))
    throw error
  }
}

const tryToClaim = async (wanted: ClaimFor): Promise<Claimed> => {
  const { store, key, requestId, report, leaseMs, ttlMs, onFailure, keepsAnswers, storeTimeoutMs } = wanted
  const owner = randomUUID()
  const giveUpAtMs = performance.now() + wanted.waitMs
  try {
    for (let pauseMs = shortestPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      const outcome = await claimOnce(wanted, owner)
      if (outcome.kind === 'claimed') {
        report({ kind: outcome.takenOver ? 'taken-over' : 'claimed', record: key.id, requestId })
        const call = new ProtectedCall({
          store,
          key,
          owner,
          requestId,
          leaseMs,
          ttlMs,
          onFailure,
          keepsAnswers,
          storeTimeoutMs,
          report,
        })
        return { kind: 'call', call, expiresAtMs: outcome.expiresAtMs }
      }
      if (outcome.kind !== 'busy' || performance.now() >= giveUpAtMs) return { kind: 'denied', outcome }
      await sleep(pauseMs)
    }
  } catch (error) {
    report({ kind: 'store-failed', record: key.id, requestId, error })
    if (wanted.failMode === 'closed') return { kind: 'unavailable' }
    report({ kind: 'unprotected', record: key.id, requestId })
    return { kind: 'unprotected' }
  }
}

/** Claims a record; a repeat waits for the first without holding a connection. */
export const claim = async (wanted: ClaimFor): Promise<Claimed> => {
  const claimed = await tryToClaim(wanted)
  if (claimed.kind === 'denied') {
    const { outcome } = claimed
    const replayed = outcome.kind === 'done' && outcome.answer !== undefined
    wanted.report({
      kind: replayed ? 'replayed' : 'refused',
      record: wanted.key.id,
      requestId: wanted.requestId,
    })
  }
  return claimed
}

/** Headers that mark an answer as given before. */
export const replayHeaders = (firstRequestId: string | undefined): Record<string, string> => ({
  'idempotent-replayed': 'true',
  ...(firstRequestId === undefined ? {} : { 'original-request-id': firstRequestId }),
})
