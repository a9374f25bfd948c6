// What single calls and batches share: finding the job, making runs, telling whoever should look.
import type { Refusal } from '@oncejob/protocol'
import type { Clock } from '../kernel/clock.ts'
import type { Db, Queries } from '../storage/db.ts'
import { insertRuns, type NewRun, type SubmittedRow } from '../storage/submit.ts'
import type { RequestKeys } from '../requests/keys.ts'
import type { Submission } from './api.ts'
import type { Hub } from './hub.ts'
import { createJobNames, noSuchJob } from './job-names.ts'
import { promote } from './letting-go.ts'
import type { Metrics } from './metrics.ts'
import { insertDecided, type After } from './overlap.ts'
import { createRunKeys, type KeyedRun } from './run-keys.ts'

export interface SubmitNeeds {
  readonly db: Db
  readonly hub: Hub
  readonly clock: Clock
  readonly metrics: Metrics
  readonly keys: RequestKeys
}

/** A run that no key had a part in. */
export const plain = (id: number): KeyedRun => ({ id, deduplicated: false, replaces: null, after: null })

/** Creates what single calls and batches share. */
export const createIntake = (needs: SubmitNeeds) => {
  const { db, hub, clock, metrics, keys } = needs
  const names = createJobNames(db)

  const resolve = async (submission: Submission): Promise<NewRun | Refusal> => {
    const { job, runKey: _, ...run } = submission
    if (typeof job === 'number') return { ...run, jobId: job, name: null }
    const jobId = await names.find(run.appId, job)
    return typeof jobId === 'number' ? { ...run, jobId, name: job } : jobId
  }
  /** After the commit: wakes whoever should look, and lets runs of jobs with a limit into free slots. */
  const announce = async (runs: readonly NewRun[], rows: readonly SubmittedRow[]): Promise<void> => {
    const apps = new Set<number>()
    const blocked = new Set<number>()
    let later = false
    for (const row of rows) {
      const appId = runs[row.ord]?.appId
      if (row.at === 'ready' && appId !== undefined) apps.add(appId)
      if (row.at === 'blocked') blocked.add(row.job_id)
      later ||= row.at === 'later'
    }
    if (later) hub.tell({ later: true })
    if (blocked.size > 0) for (const appId of await promote(db, [...blocked])) apps.add(appId)
    if (apps.size > 0) hub.tell({ ready: [...apps] })
  }
  const insert = async (queries: Queries, runs: readonly NewRun[]): Promise<SubmittedRow[]> => {
    const startedMs = clock.monotonic()
    const rows = await insertRuns(queries, runs, keys.windowMs)
    metrics.submitted(rows.length, clock.monotonic() - startedMs)
    return rows
  }
  const insertNow = async (tx: Queries, run: NewRun, after: After): Promise<number> => {
    const [row] = await insert(tx, [run])
    if (row === undefined) throw noSuchJob(run.name ?? run.jobId)
    if (row.id === null) return insertDecided(tx, hub, run, after)
    after.push(() => announce([run], [row]))
    return row.id
  }
  const runKeys = createRunKeys({ db, hub, metrics, insertNow })
  return { names, resolve, announce, insert, runKeys }
}

export type Intake = ReturnType<typeof createIntake>
