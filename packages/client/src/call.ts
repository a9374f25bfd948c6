// What the routes are written in: a call, its options, and who makes it.
import type { Page } from '@oncejob/protocol'
import type { CallKind } from './policy.ts'
import type { Origin, Transport, WireStream } from './transport.ts'

/** A token, or a function that gets one; it is asked again when a server refuses the token. */
export type TokenSource = string | (() => string | Promise<string>)

export interface RetryOptions {
  /** How often every server is tried, at most; default 5. */
  rounds?: number
  /** The wait between rounds is random between 0 and this, doubled each round; default 200. */
  baseMs?: number
  /** The wait between rounds never grows beyond this; default 5000. */
  maxMs?: number
}

export interface CallOptions {
  /** Gives the call up. It rejects with the signal's reason. */
  signal?: AbortSignal
  /** Limit of one try, from sending to the end of the answer; default: the client's. */
  timeoutMs?: number
}

export interface MutationOptions extends CallOptions {
  /** Identity of the intended effect; made when left out. 8 to 255 visible ASCII characters, no comma, no quote. */
  requestKey?: string
}

/** A list. Iterate over all its items, page by page as needed, or take single pages. */
export interface Paged<T> extends AsyncIterable<T> {
  /** One page: the first, or the one of a cursor (`next` of the page before). */
  page(cursor?: string): Promise<Page<T>>
}

export type QueryValue = string | number | boolean | readonly string[] | undefined

export interface Call {
  readonly kind: CallKind
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly query?: Readonly<Record<string, QueryValue>>
  readonly body?: unknown
  /** Instead of a JSON body: bytes of this media type. */
  readonly raw?: { readonly type: string; readonly bytes: Uint8Array }
  readonly ifMatch?: string
  readonly lastEventId?: string
  readonly options?: MutationOptions | undefined
  /** The server holds the answer back for so long. */
  readonly waitMs?: number
  /** A status ≥ 400 whose body is an answer and no problem. */
  readonly alsoGood?: number
}

/** What every route is made of. */
export interface Caller {
  /** Makes the call and reads its JSON answer. The server keeps to the protocol's schemas; they are not checked again. */
  json<T>(call: Call): Promise<T>
  /** Makes a call whose answer has no body. */
  done(call: Call): Promise<void>
  text(call: Call): Promise<string>
  list<T>(path: string, query: Readonly<Record<string, QueryValue>>, options?: CallOptions): Paged<T>
  /** Opens a stream at the server that answered last, once; the caller of this tries again. */
  openStream(call: Call, silenceMs: number): Promise<WireStream>
  /** What a failed try of a stream means: throws when trying again is of no use. */
  streamFailed(error: unknown): void
}

export interface CallerOptions {
  readonly origins: readonly Origin[]
  readonly transport: Transport
  readonly token: TokenSource
  readonly timeoutMs: number
  readonly retry: Required<RetryOptions>
}

/** `a=1&b=x` of what is defined, with `?` in front; empty when nothing is. */
export const queryText = (query: Readonly<Record<string, QueryValue>>): string => {
  let text = ''
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue
    text += `${text === '' ? '?' : '&'}${name}=${encodeURIComponent(Array.isArray(value) ? value.join(',') : String(value))}`
  }
  return text
}
