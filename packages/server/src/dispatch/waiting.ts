// Looks after runs that wait: makes delayed ones ready when due, fails those past their queue deadline, fills free slots.
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import { whyWaiting } from '../runs/why.ts'
import type { Db } from '../storage/db.ts'
import { jobsWithRoom } from '../storage/limits.ts'
import { endWaiting, expiredWaiting, nextDueIn, promoteDue } from '../storage/steer.ts'
import { waitingOf } from '../storage/waiting-read.ts'
import type { Following } from './following.ts'
import type { Hub } from './hub.ts'

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly hub: Hub
  readonly following: Following
}

const batch = 5000

/** Makes delayed runs ready on time: sleeps until the next one is due. */
export const createDue = (needs: Needs): { duty: Duty; runOnce: () => Promise<number> } => {
  const { db, clock, log, hub, following } = needs
  const runOnce = async (): Promise<number> => {
    for (;;) {
      const due = await promoteDue(db, batch)
      const apps = new Set(due.filter((row) => !row.blocked).map((row) => row.app_id))
      if (apps.size > 0) hub.tell({ ready: [...apps] })
      const jobs = new Set(due.filter((row) => row.blocked).map((row) => row.job_id))
      if (jobs.size > 0) await following.handOn([...jobs])
      if (due.length < batch) break
    }
    return (await nextDueIn(db)) ?? Infinity
  }
  const watch = duty({ name: 'due', clock, log, everyMs: 1000, runOnce })
  hub.on((hint) => {
    if (hint === 'everything' || hint.later === true) watch.wake()
  })
  return { duty: watch, runOnce }
}

/** Why a run waits, in words. */
const inWords = async (db: Db, appId: number, runId: number): Promise<string> => {
  const waiting = await waitingOf(db, appId, runId)
  return waiting === undefined
    ? 'it moved on.'
    : whyWaiting(waiting)
        .map((reason) => reason.says)
        .join(' ')
}

/** Fails runs that found no worker before their queue deadline, and says why they waited. */
export const createExpiry = (needs: Needs): { duty: Duty; runOnce: () => Promise<void> } => {
  const { db, clock, log, following } = needs
  const runOnce = async (): Promise<void> => {
    for (const run of await expiredWaiting(db, batch)) {
      const why = await inWords(db, run.app_id, run.run_id)
      const error = JSON.stringify({
        code: 'QUEUE_TIMEOUT',
        message: `The run did not start before its queue deadline: ${why}`,
      })
      const ended = await endWaiting(db, [run.run_id], 'failed', error)
      if (ended.length > 0) log.info({ run: run.run_id }, 'run failed at its queue deadline')
      following.ended(
        ended.map((row) => ({ runId: row.run_id, state: 'failed' })),
        ended.map((row) => row.job_id),
      )
    }
  }
  return { runOnce, duty: duty({ name: 'expiry', clock, log, everyMs: 1000, runOnce }) }
}

/** Catches up with follow-ups that a crash left undone: free slots with runs waiting, fixed delays not armed. */
export const createLimits = (needs: Needs): { duty: Duty; runOnce: () => Promise<void> } => {
  const { db, clock, log, following } = needs
  const runOnce = async (): Promise<void> => following.handOn((await jobsWithRoom(db)).map((row) => row.job_id))
  return { runOnce, duty: duty({ name: 'limits', clock, log, everyMs: 1000, runOnce }) }
}
