// Delivers results: what collects during one request goes with the next, and nothing is let go before it is answered.
import type { Report, ReportAnswer } from '@oncejob/protocol'
import { backoffMs, nextTick, type Clock, type Random } from './clock.ts'
import { Outage, ServerRefused } from './errors.ts'
import { isRecord } from './json.ts'
import type { Log } from './log.ts'
import type { Servers } from './servers.ts'

/** `refused`: the server could not even read the report. */
export type DeliveryAnswer = ReportAnswer['answers'][number]['answer'] | 'refused'

interface Delivery {
  readonly lease: number
  readonly runId: number
  json: string
  /** True when `json` already is the substitute for a report that was refused. */
  substituted: boolean
  readonly onAnswer: (answer: DeliveryAnswer) => void
}

interface ReporterNeeds {
  readonly servers: Pick<Servers, 'call' | 'count'>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const mostPerRequest = 1000
// Half of what a server reads at most.
const mostCharacters = 4 * 1024 * 1024
const timeoutMs = 10_000

const isReportAnswer = (body: unknown): body is ReportAnswer => isRecord(body) && Array.isArray(body['answers'])

/** The report itself is what the server can not take; trying the same again changes nothing. */
const blamesTheReport = (error: unknown): boolean =>
  error instanceof ServerRefused && [400, 413, 415, 422].includes(error.status)

const substitute = (delivery: Delivery, error: unknown): string => {
  const why = error instanceof Error ? error.message.slice(0, 4000) : ''
  const report: Report = {
    runId: delivery.runId,
    lease: delivery.lease,
    outcome: 'failed',
    error: { code: 'RESULT_REFUSED', message: `The server did not take the report of this attempt: ${why}` },
  }
  return JSON.stringify(report)
}

export class Reporter {
  readonly #needs: ReporterNeeds
  readonly #closed = new AbortController()
  #waiting: Delivery[] = []
  #undelivered = 0
  #pumping = false
  #limit = mostPerRequest
  #lastAnswerAtMs = 0
  #onEmpty: (() => void) | undefined

  constructor(needs: ReporterNeeds) {
    this.#needs = needs
  }

  /** Results that no server has answered yet. */
  get undelivered(): number {
    return this.#undelivered
  }

  /** Keeps the report until it is answered; `onAnswer` is called once. */
  add(report: Report, onAnswer: (answer: DeliveryAnswer) => void): void {
    const { runId, lease } = report
    this.#waiting.push({ runId, lease, json: JSON.stringify(report), substituted: false, onAnswer })
    this.#undelivered += 1
    if (!this.#pumping) void this.#pump()
  }

  /**
   * Resolves when everything is delivered, or when no server has answered for so long.
   * @returns how many results were given up; nothing is sent any more
   */
  async finish(giveUpAfterMs: number): Promise<number> {
    const { clock } = this.#needs
    const empty = new AbortController()
    this.#onEmpty = () => empty.abort()
    this.#lastAnswerAtMs = clock.monotonic()
    while (this.#undelivered > 0) {
      const leftMs = this.#lastAnswerAtMs + giveUpAfterMs - clock.monotonic()
      if (leftMs <= 0) break
      await clock.sleep(leftMs, empty.signal)
    }
    this.#closed.abort()
    return this.#undelivered
  }

  async #pump(): Promise<void> {
    this.#pumping = true
    // What ends in the same turn goes together; an idle worker waits for nothing else.
    await nextTick()
    let failures = 0
    while (this.#waiting.length > 0 && !this.#closed.signal.aborted) {
      const batch = this.#take()
      const progressed = await this.#send(batch, failures === 0)
      failures = progressed ? 0 : failures + 1
      if (failures > 0) {
        const delayMs = failures < this.#needs.servers.count ? 0 : backoffMs(failures, this.#needs.random)
        await this.#needs.clock.sleep(delayMs, this.#closed.signal)
      }
    }
    this.#pumping = false
  }

  #take(): Delivery[] {
    let count = 0
    let characters = 0
    for (const { json } of this.#waiting) {
      characters += json.length
      if (count > 0 && (count >= this.#limit || characters > mostCharacters)) break
      count += 1
    }
    return this.#waiting.splice(0, count)
  }

  /** @returns false when the next request should wait */
  async #send(batch: Delivery[], isFirstTry: boolean): Promise<boolean> {
    const body = `{"reports":[${batch.map(({ json }) => json).join(',')}]}`
    try {
      const signal = this.#closed.signal
      const answer = await this.#needs.servers.call({ method: 'POST', path: '/reports', body, timeoutMs, signal })
      if (!isReportAnswer(answer)) throw new Outage('the answer to a report was unreadable', 0)
      this.#limit = Math.min(mostPerRequest, this.#limit * 2)
      return this.#settle(batch, answer)
    } catch (error) {
      return this.#failed(batch, error, isFirstTry)
    }
  }

  #settle(batch: Delivery[], answer: ReportAnswer): boolean {
    this.#lastAnswerAtMs = this.#needs.clock.monotonic()
    const answers = new Map(answer.answers.map((item) => [item.lease, item.answer]))
    const unanswered = batch.filter((delivery) => {
      const said = answers.get(delivery.lease)
      if (said === undefined) return true
      this.#done(delivery, said)
      return false
    })
    this.#waiting.push(...unanswered)
    return unanswered.length === 0
  }

  #failed(batch: Delivery[], error: unknown, isFirstTry: boolean): boolean {
    if (blamesTheReport(error)) return this.#isolate(batch, error)
    if (error instanceof Outage && error.status === 500) {
      // One of them may be what the server breaks on: smaller batches, others first, so that it holds up nobody else.
      this.#limit = Math.max(1, Math.ceil(batch.length / 2))
      this.#waiting.push(...batch)
    } else {
      this.#waiting = [...batch, ...this.#waiting]
    }
    if (isFirstTry && !this.#closed.signal.aborted) {
      const why = error instanceof Error ? error.message : String(error)
      this.#needs.log.warn({ results: this.#undelivered, error: why }, 'results could not be delivered, kept')
    }
    return false
  }

  #isolate(batch: Delivery[], error: unknown): boolean {
    const [only] = batch
    if (batch.length > 1 || only === undefined) {
      this.#limit = Math.ceil(batch.length / 2)
      this.#waiting = [...batch, ...this.#waiting]
      return true
    }
    const facts = { runId: only.runId, lease: only.lease, error: error instanceof Error ? error.message : '' }
    this.#needs.log.error(facts, 'report was refused')
    if (only.substituted) {
      this.#done(only, 'refused')
      return true
    }
    only.json = substitute(only, error)
    only.substituted = true
    this.#waiting.push(only)
    return true
  }

  #done(delivery: Delivery, answer: DeliveryAnswer): void {
    this.#undelivered -= 1
    if (answer === 'lost' || answer === 'unknown') {
      this.#needs.log.warn({ runId: delivery.runId, lease: delivery.lease, answer }, 'result was not wanted')
    }
    delivery.onAnswer(answer)
    if (this.#undelivered === 0) this.#onEmpty?.()
  }
}
