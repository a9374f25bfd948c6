// How jobs are written: judged, inserted, changed under their lock, saved by name. Each takes part in its caller's transaction.
import { Refusal, invariant } from '../kernel/errors.ts'
import { changesBetween, type Change } from '../runs/job-changes.ts'
import { checkDefinition, type JobDefinition } from '../runs/job-definition.ts'
import { javaNeedsOf } from '../runs/java-needs.ts'
import { timingOfView } from '../runs/schedule-codec.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Queries } from '../storage/db.ts'
import * as jobs from '../storage/jobs.ts'
import { internRoute, rerouteWaiting } from '../storage/routes.ts'
import {
  databaseNowMs,
  insertSchedule,
  lockSchedule,
  retireSchedule,
  updateSchedule,
} from '../storage/schedules-config.ts'
import { firesDiffer, firstArming, nextArming } from './schedule-edit.ts'

type StoredJob = jobs.StoredJob

/** Who changes something, and in which app. `actor` is the name of the token. */
export interface Caller {
  readonly appId: number
  readonly actor: string
}

/** The version that the caller has seen; `*`: whatever is there. */
export type Expected = '*' | { readonly jobId: number; readonly version: number }

export const notFound = (ref: string): Refusal =>
  new Refusal('JOB_NOT_FOUND', `No job of this app has the id or name "${ref}".`)

const conflict = (expected: number | null, current: number, changes: readonly Change[]): Refusal =>
  new Refusal(
    'VERSION_CONFLICT',
    `The job is at version ${current}. Read it again, and decide what becomes of the differences.`,
    { expected, current, changes },
  )

const checkVersion = (expected: Expected, job: StoredJob, changes: readonly Change[]): void => {
  if (expected === '*') return
  const version = expected.jobId === job.id ? expected.version : null
  if (version !== job.version) throw conflict(version, job.version, changes)
}

export const targetOf = (jobId: number): string => `job/${jobId}`

/** A job that this transaction has written. */
export const stored = async (tx: Queries, appId: number, jobId: number): Promise<StoredJob> => {
  const job = await jobs.jobById(tx, appId, jobId)
  invariant(job !== undefined, 'a job that was just written is there')
  return job
}

/**
 * How strictly a definition is judged. `by-hand`: a schedule that is written now must have a fire left;
 * `taken-over` (import, copy): it may be spent; `switched`: the definition was judged before; `by-wire`: the PowerJob
 * wire has judged the schedule by rules of its own.
 */
type Judging = 'by-hand' | 'taken-over' | 'switched' | 'by-wire'

/** A job that is judged, and what it was before. */
interface Judged {
  readonly definition: JobDefinition
  readonly old: JobDefinition | undefined
  readonly origin: StoredJob['origin']
}

const judge = ({ definition, old, origin }: Judged, judging: Judging, nowMs: number): void => {
  if (judging === 'switched') return
  // Java workers execute every mode
  checkDefinition(definition, origin === 'powerjob' ? 'any' : 'executed')
  if (old !== undefined && !firesDiffer(old.schedule, definition.schedule)) return
  timingOfView(definition.schedule, judging === 'by-hand' && definition.enabled ? nowMs : undefined)
}

export interface Insertion {
  readonly definition: JobDefinition
  readonly action: string
  readonly detail: unknown
  readonly judging: Judging
  /** Of a job that is made through the PowerJob wire: what it keeps beside the definition. */
  readonly powerjob?: unknown
}

export const nameTaken = (name: string): Refusal =>
  new Refusal('NAME_TAKEN', `Another job of this app is named "${name}"; choose another name.`)

/** Inserts a job. @throws Refusal NAME_TAKEN, JOB_INVALID, SCHEDULE_INVALID */
export const insert = async (
  tx: Queries,
  caller: Caller,
  { definition, action, detail, judging, powerjob }: Insertion,
): Promise<StoredJob> => {
  const { appId, actor } = caller
  const { processor, workers, schedule: view, enabled } = definition
  const nowMs = await databaseNowMs(tx)
  const origin = judging === 'by-wire' ? 'powerjob' : 'native'
  judge({ definition, old: undefined, origin }, judging, nowMs)
  const jobId = await jobs.nextJobId(tx)
  const java = origin === 'powerjob' ? javaNeedsOf(definition, powerjob) : null
  const routeId = await internRoute(tx, { appId, jobId, processor, workers, java })
  const isMade = await jobs.insertJob(tx, appId, { id: jobId, routeId, definition, powerjob }, origin)
  if (!isMade) throw nameTaken(definition.name)
  await insertSchedule(tx, jobId, view, firstArming({ view, enabled, nowMs }))
  await appendAudit(tx, { actor, appId, action, target: targetOf(jobId), detail })
  return stored(tx, appId, jobId)
}

export interface Edit {
  readonly action: string
  readonly expected: Expected
  readonly want: (current: JobDefinition) => JobDefinition
  readonly judging: Judging
}

/** What a job shall be; `powerjob` is what the PowerJob wire keeps beside the definition, undefined: as it is. */
export interface Rewriting {
  readonly wanted: JobDefinition
  readonly powerjob?: unknown
  readonly judging: Judging
}

/** Writes a locked job anew, with its schedule and the route of its waiting runs. */
export const rewrite = async (
  tx: Queries,
  { appId }: Caller,
  job: StoredJob,
  { wanted, powerjob, judging }: Rewriting,
): Promise<void> => {
  const { processor, workers, schedule: view, enabled } = wanted
  const old = job.definition
  const nowMs = await databaseNowMs(tx)
  judge({ definition: wanted, old, origin: job.origin }, judging, nowMs)
  const java = job.origin === 'powerjob' ? javaNeedsOf(wanted, powerjob === undefined ? job.powerjob : powerjob) : null
  const routeId = await internRoute(tx, { appId, jobId: job.id, processor, workers, java })
  const isWritten = await jobs.updateJob(tx, { id: job.id, routeId, definition: wanted, powerjob }, job.version)
  invariant(isWritten, 'a locked job keeps its version')
  if (routeId !== job.routeId) await rerouteWaiting(tx, job.id, job.routeId, routeId)
  const armed = await lockSchedule(tx, job.id)
  const arming = nextArming(
    {
      view: old.schedule,
      enabled: old.enabled,
      anchorAtMs: armed.anchor_at.getTime(),
      nextFireAtMs: armed.next_fire_at?.getTime() ?? null,
      awaits: armed.awaiting_run_id !== null,
    },
    { view, enabled, nowMs },
  )
  await updateSchedule(tx, job.id, view, arming)
}

interface Edited {
  readonly job: StoredJob
  readonly changed: boolean
}

/** Changes a job that is locked. */
const editLocked = async (
  tx: Queries,
  caller: Caller,
  job: StoredJob,
  { action, expected, want, judging }: Edit,
): Promise<Edited> => {
  const { appId, actor } = caller
  const wanted = want(job.definition)
  const changes = changesBetween(wanted, job.definition)
  checkVersion(expected, job, changes)
  if (changes.length === 0) return { job, changed: false }
  await rewrite(tx, caller, job, { wanted, judging })
  const detail = { changed: changes.map(({ path }) => path) }
  await appendAudit(tx, { actor, appId, action, target: targetOf(job.id), detail })
  return { job: await stored(tx, appId, job.id), changed: true }
}

/** Changes a job under its lock. @returns the job, and whether anything changed */
export const edit = async (tx: Queries, caller: Caller, jobId: number, wish: Edit): Promise<Edited> => {
  const job = await jobs.lockJob(tx, caller.appId, jobId)
  if (job === undefined) throw notFound(String(jobId))
  return editLocked(tx, caller, job, wish)
}

/** What became of a job that was saved by its name. */
export interface SavedJob {
  readonly job: StoredJob
  readonly outcome: 'created' | 'updated' | 'unchanged'
}

export interface Saving {
  readonly definition: JobDefinition
  readonly actions: { readonly created: string; readonly updated: string }
  readonly judging: Judging
  /** The id of the job that has the name now; undefined when it is free. */
  readonly find: () => Promise<number | undefined>
}

// Each further try means that somebody else took, gave up or changed the name in between.
const savingsMax = 5

/** Locks the job that has this name. undefined: it lost the name, or is gone, while this waited for the lock. */
const lockNamed = async (tx: Queries, appId: number, jobId: number, name: string): Promise<StoredJob | undefined> => {
  const job = await jobs.lockJob(tx, appId, jobId)
  return job?.definition.name === name ? job : undefined
}

const insertIfFree = async (tx: Queries, caller: Caller, insertion: Insertion): Promise<StoredJob | undefined> => {
  try {
    return await insert(tx, caller, insertion)
  } catch (error) {
    // translated: somebody was faster, and the next look finds the job
    if (error instanceof Refusal && error.code === 'NAME_TAKEN') return undefined
    throw error
  }
}

/** Creates the job of this name, or gives the one that is there this definition; whoever does it at once gets one job. */
export const saveNamed = async (tx: Queries, caller: Caller, saving: Saving): Promise<SavedJob> => {
  const { definition, actions, judging, find } = saving
  const { name } = definition
  for (let tries = 0; tries < savingsMax; tries += 1) {
    const known = await find()
    if (known === undefined) {
      const insertion = { definition, action: actions.created, detail: { name }, judging }
      const job = await insertIfFree(tx, caller, insertion)
      if (job !== undefined) return { job, outcome: 'created' }
      continue
    }
    const locked = await lockNamed(tx, caller.appId, known, name)
    if (locked === undefined) continue
    const wish: Edit = { action: actions.updated, expected: '*', want: () => definition, judging }
    const { job, changed } = await editLocked(tx, caller, locked, wish)
    return { job, outcome: changed ? 'updated' : 'unchanged' }
  }
  throw nameTaken(name)
}

/** Deletes a job: its schedule stops, its name is free. */
export const remove = async (tx: Queries, caller: Caller, jobId: number, expected: Expected): Promise<void> => {
  const { appId, actor } = caller
  const job = await jobs.lockJob(tx, appId, jobId)
  if (job === undefined) throw notFound(String(jobId))
  checkVersion(expected, job, [])
  const isGone = await jobs.softDeleteJob(tx, jobId, job.version)
  invariant(isGone, 'a locked job keeps its version')
  await retireSchedule(tx, jobId)
  const detail = { name: job.definition.name }
  await appendAudit(tx, { actor, appId, action: 'job.delete', target: targetOf(jobId), detail })
}
