// Runs: ask for them, look at them, steer them, follow their logs.
import type {
  Attempt,
  EffectChanged,
  EffectResolution,
  JavaRunDetail,
  JavaTaskFilters,
  JobRunInput,
  LogLine,
  LogPage,
  Run,
  RunBatchCreated,
  RunChanged,
  RunCreated,
  RunDetail,
  RunEffect,
  RunInput,
  RunResolution,
  RunState,
  RunTrigger,
} from '@oncejob/protocol'
import type { CallOptions, Caller, MutationOptions, Paged } from './call.ts'
import type { AppScope } from './app-scope.ts'
import { followLogs, type FollowOptions } from './follow-logs.ts'
import { waitForRun, type WaitOptions } from './run-handle.ts'

export type { FollowOptions } from './follow-logs.ts'

export interface RunsQuery {
  job?: number | string
  state?: RunState | readonly RunState[]
  trigger?: RunTrigger
  /** Created at or after, RFC 3339. */
  from?: string
  /** Created before, RFC 3339. */
  to?: string
  requestKey?: string
  /** Run key. */
  key?: string
  /** Size of a page, 1 to 500; default 50. */
  limit?: number
}

export interface EffectsQuery {
  /** Size of a page, 1 to 500; default 50. */
  limit?: number
}

export interface JavaQuery {
  /** Which tasks to list, at most ten; default all. */
  tasks?: (typeof JavaTaskFilters)[number]
}

export interface LogQuery {
  /** Lines with a greater `seq`. */
  after?: number
  limit?: number
}

export interface RunsApi {
  /** Asks for one run. Rejects with OutcomeUnknown when no try was answered. */
  create(input: RunInput, options?: MutationOptions): Promise<RunCreated>
  /** Asks for one run of the job in the path; the same as `create`. */
  createOf(job: number | string, input?: JobRunInput, options?: MutationOptions): Promise<RunCreated>
  /** Asks for up to 5000 runs: all are made or none. The ids come in the order of the input. */
  createBatch(runs: readonly RunInput[], options?: MutationOptions): Promise<RunBatchCreated>
  /** With waitMs (at most 30,000) the answer comes when the run has ended or that time is over. */
  get(id: number, options?: CallOptions & { waitMs?: number }): Promise<RunDetail>
  /** Waits for the end by long-poll; see RunHandle.wait. */
  wait(id: number, options?: WaitOptions): Promise<RunDetail>
  /** Runs of the app, newest first. */
  list(query?: RunsQuery, options?: CallOptions): Paged<Run>
  attempts(id: number, options?: CallOptions): Promise<Attempt[]>
  /** Takes a waiting run back; one of unknown outcome is stopped. */
  cancel(id: number, options?: MutationOptions): Promise<RunChanged>
  /** Stops a run that has not ended; a running one ends when its processor heeds the signal. */
  stop(id: number, options?: MutationOptions): Promise<RunChanged>
  /** Starts an ended run again; its history stays. */
  retry(id: number, options?: MutationOptions): Promise<RunChanged>
  /** Says what became of a run whose state is `unknown`: it ends, or is executed again. The same decision once more changes nothing. */
  resolve(id: number, decision: RunResolution, options?: MutationOptions): Promise<RunChanged>
  /** What its attempts did with ctx.once, in the order in which it was begun. */
  effects(id: number, query?: EffectsQuery, options?: CallOptions): Paged<RunEffect>
  /** Says whether an effect happened that is unknown; only while no attempt has the run. */
  resolveEffect(id: number, name: string, decision: EffectResolution, options?: MutationOptions): Promise<EffectChanged>
  /** What its Java worker says of a run: tasks and sub-runs. Refused with RUN_NOT_FOUND when no Java worker had it. */
  java(id: number, query?: JavaQuery, options?: CallOptions): Promise<JavaRunDetail>
  logs(id: number, query?: LogQuery, options?: CallOptions): Promise<LogPage>
  /** The lines of the log as they come, each once, until the run has ended; returns its final state. */
  followLogs(id: number, options?: FollowOptions): AsyncGenerator<LogLine, string | undefined>
}

const pathOf = (id: number, rest = ''): string => `/api/v1/runs/${encodeURIComponent(id)}${rest}`

/** What is looked at beside a run itself. */
const createViews = (caller: Caller, scope: AppScope): Pick<RunsApi, 'attempts' | 'java'> => ({
  attempts: async (id, options) => {
    const path = scope.path(pathOf(id, '/attempts'))
    const { items } = await caller.json<{ items: Attempt[] }>({ kind: 'read', method: 'GET', path, options })
    return items
  },
  java: (id, query = {}, options) =>
    caller.json({
      kind: 'read',
      method: 'GET',
      path: pathOf(id, '/powerjob'),
      query: scope.query({ ...query }),
      options,
    }),
})

/** The run routes. */
export const createRuns = (caller: Caller, scope: AppScope): RunsApi => {
  const at = pathOf
  const change =
    (action: string) =>
    (id: number, options?: MutationOptions): Promise<RunChanged> =>
      caller.json({ kind: 'mutation', method: 'POST', path: scope.path(at(id, `/${action}`)), options })

  // Made once: this is the hot call.
  const createPath = scope.path('/api/v1/runs')
  const runs: RunsApi = {
    create: (input, options) =>
      caller.json({ kind: 'mutation', method: 'POST', path: createPath, body: input, options }),
    createOf: (job, input = {}, options) =>
      caller.json({
        kind: 'mutation',
        method: 'POST',
        path: scope.path(`/api/v1/jobs/${encodeURIComponent(job)}/runs`),
        body: input,
        options,
      }),
    createBatch: (inputs, options) =>
      caller.json({
        kind: 'mutation',
        method: 'POST',
        path: scope.path('/api/v1/runs/batch'),
        body: { runs: inputs },
        options,
      }),
    get: (id, options = {}) => {
      const { waitMs, ...rest } = options
      return caller.json({
        kind: 'read',
        method: 'GET',
        path: at(id),
        query: scope.query({ waitMs }),
        options: rest,
        ...(waitMs === undefined ? {} : { waitMs }),
      })
    },
    wait: (id, options) => waitForRun(runs, id, options),
    list: (query = {}, options) => caller.list('/api/v1/runs', scope.query({ ...query }), options),
    ...createViews(caller, scope),
    cancel: change('cancel'),
    stop: change('stop'),
    retry: change('retry'),
    resolve: (id, decision, options) =>
      caller.json({
        kind: 'mutation',
        method: 'POST',
        path: scope.path(at(id, '/resolve')),
        body: decision,
        options,
      }),
    effects: (id, query = {}, options) => caller.list(at(id, '/effects'), scope.query({ ...query }), options),
    resolveEffect: (id, name, decision, options) =>
      caller.json({
        kind: 'mutation',
        method: 'POST',
        path: scope.path(at(id, `/effects/${encodeURIComponent(name)}/resolve`)),
        body: decision,
        options,
      }),
    logs: (id, query = {}, options) =>
      caller.json({ kind: 'read', method: 'GET', path: at(id, '/logs'), query: scope.query({ ...query }), options }),
    followLogs: (id, options) => followLogs(caller, scope, id, options),
  }
  return runs
}
