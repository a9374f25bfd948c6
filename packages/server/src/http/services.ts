// What route handlers call: the services of this server, or for a call with a request key the same ones in its transaction.
import type { FastifyRequest } from 'fastify'
import type { RunsApi } from '../dispatch/api.ts'
import type { JobsService } from '../scheduling/jobs-service.ts'
import type { WorkflowsService } from '../scheduling/workflows-service.ts'
import type { Db, Queries } from '../storage/db.ts'

export interface Services {
  readonly db: Db
  readonly runs: RunsApi
  readonly jobs: JobsService
  readonly workflows: WorkflowsService
}

/** Builds the services anew on a transaction; what they would tell others waits in `after` for its commit. */
export type JoinServices = (tx: Queries, after: (tell: () => void) => void) => Services

/** The services of a call with a key, for as long as its transaction lasts. */
export interface Joined {
  readonly services: Services
  readonly after: (tell: () => void) => void
}

declare module 'fastify' {
  interface FastifyInstance {
    services: Services
  }
  interface FastifyRequest {
    joined: Joined | null
  }
}

/** The services for this request. A handler that changes something uses no others. */
export const servicesOf = (request: FastifyRequest): Services => request.joined?.services ?? request.server.services

/** Does something when the change is committed: at once, or after the transaction of a call with a key. */
export const afterward = (request: FastifyRequest, tell: () => void): void => {
  if (request.joined === null) tell()
  else request.joined.after(tell)
}
