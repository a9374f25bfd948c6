// Guards an operation by a one-time token: outcomes, statuses and slugs as the guide's table says.
import { BodyTooDeep } from '../canonical-json.ts'
import type { GuardedRequest } from '../fingerprint.ts'
import { fingerprintOf, headerOf } from '../fingerprint.ts'
import type { CheckedToken, OnceTokens } from '../once-tokens.ts'
import type { Problem } from '../problems.ts'
import type { ClaimOutcome } from '../store/store.ts'
import type { Claimed, Decision } from './guard.ts'
import { claim, replayHeaders } from './guard.ts'
import type { Report } from './protected-call.ts'

/** What a repeat gets: the first answer, or a refusal. */
export type TokenMode = 'replay' | 'reject'

/** `Source` is the request of the framework. */
export interface TokenGuardOptions<Source> {
  readonly tokens: OnceTokens
  /** Where the token is; default header `token`. */
  readonly header?: string
  /** Finds the token elsewhere, such as in a form field. */
  readonly token?: (source: Source) => string | undefined
  /** Who is calling; default header `secret`. With real users: the authenticated principal. */
  readonly account?: (source: Source) => string | undefined
  /** `replay` (default): a repeat gets the first answer. `reject`: it is refused. */
  readonly mode?: TokenMode
  /** After a 5xx: `restore` (default) leaves the token usable, right where the handler rolls back; `burn` uses it up. */
  readonly onFailure?: 'restore' | 'burn'
  /** Whether a token may be claimed again when its owner's process died; default false. */
  readonly takeOver?: boolean
  /** Default 60 s; renewed while the handler works. */
  readonly leaseMs?: number
  /** How long a repeat waits for the first to finish; default 0. */
  readonly waitMs?: number
  /** When the store fails: refuse with 503 (default), or handle the request unprotected. */
  readonly failMode?: 'closed' | 'open'
  /** Default 2 s. */
  readonly storeTimeoutMs?: number
  /** Further headers to keep for repeats. */
  readonly keepHeaders?: readonly string[]
  readonly report?: Report
}

/** What a handler needs for `withOnceToken`. */
export interface TokenUse extends CheckedToken {
  readonly mode: TokenMode
  readonly fingerprint: string
  readonly requestId: string | undefined
}

export type TokenEntry =
  | { readonly kind: 'refuse'; readonly problem: Problem }
  | { readonly kind: 'use'; readonly use: TokenUse }

export interface TokenGuard<Source> {
  /**
   * Checks that there is a token which fits, without the store.
   *
   * @param mode for this operation; default that of the options
   */
  enter(source: Source, request: GuardedRequest, operation: string, mode?: TokenMode): TokenEntry
  /** Claims the token. */
  begin(use: TokenUse): Promise<Decision>
}

/** The refusal for a claim that was not granted; undefined when the first answer can be given again. */
export const tokenProblem = (
  outcome: Exclude<ClaimOutcome, { kind: 'claimed' }>,
  mode: TokenMode,
): Problem | undefined => {
  switch (outcome.kind) {
    case 'absent':
    case 'expired':
      return { slug: 'once-token-expired', detail: 'Ask for a new token.' }
    case 'mismatch':
      return { slug: 'once-token-mismatch' }
    case 'reused':
      return { slug: 'once-token-reused', members: { firstRequestId: outcome.requestId } }
    case 'busy':
      return { slug: 'once-token-in-progress', members: { firstRequestId: outcome.requestId } }
    case 'done':
      if (mode === 'replay' && outcome.answer !== undefined) return undefined
      return { slug: 'once-token-used', members: { firstRequestId: outcome.requestId } }
  }
}

const decide = (claimed: Claimed, mode: TokenMode): Decision => {
  switch (claimed.kind) {
    case 'call':
      return { kind: 'run', call: claimed.call, headers: { 'once-token-consumed': 'true' } }
    case 'unprotected':
      return { kind: 'pass' }
    case 'unavailable':
      return { kind: 'refuse', problem: { slug: 'once-token-store-unavailable' } }
    case 'denied': {
      const { outcome } = claimed
      const problem = tokenProblem(outcome, mode)
      if (problem !== undefined || outcome.kind !== 'done' || outcome.answer === undefined) {
        return { kind: 'refuse', problem: problem ?? { slug: 'once-token-used' } }
      }
      return { kind: 'replay', answer: outcome.answer, headers: replayHeaders(outcome.requestId) }
    }
  }
}

export const createTokenGuard = <Source>(options: TokenGuardOptions<Source>): TokenGuard<Source> => {
  const { tokens, report = () => undefined } = options
  const header = (options.header ?? 'token').toLowerCase()

  const enter: TokenGuard<Source>['enter'] = (source, request, operation, mode = options.mode ?? 'replay') => {
    const account = options.account === undefined ? headerOf(request, 'secret') : options.account(source)
    if (account === undefined || account === '') {
      return { kind: 'refuse', problem: { slug: 'once-token-account-required' } }
    }
    const token = options.token === undefined ? headerOf(request, header) : options.token(source)
    if (token === undefined || token === '') return { kind: 'refuse', problem: { slug: 'once-token-required' } }
    const checked = tokens.check({ token, account, operation })
    if (checked.kind === 'invalid') return { kind: 'refuse', problem: { slug: 'once-token-invalid' } }
    if (checked.kind === 'mismatch') return { kind: 'refuse', problem: { slug: 'once-token-mismatch' } }
    try {
      // In mode reject a used token is used, whatever it comes with.
      const fingerprint = mode === 'reject' ? '' : fingerprintOf(request)
      return { kind: 'use', use: { ...checked.token, mode, fingerprint, requestId: request.requestId } }
    } catch (error) {
      if (!(error instanceof BodyTooDeep)) throw error
      return { kind: 'refuse', problem: { slug: 'body-too-deep', detail: error.message } }
    }
  }

  const begin: TokenGuard<Source>['begin'] = async (use) => {
    const claimed = await claim({
      store: tokens.store,
      key: use.key,
      bind: use.bind,
      ttlMs: use.ttlMs,
      creates: false,
      fingerprint: use.fingerprint,
      requestId: use.requestId,
      leaseMs: options.leaseMs ?? 60_000,
      takeOver: options.takeOver ?? false,
      onFailure: options.onFailure ?? 'restore',
      keepsAnswers: use.mode === 'replay',
      waitMs: options.waitMs ?? 0,
      storeTimeoutMs: options.storeTimeoutMs ?? 2_000,
      failMode: options.failMode ?? 'closed',
      report,
    })
    return decide(claimed, use.mode)
  }

  return { enter, begin }
}
