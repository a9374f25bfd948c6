// Workers, and the routes for the people who run OnceJob.
import { readRequestKey } from '@oncejob/protocol'
import type {
  AuditEntry,
  AuditReport,
  DoctorReport,
  Health,
  Me,
  RequestKeyState,
  SuspectedRepeats,
  Worker,
} from '@oncejob/protocol'
import type { AppScope } from './app-scope.ts'
import type { CallOptions, Caller, Paged } from './call.ts'
import { OnceJobError } from './errors.ts'

export interface WorkersQuery {
  /** Default: live. */
  state?: 'live' | 'all'
  limit?: number
}

export interface WorkersApi {
  list(query?: WorkersQuery, options?: CallOptions): Paged<Worker>
  get(sessionId: number, options?: CallOptions): Promise<Worker>
}

export const createWorkers = (caller: Caller, scope: AppScope): WorkersApi => ({
  list: (query = {}, options) => caller.list('/api/v1/workers', scope.query({ ...query }), options),
  get: (sessionId, options) =>
    caller.json({ kind: 'read', method: 'GET', path: scope.path(`/api/v1/workers/${sessionId}`), options }),
})

export interface AuditLogQuery {
  limit?: number
}

export interface SuspectedQuery {
  /** Runs made since so long ago, 1 to 720; default 24. */
  hours?: number
  /** Calls further apart than so many ms are not suspected, 1 to 60,000; default 5,000. */
  withinMs?: number
}

export interface OperationsApi {
  /** Pairs of runs that look like one call sent twice, newest first: equal calls shortly one after the other. */
  suspectedRepeats(query?: SuspectedQuery, options?: CallOptions): Promise<SuspectedRepeats>
  /** Who did what, newest first: of the client's app, or of all with an admin token and no app. */
  auditLog(query?: AuditLogQuery, options?: CallOptions): Paged<AuditEntry>
  /** Checks every invariant on the live database. Admin. */
  audit(options?: CallOptions): Promise<AuditReport>
  /** Looks at the database and its settings. Admin. */
  doctor(options?: CallOptions): Promise<DoctorReport>
  /**
   * What became of the call with this request key. Undefined: none has taken effect; one that is under way still may.
   * Throws TypeError when it is no request key.
   */
  requestKey(key: string, options?: CallOptions): Promise<RequestKeyState | undefined>
  /** Whose token this is. */
  me(options?: CallOptions): Promise<Me>
  /** Whether the server can do its work; an unavailable one is an answer and not an error. */
  health(options?: CallOptions): Promise<Health>
  /** The server's metrics in Prometheus' text format. */
  metrics(options?: CallOptions): Promise<string>
  /** The OpenAPI document of the server. */
  openapi(options?: CallOptions): Promise<unknown>
}

const isUnknownKey = (error: unknown): boolean =>
  error instanceof OnceJobError && error.code === 'IDEMPOTENCY_KEY_NOT_FOUND'

/** Looks a key up in one app, or among the calls that belong to none. */
const lookUp = async (caller: Caller, path: string, options?: CallOptions): Promise<RequestKeyState | undefined> => {
  try {
    return await caller.json<RequestKeyState>({ kind: 'read', method: 'GET', path, options })
  } catch (error) {
    // Any other 404 tells nothing about the key.
    if (isUnknownKey(error)) return undefined
    throw error
  }
}

/** The operating routes. */
export const createOperations = (caller: Caller, scope: AppScope): OperationsApi => {
  const read = <T>(path: string, options: CallOptions | undefined): Promise<T> =>
    caller.json({ kind: 'read', method: 'GET', path, options })
  return {
    suspectedRepeats: (query = {}, options) =>
      caller.json({
        kind: 'read',
        method: 'GET',
        path: '/api/v1/suspected-repeats',
        query: scope.query({ ...query }),
        options,
      }),
    auditLog: (query = {}, options) => caller.list('/api/v1/audit-log', scope.query({ ...query }), options),
    audit: (options) => read('/api/v1/audit', options),
    doctor: (options) => read('/api/v1/doctor', options),
    requestKey: async (key, options) => {
      if (readRequestKey(key) !== key) throw new TypeError(`not a request key: ${JSON.stringify(key)}`)
      const path = `/api/v1/idempotency-keys/${encodeURIComponent(key)}`
      const found = await lookUp(caller, scope.path(path), options)
      if (found !== undefined || scope.app === undefined) return found
      // An admin's calls that make or delete apps and namespaces belong to no app.
      return lookUp(caller, path, options)
    },
    me: (options) => read('/api/v1/me', options),
    health: (options) => caller.json({ kind: 'read', method: 'GET', path: '/health/ready', options, alsoGood: 503 }),
    metrics: (options) => caller.text({ kind: 'read', method: 'GET', path: '/metrics', options }),
    openapi: (options) => read('/openapi.json', options),
  }
}
