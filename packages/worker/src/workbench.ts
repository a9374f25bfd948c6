// The runs in the hands of this process: starts each lease once, and knows what is queued, executing and unanswered.
import type { Assignment, HeldLease, PollAnswer, Report, StopOrder } from '@oncejob/protocol'
import type { Clock } from './clock.ts'
import type { EffectLedger } from './effect-ledger.ts'
import { AttemptTimedOut, LeaseLost, StopRequested, type AbortReason, type LeaseLostHow } from './errors.ts'
import type { RunFinished, RunStarted, WorkerEvent } from './events.ts'
import { Execution } from './execution.ts'
import type { Log } from './log.ts'
import type { LogShipper } from './log-shipper.ts'
import { cutShort, type Verdict } from './outcome.ts'
import type { Processors } from './processor.ts'
import type { DeliveryAnswer, Reporter } from './reporter.ts'
import { createRunLog } from './run-log.ts'

/**
 * queued: arrived, not begun. executing: begun, no result yet. ended: the result waits to be answered.
 * left: cut short, for the server to take back with the session. All of them are held: polls name them.
 */
interface Hold {
  readonly assignment: Assignment
  stage: 'queued' | 'executing' | 'ended' | 'left'
  execution: Execution | undefined
  sentProgress: HeldLease['progress']
}

interface WorkbenchNeeds {
  readonly concurrency: number
  readonly processors: Processors
  readonly clock: Clock
  readonly log: Log
  readonly reporter: Pick<Reporter, 'add' | 'undelivered'>
  readonly shipper: Pick<LogShipper, 'put' | 'tried'>
  readonly ledger: EffectLedger
  readonly onEvent: (event: WorkerEvent) => void
  /** Called when more runs could be taken than before, or the last one has ended. */
  readonly onRoom: () => void
}

/** So many answered leases are remembered, against hand-overs that are repeated late. */
const remembered = 5000
/** With so many unanswered results no new runs are taken: a poll names at most 20,000 leases. */
const mostUndelivered = 9000

export class Workbench {
  maxResultBytes = 1_048_576
  readonly #needs: WorkbenchNeeds
  readonly #processors: ReadonlyMap<string, Processors[string]>
  readonly #holds = new Map<number, Hold>()
  /** Leases that are over, oldest first. */
  readonly #past = new Set<number>()
  #queue: Hold[] = []
  /** Processors that have not ended, also those whose lease is gone. */
  #busy = 0
  #open = 0
  #left = 0
  #flushing = 0
  #draining = false
  #idleWaiters: (() => void)[] = []

  constructor(needs: WorkbenchNeeds) {
    this.#needs = needs
    this.#processors = new Map(Object.entries(needs.processors))
  }

  get running(): number {
    return this.#busy
  }

  /** How many further runs could begin at once. */
  get free(): number {
    if (this.#draining || this.#left > 0 || this.#needs.reporter.undelivered >= mostUndelivered) return 0
    return Math.max(0, this.#needs.concurrency - this.#busy - this.#queue.length)
  }

  /** Runs were left to the server and every finished result is delivered: the session should end now. */
  get mustLeave(): boolean {
    return this.#left > 0 && this.#flushing === 0 && this.#needs.reporter.undelivered === 0
  }

  /** Every lease held, with progress that was told since `progressSent`. */
  held(): HeldLease[] {
    const held: HeldLease[] = []
    for (const [lease, { assignment, execution, sentProgress }] of this.#holds) {
      const progress = execution?.context.toldProgress
      const isNews = progress !== undefined && progress !== sentProgress
      held.push(isNews ? { runId: assignment.runId, lease, progress } : { runId: assignment.runId, lease })
    }
    return held
  }

  /** A poll with these leases was answered: their progress need not be told again. */
  progressSent(held: readonly HeldLease[]): void {
    for (const { lease, progress } of held) {
      const hold = progress === undefined ? undefined : this.#holds.get(lease)
      if (hold !== undefined) hold.sentProgress = progress
    }
  }

  /**
   * Takes the answer of a poll: orders first, then runs. A lease that is known, or was, is not started again.
   * @returns how many runs were new
   */
  take(answer: PollAnswer): number {
    for (const order of answer.stops) this.#obey(order)
    let fresh = 0
    for (const assignment of answer.runs) {
      const { lease } = assignment
      if (this.#holds.has(lease) || this.#past.has(lease)) {
        this.#needs.log.debug({ runId: assignment.runId, lease }, 'repeated hand-over ignored')
        continue
      }
      const hold: Hold = { assignment, stage: 'queued', execution: undefined, sentProgress: undefined }
      this.#holds.set(lease, hold)
      this.#open += 1
      fresh += 1
      if (this.#draining) this.#handBack(hold)
      else this.#queue.push(hold)
    }
    this.#startQueued()
    return fresh
  }

  /** The leases can not be trusted any more: signals abort, what was not begun is left to the server. */
  loseTrust(how: LeaseLostHow): void {
    for (const hold of this.#queue) this.#forget(hold)
    this.#queue = []
    for (const hold of this.#holds.values()) {
      if (hold.stage !== 'left') hold.execution?.abort(new LeaseLost(how))
      else if (how !== 'lapsed') this.#dropLeft(hold)
    }
    this.#checkIdle()
  }

  /** Nothing new begins from now on; what has not begun is handed back. */
  drain(): void {
    this.#draining = true
    const queue = this.#queue
    this.#queue = []
    for (const hold of queue) this.#handBack(hold)
  }

  /** Aborts what still executes because the worker shuts down; its attempts are reported within patience. */
  abortAll(): void {
    for (const hold of this.#holds.values()) hold.execution?.abort(new StopRequested('worker'))
  }

  /** Resolves when no processor runs (with `reported`: when none is left without its result handed to the reporter). */
  idle(until: 'ended' | 'reported'): Promise<void> {
    const isIdle = (): boolean => this.#open === 0 && (until === 'reported' || this.#busy === 0)
    return new Promise((resolve) => {
      const check = (): void => {
        if (isIdle()) resolve()
        else this.#idleWaiters.push(check)
      }
      check()
    })
  }

  #obey(order: StopOrder): void {
    const hold = this.#holds.get(order.lease)
    // A result on its way is not dropped: the answer to its report says what it is worth.
    if (hold === undefined || hold.stage === 'ended') return
    if (hold.stage === 'left') {
      if (order.reason === 'lost') this.#dropLeft(hold)
      return
    }
    const { runId, lease } = hold.assignment
    const reason: AbortReason = reasonOf(order)
    this.#needs.log.info({ runId, lease, reason: order.reason }, 'run was told to end')
    if (hold.execution !== undefined) return hold.execution.abort(reason)
    this.#queue = this.#queue.filter((queued) => queued !== hold)
    this.#verdict(hold, cutShort({ runId, lease }, reason), undefined)
  }

  #startQueued(): void {
    while (this.#busy < this.#needs.concurrency) {
      const hold = this.#queue.shift()
      if (hold === undefined) return
      this.#start(hold)
    }
  }

  #start(hold: Hold): void {
    const { assignment } = hold
    const run = this.#processors.get(assignment.processor)
    hold.stage = 'executing'
    if (run === undefined) {
      const error = { code: 'PROCESSOR_NOT_FOUND', message: `This worker has no processor "${assignment.processor}"` }
      const { runId, lease } = assignment
      return this.#verdict(hold, { runId, lease, outcome: 'failed', error }, undefined)
    }
    this.#busy += 1
    hold.execution = new Execution(assignment, {
      clock: this.#needs.clock,
      maxResultBytes: this.maxResultBytes,
      makeLog: ({ runId, lease, logLevel }) =>
        createRunLog(
          { runId, lease, minimum: logLevel },
          () => this.#needs.clock.now(),
          (entry) => this.#needs.shipper.put(entry),
        ),
      ledger: this.#needs.ledger,
      onVerdict: (verdict, value) => this.#afterLogs(hold, verdict, value),
      onEnd: () => this.#freeSlot(),
    })
    this.#needs.onEvent({ type: 'run-started', ...factsOf(assignment) })
    hold.execution.start(run)
  }

  #freeSlot(): void {
    this.#busy -= 1
    this.#startQueued()
    this.#checkIdle()
    this.#needs.onRoom()
  }

  /** Whoever follows a log should have all of it when the run is over, so lines go before the result. */
  #afterLogs(hold: Hold, verdict: Verdict, value: unknown): void {
    const isSilent = typeof verdict === 'string' || hold.execution?.context.hasLogged !== true
    if (isSilent) return this.#verdict(hold, verdict, value)
    this.#flushing += 1
    void this.#needs.shipper.tried().then(() => {
      this.#flushing -= 1
      this.#verdict(hold, verdict, value)
    })
  }

  #handBack(hold: Hold): void {
    const { runId, lease } = hold.assignment
    this.#verdict(hold, { runId, lease, outcome: 'handed-back' }, undefined)
  }

  #verdict(hold: Hold, verdict: Verdict, value: unknown): void {
    const { lease } = hold.assignment
    if (verdict === 'dropped') {
      this.#forget(hold)
      this.#remember(lease)
      this.#finished(hold, undefined, undefined, null)
    } else if (verdict === 'left') {
      hold.stage = 'left'
      this.#open -= 1
      this.#left += 1
      this.#finished(hold, undefined, undefined, null)
    } else {
      hold.stage = 'ended'
      this.#open -= 1
      this.#needs.reporter.add(verdict, (answer) => {
        this.#holds.delete(lease)
        this.#remember(lease)
        this.#finished(hold, verdict, value, answer)
        if (this.#needs.reporter.undelivered === mostUndelivered - 1 || this.mustLeave) this.#needs.onRoom()
      })
    }
    this.#checkIdle()
  }

  #dropLeft(hold: Hold): void {
    this.#holds.delete(hold.assignment.lease)
    this.#remember(hold.assignment.lease)
    this.#left -= 1
  }

  #finished(hold: Hold, report: Report | undefined, value: unknown, answer: DeliveryAnswer | null): void {
    const event: RunFinished = {
      type: 'run-finished',
      ...factsOf(hold.assignment),
      outcome: report?.outcome ?? null,
      result: report?.outcome === 'succeeded' ? value : undefined,
      error: report !== undefined && 'error' in report ? report.error : null,
      answer,
      durationMs: hold.execution?.tookMs ?? 0,
    }
    this.#needs.onEvent(event)
  }

  #forget(hold: Hold): void {
    if (this.#holds.delete(hold.assignment.lease)) this.#open -= 1
  }

  #remember(lease: number): void {
    this.#past.add(lease)
    if (this.#past.size <= remembered) return
    for (const oldest of this.#past) {
      this.#past.delete(oldest)
      return
    }
  }

  #checkIdle(): void {
    const waiters = this.#idleWaiters
    if (waiters.length === 0) return
    this.#idleWaiters = []
    for (const check of waiters) check()
  }
}

const reasonOf = (order: StopOrder): AbortReason => {
  switch (order.reason) {
    case 'stop':
      return new StopRequested('server')
    case 'timeout':
      return new AttemptTimedOut(null)
    case 'lost':
      return new LeaseLost('lost')
  }
}

const factsOf = ({ runId, lease, job, processor, attempt }: Assignment): Omit<RunStarted, 'type'> => ({
  runId,
  lease,
  job,
  processor,
  attempt,
})
