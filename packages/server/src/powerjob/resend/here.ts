// The undelivered rule on one server, from memory: a call whose answer was lost with its connection, sent again.
import { nextTurn, type Clock, type Millis } from '../../kernel/clock.ts'
import type { LegacyAnswer } from '../resends-api.ts'

/** How long a lost answer waits for its call to come again. */
export const undeliveredMs: Millis = 5_000
/** A call under way for so long may have been given up by its client, whose word is still on its way to us. */
export const suspiciousMs: Millis = 300
const wordTurns = 2
/** How long that word may take. */
export const wordMs: Millis = 50

/** An execution of this server whose answer has not reached the kernel yet, or was lost. */
export interface AttemptHere {
  readonly id: number
  readonly match: string
  /** It has a row, for other servers to see, and runs under a request key. */
  readonly row: boolean
  readonly startedMs: Millis
  /** Resolves when it has ended, one way or the other. */
  readonly ended: Promise<void>
  /** Once it is done; a call that came to nothing has none. */
  answer(): LegacyAnswer | undefined
}

interface Entry extends AttemptHere {
  state: 'executing' | 'done' | 'nothing'
  kept: LegacyAnswer | undefined
  lostMs: Millis | undefined
  /** A call that repeats it has come. */
  repeated: boolean
  readonly end: () => void
}

/** Creates the memory of one server. */
export const createHere = (clock: Clock) => {
  const byId = new Map<number, Entry>()
  const byMatch = new Map<string, Set<Entry>>()

  const drop = (entry: Entry): void => {
    byId.delete(entry.id)
    const same = byMatch.get(entry.match)
    same?.delete(entry)
    if (same?.size === 0) byMatch.delete(entry.match)
  }
  const isLost = (entry: Entry): boolean =>
    entry.lostMs !== undefined && !entry.repeated && clock.monotonic() - entry.lostMs < undeliveredMs
  // what broke may have taken effect: its key tells, if it had one
  const isOver = (entry: Entry): boolean => entry.state === 'nothing' && !entry.row
  const lostOf = (match: string): Entry | undefined =>
    [...(byMatch.get(match) ?? [])].find((entry) => !isOver(entry) && isLost(entry))

  return {
    /** Notes an execution that begins. */
    begin: (about: Pick<AttemptHere, 'id' | 'match' | 'row'>): AttemptHere => {
      const { promise, resolve } = Promise.withResolvers<void>()
      const entry: Entry = {
        ...about,
        startedMs: clock.monotonic(),
        ended: promise,
        end: resolve,
        state: 'executing',
        kept: undefined,
        lostMs: undefined,
        repeated: false,
        answer: () => entry.kept,
      }
      byId.set(entry.id, entry)
      const same = byMatch.get(entry.match) ?? new Set()
      byMatch.set(entry.match, same.add(entry))
      return entry
    },
    /** Notes how it ended; without an answer it came to nothing. */
    end: (id: number, answer: LegacyAnswer | undefined): void => {
      const entry = byId.get(id)
      if (entry === undefined) return
      entry.state = answer === undefined ? 'nothing' : 'done'
      entry.kept = answer
      entry.end()
      if (isOver(entry)) drop(entry)
    },
    delivered: (id: number): void => {
      const entry = byId.get(id)
      if (entry !== undefined) drop(entry)
    },
    /** Notes that the answer is lost. Tells whether other servers must hear of it. */
    lost: (id: number): boolean => {
      const entry = byId.get(id)
      if (entry === undefined) return false
      entry.lostMs = clock.monotonic()
      clock.after(undeliveredMs, () => {
        if (!isLost(entry)) drop(entry)
      })
      return entry.row
    },
    /** The attempt that a call repeats, for this call alone; undefined: none is known to have lost its answer. */
    take: async (match: string): Promise<AttemptHere | undefined> => {
      const same = byMatch.get(match)
      if (same === undefined) return undefined
      const executing = [...same].filter((one) => one.state === 'executing')
      if (executing.length > 0 && lostOf(match) === undefined) {
        // a connection that broke before this call came is told of some turns of the event loop later
        for (let turn = 0; turn < wordTurns && lostOf(match) === undefined; turn += 1) await nextTurn()
        const oldMs = clock.monotonic() - suspiciousMs
        if (lostOf(match) === undefined && executing.some((one) => one.startedMs <= oldMs)) await clock.sleep(wordMs)
      }
      const lost = lostOf(match)
      if (lost !== undefined) lost.repeated = true
      return lost
    },
    size: (): number => byId.size,
  }
}

export type Here = ReturnType<typeof createHere>
