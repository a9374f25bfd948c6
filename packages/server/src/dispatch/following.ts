// What follows the end of runs, after the commit: waiting callers, freed slots, armed delays, counts.
import type { EndedRunState } from '@oncejob/protocol'
import type { Log } from '../kernel/log.ts'
import { armFixedDelays } from '../storage/complete.ts'
import type { Db } from '../storage/db.ts'
import type { Hub } from './hub.ts'
import { letGo } from './letting-go.ts'
import type { Metrics } from './metrics.ts'
import type { Settled } from './settling.ts'

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly log: Log
  readonly metrics: Metrics
}

export interface Following {
  /** Tells of runs that ended, and hands on what they held. Never throws: a duty catches up with what failed here. */
  ended(
    runs: readonly { readonly runId: number; readonly state: EndedRunState }[],
    followedJobs: readonly number[],
  ): void
  /** The same for the outcome of a settling, which may also have made runs ready again. */
  settled(settled: Settled): void
  /** Lets runs go that waited for others which have ended, blocked runs of these jobs into free slots, and arms fixed delays. */
  handOn(jobIds: readonly number[]): Promise<void>
}

/** Creates the follow-up of completions. */
export const createFollowing = (needs: Needs): Following => {
  const { db, hub, log, metrics } = needs
  const handOnAfter = async (endedRuns: readonly number[] | null, jobIds: readonly number[]): Promise<void> => {
    const armed = await armFixedDelays(db)
    if (armed.length > 0) hub.tell({ jobs: [0] })
    await letGo(needs, endedRuns, jobIds)
  }
  const handOn = (jobIds: readonly number[]): Promise<void> => handOnAfter(null, jobIds)
  const ended: Following['ended'] = (runs, followedJobs) => {
    for (const [state, group] of Map.groupBy(runs, (run) => run.state)) metrics.runsEnded(state, group.length)
    if (runs.length > 0) hub.tell({ ended: runs.map((run) => run.runId) })
    // bounded: the limits duty does the same every second
    if (followedJobs.length > 0)
      handOnAfter(
        runs.map((run) => run.runId),
        followedJobs,
      ).catch((error: unknown) => log.warn({ err: error }, 'follow-up failed'))
  }
  return {
    ended,
    handOn,
    settled: (settled) => {
      if (settled.readyApps.length > 0) hub.tell({ ready: settled.readyApps })
      if (settled.later) hub.tell({ later: true })
      for (const [reason, group] of Map.groupBy(settled.unknown, (run) => run.reason)) {
        metrics.runsUnknown(reason, group.length)
        // a person should look: the run waits for as long as nobody does
        log.warn({ runs: group.map((run) => run.runId), reason }, 'outcome of runs unknown')
      }
      ended(settled.ended, settled.followedJobs)
    },
  }
}
