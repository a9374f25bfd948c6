// What the overlap policy of a job does with one more run where its limit is reached; decided under the job's lock.
import { Refusal } from '@oncejob/protocol'
import { isExecuted } from '../runs/job-definition.ts'
import type { Queries } from '../storage/db.ts'
import {
  insertLimitedRun,
  limitOf,
  lockJobs,
  openLimitedRuns,
  promoteBlocked,
  type LimitRow,
} from '../storage/limits.ts'
import { endWaiting, requestStop } from '../storage/steer.ts'
import type { NewRun } from '../storage/submit.ts'
import type { Hub } from './hub.ts'
import { noSuchJob } from './job-names.ts'

export const replacedError = JSON.stringify({
  code: 'REPLACED',
  message: 'A newer run of the job replaced this one.',
})
export const limitError = (limit: number): string =>
  JSON.stringify({
    code: 'RUN_LIMIT',
    message: `The job allows ${limit} runs at once, and they were all taken.`,
    limit,
  })

/** What is told or done after the commit, in order. */
export type After = (() => void | Promise<void>)[]

/**
 * Makes way for a new run of a job with policy replace: waiting runs are canceled, running ones asked to stop.
 * Call it under lockJobs. Returns the sessions that must hear of it, and the runs that ended.
 */
export const makeWay = async (tx: Queries, jobId: number): Promise<{ sessions: number[]; ended: number[] }> => {
  const ids = (await openLimitedRuns(tx, jobId)).map((row) => row.run_id)
  if (ids.length === 0) return { sessions: [], ended: [] }
  const ended = await endWaiting(tx, ids, 'canceled', replacedError)
  const stopped = await requestStop(tx, ids)
  return { sessions: stopped.map((row) => row.session_id), ended: ended.map((row) => row.run_id) }
}

/**
 * Lets the policy act for one run that is due now. Returns the error with which the run is to be born failed, or null.
 * Call it under lockJobs.
 * @throws Refusal RUN_LIMIT when the job skips what comes on top
 */
export const applyLimit = async (
  tx: Queries,
  { jobId, limit, hub, after }: { jobId: number; limit: LimitRow; hub: Hub; after: After },
): Promise<string | null> => {
  const full = limit.run_limit > 0 && limit.open >= limit.run_limit
  if (!full) return null
  if (limit.overlap === 'skip') {
    const says = `The job allows ${limit.run_limit} runs at once and ${limit.open} are open; it skips what comes on top.`
    throw new Refusal('RUN_LIMIT', says, { limit: limit.run_limit, open: limit.open })
  }
  if (limit.overlap === 'replace') {
    const way = await makeWay(tx, jobId)
    after.push(() => hub.tell({ sessions: way.sessions, ended: way.ended }))
  }
  return limit.overlap === 'fail' ? limitError(limit.run_limit) : null
}

/**
 * Makes one run of a job whose policy is skip, fail or replace. What it collects in `after` is told after the commit.
 * @throws Refusal JOB_NOT_FOUND, RUN_LIMIT, JOB_INVALID (its mode is not executed)
 */
export const insertDecided = async (tx: Queries, hub: Hub, run: NewRun, after: After): Promise<number> => {
  await lockJobs(tx, [run.jobId])
  const limit = await limitOf(tx, run.appId, run.jobId)
  if (limit === undefined) throw noSuchJob(run.jobId)
  // Java workers execute every mode
  if (limit.origin === 'native' && !isExecuted(limit.mode))
    throw new Refusal('JOB_INVALID', `mode "${limit.mode}" is not executed by this version, so the job gets no runs`)
  const error = await applyLimit(tx, { jobId: run.jobId, limit, hub, after })
  const id = await insertLimitedRun(tx, run, error)
  await promoteBlocked(tx, [run.jobId])
  after.push(() => hub.tell({ ready: [run.appId] }))
  return id
}
