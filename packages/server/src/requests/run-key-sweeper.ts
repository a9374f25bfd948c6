// Keeps the ends of runs with their run keys, and forgets keys whose time is over. Every server does it, in small batches.
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import type { Db } from '../storage/db.ts'
import { keepEnds, lockUnkept, sweepRunKeys } from '../storage/run-keys.ts'

const batch = 5_000
// a bound for one round: the next goes on where this one stopped
const maxBatches = 20

/** Creates the duty; it works every minute. */
export const createRunKeySweeper = (needs: {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
}): { duty: Duty; runOnce: () => Promise<void> } => {
  const { db, clock, log } = needs
  // keys of open runs are looked at again and again: in turn, so that many of them hide none
  let lookedUpTo = 0

  const keepSome = async (): Promise<boolean> => {
    const last = await db.transaction(async (tx) => {
      const found = await lockUnkept(tx, lookedUpTo, batch)
      // a statement of its own: only with the locks held it is certain that nobody opens these runs again
      if (found.ids.length > 0) await keepEnds(tx, found.ids)
      return found.last
    })
    lookedUpTo = last ?? 0
    return last !== null
  }
  const runOnce = async (): Promise<void> => {
    for (let i = 0; i < maxBatches; i += 1) if (!(await keepSome())) break
    let swept = 0
    for (let i = 0; i < maxBatches; i += 1) {
      const count = await sweepRunKeys(db, batch)
      swept += count
      if (count < batch) break
    }
    if (swept > 0) log.info({ keys: swept }, 'run keys forgotten')
  }
  return { runOnce, duty: duty({ name: 'run keys', clock, log, everyMs: 60_000, runOnce }) }
}
