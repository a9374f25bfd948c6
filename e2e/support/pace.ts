// Trouble in step with the work: what is to happen during a storm happens while there is work, however fast or slow the machine is.
import type { SeededRandom } from '@oncejob/testkit'
import { pause } from './until.ts'

// Work may run on beyond a trouble that is late by so much, so that there is always some in flight when it comes.
const slack = 60

export class Pace {
  readonly #total: number
  readonly #done: () => number
  readonly #pending = new Set<number>()
  #over = false

  /** @param done how much of `total` is done */
  constructor(total: number, done: () => number) {
    this.#total = total
    this.#done = done
  }

  /** Does `act` so many times, spread by chance over the work; each at its share of the work, one after the other. */
  async spread(times: number, random: SeededRandom, act: (index: number) => Promise<unknown>): Promise<number> {
    const marks = Array.from({ length: times }, (_, i) => (this.#total * (i + random.next())) / times)
    for (const mark of marks) this.#pending.add(mark)
    try {
      for (const [index, mark] of marks.entries()) {
        while (this.#done() < mark && !this.#over) await pause(5)
        await act(index)
        this.#pending.delete(mark)
      }
    } finally {
      // whoever fails must not hold the others for ever
      for (const mark of marks) this.#pending.delete(mark)
    }
    return times
  }

  /** Resolves when all is done. */
  async through(): Promise<void> {
    while (!this.#over && this.#done() < this.#total) await pause(5)
  }

  /** Holds work that would run away from trouble that is still to come. */
  async mayGoOn(): Promise<void> {
    while (!this.#over && this.#done() > Math.min(...this.#pending) + slack) await pause(5)
  }

  /** Lets go of everybody. */
  end(): void {
    this.#over = true
  }
}
