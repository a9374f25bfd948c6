// Guards any route by the caller's Idempotency-Key: a repeat gets the first answer.
import { BodyTooDeep } from '../canonical-json.ts'
import type { GuardedRequest } from '../fingerprint.ts'
import { differingParts, fingerprintOf, headerOf } from '../fingerprint.ts'
import type { Problem } from '../problems.ts'
import type { CheckedKey, RequestKeys } from '../request-keys.ts'
import type { Claimed, Decision, Denied, GuardOptions } from './guard.ts'
import { accountOf, claim, firstAnswer, settingsOf } from './guard.ts'

export interface KeyGuardOptions<Source> extends GuardOptions<Source> {
  readonly keys: RequestKeys
  /** Which requests must carry a key: `creates` (default) is POST and PATCH. */
  readonly require?: 'creates' | 'all' | 'none'
  /** After a 5xx: `restore` (default) has a repeat handled anew, right where the handler rolls back; with `burn` it gets the failure again. */
  readonly onFailure?: 'restore' | 'burn'
  /** Whether a repeat is handled anew when the process of the first died; default true. False: it is refused until the key expires. */
  readonly takeOver?: boolean
  /** How long a repeat waits for the first to finish; default 2 s. */
  readonly waitMs?: number
  /** Top-level members of the body that may differ between repeats. */
  readonly volatile?: readonly string[]
}

/** What a handler needs for `withRequestKey`. */
export interface KeyUse extends CheckedKey {
  readonly fingerprint: string
  readonly requestId: string | undefined
}

export type KeyEntry =
  | { readonly kind: 'pass' }
  | { readonly kind: 'refuse'; readonly problem: Problem }
  | { readonly kind: 'use'; readonly use: KeyUse }

export interface KeyGuard<Source> {
  /** Checks that there is a key where one is required, without the store. */
  enter(source: Source, request: GuardedRequest): KeyEntry
  begin(use: KeyUse): Promise<Decision>
}

const changesNothing = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
const creates = new Set(['POST', 'PATCH'])

/** The refusal for a claim that was not granted, when the first answer can not be given again. */
export const keyProblem = (outcome: Denied, fingerprint: string): Problem => {
  switch (outcome.kind) {
    case 'reused':
      return {
        slug: 'idempotency-key-reused',
        detail: 'Use a new key for a new request.',
        members: { differs: differingParts(outcome.fingerprint, fingerprint), firstRequestId: outcome.requestId },
      }
    case 'busy':
      return { slug: 'idempotency-in-progress', members: { firstRequestId: outcome.requestId } }
    case 'done':
      return {
        slug: 'idempotency-answer-not-kept',
        detail: 'It was a stream or too long.',
        members: { firstStatus: outcome.status, firstRequestId: outcome.requestId },
      }
    // A request key is made by its claim, so these end it between two statements only.
    case 'absent':
    case 'expired':
    case 'mismatch':
      return { slug: 'idempotency-in-progress' }
  }
}

const decide = (claimed: Claimed, use: KeyUse): Decision => {
  const echo = { 'idempotency-key': use.text }
  switch (claimed.kind) {
    case 'call': {
      const expires = new Date(claimed.expiresAtMs).toISOString()
      return { kind: 'run', call: claimed.call, headers: { ...echo, 'idempotency-expires': expires } }
    }
    case 'unprotected':
      return { kind: 'pass' }
    case 'unavailable':
      return { kind: 'refuse', problem: { slug: 'idempotency-store-unavailable' } }
    case 'denied': {
      const first = firstAnswer(claimed.outcome)
      return first === undefined
        ? { kind: 'refuse', problem: keyProblem(claimed.outcome, use.fingerprint) }
        : { kind: 'replay', answer: first.answer, headers: { ...echo, ...first.headers } }
    }
  }
}

export const createKeyGuard = <Source>(options: KeyGuardOptions<Source>): KeyGuard<Source> => {
  const { keys, require = 'creates', volatile = [] } = options
  const settings = settingsOf(options, { takeOver: true, waitMs: 2_000 })

  const withoutKey = (method: string): KeyEntry =>
    require === 'all' || (require === 'creates' && creates.has(method))
      ? { kind: 'refuse', problem: { slug: 'idempotency-key-required' } }
      : { kind: 'pass' }

  const enter: KeyGuard<Source>['enter'] = (source, request) => {
    const method = request.method.toUpperCase()
    if (changesNothing.has(method)) return { kind: 'pass' }
    const header = headerOf(request, 'idempotency-key')
    if (header === undefined) return withoutKey(method)
    const account = accountOf(options, source, request)
    if (account === undefined) return { kind: 'refuse', problem: { slug: 'idempotency-scope-required' } }
    const checked = keys.check(header, account)
    if (checked.kind === 'refused') return { kind: 'refuse', problem: checked.problem }
    try {
      const fingerprint = fingerprintOf(request, volatile)
      return { kind: 'use', use: { ...checked.key, fingerprint, requestId: request.requestId } }
    } catch (error) {
      if (!(error instanceof BodyTooDeep)) throw error
      return { kind: 'refuse', problem: { slug: 'body-too-deep', detail: error.message } }
    }
  }

  const begin: KeyGuard<Source>['begin'] = async (use) => {
    const { key, bind, ttlMs, fingerprint, requestId } = use
    const record = { store: keys.store, key, bind, ttlMs, creates: true, fingerprint, requestId }
    const claimed = await claim({ ...settings, ...record, keepsAnswers: true })
    return decide(claimed, use)
  }

  return { enter, begin }
}
