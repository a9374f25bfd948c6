// Callers that wait for the end of a run: told by hints, and by a look at the database every half second.
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import type { Db } from '../storage/db.ts'
import { endedAmong } from '../storage/steer.ts'
import type { Hub } from './hub.ts'

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly clock: Clock
  readonly log: Log
}

/** Creates `waitForEnd` and the duty behind it. */
export const createWaiters = (
  needs: Needs,
): { duty: Duty; waitForEnd: (runId: number, waitMs: number, signal: AbortSignal) => Promise<boolean> } => {
  const { db, hub, clock, log } = needs
  const waiting = new Map<number, Set<(ended: boolean) => void>>()

  const tell = (runId: number): void => waiting.get(runId)?.forEach((resolve) => resolve(true))
  const look = async (): Promise<void> => {
    if (waiting.size === 0) return
    for (const row of await endedAmong(db, [...waiting.keys()])) tell(row.id)
  }
  const watch = duty({ name: 'waiters', clock, log, everyMs: 500, runOnce: look })
  hub.on((hint) => {
    if (hint === 'everything') watch.wake()
    else hint.ended?.forEach(tell)
  })
  const wait = (runId: number, waitMs: number, signal: AbortSignal): Promise<boolean> =>
    new Promise((resolve) => {
      const finish = (ended: boolean): void => {
        callOff()
        signal.removeEventListener('abort', giveUp)
        const others = waiting.get(runId)
        others?.delete(finish)
        if (others?.size === 0) waiting.delete(runId)
        resolve(ended)
      }
      const giveUp = (): void => finish(false)
      const callOff = clock.after(waitMs, giveUp)
      const mine = waiting.get(runId) ?? new Set()
      waiting.set(runId, mine.add(finish))
      signal.addEventListener('abort', giveUp, { once: true })
      if (signal.aborted) giveUp()
    })
  return {
    duty: watch,
    waitForEnd: async (runId, waitMs, signal) => {
      // waits first, then looks: an end in between is not missed
      const waited = wait(runId, waitMs, signal)
      const now = await endedAmong(db, [runId])
      if (now.length > 0) tell(runId)
      return waited
    },
  }
}
