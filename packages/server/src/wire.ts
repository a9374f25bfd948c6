// Constructs everything and puts it together. Nothing else constructs; nothing here decides.
import { Registry } from 'prom-client'
import type { ServerConfig } from './config.ts'
import type { Hints, RunsApi, SessionsApi } from './dispatch/api.ts'
import { createDeciding } from './dispatch/deciding.ts'
import { createDirectory } from './dispatch/directory.ts'
import { createDispatcher } from './dispatch/dispatcher.ts'
import { createEffects } from './dispatch/effects.ts'
import { createFollowing, type Following } from './dispatch/following.ts'
import { createHub, type Hub } from './dispatch/hub.ts'
import { collectBacklog, createMetrics } from './dispatch/metrics.ts'
import { createOverdue } from './dispatch/overdue.ts'
import { createReclaim, type Reclaim } from './dispatch/reclaim.ts'
import { createReports } from './dispatch/reports.ts'
import { createSessions } from './dispatch/sessions.ts'
import { createSteering } from './dispatch/steering.ts'
import { createSubmitter } from './dispatch/submitter.ts'
import { createWaiters } from './dispatch/waiters.ts'
import { createDue, createExpiry, createLimits } from './dispatch/waiting.ts'
import { decisionRoutes } from './http/routes/decisions.ts'
import { effectRoutes } from './http/routes/effects.ts'
import { fireRoutes } from './http/routes/fires.ts'
import { javaRoutes } from './http/routes/java.ts'
import { jobRoutes } from './http/routes/jobs.ts'
import { logRoutes } from './http/routes/logs.ts'
import { operationsRoutes } from './http/routes/operations.ts'
import { runKeyRoutes } from './http/routes/run-keys.ts'
import { runReadRoutes } from './http/routes/runs-read.ts'
import { saveAndRunRoute } from './http/routes/save-and-run.ts'
import { scheduleRoutes } from './http/routes/schedules.ts'
import { suspectedRoutes } from './http/routes/suspected.ts'
import { workerReadRoutes } from './http/routes/workers.ts'
import { refusalOf } from './http/problems.ts'
import { createHttp, type HttpServer } from './http/server.ts'
import type { JoinServices, Services } from './http/services.ts'
import type { Clock } from './kernel/clock.ts'
import type { Log } from './kernel/log.ts'
import type { Random } from './kernel/random.ts'
import { together, type Service } from './kernel/service.ts'
import { createLogs } from './logs/service.ts'
import { instanceEndpoints } from './powerjob/endpoints/instances.ts'
import { jobEndpoints } from './powerjob/endpoints/jobs.ts'
import { workflowEndpoints } from './powerjob/endpoints/workflows.ts'
import { createOpenApi } from './powerjob/plugin.ts'
import { createResends } from './powerjob/resend/resends.ts'
import { createJavaCore, type CoreNeeds as JavaCoreNeeds, type JavaCore } from './powerjob/worker/core.ts'
import { createJavaFront, type JavaFront } from './powerjob/worker/front.ts'
import { createRequestKeys } from './requests/keys.ts'
import { createRunKeySweeper } from './requests/run-key-sweeper.ts'
import { createKeySweeper } from './requests/sweeper.ts'
import { createPartitionDuty } from './retention/partitions.ts'
import { createPresence, type Presence } from './retention/presence.ts'
import { createRetentionDuty } from './retention/retention.ts'
import { createJobsService } from './scheduling/jobs-service.ts'
import { createScheduler } from './scheduling/scheduler.ts'
import { createWorkflowsService } from './scheduling/workflows-service.ts'
import type { Db } from './storage/db.ts'
import { joinedTo } from './storage/joined.ts'
import { databaseNowMs } from './storage/schedules-config.ts'

export interface Outside {
  readonly db: Db
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly name: string
  readonly version: string
}

export interface Wired {
  readonly http: HttpServer
  /** What Java workers meet. Opened after the web port, which takes their messages, too. */
  readonly java: JavaFront
  /** Every duty, in the order in which they start. */
  readonly duties: Service
}

export type Core = ReturnType<typeof wireCore>

/** What Java workers borrow of the core. */
type Lent = Pick<JavaCoreNeeds, 'metrics' | 'hub' | 'directory' | 'dispatcher' | 'following' | 'runs' | 'sessions'> & {
  readonly reclaim: Reclaim
  readonly presence: Presence
}

const wireJava = ({ db, clock, random, log }: Outside, config: ServerConfig, lent: Lent): JavaCore => {
  const { reclaim, presence, ...same } = lent
  return createJavaCore({
    ...same,
    db,
    clock,
    random,
    log,
    takeBack: () => reclaim.takeBack(),
    serverId: () => presence.id() ?? 0,
    silenceMs: config.powerjob.workerSilenceMs,
    graceMs: config.graceMs,
  })
}

/** Runs and sessions: the life of a run from the call to its end. */
export const wireCore = (outside: Outside, config: ServerConfig, registry: Registry) => {
  const { db, clock, random, log } = outside
  const metrics = createMetrics(registry)
  collectBacklog(registry, { db, log })
  const presence = createPresence({ db, clock, log }, { name: outside.name, version: outside.version })
  const hub = createHub({
    db,
    clock,
    log,
    others: () => presence.alive() > 1,
    origin: Buffer.from(random.bytes(9)).toString('base64url'),
  })
  const directory = createDirectory({ db, clock, log })
  const keys = createRequestKeys({ db, clock, random }, { windowMs: config.requestKeyHours * 3_600_000 })
  const following = createFollowing({ db, hub, log, metrics })
  const times = { leaseMs: config.leaseMs, graceMs: config.graceMs, javaSilenceMs: config.powerjob.workerSilenceMs }
  const reclaim = createReclaim({ db, clock, log, random, metrics, directory, following, times })
  const dispatcher = createDispatcher({ db, hub, directory, clock, random, log, metrics })
  const { maxResultBytes } = config
  const sessions = createSessions({
    db,
    directory,
    dispatcher,
    clock,
    log,
    metrics,
    times,
    maxResultBytes,
    takeBack: () => reclaim.takeBack(),
  })
  const reports = createReports({ db, clock, random, metrics, following, maxResultBytes, noteDone: sessions.noteDone })
  const waiters = createWaiters({ db, hub, clock, log })
  const steering = createSteering({ db, hub, log, following })
  const runs: RunsApi = {
    ...createSubmitter({ db, hub, clock, metrics, keys }),
    waitForEnd: waiters.waitForEnd,
    ...steering,
    ...createDeciding({ db, hub, log, following, maxResultBytes }),
  }
  const sessionsApi: SessionsApi = {
    open: sessions.open,
    poll: sessions.poll,
    leave: sessions.leave,
    report: reports.report,
  }
  const lent = { metrics, hub, directory, dispatcher, following, runs, sessions: sessionsApi, reclaim, presence }
  const java = wireJava(outside, config, lent)
  return {
    java,
    metrics,
    presence,
    hub,
    directory,
    following,
    reclaim,
    dispatcher,
    waiters,
    keys,
    runs,
    sessions: sessionsApi,
    effects: createEffects({ db, maxResultBytes }),
    hasJavaWorker: async (appId: number, routeId: number): Promise<boolean> => {
      // a job that was just saved may ask for what this server does not know yet
      if (!directory.knows(appId, routeId)) await directory.refresh()
      return directory.suitable(appId, routeId, true).some(({ java }) => java)
    },
  }
}

const wireDuties = (outside: Outside, config: ServerConfig, core: Core): Service => {
  const { db, clock, random, log } = outside
  const { hub, metrics, following, directory, presence } = core
  const waiting = { db, clock, log, hub, following }
  const overdue = createOverdue({ db, clock, log, random, hub, metrics, following, patienceMs: config.stopPatienceMs })
  const { hasJavaWorker } = core
  const scheduler = createScheduler({
    db,
    clock,
    log,
    hub,
    metrics,
    following,
    rank: () => presence.rank(),
    hasJavaWorker,
  })
  return together('duties', [
    createPartitionDuty({ db, clock, log }),
    presence,
    hub,
    directory.duty,
    core.waiters.duty,
    core.dispatcher.duty,
    createDue(waiting).duty,
    createLimits(waiting).duty,
    createExpiry(waiting).duty,
    overdue.duty,
    core.reclaim.duty,
    scheduler.duty,
    core.java.service,
    createKeySweeper({ db, clock, log }),
    createRunKeySweeper({ db, clock, log }).duty,
    createRetentionDuty({ db, clock, log }, { retentionDays: config.retentionDays }),
  ])
}

/** The services that change things, once more on a transaction: for calls with a request key. */
const joinServices =
  ({ db, clock, log }: Outside, { maxResultBytes }: ServerConfig, core: Core, hints: Hints): JoinServices =>
  (tx, after) => {
    const joined = joinedTo(db, tx)
    const hub: Hub = { ...core.hub, tell: (hint) => after(() => core.hub.tell(hint)) }
    const following: Following = {
      ended: (runs, jobs) => after(() => core.following.ended(runs, jobs)),
      settled: (settled) => after(() => core.following.settled(settled)),
      handOn: async (jobs) => after(() => core.following.ended([], jobs)),
    }
    const submitter = createSubmitter({ db: joined, hub, clock, metrics: core.metrics, keys: core.keys })
    const steering = createSteering({ db: joined, hub, log, following })
    const deciding = createDeciding({ db: joined, hub, log, following, maxResultBytes })
    const later: Hints = { jobChanged: (appId) => after(() => hints.jobChanged(appId)) }
    return {
      db: joined,
      runs: { ...core.runs, ...submitter, ...steering, ...deciding },
      jobs: createJobsService({ db: joined, hints: later }),
      workflows: createWorkflowsService({ db: joined }),
    }
  }

// a load balancer asks every few seconds and must not wait longer
const readyMs = 2_000

/** Why the database does not answer; undefined when it does. */
const databaseAnswers = async (db: Db, clock: Clock): Promise<string | undefined> => {
  const asked = databaseNowMs(db).then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )
  const late = new AbortController()
  const answer = await Promise.race([
    asked,
    clock.sleep(readyMs, late.signal).then(() => `no answer of the database within ${readyMs} ms`),
  ])
  late.abort()
  return answer
}

/** Builds a server over an open, migrated database. Nothing runs before its parts are started. */
export const wire = (outside: Outside, config: ServerConfig): Wired => {
  const { db, clock, random, log, version } = outside
  const registry = new Registry()
  const core = wireCore(outside, config, registry)
  const logs = createLogs({ db, clock, log, metrics: core.metrics })
  const hints: Hints = {
    jobChanged: (appId) => {
      core.directory.duty.wake()
      core.hub.tell({ jobs: [appId], ready: [appId] })
    },
  }
  const services: Services = {
    db,
    runs: core.runs,
    jobs: createJobsService({ db, hints }),
    workflows: createWorkflowsService({ db }),
  }
  const join = joinServices(outside, config, core, hints)
  const others = (): boolean => db.kind === 'postgres' && core.presence.alive() > 1
  const recognition = createResends({ db, clock, random, log, others })
  const openApi = createOpenApi({
    endpoints: [...jobEndpoints, ...instanceEndpoints, ...workflowEndpoints],
    resends: recognition.resends,
    settings: config.powerjob,
    services,
    join,
    keys: core.keys,
    clock,
    random,
    log,
    registry,
    refusalOf,
  })
  const { workers } = core.java
  const java = createJavaFront({ ...outside, ...config.powerjob, registry, logs, workers, presence: core.presence })
  const http = createHttp({
    services,
    join,
    keys: core.keys,
    sessions: core.sessions,
    clock,
    random,
    log,
    registry,
    version,
    ready: () => databaseAnswers(db, clock),
    routes: [
      jobRoutes(services.jobs),
      saveAndRunRoute,
      scheduleRoutes(db),
      fireRoutes(db),
      workerReadRoutes(db),
      effectRoutes(core.effects),
      runReadRoutes({ db, runs: core.runs }),
      runKeyRoutes,
      decisionRoutes(db),
      suspectedRoutes(db),
      logRoutes({ logs, clock, log }),
      javaRoutes({ db, containers: java.containers, details: java.details }),
      (app) => java.plugin(app),
      operationsRoutes({ db, clock, graceMs: config.graceMs, openApiAuth: config.powerjob.auth }),
    ],
    openApi,
  })
  const duties = together('server', [wireDuties(outside, config, core), ...recognition.services, ...java.services])
  return { http, java, duties }
}
