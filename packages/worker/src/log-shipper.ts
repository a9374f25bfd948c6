// Carries the lines of run logs to the server in batches; what does not fit the buffer is dropped, counted, and told.
import { backoffMs, type Clock, type Random } from './clock.ts'
import { ServerRefused } from './errors.ts'
import type { Log } from './log.ts'
import type { LineLevel } from './run-log.ts'
import type { Servers } from './servers.ts'

export interface LogEntry {
  readonly runId: number
  readonly lease: number
  /** Ms since the epoch. */
  readonly at: number
  readonly level: LineLevel
  readonly text: string
}

interface LogShipperNeeds {
  readonly servers: Pick<Servers, 'call'>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const mostLines = 10_000
const mostCharacters = 8 * 1024 * 1024
const mostPerRequest = 2000
const mostCharactersPerRequest = 2 * 1024 * 1024
const timeoutMs = 5000
/** Lines of so long are gathered, unless a run has ended and its result waits for them. */
const gatherMs = 100

export class LogShipper {
  readonly #needs: LogShipperNeeds
  readonly #closed = new AbortController()
  readonly #dropped = new Map<number, { readonly runId: number; count: number }>()
  #waiting: LogEntry[] = []
  #characters = 0
  /** Lines put and lines tried so far: a result waits until all lines before it were tried. */
  #put = 0
  #tried = 0
  #waiters: { readonly upTo: number; readonly resolve: () => void }[] = []
  #pumping = false
  #failing = false
  #hurry: AbortController | undefined

  constructor(needs: LogShipperNeeds) {
    this.#needs = needs
  }

  put(entry: LogEntry): void {
    if (this.#closed.signal.aborted) return
    const isFull = this.#waiting.length >= mostLines || this.#characters + entry.text.length > mostCharacters
    if (isFull) {
      const known = this.#dropped.get(entry.lease)
      if (known === undefined) this.#dropped.set(entry.lease, { runId: entry.runId, count: 1 })
      else known.count += 1
      return
    }
    this.#append(entry)
    if (!this.#pumping) void this.#pump()
  }

  /** Resolves when every line put so far has been sent, or was tried in vain: a result does not wait for an outage. */
  tried(): Promise<void> {
    if (this.#tried >= this.#put || this.#failing) return Promise.resolve()
    this.#hurry?.abort()
    return new Promise((resolve) => this.#waiters.push({ upTo: this.#put, resolve }))
  }

  /** Tries once more to send what is there; nothing is sent afterwards. */
  async close(): Promise<void> {
    await this.tried()
    this.#closed.abort()
  }

  #append(entry: LogEntry): void {
    this.#waiting.push(entry)
    this.#characters += entry.text.length
    this.#put += 1
  }

  async #pump(): Promise<void> {
    this.#pumping = true
    let failures = 0
    while (this.#waiting.length > 0 && !this.#closed.signal.aborted) {
      if (failures === 0 && this.#waiters.length === 0) await this.#gather()
      const batch = this.#take()
      const sent = await this.#send(batch, failures === 0)
      this.#failing = !sent
      if (sent) {
        failures = 0
        this.#tried += batch.length
        this.#tellDrops()
        this.#release(this.#tried)
      } else {
        failures += 1
        this.#waiting = [...batch, ...this.#waiting]
        this.#characters += charactersOf(batch)
        this.#release(Number.POSITIVE_INFINITY)
        await this.#needs.clock.sleep(backoffMs(failures, this.#needs.random), this.#closed.signal)
      }
    }
    this.#pumping = false
  }

  async #gather(): Promise<void> {
    this.#hurry = new AbortController()
    await this.#needs.clock.sleep(gatherMs, this.#hurry.signal)
    this.#hurry = undefined
  }

  #take(): LogEntry[] {
    let count = 0
    let characters = 0
    for (const { text } of this.#waiting) {
      characters += text.length
      if (count > 0 && (count >= mostPerRequest || characters > mostCharactersPerRequest)) break
      count += 1
    }
    const batch = this.#waiting.splice(0, count)
    this.#characters -= charactersOf(batch)
    return batch
  }

  /** The gap is shown where it is: after the lines that still had room. */
  #tellDrops(): void {
    for (const [lease, { runId, count }] of this.#dropped) {
      const text = `[${count} log ${count === 1 ? 'line was' : 'lines were'} dropped here: the worker's log buffer was full]`
      this.#append({ runId, lease, at: Math.floor(this.#needs.clock.now()), level: 'warn', text })
    }
    this.#dropped.clear()
  }

  #release(upTo: number): void {
    const ready = this.#waiters.filter((waiter) => waiter.upTo <= upTo)
    if (ready.length === 0) return
    this.#waiters = this.#waiters.filter((waiter) => waiter.upTo > upTo)
    for (const { resolve } of ready) resolve()
  }

  /** @returns false when the lines should be sent again */
  async #send(entries: readonly LogEntry[], isFirstTry: boolean): Promise<boolean> {
    try {
      await this.#needs.servers.call({ method: 'POST', path: '/logs', body: JSON.stringify({ entries }), timeoutMs })
      return true
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      const isHopeless = error instanceof ServerRefused && [400, 413, 415, 422].includes(error.status)
      if (isHopeless) this.#needs.log.error({ lines: entries.length, error: why }, 'log lines were refused, dropped')
      else if (isFirstTry)
        this.#needs.log.warn({ lines: entries.length, error: why }, 'log lines could not be sent, kept')
      return isHopeless
    }
  }
}

const charactersOf = (entries: readonly LogEntry[]): number => entries.reduce((sum, { text }) => sum + text.length, 0)
