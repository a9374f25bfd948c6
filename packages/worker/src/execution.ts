// One attempt being executed: starts the processor, aborts it, and says once what to report.
import type { Assignment } from '@oncejob/protocol'
import type { Clock } from './clock.ts'
import { AttemptContext } from './context.ts'
import type { EffectLedger } from './effect-ledger.ts'
import { AttemptTimedOut, LeaseLost, type AbortReason } from './errors.ts'
import { cutShort, verdictOn, type Ended, type Verdict } from './outcome.ts'
import type { Processors } from './processor.ts'
import type { RunLog } from './run-log.ts'

/** So long a processor may take to end after it was aborted, before its attempt is reported without it. */
export const patienceMs = 5000

export interface ExecutionNeeds {
  readonly clock: Clock
  readonly maxResultBytes: number
  readonly makeLog: (assignment: Assignment) => RunLog
  readonly ledger: EffectLedger
  /** Called once. `value` is what the processor returned. */
  readonly onVerdict: (verdict: Verdict, value: unknown) => void
  /** Called once when the processor has really ended. */
  readonly onEnd: () => void
}

export class Execution {
  readonly context: AttemptContext
  /** Until the verdict; 0 before it. */
  tookMs = 0
  readonly #startedAtMs: number
  readonly #assignment: Assignment
  readonly #needs: ExecutionNeeds
  #reason: AbortReason | undefined
  #told = false
  #callOffTimeout: (() => void) | undefined
  #callOffPatience: (() => void) | undefined

  constructor(assignment: Assignment, needs: ExecutionNeeds) {
    this.#assignment = assignment
    this.#needs = needs
    this.#startedAtMs = needs.clock.monotonic()
    this.context = new AttemptContext(assignment, {
      makeLog: needs.makeLog,
      ledger: needs.ledger,
      onLost: (lost) => this.abort(lost),
    })
  }

  /** Calls the processor; whatever it does, this does not throw. */
  start(run: Processors[string]): void {
    const { timeoutMs } = this.#assignment
    if (timeoutMs !== null) {
      this.#callOffTimeout = this.#needs.clock.after(timeoutMs, () => this.abort(new AttemptTimedOut(timeoutMs)))
    }
    const invoke = async (): Promise<unknown> => run(this.context)
    invoke().then(
      (value) => this.#end({ kind: 'returned', value }),
      (error: unknown) => this.#end({ kind: 'threw', error }),
    )
  }

  /**
   * Aborts the signal. The first reason counts, but a lease that turns out to be lost silences every other.
   * After a time-out, or when the worker shuts down, patience ends: the attempt is then reported as it is.
   */
  abort(reason: AbortReason): void {
    if (reason.code === 'ATTEMPT_TIMED_OUT' || reason.code === 'WORKER_STOPPED') {
      this.#callOffPatience ??= this.#needs.clock.after(patienceMs, () => this.#losePatience(reason))
    }
    const worse = reason instanceof LeaseLost && reason.how !== 'lapsed'
    if (this.#reason !== undefined && !worse) return
    this.#reason = reason
    this.#callOffTimeout?.()
    this.context.abort(reason)
    if (worse && reason.how === 'lost') this.#tell('dropped', undefined)
  }

  #losePatience(asked: AbortReason): void {
    const reason = this.#reason ?? asked
    const { runId, lease, guarantee } = this.#assignment
    const verdict = cutShort({ runId, lease }, reason)
    // the processor may still do what a second attempt would do again
    const goesOn = guarantee === 'at-most-once' && typeof verdict === 'object' && verdict.outcome === 'timed-out'
    this.#tell(goesOn ? { ...verdict, unfinished: true } : verdict, undefined)
  }

  #end(ended: Ended): void {
    this.#callOffTimeout?.()
    const { runId, lease } = this.#assignment
    const value = ended.kind === 'returned' ? ended.value : undefined
    this.#tell(verdictOn({ runId, lease }, ended, this.#reason, this.#needs.maxResultBytes), value)
    this.#needs.onEnd()
  }

  #tell(verdict: Verdict, value: unknown): void {
    if (this.#told) return
    this.#told = true
    this.tookMs = this.#needs.clock.monotonic() - this.#startedAtMs
    this.#callOffPatience?.()
    this.#needs.onVerdict(verdict, value)
  }
}
