// The queue in front of the embedded database's one connection: first come, first served, transactions alone.
import { nextTurn } from '../../kernel/clock.ts'
import { Outage } from '../../kernel/errors.ts'

interface Entry {
  /** A transaction: nothing else runs meanwhile. Statements that stand together run as one group. */
  readonly alone: boolean
  /** Runs it and keeps the outcome. Never rejects. */
  readonly run: () => Promise<void>
  /** Tells the caller the outcome, or `failure` when the group as a whole has failed. */
  readonly settle: (failure?: { readonly reason: unknown }) => void
}

/** Runs all of `runs` one after another and resolves when what they wrote is on the disk. */
export type RunGroup = (runs: readonly (() => Promise<void>)[]) => Promise<void>

// Bounds how long a group keeps the process from anything else.
const groupMax = 64

export class EmbeddedQueue {
  readonly #runGroup: RunGroup
  readonly #between: () => Promise<void>
  readonly #waiting: Entry[] = []
  #draining: Promise<void> | undefined
  #closed = false

  /** `between` has the connection to itself after each group, when the callers have been told; it never rejects. */
  constructor(runGroup: RunGroup, between: () => Promise<void>) {
    this.#runGroup = runGroup
    this.#between = between
  }

  /** Runs a statement that is a transaction of its own; statements waiting side by side share one sync. */
  statement<T>(work: () => Promise<T>): Promise<T> {
    return this.#add(false, work)
  }

  /** Runs `work` with the connection to itself. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#add(true, work)
  }

  /** Refuses what comes from now on; resolves when all that came before is done. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#draining
  }

  #add<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new Outage('the embedded database is closed'))
    return new Promise<T>((resolve, reject) => {
      let tell = (): void => reject(new Error('the statement has not run'))
      const run = async (): Promise<void> => {
        try {
          const value = await work()
          tell = () => resolve(value)
        } catch (error) {
          // handed to the one who asked
          tell = () => reject(error)
        }
      }
      const settle: Entry['settle'] = (failure) => (failure === undefined ? tell() : reject(failure.reason))
      this.#waiting.push({ alone, run, settle })
      this.#draining ??= this.#drain()
    })
  }

  async #drain(): Promise<void> {
    // statements asked for in the same turn make one group
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const entries = this.#take()
      try {
        await this.#runGroup(entries.map((entry) => entry.run))
        for (const entry of entries) entry.settle()
      } catch (reason) {
        // nobody may believe that it is on the disk
        for (const entry of entries) entry.settle({ reason })
      }
      await this.#between()
      // PGlite never waits for anything: without this, sockets and timers would starve under load
      await nextTurn()
    }
    this.#draining = undefined
  }

  #take(): Entry[] {
    const end = this.#waiting.findIndex((entry) => entry.alone)
    const singles = end === -1 ? this.#waiting.length : end
    return this.#waiting.splice(0, Math.max(1, Math.min(singles, groupMax)))
  }
}
