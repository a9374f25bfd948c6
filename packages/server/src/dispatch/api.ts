// What the wires (native HTTP now) ask of the core: submit and steer runs, sessions of workers.
import type {
  PollAnswer,
  PollInput,
  ReportAnswer,
  ReportInput,
  RunChanged,
  SessionInput,
  SessionOpened,
} from '@oncejob/protocol'
import type { KnownKey, RequestKey } from '../storage/request-keys.ts'

/** One run that a caller asks for. `job` is an id or a name within the app. */
export interface Submission {
  readonly appId: number
  readonly job: number | string
  /** JSON text, or null. */
  readonly params: string | null
  /** Start that much later, judged by the database's clock; null: at once. */
  readonly delayMs: number | null
  /** Start at this time (ms since the epoch); null: see delayMs. */
  readonly runAtMs: number | null
  readonly priority: number | null
  readonly queueTimeoutMs: number | null
  /** Text of the request key, kept with the run. */
  readonly requestKey: string | null
  /** The key to be taken by the statement that makes the run; null when there is none, or a transaction around has taken it. */
  readonly keyed: RequestKey | null
}

/** A run that was made, or was made before by a call with the same key. */
export interface Submitted {
  readonly id: number
  /** The first call with this key; null when this call made the run. */
  readonly replayOf: KnownKey | null
}

export interface RunsApi {
  /**
   * Makes one run and resolves with its id once it is committed; with a key that was used before, with the first run.
   * @throws Refusal JOB_NOT_FOUND, NAME_AMBIGUOUS, RUN_LIMIT, IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_KEY_EXPIRED
   */
  submit(submission: Submission): Promise<Submitted>
  /** Makes all of the runs or none; ids in the order of the input. At most 5,000. */
  submitMany(submissions: readonly Submission[]): Promise<number[]>
  /** Ends a waiting run as canceled; `actor` is who asks, for the audit trail. @throws Refusal RUN_NOT_FOUND, RUN_RUNNING, RUN_ENDED (already canceled: changed false) */
  cancel(appId: number, runId: number, actor: string): Promise<RunChanged>
  /** A waiting run is canceled; a running one is asked to stop, and taken from its worker when it does not. */
  stop(appId: number, runId: number, actor: string): Promise<RunChanged>
  /** Leaves a terminal state: the same run waits again, earlier attempts stay in the history (I5). @throws RUN_NOT_ENDED */
  retry(appId: number, runId: number, actor: string): Promise<RunChanged>
  /** Resolves true as soon as the run has ended, false after `waitMs` or when `signal` aborts. */
  waitForEnd(runId: number, waitMs: number, signal: AbortSignal): Promise<boolean>
}

export interface SessionsApi {
  open(appId: number, input: SessionInput): Promise<SessionOpened>
  /**
   * One long poll. Resolves when there is something to say, or after the poll time.
   * `signal` aborts when the connection is gone.
   * @throws Refusal SESSION_ENDED, WORKER_NOT_FOUND (session of another app)
   */
  poll(appId: number, sessionId: number, input: PollInput, signal: AbortSignal): Promise<PollAnswer>
  /** Every item is answered. Works without a live session: the lease decides (I4). */
  report(appId: number, input: ReportInput): Promise<ReportAnswer>
  /** The worker leaves: its session ends, what it still holds is taken back at once. */
  leave(appId: number, sessionId: number): Promise<void>
}

/** What others must know when people change a job: hints only, polling is the truth. */
export interface Hints {
  /** The job's route, limit or schedule changed: claims and the scheduler look again. */
  jobChanged(appId: number): void
}
