// Acts for one Java worker: takes runs for it as a worker takes them by polling, and hands them over by POST (I3: recorded, then sent).
import type { Report } from '@oncejob/protocol'
import { nextTurn, within, type Clock, type Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { Directory, KnownSession } from '../../dispatch/directory.ts'
import type { Dispatcher } from '../../dispatch/dispatcher.ts'
import type { ClaimedRow } from '../../storage/claim.ts'
import type { Db } from '../../storage/db.ts'
import { attemptFences, isLive, unboundAttempts, wasAt } from '../../storage/java-attempts.ts'
import type { Courier } from './courier.ts'
import { endBy, type Desk, type Held } from './held.ts'
import type { JobFactsOf } from './job-facts.ts'
import { createOutbox, type Outbox } from './outbox.ts'
import { runJobBody, type JobFacts } from './run-job.ts'

export interface AgentNeeds {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly dispatcher: Dispatcher
  readonly directory: Directory
  readonly courier: Courier
  readonly desk: Desk
  readonly factsOf: JobFactsOf
  readonly report: (appId: number, reports: Report[]) => Promise<unknown>
  /** Ends the session: nobody listens there. The undelivered attempts are handed back, the others are lost. */
  readonly lose: (session: KnownSession, undelivered: readonly Held[]) => Promise<void>
}

// how long one poll waits; nothing depends on it but the age of what the dispatcher knows of the session
const pollMs: Millis = 3_000
// how long is waited for what a worker answers at once, if at all
const patientMs: Millis = 5_000
// a worker refuses the 64th heavy run without a word
const mostHeavy = 60
// how long a worker may take to let go of an earlier attempt, and how often it is asked
const letGoMs: Millis = 20_000
const askEveryMs: Millis = 500
// what was claimed longer ago may have been taken back since: this process was paused, or its worker is slow
const freshMs: Millis = 2_000
const mendMs: Millis = 1_000
const settleMs: Millis = 250
// a poll is released, never cut off: what is claimed for it must arrive
const never = new AbortController().signal

const stoppedReport = ({ runId, lease }: Held): Report => ({
  runId,
  lease,
  outcome: 'stopped',
  error: { code: 'STOPPED', message: 'The run was stopped.' },
  terminal: true,
})

/** Acts for one worker from its creation to its end. */
export class Agent {
  readonly session: KnownSession
  readonly #needs: AgentNeeds
  readonly #outbox: Outbox
  readonly #address: string
  readonly #mine = new Set<Held>()
  readonly #stops = new Map<number, Promise<boolean>>()
  readonly #ending = new AbortController()
  readonly #polling: Promise<void>
  #now: KnownSession
  #state: 'live' | 'moved' | 'stopping' | 'lost' = 'live'
  #heardMs: Millis
  #rouse: (() => void) | undefined
  #probing: Promise<void> | undefined
  #isKnown: boolean

  /** @param isNew nobody has served the session before; else it takes nothing before it is told what the worker has */
  constructor(needs: AgentNeeds, session: KnownSession, isNew: boolean) {
    this.#needs = needs
    this.session = session
    this.#isKnown = isNew
    this.#now = session
    this.#address = session.address ?? ''
    this.#outbox = createOutbox(needs.clock)
    this.#heardMs = needs.clock.monotonic()
    this.#polling = this.#poll()
  }

  /** When the last heartbeat was heard, by the clock that only grows. */
  get heardMs(): Millis {
    return this.#heardMs
  }

  /** The attempts that it knows. */
  held(): readonly Held[] {
    return [...this.#mine]
  }

  /** A heartbeat was heard. */
  heard(now: KnownSession): void {
    const wasFull = this.#now.draining
    this.#now = now
    this.#heardMs = this.#needs.clock.monotonic()
    if (wasFull && !now.draining) this.#rouse?.()
    if (!wasFull && now.draining) this.#needs.dispatcher.release(this.session.id)
  }

  /** Knows of an attempt that another server has handed over. */
  adopt(attempt: Pick<Held, 'runId' | 'lease' | 'jobId' | 'frequent'>): void {
    // leases only grow: what is known of a later one must not give way to a look that was overtaken
    if ((this.#needs.desk.of(attempt.runId)?.lease ?? 0) < attempt.lease)
      this.#weigh(this.#put({ ...attempt, heavy: true, phase: 'foreign' }), 0)
  }

  /** All that other servers have handed over is known. */
  known(): void {
    if (this.#isKnown) return
    this.#isKnown = true
    this.#rouse?.()
  }

  /** Asks the worker to stop a run, and ends it as stopped: no report will follow. */
  async stopRun(held: Held): Promise<void> {
    if (held.stopping || held.ending !== undefined) return
    held.stopping = true
    // one that was not sent needs no telling; an uncertain one is ended by the overdue duty
    if (held.phase !== 'queued' && !(await this.#sendStop(held.runId))) {
      held.stopping = false
      return
    }
    try {
      await endBy(held, this.#needs.report(this.session.appId, [stoppedReport(held)]))
    } catch (error) {
      // passed on: the next look tries again
      held.stopping = false
      throw error
    }
  }

  /** The attempt ended elsewhere, or was taken away: the worker is told to stop it, unless it has the run anew. */
  async drop(held: Held): Promise<void> {
    const wasSent = held.phase !== 'queued'
    held.stopping = true
    held.over()
    if (wasSent && this.#needs.desk.of(held.runId)?.address !== this.#address) await this.#sendStop(held.runId)
  }

  /** Nobody may be there any more: looks, and ends the session when nobody is. */
  suspect(): Promise<void> {
    this.#probing ??= this.#probe().finally(() => {
      this.#probing = undefined
    })
    return this.#probing
  }

  /** Takes nothing more. `moved`: what it has is still sent; `stopping`: what was not sent is handed back. */
  async end(how: 'moved' | 'stopping' | 'lost'): Promise<void> {
    // one that is being lost ends by itself
    if (this.#state !== 'live') return this.#probing
    this.#state = how
    this.#needs.dispatcher.release(this.session.id)
    if (how !== 'moved') this.#ending.abort()
    this.#rouse?.()
    await this.#polling
    if (how === 'moved') await this.#outbox.drained(patientMs)
    if (how === 'stopping') await this.#outbox.settled(settleMs)
    if (how !== 'lost') {
      // whoever serves the worker now does not know whether the rest was sent, and would wait for its reports
      this.#state = 'stopping'
      this.#ending.abort()
      await this.#handBack([...this.#mine].filter((held) => held.phase === 'queued'))
    }
    for (const held of this.#mine) held.over()
  }

  async #poll(): Promise<void> {
    const { clock, dispatcher } = this.#needs
    while (this.#state === 'live') {
      const slots = this.#free()
      if (slots === 0) {
        const woken = new AbortController()
        this.#rouse = () => woken.abort()
        await clock.sleep(pollMs, AbortSignal.any([this.#ending.signal, woken.signal]))
        this.#rouse = undefined
        continue
      }
      const end = await dispatcher.wait({ ...this.#now, running: this.#mine.size }, slots, pollMs, never)
      if (end.kind === 'runs') this.#take(end.rows, end.askedMs)
      // short runs may end before the free slots are counted again
      await nextTurn()
    }
  }

  #free(): number {
    if (!this.#isKnown || this.#now.draining || this.#state !== 'live') return 0
    let heavy = 0
    for (const held of this.#mine) if (held.heavy) heavy += 1
    return Math.max(0, Math.min(this.#now.slots - this.#mine.size, mostHeavy - heavy))
  }

  #take(rows: readonly ClaimedRow[], askedMs: Millis): void {
    for (const row of rows) {
      const held = this.#put({
        runId: row.run_id,
        lease: row.lease,
        jobId: row.job_id,
        frequent: false,
        heavy: true,
        phase: 'queued',
      })
      this.#weigh(held, row.job_version)
      this.#outbox.put(() => this.#hand(held, row, askedMs))
    }
  }

  /** Asks what it is before it is sent: those of many jobs are read at once, and light ones make room for more. */
  #weigh(held: Held, version: number): void {
    const facts = this.#needs.factsOf(held.jobId, version)
    const weigh = ({ heavy }: JobFacts): void => {
      held.heavy = heavy
      if (!heavy) this.#rouse?.()
    }
    if (!(facts instanceof Promise)) weigh(facts)
    // what can not be read is asked for again before it is sent
    else
      facts.then(weigh, () => {
        if (held.phase === 'foreign') held.heavy = held.frequent
      })
  }

  #put(facts: Pick<Held, 'runId' | 'lease' | 'jobId' | 'frequent' | 'heavy' | 'phase'>): Held {
    const { desk } = this.#needs
    const known = desk.of(facts.runId)
    if (known !== undefined) this.#mine.delete(known)
    const held: Held = {
      ...facts,
      appId: this.session.appId,
      sessionId: this.session.id,
      address: this.#address,
      answeredMs: undefined,
      startTime: null,
      reportTime: null,
      earlier: [],
      ending: undefined,
      stopping: false,
      over: () => {
        desk.remove(held)
        this.#mine.delete(held)
        this.#rouse?.()
      },
    }
    this.#mine.add(held)
    desk.put(held)
    return held
  }

  /** Sends it, once. */
  async #hand(held: Held, row: ClaimedRow, askedMs: Millis): Promise<void> {
    const { desk, courier, clock, log } = this.#needs
    const body = await this.#prepared(held, row, askedMs)
    const isCurrent = desk.of(held.runId) === held && held.phase === 'queued' && !held.stopping
    if (body === undefined || !isCurrent || this.#state === 'stopping' || this.#state === 'lost') return
    // from here on its reports count: they may be faster than the answer
    held.phase = 'sending'
    const outcome = await courier.tell(this.#address, '/worker/runJob', body)
    held.phase = 'sent'
    if (outcome === 'delivered') held.answeredMs = clock.monotonic()
    else if (outcome === 'refused') {
      held.phase = 'queued'
      await this.#undelivered(held)
    } else if (outcome === 'uncertain') {
      // it may have it or not: its reports will tell, or their absence
      log.warn({ run: held.runId, session: this.session.id }, 'hand-over to a worker is uncertain')
      await this.suspect()
    }
    // it passes over the stop of a run that it does not have yet
    if (held.stopping && outcome !== 'refused' && desk.of(held.runId)?.address !== this.#address)
      await this.#sendStop(held.runId)
  }

  /** Nobody was reached: lost when the port refuses; else what the worker has stays with it, and what was not sent goes elsewhere. */
  async #undelivered(refused: Held): Promise<void> {
    await this.suspect()
    if (this.#state === 'lost') return
    // until it is heard again
    this.#now = { ...this.#now, draining: true }
    this.#needs.dispatcher.release(this.session.id)
    const all = new Set([...this.#mine, refused])
    const unsent = [...all].filter((held) => held.phase === 'queued' && !held.stopping)
    // none of them is sent while that is recorded
    for (const held of unsent) held.stopping = true
    await this.#handBack(unsent)
  }

  /** What sending needs to know, and what must be recorded before it; tried until it is done. */
  async #prepared(
    held: Held,
    row: ClaimedRow,
    askedMs: Millis,
  ): Promise<Readonly<Record<string, unknown>> | undefined> {
    const { db, clock, log, factsOf } = this.#needs
    for (;;) {
      try {
        const facts = await factsOf(row.job_id, row.job_version)
        held.heavy = facts.heavy
        held.frequent = facts.frequent
        if (facts.frequent) await unboundAttempts(db, [held])
        if (row.number > 1) await this.#afterEarlier(held)
        if (clock.monotonic() - askedMs > freshMs && !(await isLive(db, held))) {
          held.over()
          return undefined
        }
        return runJobBody(facts, row, this.#workersFor(facts.routeId))
      } catch (error) {
        // bounded by the session: without a database nothing goes on anyway
        log.warn({ run: row.run_id, session: this.session.id, err: error }, 'hand-over could not be prepared')
        await clock.sleep(mendMs, this.#ending.signal)
        if (this.#isVain(held)) return undefined
      }
    }
  }

  /** A worker that still has an earlier attempt would pass over this one without a word. */
  async #afterEarlier(held: Held): Promise<void> {
    const { db, clock } = this.#needs
    held.earlier = (await attemptFences(db, [held.runId]))[0]?.earlier ?? []
    if (!(await wasAt(db, held.runId, this.#address))) return
    await within(clock, patientMs, this.#sendStop(held.runId))
    // its thread takes a moment to end, and a result that it could not tell keeps the attempt until it is told once more
    const endMs = clock.monotonic() + letGoMs
    while (clock.monotonic() < endMs && (await this.#stillHas(held.runId)) && !this.#isVain(held))
      await clock.sleep(askEveryMs, this.#ending.signal)
  }

  async #stillHas(runId: number): Promise<boolean> {
    try {
      return (await this.#needs.courier.ask(this.#address, '/worker/queryInstanceStatus', { instanceId: runId }))
        .success
    } catch {
      // bounded: who does not say is taken to be without it, as a worker that was restarted is
      return false
    }
  }

  /** It was ended, or is for another one to send. */
  #isVain(held: Held): boolean {
    return this.#ending.signal.aborted || this.#needs.desk.of(held.runId) !== held
  }

  #workersFor(routeId: number): string[] {
    const suitable = this.#needs.directory.suitable(this.session.appId, routeId)
    const others = suitable.flatMap(({ java, address }) => (java && address !== null ? [address] : []))
    return others.includes(this.#address) ? others : [this.#address, ...others]
  }

  /** One at once for each run: what begins the run anew waits for it. False: it may not have arrived. */
  #sendStop(runId: number): Promise<boolean> {
    const sending =
      this.#stops.get(runId) ??
      this.#needs.courier
        .tell(this.#address, '/worker/stopInstance', { instanceId: runId })
        .then((outcome) => {
          if (outcome === 'refused') void this.suspect()
          return outcome === 'delivered'
        })
        .finally(() => this.#stops.delete(runId))
    this.#stops.set(runId, sending)
    return sending
  }

  async #probe(): Promise<void> {
    const { courier, log } = this.#needs
    if ((await courier.probe(this.#address)) !== 'refused' || this.#state !== 'live') return
    log.warn({ session: this.session.id, worker: this.#address }, 'nobody listens at the address of a worker')
    await this.#lose()
  }

  async #lose(): Promise<void> {
    if (this.#state === 'lost' || this.#state === 'stopping') return
    this.#state = 'lost'
    this.#ending.abort()
    this.#needs.dispatcher.release(this.session.id)
    await this.#polling
    // those that are just being refused, too, belong to what was not delivered
    await this.#outbox.settled(settleMs)
    const undelivered = [...this.#mine].filter((held) => held.phase === 'queued')
    await this.#needs.lose(this.session, undelivered)
    for (const held of this.#mine) held.over()
  }

  async #handBack(unsent: readonly Held[]): Promise<void> {
    const { report, log } = this.#needs
    if (unsent.length === 0) return
    const backs = unsent.map(({ runId, lease }): Report => ({ runId, lease, outcome: 'handed-back' }))
    try {
      await report(this.session.appId, backs)
    } catch (error) {
      // bounded: they are found by their silence
      log.warn({ session: this.session.id, err: error }, 'runs that were not sent could not be handed back')
    }
    for (const held of unsent) held.over()
  }
}
