// Lets runs go whose wait is over: for the end of another run of their key, or for a slot of their job.
import type { Db } from '../storage/db.ts'
import { lockJobs, promoteBlocked } from '../storage/limits.ts'
import { releaseAfter } from '../storage/run-keys.ts'
import type { Hub } from './hub.ts'

/** Lets blocked runs of these jobs into free slots; the answer has the apps that have runs ready since. */
export const promote = async (db: Db, jobIds: readonly number[]): Promise<number[]> => {
  const rows = await db.transaction(async (tx) => {
    await lockJobs(tx, jobIds)
    return promoteBlocked(tx, jobIds)
  })
  return [...new Set(rows.map((row) => row.app_id))]
}

/** Lets runs go that waited for one of these (null: for any) which has ended, and blocked runs of these jobs into free slots. */
export const letGo = async (
  { db, hub }: { readonly db: Db; readonly hub: Hub },
  ended: readonly number[] | null,
  jobIds: readonly number[],
): Promise<void> => {
  const released = ended?.length === 0 ? [] : await releaseAfter(db, ended)
  if (released.some((row) => row.later)) hub.tell({ later: true })
  const jobs = [...new Set([...jobIds, ...released.map((row) => row.job_id)])]
  if (jobs.length === 0) return
  const ready = await promote(db, jobs)
  if (ready.length > 0) hub.tell({ ready })
}
