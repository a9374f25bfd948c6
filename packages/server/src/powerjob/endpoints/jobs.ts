// The calls for jobs: save, copy, export, look, delete, switch (contract 6.2–6.5).
import { databaseNowMs } from '../../storage/schedules-config.ts'
import { Refusal } from '../../kernel/errors.ts'
import { isFrequent } from '../../runs/java-needs.ts'
import type { StoredJob } from '../../storage/jobs.ts'
import { queryWireJobs, type WireJobFilter } from '../../storage/powerjob-jobs.ts'
import { openRunsOf } from '../../storage/powerjob-runs.ts'
import { callerOf, WireError, type Endpoint, type WireCall, type WireServices } from '../call.ts'
import { bodyFields, formLong, member } from '../jackson.ts'
import { wireJobOf, writtenJob } from '../job-codec.ts'
import { exportedJob, jobInfo } from '../job-dto.ts'
import { checkAlarm, completeJob, readJob } from '../job-request.ts'
import { readJobQuery } from '../query.ts'
import { checkLifeCycle, checkNextTrigger } from '../schedule-codec.ts'

/** What one answer holds; more is refused, not cut. */
const jobsMax = 10_000
const stopsAtOnce = 500

/** The job of this id, deleted or not, of the calling app. @throws WireError */
export const ownedJob = async (
  { appId }: WireCall,
  { jobs }: WireServices,
  jobId: number | null,
): Promise<StoredJob> => {
  const job = jobId === null ? undefined : await jobs.wire.find(jobId)
  if (job === undefined) throw new WireError('IllegalArgumentException', `can't find job by jobId: ${jobId}`)
  if (job.appId !== appId)
    throw new WireError('IllegalArgumentException', `this job is not belong to the app whose appId is ${appId}`)
  return job
}

const namedJob = (call: WireCall, services: WireServices): Promise<StoredJob> =>
  ownedJob(call, services, formLong(call, 'jobId'))

const saveJob = async (call: WireCall, services: WireServices): Promise<number> => {
  const fields = bodyFields(call)
  const read = readJob(fields)
  if (read.id !== null) await ownedJob(call, services, read.id)
  const hasApp = (member(fields, 'appId') ?? null) !== null
  const asked = completeJob(read, hasApp)
  const want = (current: StoredJob | undefined, nowMs: number) => {
    checkLifeCycle(asked.lifeCycle, nowMs)
    const written = writtenJob(asked, current, call.zone)
    checkNextTrigger(written.definition.schedule, asked.timeExpression, nowMs)
    checkAlarm(asked)
    return written
  }
  const { wire } = services.jobs
  const job =
    read.id === null
      ? await wire.create(callerOf(call), { action: 'job.create', want: (nowMs) => want(undefined, nowMs) })
      : await wire.change(callerOf(call), read.id, { action: 'job.update', revives: true, want })
  return job.id
}

const copyJob = async (call: WireCall, services: WireServices): Promise<number> => {
  const source = await namedJob(call, services)
  if (source.deletedAt !== null)
    throw new WireError('IllegalStateException', "can't copy the job which has been deleted!")
  const { definition, powerjob } = source
  const enabled = call.settings.copyEnabled && definition.enabled
  const copy = await services.jobs.wire.create(callerOf(call), {
    action: 'job.copy',
    detail: { from: `job/${source.id}` },
    want: () => ({ definition: { ...definition, name: `${definition.name}_COPY`, enabled }, powerjob }),
  })
  return copy.id
}

const exportJob = async (call: WireCall, services: WireServices): Promise<unknown> => {
  const job = await namedJob(call, services)
  return exportedJob(job, await databaseNowMs(services.db))
}

const fetchJob = async (call: WireCall, services: WireServices): Promise<unknown> =>
  jobInfo(await namedJob(call, services))

const found = async ({ db }: WireServices, filter: WireJobFilter): Promise<unknown> => {
  const jobs = await queryWireJobs(db, filter, jobsMax + 1)
  if (jobs.length <= jobsMax) return jobs.map(jobInfo)
  const says = `more than ${jobsMax} jobs match: ask for them in parts with queryJob, for example by idGt and idLt`
  throw new WireError('PowerJobException', says)
}

/** Stops what is open of a job on a short interval, as stopInstance does; what has ended meanwhile is fine. */
const stopOpenRuns = async ({ appId, actor }: WireCall, { db, runs }: WireServices, job: StoredJob): Promise<void> => {
  if (!isFrequent(job.definition)) return
  let after = 0
  for (;;) {
    const ids = await openRunsOf(db, job.id, after, stopsAtOnce)
    for (const id of ids) {
      try {
        await runs.stop(appId, id, actor)
      } catch (error) {
        // answered here: the job is switched off, whatever becomes of its runs
        if (!(error instanceof Refusal)) throw error
      }
    }
    const last = ids.at(-1)
    if (last === undefined || ids.length < stopsAtOnce) return
    after = last
  }
}

const deleteJob = async (call: WireCall, services: WireServices): Promise<null> => {
  const job = await namedJob(call, services)
  await services.jobs.wire.remove(callerOf(call), job.id)
  await stopOpenRuns(call, services, job)
  return null
}

const disableJob = async (call: WireCall, services: WireServices): Promise<null> => {
  const job = await namedJob(call, services)
  await services.jobs.wire.change(callerOf(call), job.id, {
    action: 'job.disable',
    // a deleted job does not fire as it is
    revives: false,
    want: ({ definition }) => ({ definition: { ...definition, enabled: false } }),
  })
  await stopOpenRuns(call, services, job)
  return null
}

const enableJob = async (call: WireCall, services: WireServices): Promise<null> => {
  const { id } = await namedJob(call, services)
  await services.jobs.wire.change(callerOf(call), id, {
    action: 'job.enable',
    revives: true,
    want: (job, nowMs) => {
      const { definition } = job
      checkNextTrigger(definition.schedule, wireJobOf(job).timeExpression, nowMs)
      return { definition: { ...definition, enabled: true } }
    },
  })
  return null
}

const form = { accepts: 'form', app: 'appId' } as const

export const jobEndpoints: readonly Endpoint[] = [
  { path: '/saveJob', accepts: 'json', mutates: true, app: 'appId', handle: saveJob },
  { ...form, path: '/copyJob', mutates: true, handle: copyJob },
  { ...form, path: '/exportJob', mutates: false, handle: exportJob },
  { ...form, path: '/fetchJob', mutates: false, handle: fetchJob },
  {
    ...form,
    path: '/fetchAllJob',
    mutates: false,
    handle: (call, services) => found(services, { appId: call.appId }),
  },
  {
    path: '/queryJob',
    accepts: 'json',
    mutates: false,
    app: 'appIdEq',
    handle: (call, services) => found(services, readJobQuery(bodyFields(call), call.appId)),
  },
  { ...form, path: '/deleteJob', mutates: true, handle: deleteJob },
  { ...form, path: '/disableJob', mutates: true, handle: disableJob },
  { ...form, path: '/enableJob', mutates: true, handle: enableJob },
]
