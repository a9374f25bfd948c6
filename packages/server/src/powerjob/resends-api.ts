// The contract between the wire and what recognises re-sent calls by evidence (contract 3b, L1 and L2).
import type { WireSettings } from './call.ts'

/** One network path: on it the header of the wire is either always seen by the client, or never. */
export interface PathFacts {
  /** The app of the token, or the one that the caller names where no token says it; 0: unknown. */
  readonly appId: number
  /** Address of the peer, without its port. */
  readonly peer: string
  /** Our own port that was called. */
  readonly localPort: number
  /** Of the request line, e.g. `1.1`. */
  readonly httpVersion: string
  readonly host: string
  /** Via, Forwarded, X-Forwarded-For and their like in one text; empty without a proxy that tells of itself. */
  readonly via: string
}

/** A call that passed the token check, as the rule sees it. */
export interface LegacyCall {
  readonly route: PathFacts
  readonly appId: number
  /** Below /openApi, for example /runJob. */
  readonly path: string
  /** Of the call's token; null: it has none (4.x), or token checks are off and its token is not ours. */
  readonly jti: string | null
  /** SHA-256 of path and parameters or body, in base64url: equal for a call that is sent again. */
  readonly fingerprint: string
  readonly mutates: boolean
  /** It carries an Idempotency-Key, which says it all: note the use of its token, and never collapse it. */
  readonly keyed: boolean
  readonly collapse: WireSettings['collapse']
  /** Name of the request in the log. */
  readonly requestId: string
  /** From now on the delivery of this attempt is that of this call's answer: for one that is not executed. */
  follow(attemptId: number): void
}

/** What is sent to the client: always HTTP 200, and `body` as JSON text. */
export interface LegacyAnswer {
  /**
   * `done`: executed and committed. `refused`: success false, nothing was done. `abandoned`: the client had hung up
   * before anything was begun, nothing was done and nothing will be sent.
   */
  readonly outcome: 'done' | 'refused' | 'abandoned'
  readonly body: string
  /** The key of the attempt was known: nothing was executed, this is the answer of the call that took it. */
  readonly replayed?: boolean
}

/** One execution of a mutating call. */
export interface LegacyAttempt {
  /** Row of the attempt; null: none is kept, and its delivery is not told. */
  readonly id: number | null
  /**
   * Text of a request key to be committed with the effect and its answer, so that "executed" survives a crash; null: none.
   * Executing with the key of an earlier attempt does nothing and has that one's answer. Put a blank in it: no caller's key has one.
   */
  readonly key: string | null
}

/** `first-use`: by the token's first use (L1); `undelivered`: the earlier answer never left this cluster (L2). */
export type ResendKind = 'first-use' | 'undelivered'

export interface LegacyOutcome {
  readonly answer: LegacyAnswer
  /** The attempt whose answer this is, when the call was not executed; told to the client as X-Resend-Collapsed. */
  readonly collapsed: { readonly into: number; readonly kind: ResendKind } | null
  /** It was executed, but only because the app has collapsing switched off. */
  readonly suspected?: ResendKind
}

/**
 * Every call of the wire passes here once it is known who calls; reading ones as well, since they use their token.
 * Doubt executes (N3): a failure of the bookkeeping must not fail a call that could be done.
 */
export interface Resends {
  /** `/authApp` answered with a new token. `presentedJti`: of the token on that request, if it had one of ours. */
  onIssued(route: PathFacts, jti: string, presentedJti: string | null): Promise<void>
  /** A call was rejected for its token: nothing executed, header `false`. */
  onRejected(route: PathFacts, fingerprint: string): Promise<void>
  /**
   * Executes the call, or hands out the answer of the earlier execution that it repeats.
   * `execute` is called at most once. It rejects when something broke (an outage, a bug): the effect may then have been committed or not;
   * the rejection is passed on. The transport counts collapsed calls in legacy_resend_total and tells the client.
   */
  run(call: LegacyCall, execute: (attempt: LegacyAttempt) => Promise<LegacyAnswer>): Promise<LegacyOutcome>
  /** The whole answer of this attempt was given to the kernel. */
  delivered(attemptId: number): void
  /** The connection was lost before the answer was given to the kernel; may come while the attempt is still executing. */
  undelivered(attemptId: number): void
}
