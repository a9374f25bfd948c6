// The context of one attempt. What costs something is made when it is first asked for: most processors use little of it.
import type { Assignment, Guarantee, HeldLease } from '@oncejob/protocol'
import type { EffectLedger } from './effect-ledger.ts'
import { Effects } from './effects.ts'
import type { AbortReason, LeaseLost } from './errors.ts'
import { storableText } from './json.ts'
import type { RunContext } from './processor.ts'
import type { RunLog } from './run-log.ts'

type Progress = NonNullable<HeldLease['progress']>

export interface ContextNeeds {
  readonly makeLog: (assignment: Assignment) => RunLog
  readonly ledger: EffectLedger
  /** Called when the server, or the fence in a database, says that another attempt has the run. */
  readonly onLost: (lost: LeaseLost) => void
}

export class AttemptContext implements RunContext {
  readonly #assignment: Assignment
  readonly #needs: ContextNeeds
  #log: RunLog | undefined
  #effects: Effects | undefined
  #controller: AbortController | undefined
  #reason: AbortReason | undefined
  #progress: Progress | undefined

  constructor(assignment: Assignment, needs: ContextNeeds) {
    this.#assignment = assignment
    this.#needs = needs
  }

  get params(): unknown {
    return this.#assignment.params ?? this.#assignment.jobParams ?? null
  }

  get jobParams(): unknown {
    return this.#assignment.jobParams ?? null
  }

  get runParams(): unknown {
    return this.#assignment.params ?? null
  }

  get runId(): number {
    return this.#assignment.runId
  }

  get jobId(): number {
    return this.#assignment.jobId
  }

  get jobName(): string {
    return this.#assignment.job
  }

  get attempt(): number {
    return this.#assignment.attempt
  }

  get isFirstAttempt(): boolean {
    return this.#assignment.attempt === 1
  }

  get lease(): number {
    return this.#assignment.lease
  }

  get idempotencyKey(): string {
    return this.#assignment.idempotencyKey
  }

  get guarantee(): Guarantee {
    return this.#assignment.guarantee
  }

  get fireAt(): Date | null {
    return this.#assignment.fireAt === null ? null : new Date(this.#assignment.fireAt)
  }

  get createdAt(): Date {
    return new Date(this.#assignment.createdAt)
  }

  get dueAt(): Date {
    return new Date(this.#assignment.dueAt)
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  get log(): RunLog {
    this.#log ??= this.#needs.makeLog(this.#assignment)
    return this.#log
  }

  readonly progress = (percent?: number, note?: string): void => {
    const next: Progress = { ...this.#progress }
    if (percent !== undefined && !Number.isNaN(percent)) next.percent = Math.min(100, Math.max(0, percent))
    if (note !== undefined) next.note = storableText(note, 1000)
    this.#progress = next
  }

  readonly once: RunContext['once'] = (name, fn, options) => this.#ofEffects.once(name, fn, options)

  readonly transaction: RunContext['transaction'] = (pool, name, work) => this.#ofEffects.transaction(pool, name, work)

  /** True when the processor has used its log: its lines go before its result. */
  get hasLogged(): boolean {
    return this.#log !== undefined
  }

  /** The progress as last told, a new object each time it is told. */
  get toldProgress(): Progress | undefined {
    return this.#progress
  }

  get #ofEffects(): Effects {
    const { runId, lease, guarantee } = this.#assignment
    const { ledger, onLost } = this.#needs
    this.#effects ??= new Effects({ hand: { runId, lease }, ledger, guarantee, reason: () => this.#reason, onLost })
    return this.#effects
  }

  /** Aborts the signal; the first reason stays. */
  abort(reason: AbortReason): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#controller?.abort(reason)
  }
}
