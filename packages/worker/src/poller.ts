// The conversation with the server: a session, and exactly one poll open in it, for ever.
import type { PollAnswer, PollInput, SessionInput, SessionOpened } from '@oncejob/protocol'
import { backoffMs, nextTick, type Clock, type Random } from './clock.ts'
import { Outage, ServerRefused } from './errors.ts'
import type { WorkerEvent } from './events.ts'
import { Fence } from './fence.ts'
import { isRecord } from './json.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Servers } from './servers.ts'
import type { Workbench } from './workbench.ts'

interface PollerNeeds {
  readonly servers: Servers
  readonly bench: Workbench
  readonly metrics: Metrics
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly onEvent: (event: WorkerEvent) => void
  readonly describe: Omit<SessionInput, 'metrics'>
}

const openTimeoutMs = 10_000
/**
 * A worker without a free slot waits so long for one before it opens a poll that can bring no runs. Taking such a poll
 * back costs a connection; short processors never get there.
 */
const slotPatienceMs = 250
/** After so many answers without news that came at once, polls are paced: the server is not waiting as it should. */
const mostHastyAnswers = 10
const hastyMs = 20
const pacedMs = 50

const isSessionOpened = (body: unknown): body is SessionOpened =>
  isRecord(body) && typeof body['sessionId'] === 'number' && typeof body['leaseMs'] === 'number'

const isPollAnswer = (body: unknown): body is PollAnswer =>
  isRecord(body) && Array.isArray(body['runs']) && Array.isArray(body['stops'])

const isSessionGone = (error: unknown): boolean =>
  error instanceof ServerRefused && (error.code === 'SESSION_ENDED' || error.code === 'WORKER_NOT_FOUND')

export class Poller {
  readonly #needs: PollerNeeds
  readonly #fence: Fence
  readonly #ended = new AbortController()
  #session: SessionOpened | undefined
  #wasOpen = false
  #answeredInSession = 0
  #hasty = 0
  #draining = false
  /** Takes back the open poll, if there is one. */
  #poll: AbortController | undefined
  #pollIsFull = false
  #slotWaiter: AbortController | undefined

  constructor(needs: PollerNeeds) {
    this.#needs = needs
    this.#fence = new Fence(needs.clock, () => this.#lapse())
  }

  get sessionId(): number | null {
    return this.#session?.sessionId ?? null
  }

  /**
   * Opens sessions and polls until `end()`. Never gives up on outages.
   * @param onOpen called at each session opened
   * @throws ServerRefused when the first session is refused: token, address or description are wrong
   */
  async run(onOpen: () => void): Promise<void> {
    let failures = 0
    while (!this.#ended.signal.aborted) {
      try {
        if (this.#session === undefined) {
          await this.#open()
          onOpen()
        } else if (this.#needs.bench.mustLeave && !this.#draining) {
          await this.#replaceSession(this.#session)
        } else {
          await this.#pollOnce(this.#session)
          failures = 0
        }
      } catch (error) {
        if (this.#ended.signal.aborted) return
        failures += 1
        await this.#recover(error, failures)
      }
    }
  }

  /** A slot is free: a poll that asks for nothing is replaced by one that asks for it. */
  room(): void {
    if (this.#needs.bench.free === 0 && !this.#needs.bench.mustLeave) return
    this.#slotWaiter?.abort()
    if (this.#pollIsFull) this.#poll?.abort()
  }

  /** From now on polls renew the leases and ask for nothing. */
  drain(): void {
    this.#draining = true
    this.#slotWaiter?.abort()
    this.#poll?.abort()
  }

  /** Ends the loop; `leave` may follow. */
  end(): void {
    this.#ended.abort()
    this.#fence.drop()
    this.#slotWaiter?.abort()
    this.#poll?.abort()
  }

  /** Tells the server that this worker is gone; a server that can not be told will notice by itself. */
  async leave(): Promise<void> {
    if (this.#session === undefined) return
    const { servers, log } = this.#needs
    try {
      await servers.call({ method: 'DELETE', path: `/sessions/${this.#session.sessionId}`, timeoutMs: 5000 })
    } catch (error) {
      log.debug({ error: String(error) }, 'session was not ended by its worker')
    }
    this.#session = undefined
  }

  async #open(): Promise<void> {
    const { servers, bench, clock, log } = this.#needs
    const sentAtMs = clock.monotonic()
    const metrics = await this.#metrics()
    const body = JSON.stringify({ ...this.#needs.describe, ...(metrics === undefined ? {} : { metrics }) })
    const signal = this.#ended.signal
    const opened = await servers.call({ method: 'POST', path: '/sessions', body, timeoutMs: openTimeoutMs, signal })
    if (!isSessionOpened(opened)) throw new Outage('the answer to a new session was unreadable', 0)
    this.#session = opened
    this.#wasOpen = true
    this.#answeredInSession = 0
    bench.maxResultBytes = opened.maxResultBytes
    this.#fence.renew(sentAtMs, opened.leaseMs)
    log.info({ session: opened.sessionId, server: servers.current }, 'session opened')
    this.#needs.onEvent({ type: 'session-opened', sessionId: opened.sessionId, server: servers.current })
  }

  /** What was left to the server is taken back when its session ends, and another worker may begin it at once. */
  async #replaceSession(session: SessionOpened): Promise<void> {
    const { servers, bench, log } = this.#needs
    const { signal } = this.#ended
    await servers.call({ method: 'DELETE', path: `/sessions/${session.sessionId}`, timeoutMs: openTimeoutMs, signal })
    log.info({ session: session.sessionId }, 'session was left with the runs that were cut short')
    this.#session = undefined
    this.#fence.drop()
    bench.loseTrust('session-ended')
  }

  async #pollOnce(session: SessionOpened): Promise<void> {
    const { servers, bench, clock } = this.#needs
    if (bench.free === 0 && !this.#draining) {
      await this.#waitForSlot()
      if (bench.mustLeave) return
    }
    const metrics = await this.#metrics()
    if (this.#ended.signal.aborted) return
    const input: PollInput = {
      free: bench.free,
      held: bench.held(),
      ...(metrics === undefined ? {} : { metrics }),
      ...(this.#draining ? { draining: true } : {}),
    }
    const poll = new AbortController()
    this.#poll = poll
    this.#pollIsFull = input.free === 0 && !this.#draining
    const sentAtMs = clock.monotonic()
    try {
      const answer = await servers.call({
        method: 'POST',
        path: `/sessions/${session.sessionId}/poll`,
        body: JSON.stringify(input),
        // Leaves time to ask the next server before the lease is over.
        timeoutMs: session.pollMs + Math.max(1000, (session.leaseMs - session.pollMs) / 2),
        signal: poll.signal,
      })
      if (!isPollAnswer(answer)) throw new Outage('the answer to a poll was unreadable', 0)
      this.#answeredInSession += 1
      const fresh = this.#take(sentAtMs, input, answer)
      await this.#pace(clock.monotonic() - sentAtMs, fresh + answer.stops.length)
    } catch (error) {
      // Taken back by room(), drain() or end(): the next poll says what has changed.
      if (!poll.signal.aborted) throw error
    } finally {
      this.#poll = undefined
      this.#pollIsFull = false
    }
  }

  #take(sentAtMs: number, input: PollInput, answer: PollAnswer): number {
    const { bench, log } = this.#needs
    bench.progressSent(input.held)
    if (this.#fence.renew(sentAtMs)) return bench.take(answer)
    // This process slept, or the answer was long under way. Runs that are still ours come again with the same lease.
    log.warn({ runs: answer.runs.length }, 'answer to a poll came after the lease was over, ignored')
    return bench.take({ runs: [], stops: answer.stops })
  }

  /** Lets short processors end before the next poll counts the free slots; slows down when polls do not wait. */
  async #pace(tookMs: number, news: number): Promise<void> {
    if (news > 0) {
      this.#hasty = 0
      return nextTick()
    }
    this.#hasty = tookMs < hastyMs ? this.#hasty + 1 : 0
    if (this.#hasty > mostHastyAnswers) await this.#needs.clock.sleep(pacedMs, this.#ended.signal)
  }

  async #waitForSlot(): Promise<void> {
    this.#slotWaiter = new AbortController()
    await this.#needs.clock.sleep(slotPatienceMs, this.#slotWaiter.signal)
    this.#slotWaiter = undefined
  }

  async #metrics(): Promise<PollInput['metrics']> {
    try {
      return await this.#needs.metrics.ifDue()
    } catch (error) {
      // Given by the user; a worker without figures is still a worker.
      this.#needs.log.error({ err: error }, 'metrics could not be read')
      return undefined
    }
  }

  async #recover(error: unknown, failures: number): Promise<void> {
    const { servers, log, clock, random } = this.#needs
    if (isSessionGone(error)) {
      this.#loseSession()
      // A session that was of use is replaced at once; one that ended before its first poll is a sign of trouble.
      if (this.#answeredInSession > 0) return
    } else if (error instanceof ServerRefused) {
      if (!this.#wasOpen) throw error
      const facts = { status: error.status, code: error.code, error: error.message }
      if (failures === 1) log.error(facts, 'server refused the worker')
      else log.debug(facts, 'server refused the worker again')
    } else if (!(error instanceof Outage)) {
      log.error({ err: error }, 'poll failed unexpectedly')
    }
    // The other servers are asked first, without waiting.
    if (failures >= servers.count)
      await clock.sleep(backoffMs(failures - servers.count + 1, random), this.#ended.signal)
  }

  #loseSession(): void {
    const sessionId = this.#session?.sessionId ?? 0
    this.#session = undefined
    this.#fence.drop()
    this.#needs.log.warn({ session: sessionId }, 'session was ended by the server')
    this.#needs.onEvent({ type: 'session-lost', sessionId })
    this.#needs.bench.loseTrust('session-ended')
  }

  #lapse(): void {
    const { bench, log, onEvent } = this.#needs
    log.warn({ runs: bench.running }, 'no server answered for a whole lease, leases given up')
    onEvent({ type: 'leases-lapsed', runs: bench.running })
    bench.loseTrust('lapsed')
  }
}
