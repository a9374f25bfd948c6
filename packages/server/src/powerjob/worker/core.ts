// Java workers as the rest of the server uses them: everything behind api.ts, put together.
import type { Report } from '@oncejob/protocol'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { Random } from '../../kernel/random.ts'
import { together, type Service } from '../../kernel/service.ts'
import type { RunsApi, SessionsApi } from '../../dispatch/api.ts'
import type { Directory } from '../../dispatch/directory.ts'
import type { Dispatcher } from '../../dispatch/dispatcher.ts'
import type { Following } from '../../dispatch/following.ts'
import type { Hub } from '../../dispatch/hub.ts'
import type { Metrics } from '../../dispatch/metrics.ts'
import type { Db } from '../../storage/db.ts'
import { attemptFences } from '../../storage/java-attempts.ts'
import { javaWorkerAt, listJavaWorkers, type JavaWorkerRow } from '../../storage/java-workers.ts'
import { jobEver } from '../../storage/jobs.ts'
import { createAgents } from './agents.ts'
import type { AskReply, JavaWorker, JavaWorkerEvents, JavaWorkers } from './api.ts'
import { createCourier } from './courier.ts'
import { createForgotten } from './forgotten.ts'
import { createFrequent } from './frequent.ts'
import { createHearing } from './hearing.ts'
import { createDesk } from './held.ts'
import { createJobFacts } from './job-facts.ts'
import { createReporting } from './reports.ts'
import { createSilence } from './silence.ts'
import { createSubRuns } from './sub-runs.ts'
import { wholeOf, type Members } from './wire.ts'

export interface CoreNeeds {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly random: Random
  readonly metrics: Metrics
  readonly hub: Hub
  readonly directory: Directory
  readonly dispatcher: Dispatcher
  readonly following: Following
  readonly runs: RunsApi
  readonly sessions: SessionsApi
  readonly takeBack: () => Promise<void>
  readonly serverId: () => number
  /** A worker that is not heard for so long is lost, and so is a run that it tells nothing of. */
  readonly silenceMs: Millis
  /** So long after a session has expired it is ended. */
  readonly graceMs: Millis
}

export interface JavaCore {
  readonly workers: JavaWorkers
  /** The duties; they ask the database nothing while there is no Java worker. */
  readonly service: Service
  /** One round of each duty, for tests. */
  readonly rounds: { look(): Promise<void>; silence(): Promise<void>; frequent(): Promise<void> }
}

const workerOf = ({ id, app_id, address, version, powerjob, running, heard_ms }: JavaWorkerRow): JavaWorker => ({
  ...powerjob,
  sessionId: id,
  appId: app_id,
  address,
  version,
  running,
  heardAtMs: heard_ms,
})

/** Answers which workers may take part in a job; overloaded ones too, as there. */
const cluster =
  ({ db, directory }: CoreNeeds) =>
  async (message: Members): Promise<AskReply> => {
    const [appId, jobId] = [wholeOf(message, 'appId'), wholeOf(message, 'jobId')]
    const job = jobId === null ? undefined : await jobEver(db, jobId)
    if (job === undefined || job.deletedAt !== null)
      return { success: false, message: `can't find jobInfo by jobId: ${String(jobId)}` }
    if (job.appId !== appId) return { success: false, message: 'Permission Denied!' }
    const suitable = directory.suitable(job.appId, job.routeId, true)
    return { success: true, data: suitable.flatMap(({ java, address }) => (java && address !== null ? [address] : [])) }
  }

/** Puts it together. Nothing runs before the service starts; heartbeats may be heard before. */
export const createJavaCore = (needs: CoreNeeds): JavaCore => {
  const { db, clock, directory, sessions, silenceMs, graceMs, serverId } = needs
  const events: JavaWorkerEvents[] = []
  const desk = createDesk()
  const courier = createCourier({ clock })
  const report = (appId: number, reports: Report[]): Promise<unknown> => sessions.report(appId, { reports })
  const shared = { ...needs, courier, desk, report, events }
  const agents = createAgents({ ...shared, factsOf: createJobFacts(db) })
  const expireMs = Math.max(1_000, silenceMs - graceMs)
  const subRuns = createSubRuns({ ...needs, courier })
  const silence = createSilence({ ...shared, agents })
  const frequent = createFrequent(needs)
  const compare = createForgotten(needs)
  const detail: JavaWorkers['detail'] = async (runId, customQuery) => {
    const [fence] = await attemptFences(db, [runId])
    if (fence === undefined || fence.address === null) return undefined
    const asked = { instanceId: runId, ...(customQuery === undefined ? {} : { customQuery }) }
    const answer = await courier.ask(fence.address, '/worker/queryInstanceStatus', asked)
    if (!answer.success) return undefined
    if (fence.frequent) await subRuns.keep({ runId, lease: fence.lease }, answer.data)
    return answer.data
  }
  return {
    workers: {
      heartbeat: createHearing({ ...shared, agents, compare, serverId, expireMs }),
      report: createReporting({ ...shared, repeated: subRuns.look }),
      queryJobCluster: cluster(needs),
      list: async (appId) => (await listJavaWorkers(db, appId, expireMs)).map(workerOf),
      find: async (appId, address) => {
        const row = await javaWorkerAt(db, appId, address, expireMs)
        return row && workerOf(row)
      },
      tell: (address, path, body) => courier.tell(address, path, body),
      ask: (address, path, body) => courier.ask(address, path, body),
      detail,
      on: (one) => void events.push(one),
    },
    service: together('java workers', [
      { name: 'couriers', start: async () => undefined, stop: () => courier.close() },
      { name: 'agents', start: async () => undefined, stop: () => agents.stop() },
      agents.duty,
      silence.duty,
      frequent.duty,
    ]),
    rounds: {
      look: async () => {
        await directory.refresh()
        await agents.look()
      },
      silence: () => silence.runOnce(),
      frequent: () => frequent.runOnce(),
    },
  }
}
