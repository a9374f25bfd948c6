// What people do to jobs: each change is one transaction with its audit entry, and every server hears of it afterwards.
import type { CopyInput, ImportResult, JobExport, JobInput, JobPatch } from '@oncejob/protocol'
import type { Hints } from '../dispatch/api.ts'
import { Refusal } from '../kernel/errors.ts'
import {
  checkDefinition,
  definitionOf,
  inputOf,
  patchedDefinition,
  type JobDefinition,
} from '../runs/job-definition.ts'
import { timingOfView } from '../runs/schedule-codec.ts'
import type { Db, Queries } from '../storage/db.ts'
import * as jobs from '../storage/jobs.ts'
import { listJobs, type JobFilter, type JobListing } from '../storage/jobs-list.ts'
import { jobsNamed } from '../storage/submit.ts'
import {
  edit,
  insert,
  nameTaken,
  notFound,
  remove,
  saveNamed,
  stored,
  targetOf,
  type Caller,
  type Edit,
  type Expected,
  type Insertion,
  type SavedJob,
} from './job-writes.ts'
import { isDatabaseError, transact } from './transact.ts'
import { createWireJobs, type WireJobs } from './wire-jobs.ts'

type StoredJob = jobs.StoredJob
export type { Caller, Expected, SavedJob } from './job-writes.ts'

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
  /**
   * Creates the job of this name, or replaces it: create and replace in one. Several that save a name at once get one job.
   * @throws as create, and NAME_AMBIGUOUS when several jobs saved through the PowerJob wire have the name
   */
  save(caller: Caller, input: JobInput): Promise<SavedJob>
  /** Creates or replaces jobs by name, all or none. A repeat changes nothing. */
  import(caller: Caller, file: JobExport): Promise<ImportResult>
  /** The jobs as a file, in the order of their names. @throws Refusal REQUEST_INVALID when more than one file can hold match */
  export(appId: number, filter: JobFilter): Promise<JobExport>
  /** What the PowerJob wire does to jobs. */
  readonly wire: WireJobs
}

const exportMax = 1000

const idIn = (ref: string): number | undefined => {
  const id = /^[1-9]\d{0,15}$/.test(ref) ? Number(ref) : undefined
  return Number.isSafeInteger(id) ? id : undefined
}

/** The id of the job of this name, if there is one. @throws Refusal NAME_AMBIGUOUS */
const idNamed = async (db: Queries, appId: number, name: string): Promise<number | undefined> => {
  // a name with NUL cannot be, and PostgreSQL refuses to look for it
  const [named, other] = name.includes('\0') ? [] : await jobsNamed(db, appId, name)
  if (named !== undefined && other !== undefined) {
    throw new Refusal('NAME_AMBIGUOUS', `Several jobs are named "${name}"; use the id.`, { ids: [named.id, other.id] })
  }
  return named?.id
}

/** The id of a job. @throws Refusal JOB_NOT_FOUND, NAME_AMBIGUOUS */
export const resolveJob = async (db: Queries, appId: number, ref: string): Promise<number> => {
  const id = idIn(ref)
  if (id !== undefined && (await jobs.isJob(db, appId, id))) return id
  const named = await idNamed(db, appId, ref)
  if (named === undefined) throw notFound(ref)
  return named
}

/**
 * The same for looking at what a job did: an id finds deleted jobs too.
 * @throws Refusal JOB_NOT_FOUND, NAME_AMBIGUOUS
 */
export const resolveJobOfHistory = async (db: Queries, appId: number, ref: string): Promise<number> => {
  const id = idIn(ref)
  return id !== undefined && (await jobs.wasJob(db, appId, id)) ? id : resolveJob(db, appId, ref)
}

const isNameTaken = (error: unknown): boolean => isDatabaseError(error, '23505') && error.constraint === 'job_name'

const namedOnce = async <T>(db: Db, name: string, work: (tx: Queries) => Promise<T>): Promise<T> => {
  try {
    return await transact(db, work)
  } catch (error) {
    // translated: the unique index is what decides
    if (isNameTaken(error)) throw nameTaken(name)
    throw error
  }
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
    for (const definition of definitions) {
      const { name } = definition
      const { job, outcome } = await saveNamed(tx, caller, {
        definition,
        actions: { created: 'job.import', updated: 'job.import' },
        judging: 'taken-over',
        find: () => jobs.nativeJobNamed(tx, caller.appId, name),
      })
      outcomes.set(name, { id: job.id, name, outcome })
    }
    return { jobs: file.jobs.flatMap(({ name }) => outcomes.get(name) ?? []) }
  }
  return transact(db, work)
}

const saved = (db: Db, caller: Caller, input: JobInput): Promise<SavedJob> => {
  const definition = definitionOf(input)
  return transact(db, (tx) =>
    saveNamed(tx, caller, {
      definition,
      actions: { created: 'job.create', updated: 'job.update' },
      judging: 'by-hand',
      find: () => idNamed(tx, caller.appId, definition.name),
    }),
  )
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
      await transact(db, async (tx) => remove(tx, caller, await resolveJob(tx, caller.appId, ref), expected))
      told(caller, undefined)
    },
    setEnabled: (caller, ref, enabled) => {
      const action = enabled ? 'job.enable' : 'job.disable'
      const want = (current: JobDefinition) => ({ ...current, enabled })
      return change(caller, ref, ref, { action, expected: '*', want, judging: 'switched' })
    },
    copy: async (caller, ref, input) => told(caller, await copied(db, caller, ref, input)),
    save: async (caller, input) => {
      const result = await saved(db, caller, input)
      return result.outcome === 'unchanged' ? result : told(caller, result)
    },
    import: async (caller, file) => {
      const result = await imported(db, caller, file)
      return result.jobs.some(({ outcome }) => outcome !== 'unchanged') ? told(caller, result) : result
    },
    export: (appId, filter) => exported(db, appId, filter),
    wire: createWireJobs({ db, hints }),
  }
}
