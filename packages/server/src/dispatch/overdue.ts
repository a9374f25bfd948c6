// Ends attempts that their workers do not end: past their deadline, or deaf to a stop.
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import type { Ending } from '../runs/settle.ts'
import type { Queries } from '../storage/db.ts'
import { takeOverdue, takeUnstopped, type TakenRow } from '../storage/settle.ts'
import type { Hub } from './hub.ts'
import { takeAll, type TakingNeeds } from './taking.ts'

interface Needs extends TakingNeeds {
  readonly clock: Clock
  readonly log: Log
  readonly hub: Hub
  /** How long a worker may take to end an attempt by itself after its deadline or a stop. */
  readonly patienceMs: number
}

const timedOut: Ending = {
  outcome: 'timed-out',
  error: {
    code: 'ATTEMPT_TIMED_OUT',
    message: 'The attempt took longer than the job allows, and its worker did not end it.',
  },
  terminal: false,
  retryAfterMs: null,
  unfinished: true,
}
const stopped: Ending = {
  outcome: 'stopped',
  error: {
    code: 'STOPPED',
    message: 'The run was stopped; its worker did not end it in time, so the lease was taken.',
  },
  terminal: true,
  retryAfterMs: null,
}

/** Creates the duty; `runOnce` is one round. */
export const createOverdue = (needs: Needs): { duty: Duty; runOnce: () => Promise<void> } => {
  const { clock, log, hub, patienceMs } = needs
  const endAll = (take: (tx: Queries, limit: number) => Promise<TakenRow[]>, ending: Ending): Promise<void> =>
    takeAll(needs, take, ending, (taken) => {
      log.warn({ runs: taken.length, outcome: ending.outcome }, 'attempts ended without their workers')
      // the workers learn that these leases are gone
      hub.tell({ sessions: [...new Set(taken.map((row) => row.session_id))] })
    })
  const runOnce = async (): Promise<void> => {
    await endAll((tx, limit) => takeOverdue(tx, patienceMs, limit), timedOut)
    await endAll((tx, limit) => takeUnstopped(tx, patienceMs, limit), stopped)
  }
  return { runOnce, duty: duty({ name: 'overdue', clock, log, everyMs: 1000, runOnce }) }
}
