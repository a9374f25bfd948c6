// For the people who run OnceJob: the audit of the invariants and the doctor.
import { AuditReport, DoctorReport } from '@oncejob/protocol'
import type { Clock, Millis } from '../../kernel/clock.ts'
import { audit } from '../../retention/audit.ts'
import { examine } from '../../retention/doctor.ts'
import type { Db } from '../../storage/db.ts'
import { queryOf, type RoutePlugin } from '../types.ts'

export interface OperationsNeeds {
  readonly db: Db
  readonly clock: Clock
  readonly graceMs: Millis
  /** Tokens of PowerJob clients are checked; default true. */
  readonly openApiAuth?: boolean
}

// What a duty may take before it counts as stuck. Far above its pace, so that a busy machine is not a violation.
const patienceMs = 60_000

export const operationsRoutes =
  (needs: OperationsNeeds): RoutePlugin =>
  (app) => {
    app.get(
      '/api/v1/audit',
      {
        config: { access: 'admin' },
        schema: {
          summary: 'Check the invariants on the live database',
          description: 'Reads whole tables; every check is listed, with what it found.',
          tags: ['operations'],
          querystring: queryOf({}),
          response: { 200: AuditReport },
        },
      },
      () => audit(needs.db, { graceMs: needs.graceMs, patienceMs }),
    )
    app.get(
      '/api/v1/doctor',
      {
        config: { access: 'admin' },
        schema: {
          summary: 'Look at the database, the clocks and the backlog, with advice',
          tags: ['operations'],
          querystring: queryOf({}),
          response: { 200: DoctorReport },
        },
      },
      () => examine(needs),
    )
  }
