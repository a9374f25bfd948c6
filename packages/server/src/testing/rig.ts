// The core on a test database, without HTTP and with duties that tests call themselves.
import { Registry } from 'prom-client'
import type { JobInput, KeyPolicy, SessionOpened } from '@oncejob/protocol'
import { configFrom, type ServerConfig } from '../config.ts'
import type { Submission } from '../dispatch/api.ts'
import { createOverdue } from '../dispatch/overdue.ts'
import { createDue, createExpiry, createLimits } from '../dispatch/waiting.ts'
import { systemClock, type Clock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { systemRandom } from '../kernel/random.ts'
import { wishOf } from '../runs/run-key.ts'
import { createJobsService } from '../scheduling/jobs-service.ts'
import { createScheduler } from '../scheduling/scheduler.ts'
import type { Db } from '../storage/db.ts'
import { jobsWithRoom } from '../storage/limits.ts'
import { sql } from '../storage/sql.ts'
import { wireCore } from '../wire.ts'

/** A call for a run with a run key, as the core takes it. */
export const keyedSubmission = (
  appId: number,
  job: number | string,
  key: string,
  more: { policy?: KeyPolicy; params?: unknown; delayMs?: number } = {},
): Submission => ({
  appId,
  job,
  params: more.params === undefined ? null : JSON.stringify(more.params),
  delayMs: more.delayMs ?? null,
  runAtMs: null,
  priority: null,
  queueTimeoutMs: null,
  requestKey: null,
  keyed: null,
  runKey: wishOf(key, more.policy),
})

export type Rig = Awaited<ReturnType<typeof createRig>>

/** One more server on the same database. */
export const createRig = async (
  db: Db,
  options: { readonly clock?: Clock; readonly config?: Partial<ServerConfig> } = {},
) => {
  const clock = options.clock ?? systemClock
  const config: ServerConfig = {
    ...configFrom({}),
    leaseMs: 10_000,
    graceMs: 5_000,
    stopPatienceMs: 0,
    ...options.config,
  }
  const outside = { db, clock, random: systemRandom, log: silentLog, name: 'rig', version: '0.0.0' }
  const core = wireCore(outside, config, new Registry())
  const { hub, metrics, following } = core
  const needs = { db, clock, log: silentLog, hub, following, metrics, random: systemRandom }
  const service = createJobsService({ db, hints: { jobChanged: () => undefined } })
  await core.directory.refresh()
  return {
    ...core,
    db,
    due: createDue(needs),
    expiry: createExpiry(needs),
    limits: createLimits(needs),
    overdue: createOverdue({ ...needs, patienceMs: config.stopPatienceMs }),
    scheduler: createScheduler({ ...needs, rank: () => 0, hasJavaWorker: core.hasJavaWorker }),
    service,
    /** Makes an app. */
    app: async (name = `app-${Math.random().toString(36).slice(2)}`): Promise<number> => {
      const rows = await db.query<{ id: number }>(
        sql`insert into oncejob.app (namespace_id, name) values (1, ${name}) returning id`,
      )
      return rows[0]!.id
    },
    /** Makes a job; the answer is its id. */
    job: async (appId: number, input: Partial<JobInput> = {}): Promise<number> => {
      const job = await service.create(
        { appId, actor: 'test' },
        { name: `job-${Math.random().toString(36).slice(2)}`, processor: 'work', ...input },
      )
      await core.directory.refresh()
      return job.id
    },
    submit: (
      appId: number,
      job: number | string,
      more: { params?: unknown; delayMs?: number; queueTimeoutMs?: number; priority?: number } = {},
    ) =>
      core.runs
        .submit({
          keyed: null,
          runKey: null,
          appId,
          job,
          params: more.params === undefined ? null : JSON.stringify(more.params),
          delayMs: more.delayMs ?? null,
          runAtMs: null,
          priority: more.priority ?? null,
          queueTimeoutMs: more.queueTimeoutMs ?? null,
          requestKey: null,
        })
        .then((made) => made.id),
    /** Asks for a run with a run key. */
    submitKeyed: (
      appId: number,
      job: number | string,
      key: string,
      more: { policy?: KeyPolicy; params?: unknown; delayMs?: number } = {},
    ) => core.runs.submit(keyedSubmission(appId, job, key, more)),
    worker: async (
      appId: number,
      more: { name?: string; slots?: number; processors?: string[]; labels?: Record<string, string> } = {},
    ): Promise<SessionOpened> => {
      const opened = await core.sessions.open(appId, { name: 'w', slots: 10, processors: ['work'], ...more })
      await core.directory.refresh()
      return opened
    },
    /** One poll that waits for nothing. */
    poll: (appId: number, sessionId: number, held: { runId: number; lease: number }[] = [], free = 10) =>
      core.sessions.poll(
        appId,
        sessionId,
        { free, held: held.map(({ runId, lease }) => ({ runId, lease })), waitMs: 0 },
        new AbortController().signal,
      ),
    /** The state of a run as the tables say it, and everywhere it is. */
    where: async (runId: number): Promise<{ state: string; places: string[]; attempts: string[] }> => {
      const [row] = await db.query<{ state: string; places: string[]; attempts: string[] }>(sql`
select r.state, array_remove(array[
  (select 'ready' from oncejob.run_ready where run_id = r.id), (select 'later' from oncejob.run_later where run_id = r.id),
  (select 'blocked' from oncejob.run_blocked where run_id = r.id), (select 'attempt' from oncejob.attempt where run_id = r.id),
  (select 'undecided' from oncejob.run_undecided where run_id = r.id)], null) as places,
  coalesce((select array_agg(outcome order by lease) from oncejob.attempt_log where run_id = r.id), '{}') as attempts
from oncejob.run r where r.id = ${runId}`)
      return row ?? { state: 'none', places: [], attempts: [] }
    },
  }
}

/** Follows ends up as the duty does, until nothing is left to do: what a report set going beside its answer is done, too. */
export const followUp = async (rig: Rig): Promise<void> => {
  for (;;) {
    await rig.limits.runOnce()
    const [left] = await rig.db.query<{ n: number }>(sql`
select count(*)::int as n from oncejob.run_blocked b
where b.after_run_id is not null and not exists (select from oncejob.run r where r.id = b.after_run_id and r.state = 'open')`)
    if (left?.n === 0 && (await jobsWithRoom(rig.db)).length === 0) return
  }
}

/** Makes sessions expire long ago, as if their workers had been silent. */
export const silence = async (db: Db, sessionId: number): Promise<void> => {
  await db.query(sql`update oncejob.worker_session set expires_at = now() - interval '1 hour' where id = ${sessionId}`)
}
