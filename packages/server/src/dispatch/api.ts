// What the wires (native HTTP, PowerJob) ask of the core: submit and steer runs, sessions of workers.
import type {
  EffectChanged,
  EffectResolution,
  PollAnswer,
  PollInput,
  ReportAnswer,
  ReportInput,
  RunChanged,
  RunKeyReset,
  RunKeyState,
  RunResolution,
  SessionInput,
  SessionOpened,
} from '@oncejob/protocol'
import type { RunKeyWish } from '../runs/run-key.ts'
import type { KnownKey } from '../storage/request-keys.ts'
import type { NewRun } from '../storage/submit.ts'
import type { KeyedRun } from './run-keys.ts'

/** One run that a caller asks for. `keyed` is null, too, when a transaction around has taken the key. */
export interface Submission extends Omit<NewRun, 'jobId' | 'name'> {
  /** An id, or a name within the app. */
  readonly job: number | string
  /** The business identity of the run and what the caller wants when it has one already (I8); null: it has none. */
  readonly runKey: RunKeyWish | null
}

/** A run that was made, or was made before by a call with the same request key, or that its run key had already. */
export interface Submitted extends KeyedRun {
  /** The first call with this request key; null when this call is it. */
  readonly replayOf: KnownKey | null
}

export interface SubmittedMany {
  /** In the order of the input. */
  readonly ids: number[]
  /** Those of the ids that run keys had already; null when no run of the input has a key. */
  readonly deduplicated: number[] | null
}

/** A run key of a job, or with jobId 0 of the app. */
export interface RunKeyRef {
  readonly appId: number
  readonly jobId: number
  readonly key: string
}

export interface RunsApi {
  /**
   * Makes one run and resolves with its id once it is committed; with a key that was used before, with the first run.
   * With a run key it may be a run that the key had already, or one that waits for it.
   * @throws Refusal JOB_NOT_FOUND, NAME_AMBIGUOUS, RUN_LIMIT, IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_KEY_EXPIRED,
   * RUN_KEY_CONFLICT, RUN_KEY_INPUT_MISMATCH
   */
  submit(submission: Submission): Promise<Submitted>
  /** Makes all of the runs or none; ids in the order of the input. At most 5,000. */
  submitMany(submissions: readonly Submission[]): Promise<SubmittedMany>
  /**
   * Ends a waiting run as canceled, one of unknown outcome as stopped; `actor` is who asks, for the audit trail.
   * @throws Refusal RUN_NOT_FOUND, RUN_RUNNING, RUN_ENDED (already canceled: changed false)
   */
  cancel(appId: number, runId: number, actor: string): Promise<RunChanged>
  /** A waiting run is canceled, one of unknown outcome stopped; a running one is asked to stop, and taken from its worker when it does not. */
  stop(appId: number, runId: number, actor: string): Promise<RunChanged>
  /** Leaves a terminal state: the same run waits again, earlier attempts stay in the history (I5). @throws RUN_NOT_ENDED, RUN_KEY_CONFLICT */
  retry(appId: number, runId: number, actor: string): Promise<RunChanged>
  /** What a run key stands for. @throws Refusal RUN_KEY_NOT_FOUND */
  runKey(ref: RunKeyRef): Promise<RunKeyState>
  /**
   * Frees a run key: the next call with it makes a run. With `force` an open run of it is canceled, or asked to stop and
   * waited for by the next one. @throws Refusal RUN_KEY_NOT_FOUND, RUN_KEY_CONFLICT (its run is open, without force)
   */
  resetRunKey(ref: RunKeyRef, how: { readonly force: boolean; readonly actor: string }): Promise<RunKeyReset>
  /**
   * Says what became of a run of unknown outcome: it ends, or waits for another attempt. Changed false: it was said before.
   * @throws Refusal RUN_NOT_FOUND, RUN_NOT_UNKNOWN, BODY_TOO_LARGE
   */
  resolve(appId: number, runId: number, decision: RunResolution, actor: string): Promise<RunChanged>
  /**
   * Says what became of an effect that was begun and not ended. Changed false: it is recorded as done with this outcome.
   * @throws Refusal RUN_NOT_FOUND, RUN_RUNNING (its attempt may be at it), EFFECT_NOT_FOUND, EFFECT_DONE, EFFECT_OUTCOME_TOO_LARGE
   */
  resolveEffect(
    asked: { readonly appId: number; readonly runId: number; readonly name: string; readonly actor: string },
    decision: EffectResolution,
  ): Promise<EffectChanged>
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
