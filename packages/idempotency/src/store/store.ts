// The one border to a database: records that are claimed once. Every store passes the same contract suite.
//
// A record is a one-time token (issued, then used) or a request key (made by its first use). Its life:
//
//   issue ──► new ──claim──► claimed ──complete──► done        tokens
//              ▲                │
//              └────release─────┘
//   claim(create) ─────────► claimed ──complete──► done        request keys; release removes the record
//
// S1  Of any number of concurrent claims of one record at most one is told `claimed`.
// S2  Only the owner of a claim may complete, release or extend it; everybody else is told `stale`.
// S3  A record that is done stays done until it expires. An expired token is never `new` again.
// S4  The store's own clock decides what has expired, never the caller's.

/** Names a record. Both parts are hashes: nothing that a person typed is readable in the store. */
export interface RecordKey {
  /** All records of one account; the unit of limits, and of placement in a cluster. */
  readonly scope: string
  readonly id: string
}

/** An answer that can be given again, byte by byte. */
export interface Answer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export interface Limits {
  /** Tokens that an account may get within 60 s. */
  readonly perMinute: number
  /** Tokens that an account may hold unused. */
  readonly outstanding: number
}

export interface IssueRequest {
  readonly key: RecordKey
  /** Hash of what the record is for; a claim must name the same. */
  readonly bind: string
  readonly ttlMs: number
  readonly limits: Limits
}

export type IssueOutcome =
  | { readonly kind: 'issued'; readonly expiresAtMs: number }
  | { readonly kind: 'limited'; readonly limit: keyof Limits; readonly retryAfterMs: number }
  | { readonly kind: 'exists' }

export interface ClaimRequest {
  readonly key: RecordKey
  readonly bind: string
  /** Names this claim; never used twice. */
  readonly owner: string
  readonly fingerprint: string
  /** After so long without `extend` a claim with `takeOver` may take the record. */
  readonly leaseMs: number
  readonly takeOver: boolean
  /** For request keys: an absent or expired record is made. Undefined for tokens. */
  readonly createTtlMs: number | undefined
  /** `done`: used up in the same step, there is nothing to complete. */
  readonly to: 'claimed' | 'done'
  readonly requestId: string | undefined
}

/** What is known of the request that came first. */
export interface FirstUse {
  readonly requestId: string | undefined
  readonly fingerprint: string
  readonly expiresAtMs: number
}

export type ClaimOutcome =
  | { readonly kind: 'claimed'; readonly expiresAtMs: number; readonly takenOver: boolean }
  /** Somebody else's, unfinished. */
  | ({ readonly kind: 'busy' } & FirstUse)
  /** `answer` is undefined when it was not kept. */
  | ({ readonly kind: 'done'; readonly status: number | undefined; readonly answer: Answer | undefined } & FirstUse)
  /** Claimed or done with another fingerprint. */
  | ({ readonly kind: 'reused' } & FirstUse)
  | { readonly kind: 'mismatch' }
  | { readonly kind: 'expired' }
  /** Never issued, or removed long after it expired. */
  | { readonly kind: 'absent' }

export interface CompleteRequest {
  readonly key: RecordKey
  readonly owner: string
  readonly status: number
  /** Undefined: the record is done, its answer is not kept. */
  readonly answer: Answer | undefined
  /** The record is kept at least so long from now. */
  readonly ttlMs: number
}

export interface RecordState {
  readonly state: 'new' | 'claimed' | 'done'
  readonly status: number | undefined
  readonly answer: Answer | undefined
  readonly requestId: string | undefined
  readonly expiresAtMs: number
}

export interface Store {
  readonly name: string
  /** Makes a record in state `new`, unless the account is over a limit. */
  issue(request: IssueRequest): Promise<IssueOutcome>
  claim(request: ClaimRequest): Promise<ClaimOutcome>
  complete(request: CompleteRequest): Promise<'done' | 'stale'>
  /** Gives a claim back: a token is `new` again, a request key is gone. */
  release(request: { readonly key: RecordKey; readonly owner: string }): Promise<'released' | 'stale'>
  /** Renews the lease of a claim. */
  extend(request: {
    readonly key: RecordKey
    readonly owner: string
    readonly leaseMs: number
  }): Promise<'extended' | 'stale'>
  /** Undefined when there is no record or it has expired. */
  read(key: RecordKey): Promise<RecordState | undefined>
  /** Removes expired records; the answer is how many. */
  sweep(): Promise<number>
}

/** How far back `Limits.perMinute` looks. */
export const rateWindowMs = 60_000
