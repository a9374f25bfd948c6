// What a processor is and what it gets: the part of this package that users write against.
import type { Guarantee } from '@oncejob/protocol'
import type { OnceOptions } from './effects.ts'
import type { RunLog } from './run-log.ts'
import type { PgClient, PgPool } from './transaction.ts'

export interface RunContext<Params = unknown> {
  /** The run's parameters; the job's when the run has none. Not checked against `Params`: that is a promise of yours. */
  readonly params: Params
  readonly jobParams: unknown
  readonly runParams: unknown
  readonly runId: number
  readonly jobId: number
  readonly jobName: string
  /** 1 for the first attempt. */
  readonly attempt: number
  readonly isFirstAttempt: boolean
  /** Fencing number: grows with every attempt and is never used twice. Store it with what you write, refuse smaller ones. */
  readonly lease: number
  /** The same for every attempt of the run: hand it to whoever can drop repeats. */
  readonly idempotencyKey: string
  /** The job's: what happens when an attempt gets lost, and what `once` does by default about an effect that is unknown. */
  readonly guarantee: Guarantee
  /** The planned time of the schedule; null for a run that was called for. */
  readonly fireAt: Date | null
  readonly createdAt: Date
  readonly dueAt: Date
  /** Aborts when the run should end; its reason is a StopRequested, an AttemptTimedOut or a LeaseLost. */
  readonly signal: AbortSignal
  /** Lines of the run's log, from the job's log level up. */
  readonly log: RunLog
  /** Shows how far the run is; goes with the next poll. `percent` is 0 to 100, `note` at most 1,000 characters. */
  readonly progress: (percent?: number, note?: string) => void
  /**
   * Runs `fn` unless an attempt of this run has done so: then its outcome is returned. `name` names the effect within the
   * run. The outcome is what `fn` returns, through JSON; when `fn` throws nothing is recorded, and to the next try the
   * effect is unknown, as after a crash in the middle: see `onUnknown`.
   * @throws LeaseLost when another attempt has the run; TerminalError EFFECT_UNKNOWN, EFFECT_OUTCOME_INVALID; what `fn` throws
   */
  readonly once: <T>(name: string, fn: () => Promise<T> | T, options?: OnceOptions<T>) => Promise<T>
  /**
   * Runs `work` in one transaction of your own PostgreSQL, exactly once per run and name: a later attempt gets its output
   * (through JSON) without running it. Write through `tx`, and leave BEGIN, COMMIT and ROLLBACK to this function.
   * Needs the tables of `migrateEffects`.
   * @param pool a Pool of `pg`
   * @throws LeaseLost when another attempt has written for this run; what `work` throws, then nothing is written
   */
  readonly transaction: <T, Client extends PgClient>(
    pool: PgPool<Client>,
    name: string,
    work: (tx: Client) => Promise<T>,
  ) => Promise<T>
}

/** Executes one attempt. What it returns (JSON) is the result of the run; what it throws fails the attempt. */
export type Processor<Params = unknown, Result = unknown> = (ctx: RunContext<Params>) => Promise<Result> | Result

// A method's parameter is checked both ways, so that a map may hold processors of different Params.
interface AnyProcessor {
  call(ctx: RunContext): unknown
}

/** Processors by the name that jobs use. */
export type Processors = Readonly<Record<string, AnyProcessor['call']>>

/** Gives a processor the types of its params and its result. */
export const processor = <Params, Result = unknown>(run: Processor<Params, Result>): Processor<Params, Result> => run

/** Gives a map of processors its types where it is written, and keeps their names. */
export const defineProcessors = <const P extends Processors>(processors: P): P => processors
