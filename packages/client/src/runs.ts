// Runs: ask for them, look at them, steer them, follow their logs.
import type {
  Attempt,
  JobRunInput,
  LogLine,
  LogPage,
  Run,
  RunBatchCreated,
  RunChanged,
  RunCreated,
  RunDetail,
  RunInput,
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
  /** Size of a page, 1 to 500; default 50. */
  limit?: number
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
  /** Takes a waiting run back. */
  cancel(id: number, options?: MutationOptions): Promise<RunChanged>
  /** Stops a waiting or running run; a running one ends when its processor heeds the signal. */
  stop(id: number, options?: MutationOptions): Promise<RunChanged>
  /** Starts an ended run again; its history stays. */
  retry(id: number, options?: MutationOptions): Promise<RunChanged>
  logs(id: number, query?: LogQuery, options?: CallOptions): Promise<LogPage>
  /** The lines of the log as they come, each once, until the run has ended; returns its final state. */
  followLogs(id: number, options?: FollowOptions): AsyncGenerator<LogLine, string | undefined>
}

/** The run routes. */
export const createRuns = (caller: Caller, scope: AppScope): RunsApi => {
  const at = (id: number, rest = ''): string => `/api/v1/runs/${encodeURIComponent(id)}${rest}`
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
    attempts: async (id, options) => {
      const path = scope.path(at(id, '/attempts'))
      const { items } = await caller.json<{ items: Attempt[] }>({ kind: 'read', method: 'GET', path, options })
      return items
    },
    cancel: change('cancel'),
    stop: change('stop'),
    retry: change('retry'),
    logs: (id, query = {}, options) =>
      caller.json({ kind: 'read', method: 'GET', path: at(id, '/logs'), query: scope.query({ ...query }), options }),
    followLogs: (id, options) => followLogs(caller, scope, id, options),
  }
  return runs
}
