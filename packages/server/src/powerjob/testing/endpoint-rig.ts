// Endpoints of this wire on a real database and the real services, without HTTP: called as the transport calls them.
import type { RunsApi } from '../../dispatch/api.ts'
import { createSubmitter } from '../../dispatch/submitter.ts'
import { createSteering } from '../../dispatch/steering.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemClock } from '../../kernel/clock.ts'
import { createJobsService } from '../../scheduling/jobs-service.ts'
import { createWorkflowsService } from '../../scheduling/workflows-service.ts'
import type { Db } from '../../storage/db.ts'
import { joinedTo } from '../../storage/joined.ts'
import type { RequestKey } from '../../storage/request-keys.ts'
import { sql } from '../../storage/sql.ts'
import { createRig } from '../../testing/rig.ts'
import { Refusal } from '../../kernel/errors.ts'
import { WireError, type WireCall, type WireServices } from '../call.ts'
import { instanceEndpoints } from '../endpoints/instances.ts'
import { jobEndpoints } from '../endpoints/jobs.ts'

const endpoints = [...jobEndpoints, ...instanceEndpoints]

export interface Told {
  readonly appId: number
  readonly copyEnabled?: boolean
  readonly zone?: string
  readonly keyed?: RequestKey
  /** In a transaction of its own, as with a request key or where resends are followed. */
  readonly joined?: boolean
}

export type EndpointRig = Awaited<ReturnType<typeof createEndpointRig>>

/** One server on the database, and its endpoints for jobs and instances. */
export const createEndpointRig = async (db: Db) => {
  const rig = await createRig(db)
  const hints = { jobChanged: () => undefined }
  const servicesOn = (on: Db, runs: RunsApi): WireServices => ({
    db: on,
    runs,
    jobs: createJobsService({ db: on, hints }),
    workflows: createWorkflowsService({ db: on }),
  })
  const inTransaction = (call: (services: WireServices) => Promise<unknown>): Promise<unknown> =>
    db.transaction((tx) => {
      const joined = joinedTo(db, tx)
      const { hub, metrics, keys, following } = rig
      const { submit, submitMany } = createSubmitter({ db: joined, hub, clock: systemClock, metrics, keys })
      const steering = createSteering({ db: joined, hub, log: silentLog, following })
      return call(servicesOn(joined, { ...rig.runs, submit, submitMany, ...steering }))
    })

  /** Sends a call; the answer is the `data` of the envelope as JSON. */
  const send = async (path: string, sent: Record<string, unknown>, told: Told): Promise<unknown> => {
    const endpoint = endpoints.find((one) => one.path === path)!
    const isForm = endpoint.accepts === 'form'
    const call: WireCall = {
      path,
      appId: told.appId,
      actor: 'powerjob/test',
      settings: { tokenless: false, copyEnabled: told.copyEnabled ?? false, collapse: 'off' },
      zone: told.zone ?? 'UTC',
      fields: new Map(isForm ? Object.entries(sent).map(([name, value]) => [name, String(value)]) : []),
      body: isForm ? undefined : JSON.parse(JSON.stringify(sent)),
      keyed: told.keyed ?? null,
    }
    const answer =
      told.joined === true
        ? await inTransaction((services) => endpoint.handle(call, services))
        : await endpoint.handle(call, servicesOn(db, rig.runs))
    return JSON.parse(JSON.stringify(answer ?? null))
  }

  /** The message of a call that is refused, as its caller reads it. */
  const no = async (path: string, sent: Record<string, unknown>, told: Told): Promise<string> => {
    try {
      await send(path, sent, told)
    } catch (error) {
      if (error instanceof WireError) return `${error.javaClass}: ${error.message}`
      if (error instanceof Refusal) return `PowerJobException: ${error.message}`
      throw error
    }
    return 'nothing'
  }

  /** What the audit trail says of a target. */
  const audit = async (target: string): Promise<string[]> => {
    const rows = await db.query<{ action: string }>(
      sql`select action from oncejob.audit where target = ${target} order by id`,
    )
    return rows.map(({ action }) => action)
  }
  return { ...rig, send, no, audit }
}
