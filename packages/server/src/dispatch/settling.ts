// Carries out what the rules decide for attempts that did not succeed; reports, reclaim and timeouts all end here.
import type { EndedRunState, UnknownReason } from '@oncejob/protocol'
import { jsonText } from '../kernel/json.ts'
import type { Random } from '../kernel/random.ts'
import { settle, type Ending, type Verdict } from '../runs/settle.ts'
import type { Queries } from '../storage/db.ts'
import {
  endTaken,
  logAttempts,
  requeueTaken,
  type AgainRow,
  type EndRow,
  type HistoryRow,
  type TakenRow,
} from '../storage/settle.ts'
import { leaveUndecided, type UndecidedRow } from '../storage/undecided.ts'

export interface Settled {
  readonly ended: { readonly runId: number; readonly state: EndedRunState }[]
  /** Runs whose outcome is unknown from now on. */
  readonly unknown: { readonly runId: number; readonly reason: UnknownReason }[]
  /** Apps that have a run ready again. */
  readonly readyApps: number[]
  readonly later: boolean
  /** Jobs that got a slot back, or whose fixed delay waited for one of these ends. */
  readonly followedJobs: number[]
}

const verdictOf = (taken: TakenRow, ending: Ending, random: Random): Verdict =>
  settle(
    {
      stop: taken.stop,
      failures: taken.failures,
      losses: taken.losses,
      maxLost: taken.max_lost,
      runOver: taken.run_over,
      guarantee: taken.guarantee,
      policy: {
        max: taken.retry_max,
        backoff: taken.retry_backoff,
        delayMs: taken.retry_delay_ms,
        maxDelayMs: taken.retry_max_delay_ms,
        jitter: taken.retry_jitter,
        retryOn: taken.retry_on,
        noRetryOn: taken.no_retry_on,
      },
    },
    ending,
    random,
  )

/** Settles attempts that were taken in this transaction. */
export const settleTaken = async (
  tx: Queries,
  taken: readonly TakenRow[],
  endingOf: (taken: TakenRow) => Ending,
  random: Random,
): Promise<Settled> => {
  const history: HistoryRow[] = []
  const ends: EndRow[] = []
  const agains: AgainRow[] = []
  const undecided: UndecidedRow[] = []
  for (const row of taken) {
    const ending = endingOf(row)
    history.push({
      taken: row,
      outcome: ending.outcome,
      error: jsonText(ending.error),
    })
    const verdict = verdictOf(row, ending, random)
    if (verdict.kind === 'end') {
      ends.push({
        taken: row,
        state: verdict.state,
        error: jsonText(verdict.error),
      })
    } else if (verdict.kind === 'unknown') {
      undecided.push({ taken: row, reason: verdict.reason, effect: verdict.effect })
    } else {
      agains.push({ taken: row, delayMs: verdict.delayMs, failures: verdict.failures, losses: verdict.losses })
    }
  }
  if (history.length > 0) await logAttempts(tx, history)
  if (ends.length > 0) await endTaken(tx, ends)
  if (agains.length > 0) await requeueTaken(tx, agains)
  if (undecided.length > 0) await leaveUndecided(tx, undecided)
  return {
    ended: ends.map((end) => ({ runId: end.taken.run_id, state: end.state })),
    unknown: undecided.map((one) => ({ runId: one.taken.run_id, reason: one.reason })),
    readyApps: [...new Set(agains.filter((again) => again.delayMs === 0).map((again) => again.taken.app_id))],
    later: agains.some((again) => again.delayMs > 0),
    followedJobs: [
      ...new Set([...ends, ...undecided].filter((one) => one.taken.follows).map((one) => one.taken.job_id)),
    ],
  }
}
