// Jobs on short intervals at Java workers (contract 4.7): each has one long run within which its worker repeats it by itself.
import { Refusal } from '../../kernel/errors.ts'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { duty, type Duty } from '../../kernel/service.ts'
import type { RunsApi } from '../../dispatch/api.ts'
import type { Directory } from '../../dispatch/directory.ts'
import type { Hub } from '../../dispatch/hub.ts'
import { wishOf } from '../../runs/run-key.ts'
import type { Db } from '../../storage/db.ts'
import {
  frequentJobs,
  frequentKey,
  unwantedLongRuns,
  wakeSchedules,
  type FrequentJob,
} from '../../storage/frequent-jobs.ts'

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly hub: Hub
  readonly directory: Directory
  readonly runs: RunsApi
}

const everyMs: Millis = 5_000
// one whose beginning fails is not begun all the time
const restMs: Millis = 15_000

/** Creates the duty. While there is no Java worker, and no schedule that rests because there was one, it asks nothing. */
export const createFrequent = (needs: Needs): { readonly duty: Duty; runOnce(): Promise<void> } => {
  const { db, clock, log, hub, directory, runs } = needs
  let hasWork = true

  const hasWorker = ({ app_id, route_id }: FrequentJob): boolean =>
    directory.suitable(app_id, route_id, true).some(({ java }) => java)
  const begin = async (job: FrequentJob): Promise<void> => {
    try {
      const made = await runs.submit({
        appId: job.app_id,
        job: job.id,
        params: null,
        delayMs: job.starts_ms === 0 ? null : job.starts_ms,
        runAtMs: null,
        priority: null,
        queueTimeoutMs: null,
        requestKey: null,
        keyed: null,
        // of all servers that see it missing one makes it (I8)
        runKey: wishOf(frequentKey, { onOpen: 'return', onClosed: 'allow' }),
      })
      if (!made.deduplicated) log.info({ job: job.id, run: made.id }, 'long run of a job on a short interval made')
    } catch (error) {
      // bounded: the job was deleted or is full by now, the next round looks again
      if (!(error instanceof Refusal)) throw error
      log.debug({ job: job.id, code: error.code }, 'long run not made')
    }
  }
  /** Whoever switches a job off on the wire stops it, too; here it is stopped whoever has done so, and if that was cut short. */
  const stop = async ({ id, app_id, job_id }: { id: number; app_id: number; job_id: number }): Promise<void> => {
    try {
      const { changed } = await runs.stop(app_id, id, 'server')
      if (changed) log.info({ job: job_id, run: id }, 'long run stopped of a job that was switched off')
    } catch (error) {
      // answered here: it ended by itself
      if (!(error instanceof Refusal)) throw error
    }
  }
  const runOnce = async (): Promise<void> => {
    const hasJava = directory.javaSessions().length > 0
    if (!hasJava && !hasWork) return
    // a job that was just saved may ask for what this server does not know yet
    await directory.refresh()
    const jobs = await frequentJobs(db)
    for (const run of await unwantedLongRuns(db)) await stop(run)
    const rested = ({ ended_ms }: FrequentJob): boolean => ended_ms === null || ended_ms >= restMs
    for (const job of jobs) if (!job.open && rested(job) && hasWorker(job)) await begin(job)
    const orphaned = jobs.filter((job) => job.parked && !job.open && !hasWorker(job))
    if (orphaned.length > 0) {
      const woken = await wakeSchedules(
        db,
        orphaned.map(({ id }) => id),
      )
      if (woken.length > 0) hub.tell({ jobs: [...new Set(woken.map(({ app_id }) => app_id))] })
    }
    hasWork = jobs.some((job) => job.parked)
  }
  const watch = duty({ name: 'java-frequent', clock, log, everyMs, runOnce })
  hub.on((hint) => {
    // 0 is no app: a fixed delay was armed, at each end of a run of such a job
    if (hint !== 'everything' && hint.jobs?.some((appId) => appId !== 0) !== true) return
    // a job that was switched off may have a run that waits for a worker
    hasWork = true
    watch.wake()
  })
  return { runOnce, duty: watch }
}
