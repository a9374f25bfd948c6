// The attempts that this server has handed, or is about to hand, to Java workers: where reports find them without the database.
import type { LiveAttempt } from './fence.ts'

/** One attempt. Times in ms, by the worker's clock unless told otherwise. */
export interface Held {
  readonly runId: number
  readonly lease: number
  readonly jobId: number
  readonly appId: number
  readonly sessionId: number
  readonly address: string
  /** A long run of a job on a short interval; known when it is sent. */
  frequent: boolean
  /** Of those that a worker takes at most 64 of, or not known yet. */
  heavy: boolean
  /** `sending`: the worker has not answered yet. `foreign`: another server handed it over, what is known of it stands in the database. */
  phase: 'queued' | 'sending' | 'sent' | 'foreign'
  /** When the worker has answered that it took it, by the clock that only grows. */
  answeredMs: number | undefined
  startTime: number | null
  reportTime: number | null
  earlier: readonly number[]
  /** Its end is being recorded. */
  ending: Promise<void> | undefined
  /** A stop of it is under way, or done, or it is taken from its worker. */
  stopping: boolean
  /** Tells its agent that it is over, whoever ended it. */
  readonly over: () => void
}

export interface Desk {
  of(runId: number): Held | undefined
  put(held: Held): void
  /** Removes exactly this attempt; false: another took its place, or it was gone. */
  remove(held: Held): boolean
  /** When the worker began with attempts of the run that ended here lately: their reports may come once more. */
  lately(runId: number): readonly number[]
}

// an unheard acknowledgement is asked for again for 66 s; at 900 runs a second these are the last 70
const mostEnded = 64_000

export const createDesk = (): Desk => {
  const live = new Map<number, Held>()
  const ended = new Map<number, readonly number[]>()
  const remember = ({ runId, startTime }: Held): void => {
    if (startTime === null) return
    const before = ended.get(runId) ?? []
    // the newest last: the oldest is the one to be forgotten
    ended.delete(runId)
    ended.set(runId, [...before, startTime].slice(-20))
    if (ended.size <= mostEnded) return
    const [oldest] = ended.keys()
    if (oldest !== undefined) ended.delete(oldest)
  }
  return {
    of: (runId) => live.get(runId),
    put: (held) => void live.set(held.runId, held),
    remove: (held) => {
      if (live.get(held.runId) !== held) return false
      live.delete(held.runId)
      remember(held)
      return true
    },
    lately: (runId) => ended.get(runId) ?? [],
  }
}

/** Lets it be over once its end is recorded. @throws what the recording throws; then it goes on */
export const endBy = async (held: Held, recorded: Promise<unknown>): Promise<void> => {
  held.ending = recorded.then(() => held.over())
  try {
    await held.ending
  } finally {
    held.ending = undefined
  }
}

/** What judging needs of it. */
export const liveOf = (held: Held, lately: readonly number[]): LiveAttempt => ({
  appId: held.appId,
  address: held.address,
  sent: held.phase !== 'queued',
  startTime: held.startTime,
  reportTime: held.reportTime,
  earlier: lately.length === 0 ? held.earlier : [...held.earlier, ...lately],
})
