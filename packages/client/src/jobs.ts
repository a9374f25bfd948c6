// Jobs, their schedules and their fires.
import type {
  CopyInput,
  Fire,
  FireKind,
  FireOutcome,
  ImportResult,
  Job,
  JobExport,
  JobInput,
  JobPatch,
  Preview,
  PreviewInput,
} from '@oncejob/protocol'
import type { AppScope } from './app-scope.ts'
import type { Call, CallOptions, Caller, MutationOptions, Paged } from './call.ts'

/** A job by id or by name. */
export type JobRef = number | string

/** The version that the change was made from; `*` overwrites whatever is there. */
export interface IfVersion {
  ifVersion: number | '*'
}

export interface JobsQuery {
  /** Text in name or description. */
  q?: string
  name?: string
  enabled?: boolean
  tag?: string
  processor?: string
  /** Kind of the trigger: none, cron, fixed-rate, fixed-delay, daily, once. */
  kind?: string
  sort?: 'id' | 'name' | '-id' | '-name' | 'updatedAt' | '-updatedAt' | 'nextFireAt'
  /** Size of a page, 1 to 500; default 50. */
  limit?: number
}

export interface FiresQuery {
  job?: JobRef
  /** Sub-runs are `fired`. */
  outcome?: FireOutcome
  /** Only planned occurrences, or only what Java workers repeat within a long run; default both. */
  kind?: FireKind
  limit?: number
}

export interface JobsApi {
  create(input: JobInput, options?: MutationOptions): Promise<Job>
  get(job: JobRef, options?: CallOptions): Promise<Job>
  list(query?: JobsQuery, options?: CallOptions): Paged<Job>
  /** Puts a new definition in the place of version `ifVersion`; rejects with VERSION_CONFLICT when it is not the current one. */
  replace(job: JobRef, input: JobInput, options: MutationOptions & IfVersion): Promise<Job>
  /** Changes some fields of version `ifVersion`; rejects with VERSION_CONFLICT when it is not the current one. */
  patch(job: JobRef, change: JobPatch, options: MutationOptions & IfVersion): Promise<Job>
  delete(job: JobRef, options: MutationOptions & IfVersion): Promise<void>
  enable(job: JobRef, options?: MutationOptions): Promise<Job>
  disable(job: JobRef, options?: MutationOptions): Promise<Job>
  copy(job: JobRef, input?: CopyInput, options?: MutationOptions): Promise<Job>
  /** The jobs that the query finds, in the form that `import` takes. */
  export(query?: Omit<JobsQuery, 'limit'>, options?: CallOptions): Promise<JobExport>
  /** Creates or updates jobs by name, all or none. Repeating it changes nothing. */
  import(jobs: JobExport, options?: MutationOptions): Promise<ImportResult>
  /** What became of the planned occurrences of one job, and what a Java worker repeated of it, newest first. */
  fires(job: JobRef, query?: Omit<FiresQuery, 'job'>, options?: CallOptions): Paged<Fire>
}

const at = (job: JobRef, rest = ''): string => `/api/v1/jobs/${encodeURIComponent(job)}${rest}`

/** The job routes. */
export const createJobs = (caller: Caller, scope: AppScope): JobsApi => {
  const post = <T>(path: string, body: unknown, options: MutationOptions | undefined): Promise<T> =>
    caller.json({ kind: 'mutation', method: 'POST', path: scope.path(path), body, options })

  const get = (job: JobRef, options?: CallOptions): Promise<Job> =>
    caller.json({ kind: 'read', method: 'GET', path: scope.path(at(job)), options })

  /** The changing call; an ETag names the id, so a job given by name is looked up first. */
  const changeOf = async (
    method: 'PUT' | 'PATCH' | 'DELETE',
    job: JobRef,
    body: unknown,
    { ifVersion, ...options }: MutationOptions & IfVersion,
  ): Promise<Call> => {
    const { requestKey: _, ...look } = options
    const id = typeof job === 'string' && ifVersion !== '*' ? (await get(job, look)).id : job
    const ifMatch = ifVersion === '*' ? '*' : `"job-${id}-v${ifVersion}"`
    return {
      kind: 'mutation',
      method,
      path: scope.path(at(id)),
      ifMatch,
      options,
      ...(body === undefined ? {} : { body }),
    }
  }

  return {
    create: (input, options) => post('/api/v1/jobs', input, options),
    get,
    list: (query = {}, options) => caller.list('/api/v1/jobs', scope.query({ ...query }), options),
    replace: async (job, input, options) => caller.json(await changeOf('PUT', job, input, options)),
    patch: async (job, change, options) => caller.json(await changeOf('PATCH', job, change, options)),
    delete: async (job, options) => caller.done(await changeOf('DELETE', job, undefined, options)),
    enable: (job, options) => post(at(job, '/enable'), undefined, options),
    disable: (job, options) => post(at(job, '/disable'), undefined, options),
    copy: (job, input = {}, options) => post(at(job, '/copy'), input, options),
    export: (query = {}, options) =>
      caller.json({
        kind: 'read',
        method: 'GET',
        path: '/api/v1/jobs/export',
        query: scope.query({ ...query }),
        options,
      }),
    import: (jobs, options) => post('/api/v1/jobs/import', jobs, options),
    fires: (job, query = {}, options) => caller.list(at(job, '/fires'), scope.query({ ...query }), options),
  }
}

export interface SchedulesApi {
  /** The next fires of a schedule; changes nothing. */
  preview(input: PreviewInput, options?: CallOptions): Promise<Preview>
}

export const createSchedules = (caller: Caller, scope: AppScope): SchedulesApi => ({
  preview: (input, options) =>
    caller.json({ kind: 'read', method: 'POST', path: scope.path('/api/v1/schedules/preview'), body: input, options }),
})

export interface FiresApi {
  /** The same of all jobs of the app, newest first. */
  list(query?: FiresQuery, options?: CallOptions): Paged<Fire>
}

export const createFires = (caller: Caller, scope: AppScope): FiresApi => ({
  list: (query = {}, options) => caller.list('/api/v1/fires', scope.query({ ...query }), options),
})
