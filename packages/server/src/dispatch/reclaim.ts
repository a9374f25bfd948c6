// Takes runs back from workers that are gone (I7): sessions not renewed for lease + grace, and those that left.
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import type { Ending } from '../runs/settle.ts'
import { endLostSessions, takeOfEndedSessions } from '../storage/settle.ts'
import type { Directory } from './directory.ts'
import type { SessionTimes } from './sessions.ts'
import { takeAll, type TakingNeeds } from './taking.ts'

interface Needs extends TakingNeeds {
  readonly clock: Clock
  readonly log: Log
  readonly directory: Directory
  readonly times: SessionTimes
}

const lostEnding: Ending = {
  outcome: 'lost',
  error: { code: 'WORKER_LOST', message: 'The worker was lost.' },
  terminal: false,
  retryAfterMs: null,
}

export interface Reclaim {
  readonly duty: Duty
  /** Takes back what sessions that have ended still hold. */
  takeBack(): Promise<void>
  /** One round of the duty. */
  runOnce(): Promise<void>
}

/**
 * Creates the reclaim duty. It ends no session before it has itself been able to look, without a gap,
 * for lease + grace: after an outage of all servers or of the database the workers need that time to renew.
 */
export const createReclaim = (needs: Needs): Reclaim => {
  const { db, clock, log, directory, times } = needs
  const patienceMs = times.leaseMs + times.graceMs
  let lookingSinceMs: number | undefined
  let lookedMs = 0

  const takeBack = (): Promise<void> =>
    takeAll(needs, takeOfEndedSessions, lostEnding, (taken) => {
      log.warn({ runs: taken.length }, 'runs taken back from lost workers')
    })
  const runOnce = async (): Promise<void> => {
    const nowMs = clock.monotonic()
    // a gap is a look that came late: an outage, or this process was paused
    if (lookingSinceMs === undefined || nowMs - lookedMs > times.leaseMs) lookingSinceMs = nowMs
    if (nowMs - lookingSinceMs >= patienceMs) {
      const withJava = nowMs - lookingSinceMs >= times.javaSilenceMs
      for (const session of await endLostSessions(db, times.graceMs, withJava)) {
        directory.remove(session.id)
        log.warn({ session: session.id, worker: session.name, app: session.app_id }, 'worker session lost')
      }
    }
    await takeBack()
    lookedMs = clock.monotonic()
  }
  return {
    takeBack,
    runOnce,
    // often enough that its own pauses are no gaps, also when leases are short
    duty: duty({ name: 'reclaim', clock, log, everyMs: Math.min(1000, times.leaseMs / 4), runOnce }),
  }
}
