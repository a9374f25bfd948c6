// Issues one-time tokens to the callers of a web API: who asks, for which operation, and what is said when there is none to be had.
import type { GuardedRequest } from '../fingerprint.ts'
import type { IssuedToken, OnceTokens } from '../once-tokens.ts'
import type { Problem } from '../problems.ts'
import { IdempotencyRefusal } from '../problems.ts'
import { accountOf } from './guard.ts'

/** `Source` is the request of the framework. */
export interface IssueOptions<Source> {
  readonly tokens: OnceTokens
  /** For which operations tokens may be had. */
  readonly operations: readonly string[]
  /** Who is calling; default header `secret`. */
  readonly account?: (source: Source) => string | undefined
  /** For which operation; default `operation` of a JSON body, or the only one there is. */
  readonly operation?: (source: Source) => string | undefined
}

/** A token, or why there is none. `error`: what the store has thrown. */
export type Issuing =
  | { readonly kind: 'issued'; readonly token: IssuedToken }
  | { readonly kind: 'refused'; readonly problem: Problem; readonly error?: unknown }

const operationIn = (body: unknown): string | undefined =>
  typeof body === 'object' && body !== null && 'operation' in body && typeof body.operation === 'string'
    ? body.operation
    : undefined

export const issueTo = async <Source>(
  options: IssueOptions<Source>,
  source: Source,
  request: Pick<GuardedRequest, 'headers' | 'body'>,
): Promise<Issuing> => {
  const { tokens, operations } = options
  const account = accountOf(options, source, request)
  if (account === undefined) return { kind: 'refused', problem: { slug: 'once-token-account-required' } }
  const named = options.operation === undefined ? operationIn(request.body) : options.operation(source)
  const operation = named ?? (operations.length === 1 ? operations[0] : undefined)
  if (operation === undefined || !operations.includes(operation)) {
    return { kind: 'refused', problem: { slug: 'once-token-operation-unknown' } }
  }
  try {
    return { kind: 'issued', token: await tokens.issue({ account, operation }) }
  } catch (error) {
    if (error instanceof IdempotencyRefusal) return { kind: 'refused', problem: error.problem }
    return { kind: 'refused', problem: { slug: 'once-token-store-unavailable' }, error }
  }
}
