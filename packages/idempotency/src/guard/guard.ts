// What a guard decides about a request, and how it gets a claim.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { headerOf, type GuardedRequest } from '../fingerprint.ts'
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

/** What the users of both guards may choose. `Source` is the request of the framework. */
export interface GuardOptions<Source> {
  /** Who is calling; default header `secret`. With real users: the authenticated principal. */
  readonly account?: (source: Source) => string | undefined
  /** Default 60 s; renewed while the handler works. */
  readonly leaseMs?: number
  /** When the store fails: refuse with 503 (default), or handle the request unprotected. */
  readonly failMode?: 'closed' | 'open'
  /** Default 2 s. */
  readonly storeTimeoutMs?: number
  /** Further headers to keep for repeats. */
  readonly keepHeaders?: readonly string[]
  readonly report?: Report
}

/** What has a meaning or a default of its own in each. */
interface OwnOptions {
  readonly onFailure?: 'restore' | 'burn'
  readonly takeOver?: boolean
  readonly waitMs?: number
}

/** Who is calling; undefined when the request does not say. */
export const accountOf = <Source>(
  options: Pick<GuardOptions<Source>, 'account'>,
  source: Source,
  request: Pick<GuardedRequest, 'headers'>,
): string | undefined => {
  const account = options.account === undefined ? headerOf(request, 'secret') : options.account(source)
  return account === '' ? undefined : account
}

/** The settings of a guard. `usual`: where one differs from the other. */
export const settingsOf = <Source>(
  chosen: GuardOptions<Source> & OwnOptions,
  usual: Pick<ClaimSettings, 'takeOver' | 'waitMs'>,
): Omit<ClaimSettings, 'keepsAnswers'> => ({
  leaseMs: chosen.leaseMs ?? 60_000,
  takeOver: chosen.takeOver ?? usual.takeOver,
  onFailure: chosen.onFailure ?? 'restore',
  waitMs: chosen.waitMs ?? usual.waitMs,
  storeTimeoutMs: chosen.storeTimeoutMs ?? 2_000,
  failMode: chosen.failMode ?? 'closed',
  report: chosen.report ?? (() => undefined),
})

export interface ClaimFor extends ClaimSettings {
  readonly store: Store
  readonly key: RecordKey
  readonly bind: string
  readonly ttlMs: number
  readonly creates: boolean
  readonly fingerprint: string
  readonly requestId: string | undefined
}

/** A claim that was not granted. */
export type Denied = Exclude<ClaimOutcome, { kind: 'claimed' }>

export type Claimed =
  | { readonly kind: 'call'; readonly call: ProtectedCall; readonly expiresAtMs: number }
  | { readonly kind: 'unprotected' }
  | { readonly kind: 'unavailable' }
  | { readonly kind: 'denied'; readonly outcome: Denied }

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
    const kind = firstAnswer(claimed.outcome) === undefined ? 'refused' : 'replayed'
    wanted.report({ kind, record: wanted.key.id, requestId: wanted.requestId })
  }
  return claimed
}

/** The answer of the first request, if it was kept, with headers that mark it as given before. */
export const firstAnswer = (
  outcome: Denied,
): { readonly answer: Answer; readonly headers: Readonly<Record<string, string>> } | undefined => {
  if (outcome.kind !== 'done' || outcome.answer === undefined) return undefined
  const { answer, requestId } = outcome
  const original = requestId === undefined ? {} : { 'original-request-id': requestId }
  return { answer, headers: { 'idempotent-replayed': 'true', ...original } }
}
