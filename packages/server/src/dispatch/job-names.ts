// Finds the job that a call names: by id as it is, by name through a cache that every statement checks again.
import { Refusal } from '@oncejob/protocol'
import type { Db } from '../storage/db.ts'
import { jobsNamed } from '../storage/submit.ts'

export const noSuchJob = (job: number | string): Refusal =>
  new Refusal(
    'JOB_NOT_FOUND',
    typeof job === 'number' ? `This app has no job ${job}.` : `This app has no job named "${job}".`,
  )

/** Cached names of jobs: a hint only, every statement checks that id and name still belong together. */
export const createJobNames = (db: Db) => {
  const ids = new Map<string, number>()
  const keyOf = (appId: number, name: string): string => `${appId}:${name}`
  return {
    forget: (appId: number, name: string): void => {
      ids.delete(keyOf(appId, name))
    },
    find: async (appId: number, name: string): Promise<number | Refusal> => {
      const key = keyOf(appId, name)
      const known = ids.get(key)
      if (known !== undefined) return known
      const jobs = await jobsNamed(db, appId, name)
      const [job] = jobs
      if (job === undefined) return noSuchJob(name)
      if (jobs.length > 1)
        return new Refusal('NAME_AMBIGUOUS', `Several jobs are named "${name}"; use the id of the one you mean.`)
      if (ids.size > 100_000) ids.clear()
      ids.set(key, job.id)
      return job.id
    },
  }
}
