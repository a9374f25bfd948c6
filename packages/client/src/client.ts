// The client: one object with every route, built from the parts beside it.
import type { JobInput, JobRunInput, RunInput, SavedAndRun } from '@oncejob/protocol'
import { createAppScope } from './app-scope.ts'
import type { Caller, MutationOptions, RetryOptions, TokenSource } from './call.ts'
import { createCaller } from './caller.ts'
import { createContainers, type ContainersApi } from './containers.ts'
import { createFetchTransport, type FetchLike } from './fetch-transport.ts'
import { createFires, createJobs, createSchedules, type FiresApi, type JobsApi, type SchedulesApi } from './jobs.ts'
import { createOperations, createWorkers, type OperationsApi, type WorkersApi } from './operations.ts'
import { createRunHandle, type PendingRun, type RunOptions } from './run-handle.ts'
import { createRunKeys, type RunKeysApi } from './run-keys.ts'
import { createRuns, type RunsApi } from './runs.ts'
import {
  createApps,
  createNamespaces,
  createTokens,
  type AppsApi,
  type NamespacesApi,
  type TokensApi,
} from './tenancy.ts'
import { originOf } from './transport.ts'
import { createUndiciTransport } from './undici-transport.ts'

interface CommonOptions {
  /** A token of the server, or a function that gets one. */
  token: TokenSource
  /** The app that calls mean; needed with an admin token only. */
  app?: string
  /** Limit of one try of a call; default 30,000. */
  timeoutMs?: number
  retry?: RetryOptions
  /** Sends everything through this instead of the client's own kept connections. */
  fetch?: FetchLike
}

/** One server, or several of one database: the client stays with one and goes to the next when it fails. */
export type ClientOptions = CommonOptions & ({ url: string; urls?: never } | { urls: readonly string[]; url?: never })

export interface OnceJobClient extends OperationsApi {
  readonly runs: RunsApi
  readonly runKeys: RunKeysApi
  readonly jobs: JobsApi
  readonly schedules: SchedulesApi
  readonly fires: FiresApi
  readonly workers: WorkersApi
  readonly containers: ContainersApi
  readonly namespaces: NamespacesApi
  readonly apps: AppsApi
  readonly tokens: TokensApi
  /** Asks for a run of a job, named by id or name; await it, or use `.id()`, `.result()` and `.wait()` at once. */
  run(job: number | string, params?: unknown, options?: RunOptions): PendingRun
  /**
   * The one run of the job for this run key: asks for it, or gives the one that was asked for before, whatever became of
   * it and however long ago. Rejects with RUN_KEY_INPUT_MISMATCH when that had other params.
   */
  runOnce(
    job: number | string,
    key: string,
    params?: unknown,
    options?: Omit<RunOptions, 'key' | 'keyPolicy'>,
  ): PendingRun
  /**
   * Creates the job, or replaces the one of its name, and starts one run of it, in one transaction: both or neither.
   * Rejects with OutcomeUnknown when no try was answered.
   */
  saveAndRun(job: JobInput, run?: JobRunInput, options?: MutationOptions): Promise<SavedAndRun>
  /** The same client for another app. It shares the connections. */
  forApp(app: string): OnceJobClient
  /** Ends the connections. Idle ones keep no process alive, so this is needed only to be tidy. */
  close(): void
  [Symbol.dispose](): void
}

const build = (caller: Caller, app: string | undefined, close: () => void): OnceJobClient => {
  const scope = createAppScope(app)
  const runs = createRuns(caller, scope)
  const run: OnceJobClient['run'] = (job, params, { signal, timeoutMs, requestKey, ...input } = {}) => {
    const body: RunInput = { job, ...input, ...(params === undefined ? {} : { params }) }
    const created = runs.create(body, {
      ...(signal === undefined ? {} : { signal }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(requestKey === undefined ? {} : { requestKey }),
    })
    return createRunHandle(runs, created)
  }
  return {
    ...createOperations(caller, scope),
    runs,
    runKeys: createRunKeys(caller, scope),
    jobs: createJobs(caller, scope),
    schedules: createSchedules(caller, scope),
    fires: createFires(caller, scope),
    workers: createWorkers(caller, scope),
    containers: createContainers(caller, scope),
    namespaces: createNamespaces(caller),
    apps: createApps(caller),
    tokens: createTokens(caller),
    run,
    runOnce: (job, key, params, options) =>
      run(job, params, { ...options, key, keyPolicy: { onOpen: 'return', onClosed: 'return', ttlMs: null } }),
    saveAndRun: (job, run, options) =>
      caller.json({
        kind: 'mutation',
        method: 'POST',
        path: scope.path('/api/v1/jobs:run'),
        body: { job, ...(run === undefined ? {} : { run }) },
        options,
      }),
    forApp: (other) => build(caller, other, close),
    close,
    [Symbol.dispose]: close,
  }
}

/**
 * Makes a client. Throws TypeError when the url, the token or a number of the options can not be used; connects with the first call.
 */
export const createClient = (options: ClientOptions): OnceJobClient => {
  const origins = (options.urls ?? [options.url]).map(originOf)
  if (origins.length === 0) throw new TypeError('a client needs the url of a server')
  const { timeoutMs = 30_000, retry = {} } = options
  if (!(timeoutMs > 0 && timeoutMs < 2 ** 31)) throw new TypeError(`timeoutMs can not be ${timeoutMs}`)
  const transport = options.fetch === undefined ? createUndiciTransport() : createFetchTransport(options.fetch)
  const { rounds = 5, baseMs = 200, maxMs = 5000 } = retry
  if (!(rounds >= 1 && baseMs >= 0 && maxMs >= 0))
    throw new TypeError('retry needs at least 1 round and no negative time')
  const caller = createCaller({ origins, transport, token: options.token, timeoutMs, retry: { rounds, baseMs, maxMs } })
  return build(caller, options.app, () => transport.close())
}
