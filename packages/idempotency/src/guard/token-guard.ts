// Guards an operation by a one-time token: outcomes, statuses and slugs as the guide's table says.
import { BodyTooDeep } from '../canonical-json.ts'
import type { GuardedRequest } from '../fingerprint.ts'
import { fingerprintOf, headerOf } from '../fingerprint.ts'
import type { CheckedToken, OnceTokens } from '../once-tokens.ts'
import type { Problem } from '../problems.ts'
import type { Claimed, Decision, Denied, GuardOptions } from './guard.ts'
import { accountOf, claim, firstAnswer, settingsOf } from './guard.ts'

/** What a repeat gets: the first answer, or a refusal. */
export type TokenMode = 'replay' | 'reject'

export interface TokenGuardOptions<Source> extends GuardOptions<Source> {
  readonly tokens: OnceTokens
  /** Where the token is; default header `token`. */
  readonly header?: string
  /** Finds the token elsewhere, such as in a form field. */
  readonly token?: (source: Source) => string | undefined
  /** `replay` (default): a repeat gets the first answer. `reject`: it is refused. */
  readonly mode?: TokenMode
  /** After a 5xx: `restore` (default) leaves the token usable, right where the handler rolls back; `burn` uses it up. */
  readonly onFailure?: 'restore' | 'burn'
  /** Whether a token may be claimed again when its owner's process died; default false. */
  readonly takeOver?: boolean
  /** How long a repeat waits for the first to finish; default 0. */
  readonly waitMs?: number
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

/** The refusal for a claim that was not granted, when the first answer can not be given again. */
export const tokenProblem = (outcome: Denied): Problem => {
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
      const first = mode === 'replay' ? firstAnswer(claimed.outcome) : undefined
      return first === undefined
        ? { kind: 'refuse', problem: tokenProblem(claimed.outcome) }
        : { kind: 'replay', ...first }
    }
  }
}

export const createTokenGuard = <Source>(options: TokenGuardOptions<Source>): TokenGuard<Source> => {
  const { tokens } = options
  const settings = settingsOf(options, { takeOver: false, waitMs: 0 })
  const header = (options.header ?? 'token').toLowerCase()

  const enter: TokenGuard<Source>['enter'] = (source, request, operation, mode = options.mode ?? 'replay') => {
    const account = accountOf(options, source, request)
    if (account === undefined) return { kind: 'refuse', problem: { slug: 'once-token-account-required' } }
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
    const { key, bind, ttlMs, mode, fingerprint, requestId } = use
    const record = { store: tokens.store, key, bind, ttlMs, creates: false, fingerprint, requestId }
    const claimed = await claim({ ...settings, ...record, keepsAnswers: mode === 'replay' })
    return decide(claimed, mode)
  }

  return { enter, begin }
}
