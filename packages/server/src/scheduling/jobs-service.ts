// What people do to jobs: each change is one transaction with its audit entry, and every server hears of it afterwards.
import type { CopyInput, ImportResult, JobExport, JobInput, JobPatch } from '@oncejob/protocol'
import type { Hints } from '../dispatch/api.ts'
import { DatabaseError, Refusal, invariant } from '../kernel/errors.ts'
import { changesBetween, type Change } from '../runs/job-changes.ts'
import {
  checkDefinition,
  definitionOf,
  inputOf,
  patchedDefinition,
  type JobDefinition,
} from '../runs/job-definition.ts'
import { timingOfView } from '../runs/schedule-codec.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Db, Queries } from '../storage/db.ts'
import * as jobs from '../storage/jobs.ts'
import { listJobs, type JobFilter, type JobListing } from '../storage/jobs-list.ts'
import { internRoute, rerouteWaiting } from '../storage/routes.ts'
import {
  databaseNowMs,
  insertSchedule,
  lockSchedule,
  retireSchedule,
  updateSchedule,
} from '../storage/schedules-config.ts'
import { jobsNamed } from '../storage/submit.ts'
import { firesDiffer, firstArming, nextArming } from './schedule-edit.ts'

type StoredJob = jobs.StoredJob

/** Who changes something, and in which app. `actor` is the name of the token. */
export interface Caller {
  readonly appId: number
  readonly actor: string
}

/** The version that the caller has seen; `*`: whatever is there. */
export type Expected = '*' | { readonly jobId: number; readonly version: number }

/** What people do to jobs. `ref` is an id or a name; digits are an id first, and a name when no job has that id. */
export interface JobsService {
  /** @throws Refusal JOB_NOT_FOUND, NAME_AMBIGUOUS */
  get(appId: number, ref: string): Promise<StoredJob>
  list(appId: number, listing: JobListing): Promise<StoredJob[]>
  /** Enabled unless the input says otherwise. @throws Refusal NAME_TAKEN, JOB_INVALID, SCHEDULE_INVALID */
  create(caller: Caller, input: JobInput): Promise<StoredJob>
  /** What the input leaves out takes its default. A change of nothing keeps the version. @throws as create; VERSION_CONFLICT */
  replace(caller: Caller, ref: string, expected: Expected, input: JobInput): Promise<StoredJob>
  /** What the patch leaves out stays. @throws as replace */
  patch(caller: Caller, ref: string, expected: Expected, patch: JobPatch): Promise<StoredJob>
  /** Soft: the schedule stops and the name is free; runs that were asked for before are still executed. */
  remove(caller: Caller, ref: string, expected: Expected): Promise<void>
  /** Fires count from now: what was due while the job was disabled is not made up for. Runs by call need no enabled job. */
  setEnabled(caller: Caller, ref: string, enabled: boolean): Promise<StoredJob>
  /** Disabled unless the input says otherwise; without a name it gets a free one. */
  copy(caller: Caller, ref: string, input: CopyInput): Promise<StoredJob>
  /** Creates or replaces jobs by name, all or none. A repeat changes nothing. */
  import(caller: Caller, file: JobExport): Promise<ImportResult>
  /** The jobs as a file, in the order of their names. @throws Refusal REQUEST_INVALID when more than one file can hold match */
  export(appId: number, filter: JobFilter): Promise<JobExport>
}

const exportMax = 1000
const attemptsMax = 3

const notFound = (ref: string): Refusal =>
  new Refusal('JOB_NOT_FOUND', `No job of this app has the id or name "${ref}".`)

const idIn = (ref: string): number | undefined => {
  const id = /^[1-9]\d{0,15}$/.test(ref) ? Number(ref) : undefined
  return Number.isSafeInteger(id) ? id : undefined
}

/** The id of a job. @throws Refusal JOB_NOT_FOUND, NAME_AMBIGUOUS */
export const resolveJob = async (db: Queries, appId: number, ref: string): Promise<number> => {
  const id = idIn(ref)
  if (id !== undefined && (await jobs.isJob(db, appId, id))) return id
  // a name with NUL cannot be, and PostgreSQL refuses to look for it
  const [named, other] = ref.includes('\0') ? [] : await jobsNamed(db, appId, ref)
  if (named === undefined) throw notFound(ref)
  if (other !== undefined) {
    throw new Refusal('NAME_AMBIGUOUS', `Several jobs are named "${ref}"; use the id.`, { ids: [named.id, other.id] })
  }
  return named.id
}

/**
 * The same for looking at what a job did: an id finds deleted jobs too.
 * @throws Refusal JOB_NOT_FOUND, NAME_AMBIGUOUS
 */
export const resolveJobOfHistory = async (db: Queries, appId: number, ref: string): Promise<number> => {
  const id = idIn(ref)
  return id !== undefined && (await jobs.wasJob(db, appId, id)) ? id : resolveJob(db, appId, ref)
}

const isDatabaseError = (error: unknown, ...states: string[]): error is DatabaseError =>
  error instanceof DatabaseError && states.includes(error.sqlState)

const isNameTaken = (error: unknown): boolean => isDatabaseError(error, '23505') && error.constraint === 'job_name'

/** Runs a transaction, and again when it met another one: after a deadlock, or when `again` says so of the error. */
const transact = async <T>(
  db: Db,
  work: (tx: Queries) => Promise<T>,
  again: (error: unknown) => boolean,
): Promise<T> => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await db.transaction(work)
    } catch (error) {
      // bounds the retries; the last error goes on
      if (attempt === attemptsMax || !(isDatabaseError(error, '40P01', '40001') || again(error))) throw error
    }
  }
}

const namedOnce = async <T>(db: Db, name: string, work: (tx: Queries) => Promise<T>): Promise<T> => {
  try {
    return await transact(db, work, () => false)
  } catch (error) {
    // translated: the unique index is what decides
    if (isNameTaken(error))
      throw new Refusal('NAME_TAKEN', `Another job of this app is named "${name}"; choose another name.`)
    throw error
  }
}

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

const targetOf = (jobId: number): string => `job/${jobId}`

const stored = async (tx: Queries, appId: number, jobId: number): Promise<StoredJob> => {
  const job = await jobs.jobById(tx, appId, jobId)
  invariant(job !== undefined, 'a job that was just written is there')
  return job
}

/**
 * How strictly a definition is judged. `by-hand`: a schedule that is written now must have a fire left;
 * `taken-over` (import, copy): it may be spent; `switched`: the definition was judged before.
 */
type Judging = 'by-hand' | 'taken-over' | 'switched'

const judge = (definition: JobDefinition, old: JobDefinition | undefined, judging: Judging, nowMs: number): void => {
  if (judging === 'switched') return
  checkDefinition(definition)
  if (old !== undefined && !firesDiffer(old.schedule, definition.schedule)) return
  timingOfView(definition.schedule, judging === 'by-hand' && definition.enabled ? nowMs : undefined)
}

interface Insertion {
  readonly definition: JobDefinition
  readonly action: string
  readonly detail: unknown
  readonly judging: Judging
}

const insert = async (
  tx: Queries,
  caller: Caller,
  { definition, action, detail, judging }: Insertion,
): Promise<StoredJob> => {
  const { appId, actor } = caller
  const { processor, workers, schedule: view, enabled } = definition
  const nowMs = await databaseNowMs(tx)
  judge(definition, undefined, judging, nowMs)
  const jobId = await jobs.nextJobId(tx)
  const routeId = await internRoute(tx, { appId, jobId, processor, workers })
  await jobs.insertJob(tx, appId, { id: jobId, routeId, definition })
  await insertSchedule(tx, jobId, view, firstArming({ view, enabled, nowMs }))
  await appendAudit(tx, { actor, appId, action, target: targetOf(jobId), detail })
  return stored(tx, appId, jobId)
}

interface Edit {
  readonly action: string
  readonly expected: Expected
  readonly want: (current: JobDefinition) => JobDefinition
  readonly judging: Judging
}

const rewrite = async (
  tx: Queries,
  caller: Caller,
  job: StoredJob,
  wanted: JobDefinition,
  judging: Judging,
): Promise<void> => {
  const { appId } = caller
  const { processor, workers, schedule: view, enabled } = wanted
  const old = job.definition
  const nowMs = await databaseNowMs(tx)
  judge(wanted, old, judging, nowMs)
  const routeId = await internRoute(tx, { appId, jobId: job.id, processor, workers })
  const isWritten = await jobs.updateJob(tx, { id: job.id, routeId, definition: wanted }, job.version)
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

/** Changes a job under its lock. @returns the job, and whether anything changed */
const edit = async (
  tx: Queries,
  caller: Caller,
  jobId: number,
  { action, expected, want, judging }: Edit,
): Promise<{ job: StoredJob; changed: boolean }> => {
  const { appId, actor } = caller
  const job = await jobs.lockJob(tx, appId, jobId)
  if (job === undefined) throw notFound(String(jobId))
  const wanted = want(job.definition)
  const changes = changesBetween(wanted, job.definition)
  checkVersion(expected, job, changes)
  if (changes.length === 0) return { job, changed: false }
  await rewrite(tx, caller, job, wanted, judging)
  const detail = { changed: changes.map(({ path }) => path) }
  await appendAudit(tx, { actor, appId, action, target: targetOf(jobId), detail })
  return { job: await stored(tx, appId, jobId), changed: true }
}

const importOne = async (
  tx: Queries,
  caller: Caller,
  definition: JobDefinition,
): Promise<ImportResult['jobs'][number]> => {
  const { name } = definition
  const known = await jobs.nativeJobNamed(tx, caller.appId, name)
  if (known === undefined) {
    const job = await insert(tx, caller, { definition, action: 'job.import', detail: { name }, judging: 'taken-over' })
    return { id: job.id, name, outcome: 'created' }
  }
  const want = () => definition
  const { changed } = await edit(tx, caller, known, {
    action: 'job.import',
    expected: '*',
    want,
    judging: 'taken-over',
  })
  return { id: known, name, outcome: changed ? 'updated' : 'unchanged' }
}

const checkedFile = (file: JobExport): JobDefinition[] => {
  const seen = new Set<string>()
  for (const { name } of file.jobs) {
    if (seen.has(name))
      throw new Refusal('JOB_INVALID', `The file has two jobs named "${name}"; names are unique in an app.`)
    seen.add(name)
  }
  return file.jobs.map((input) => {
    try {
      const definition = definitionOf(input)
      checkDefinition(definition)
      timingOfView(definition.schedule)
      return definition
    } catch (error) {
      // translated: with which of the jobs it is
      if (error instanceof Refusal) throw new Refusal(error.code, `Job "${input.name}": ${error.message}`, error.facts)
      throw error
    }
  })
}

const freeName = async (tx: Queries, appId: number, name: string): Promise<string> => {
  // leaves room for the ending; a half of a surrogate pair must not be left at the cut
  const base = Array.from(name).slice(0, 120).join('')
  const candidates = Array.from({ length: 100 }, (_, i) => (i === 0 ? `${base} (copy)` : `${base} (copy ${i + 1})`))
  const taken = await jobs.takenNames(tx, appId, candidates)
  const free = candidates.find((candidate) => !taken.has(candidate))
  if (free === undefined)
    throw new Refusal('NAME_TAKEN', `There are a hundred copies of "${name}"; give this one a name.`)
  return free
}

const remove = async (tx: Queries, caller: Caller, jobId: number, expected: Expected): Promise<void> => {
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

const copied = (db: Db, caller: Caller, ref: string, input: CopyInput): Promise<StoredJob> =>
  namedOnce(db, input.name ?? ref, async (tx) => {
    const { id, definition: source } = await stored(tx, caller.appId, await resolveJob(tx, caller.appId, ref))
    const name = input.name ?? (await freeName(tx, caller.appId, source.name))
    const definition = { ...source, name, enabled: input.enabled ?? false }
    return insert(tx, caller, {
      definition,
      action: 'job.copy',
      detail: { name, from: targetOf(id) },
      judging: 'taken-over',
    })
  })

const imported = (db: Db, caller: Caller, file: JobExport): Promise<ImportResult> => {
  // one order for all: two imports of the same jobs wait for each other instead of blocking each other
  const definitions = checkedFile(file).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const work = async (tx: Queries): Promise<ImportResult> => {
    const outcomes = new Map<string, ImportResult['jobs'][number]>()
    for (const definition of definitions) outcomes.set(definition.name, await importOne(tx, caller, definition))
    return { jobs: file.jobs.flatMap(({ name }) => outcomes.get(name) ?? []) }
  }
  // a name that was made meanwhile is found by the next try
  return transact(db, work, isNameTaken)
}

const exported = async (db: Db, appId: number, filter: JobFilter): Promise<JobExport> => {
  const found = await listJobs(db, appId, { filter, sort: 'name', after: undefined, limit: exportMax + 1 })
  if (found.length > exportMax) {
    throw new Refusal('REQUEST_INVALID', `More than ${exportMax} jobs match; narrow them, for example with q or tag.`)
  }
  return { format: 'oncejob.jobs/1', jobs: found.map(({ definition }) => inputOf(definition)) }
}

export const createJobsService = ({ db, hints }: { readonly db: Db; readonly hints: Hints }): JobsService => {
  const change = async (caller: Caller, ref: string, name: string, wish: Edit): Promise<StoredJob> => {
    const { job, changed } = await namedOnce(db, name, async (tx) =>
      edit(tx, caller, await resolveJob(tx, caller.appId, ref), wish),
    )
    if (changed) hints.jobChanged(caller.appId)
    return job
  }
  const told = <T>(caller: Caller, result: T): T => {
    hints.jobChanged(caller.appId)
    return result
  }
  return {
    get: async (appId, ref) => {
      const job = await jobs.jobById(db, appId, await resolveJob(db, appId, ref))
      if (job === undefined) throw notFound(ref)
      return job
    },
    list: (appId, listing) => listJobs(db, appId, listing),
    create: async (caller, input) => {
      const definition = definitionOf(input)
      const insertion: Insertion = {
        definition,
        action: 'job.create',
        detail: { name: input.name },
        judging: 'by-hand',
      }
      return told(caller, await namedOnce(db, input.name, (tx) => insert(tx, caller, insertion)))
    },
    replace: (caller, ref, expected, input) => {
      const want = () => definitionOf(input)
      return change(caller, ref, input.name, { action: 'job.update', expected, want, judging: 'by-hand' })
    },
    patch: (caller, ref, expected, patch) => {
      const want = (current: JobDefinition) => patchedDefinition(current, patch)
      return change(caller, ref, patch.name ?? ref, { action: 'job.update', expected, want, judging: 'by-hand' })
    },
    remove: async (caller, ref, expected) => {
      await transact(
        db,
        async (tx) => remove(tx, caller, await resolveJob(tx, caller.appId, ref), expected),
        () => false,
      )
      told(caller, undefined)
    },
    setEnabled: (caller, ref, enabled) => {
      const action = enabled ? 'job.enable' : 'job.disable'
      const want = (current: JobDefinition) => ({ ...current, enabled })
      return change(caller, ref, ref, { action, expected: '*', want, judging: 'switched' })
    },
    copy: async (caller, ref, input) => told(caller, await copied(db, caller, ref, input)),
    import: async (caller, file) => {
      const result = await imported(db, caller, file)
      return result.jobs.some(({ outcome }) => outcome !== 'unchanged') ? told(caller, result) : result
    },
    export: (appId, filter) => exported(db, appId, filter),
  }
}
