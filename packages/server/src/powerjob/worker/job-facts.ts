// What hand-overs need of jobs, kept by version: a version never changes.
import { batcher } from '../../kernel/batch.ts'
import { Refusal } from '../../kernel/errors.ts'
import type { Queries } from '../../storage/db.ts'
import { jobsEver, type StoredJob } from '../../storage/jobs.ts'
import { factsOf, type JobFacts } from './run-job.ts'

/** The facts of a job at a version or, when it has changed since, as it is now. */
export type JobFactsOf = (jobId: number, version: number) => JobFacts | Promise<JobFacts>

const mostKept = 10_000

/** @throws Refusal JOB_NOT_FOUND when there never was such a job */
export const createJobFacts = (db: Queries): JobFactsOf => {
  interface Known {
    readonly version: number
    readonly facts: JobFacts
  }
  const known = new Map<number, Known>()
  const underWay = new Map<number, Promise<Known>>()
  // hundreds of crons may be due in one second
  const find = batcher<number, StoredJob | undefined>({
    maxSize: 500,
    run: async (jobIds) => {
      const byId = new Map((await jobsEver(db, jobIds)).map((job) => [job.id, job]))
      return jobIds.map((id) => byId.get(id))
    },
  })
  const read = async (jobId: number): Promise<Known> => {
    const job = await find(jobId)
    if (job === undefined) throw new Refusal('JOB_NOT_FOUND', `there is no job ${jobId}`)
    const fresh = { version: job.version, facts: factsOf(job) }
    if (known.size >= mostKept) known.clear()
    known.set(jobId, fresh)
    return fresh
  }
  const shared = (jobId: number): Promise<Known> => {
    const reading = underWay.get(jobId) ?? read(jobId).finally(() => underWay.delete(jobId))
    underWay.set(jobId, reading)
    return reading
  }
  const atLeast = async (jobId: number, version: number): Promise<JobFacts> => {
    for (;;) {
      // one that began before the change brings what was before it: once more
      const read = await shared(jobId)
      if (read.version >= version) return read.facts
    }
  }
  return (jobId, version) => {
    const kept = known.get(jobId)
    // one that was claimed before a change may be sent as the job is now
    return kept !== undefined && kept.version >= version ? kept.facts : atLeast(jobId, version)
  }
}
