// One server's core with Java workers, on a database that several of them may share.
import { createRig, followUp, type Rig } from '../../testing/rig.ts'
import type { Clock } from '../../kernel/clock.ts'
import type { ServerConfig } from '../../config.ts'
import { configFrom } from '../../config.ts'
import type { Db } from '../../storage/db.ts'
import { sql } from '../../storage/sql.ts'
import { writtenJob } from '../job-codec.ts'
import { completeJob, readJob } from '../job-request.ts'
import { startScriptedWorker, type ScriptedWorker } from './java-worker.ts'

export interface JavaRig extends Rig {
  readonly appName: (appId: number) => Promise<string>
  /** Saves a job as a PowerJob client does; the answer is its id. */
  readonly wireJob: (appId: number, more?: object) => Promise<number>
  /** A worker that has said that it lives. */
  readonly javaWorker: (appId: number, more?: object) => Promise<ScriptedWorker>
  /** A run that a worker of an app of its own has. */
  readonly handed: (job?: object) => Promise<{
    readonly appId: number
    readonly jobId: number
    readonly worker: ScriptedWorker
    readonly runId: number
  }>
  readonly sessionOf: (worker: ScriptedWorker) => Promise<number>
  /** Nobody has heard of an attempt for longer than the silence allows. */
  readonly hush: (runId: number) => Promise<void>
  readonly end: () => Promise<void>
}

/** One more server. Its duties are called by the test. */
export const createJavaRig = async (
  db: Db,
  options: { readonly clock?: Clock; readonly config?: Partial<ServerConfig> } = {},
): Promise<JavaRig> => {
  const rig = await createRig(db, options)
  await rig.presence.start()
  const workers: ScriptedWorker[] = []
  const appName = async (appId: number): Promise<string> => {
    const [row] = await db.query<{ name: string }>(sql`select name from oncejob.app where id = ${appId}`)
    return row!.name
  }
  const sessionOf = async ({ address }: ScriptedWorker): Promise<number> => {
    const [row] = await db.query<{ id: number }>(
      sql`select id from oncejob.worker_session where address = ${address} and ended_at is null`,
    )
    return row!.id
  }
  const wireJob: JavaRig['wireJob'] = async (appId, more = {}) => {
    const fields = {
      jobName: 'job',
      jobParams: 'ok',
      timeExpressionType: 'API',
      executeType: 'STANDALONE',
      processorType: 'BUILT_IN',
      processorInfo: 'com.acme.P',
      ...more,
    }
    const asked = completeJob(readJob(fields), true)
    const made = await rig.service.wire.create(
      { appId, actor: 'test' },
      { action: 'job.create', want: () => writtenJob(asked, undefined, 'UTC') },
    )
    await rig.directory.refresh()
    return made.id
  }
  const javaWorker: JavaRig['javaWorker'] = async (appId, more = {}) => {
    const worker = await startScriptedWorker(appId, await appName(appId))
    workers.push(worker)
    await worker.heartbeat(rig.java.workers, more)
    return worker
  }
  return {
    ...rig,
    appName,
    sessionOf,
    wireJob,
    javaWorker,
    handed: async (job = {}) => {
      const appId = await rig.app()
      const jobId = await wireJob(appId, job)
      const worker = await javaWorker(appId)
      const runId = await rig.submit(appId, jobId)
      await worker.handed(1)
      return { appId, jobId, worker, runId }
    },
    hush: async (runId) => {
      await db.query(sql`update oncejob.attempt set claimed_at = now() - interval '10 minutes' where run_id = ${runId}`)
      await db.query(
        sql`update oncejob.powerjob_attempt set heard_at = now() - interval '10 minutes' where run_id = ${runId}`,
      )
    },
    end: async () => {
      await rig.java.service.start()
      await rig.java.service.stop()
      await followUp(rig)
      await Promise.all(workers.map((worker) => worker.kill()))
      await rig.presence.stop()
    },
  }
}

export const patientConfig: Partial<ServerConfig> = {
  powerjob: { ...configFrom({}).powerjob, workerSilenceMs: 1_000 },
}
