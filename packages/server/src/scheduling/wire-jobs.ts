// Jobs as the PowerJob wire writes them: by id only, names may repeat, deleted ones stay visible and can come back.
import { canonicalJson, changesBetween } from '../runs/job-changes.ts'
import type { Hints } from '../dispatch/api.ts'
import type { JobDefinition } from '../runs/job-definition.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Db, Queries } from '../storage/db.ts'
import * as jobs from '../storage/jobs.ts'
import { databaseNowMs } from '../storage/schedules-config.ts'
import { insert, nameTaken, notFound, remove, rewrite, stored, targetOf, type Caller } from './job-writes.ts'
import { isDatabaseError, transact } from './transact.ts'

type StoredJob = jobs.StoredJob

/** What a job shall be. */
export interface WireDefinition {
  readonly definition: JobDefinition
  /** What the wire keeps beside it; undefined: as it is. */
  readonly powerjob?: unknown
}

export interface WireCreation {
  readonly action: 'job.create' | 'job.copy'
  /** For the audit trail; the name stands in it anyway. */
  readonly detail?: Readonly<Record<string, unknown>>
  /** Judges by the database's clock, in ms; throws to refuse. */
  readonly want: (nowMs: number) => WireDefinition
}

export interface WireChange {
  readonly action: 'job.update' | 'job.enable' | 'job.disable'
  /** Whether a deleted job comes back by it (audited as job.restore); otherwise it stays as it is. */
  readonly revives: boolean
  /** Sees the locked job, and judges by the database's clock, in ms; throws to refuse. */
  readonly want: (current: StoredJob, nowMs: number) => WireDefinition
}

/** Jobs by id; each change is one transaction with its audit entry. A change of nothing leaves no trace. */
export interface WireJobs {
  /** A job of whatever app, deleted or not: the caller checks whose it is. */
  find(jobId: number): Promise<StoredJob | undefined>
  /** @throws Refusal JOB_INVALID, SCHEDULE_INVALID */
  create(caller: Caller, creation: WireCreation): Promise<StoredJob>
  /** @throws Refusal JOB_NOT_FOUND, JOB_INVALID, SCHEDULE_INVALID; NAME_TAKEN when it was made natively */
  change(caller: Caller, jobId: number, change: WireChange): Promise<StoredJob>
  /** @returns false when the job was deleted before. @throws Refusal JOB_NOT_FOUND */
  remove(caller: Caller, jobId: number): Promise<boolean>
}

interface Changed {
  readonly job: StoredJob
  readonly changed: boolean
}

const changeIn = async (tx: Queries, caller: Caller, jobId: number, wish: WireChange): Promise<Changed> => {
  const { appId, actor } = caller
  const job = await jobs.lockJobEver(tx, appId, jobId)
  if (job === undefined) throw notFound(String(jobId))
  const isDeleted = job.deletedAt !== null
  if (isDeleted && !wish.revives) return { job, changed: false }
  const { definition: wanted, powerjob } = wish.want(job, await databaseNowMs(tx))
  const changes = changesBetween(wanted, job.definition).map(({ path }) => path)
  const keepsOther = powerjob === undefined || canonicalJson(powerjob) === canonicalJson(job.powerjob)
  if (!keepsOther) changes.push('/powerjob')
  if (changes.length === 0 && !isDeleted) return { job, changed: false }
  // its schedule was switched off for good: it begins like that of a job that is enabled now
  const before = isDeleted ? { ...job, definition: { ...job.definition, enabled: false } } : job
  if (isDeleted) await jobs.undeleteJob(tx, jobId, wanted.name)
  await rewrite(tx, caller, before, { wanted, powerjob, judging: 'by-wire' })
  const action = isDeleted ? 'job.restore' : wish.action
  await appendAudit(tx, { actor, appId, action, target: targetOf(jobId), detail: { changed: changes } })
  return { job: await stored(tx, appId, jobId), changed: true }
}

const removeIn = async (tx: Queries, caller: Caller, jobId: number): Promise<boolean> => {
  const job = await jobs.lockJobEver(tx, caller.appId, jobId)
  if (job === undefined) throw notFound(String(jobId))
  if (job.deletedAt !== null) return false
  await remove(tx, caller, jobId, '*')
  return true
}

/** Creates the service; `hints` tells every server after a change. */
export const createWireJobs = ({ db, hints }: { readonly db: Db; readonly hints: Hints }): WireJobs => ({
  find: (jobId) => jobs.jobEver(db, jobId),
  create: async (caller, { action, detail, want }) => {
    const job = await transact(db, async (tx) => {
      const { definition, powerjob } = want(await databaseNowMs(tx))
      const told = { name: definition.name, ...detail }
      return insert(tx, caller, { definition, powerjob, action, detail: told, judging: 'by-wire' })
    })
    hints.jobChanged(caller.appId)
    return job
  },
  change: async (caller, jobId, wish) => {
    try {
      const { job, changed } = await transact(db, (tx) => changeIn(tx, caller, jobId, wish))
      if (changed) hints.jobChanged(caller.appId)
      return job
    } catch (error) {
      // translated: the unique index of native names is what decides
      if (isDatabaseError(error, '23505') && error.constraint === 'job_name') throw nameTaken(`job ${jobId}`)
      throw error
    }
  },
  remove: async (caller, jobId) => {
    const isNews = await transact(db, (tx) => removeIn(tx, caller, jobId))
    if (isNews) hints.jobChanged(caller.appId)
    return isNews
  },
})
