// The context of one attempt. What costs something is made when it is first asked for: most processors use little of it.
import type { Assignment, HeldLease } from '@oncejob/protocol'
import type { AbortReason } from './errors.ts'
import { storableText } from './json.ts'
import type { RunContext } from './processor.ts'
import type { RunLog } from './run-log.ts'

type Progress = NonNullable<HeldLease['progress']>

export class AttemptContext implements RunContext {
  readonly #assignment: Assignment
  readonly #makeLog: () => RunLog
  #log: RunLog | undefined
  #controller: AbortController | undefined
  #reason: AbortReason | undefined
  #progress: Progress | undefined

  constructor(assignment: Assignment, makeLog: () => RunLog) {
    this.#assignment = assignment
    this.#makeLog = makeLog
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
    this.#log ??= this.#makeLog()
    return this.#log
  }

  readonly progress = (percent?: number, note?: string): void => {
    const next: Progress = { ...this.#progress }
    if (percent !== undefined && !Number.isNaN(percent)) next.percent = Math.min(100, Math.max(0, percent))
    if (note !== undefined) next.note = storableText(note, 1000)
    this.#progress = next
  }

  /** True when the processor has used its log: its lines go before its result. */
  get hasLogged(): boolean {
    return this.#log !== undefined
  }

  /** The progress as last told, a new object each time it is told. */
  get toldProgress(): Progress | undefined {
    return this.#progress
  }

  /** Aborts the signal; the first reason stays. */
  abort(reason: AbortReason): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#controller?.abort(reason)
  }
}
