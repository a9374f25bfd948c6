// Where a client's token comes from.
import type { TokenSource } from './call.ts'

export interface Tokens {
  get(): string | Promise<string>
  /** Whether a refused token can be replaced by asking again. */
  readonly renewable: boolean
  /** Forgets the token: it was refused. */
  drop(): void
}

// What may stand in a header, which keeps a line break in a token from becoming a header of its own.
const tokenShape = /^[\x21-\x7e]+$/

/** Throws TypeError, at once or with the first call, when the token can not be one. */
export const createTokenKeeper = (source: TokenSource): Tokens => {
  const check = (token: string): string => {
    if (!tokenShape.test(token)) throw new TypeError('the token is empty or has characters that no token has')
    return token
  }
  if (typeof source === 'string') {
    const token = check(source)
    return { get: () => token, renewable: false, drop() {} }
  }
  let kept: Promise<string> | undefined
  return {
    get: () => (kept ??= Promise.resolve().then(source).then(check)),
    renewable: true,
    drop: () => (kept = undefined),
  }
}
