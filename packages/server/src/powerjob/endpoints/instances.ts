// The calls for instances, which are our runs: run, stop, cancel, retry, look (contract 6.4, 6.6, 6.7).
import { longestMs, Refusal } from '@oncejob/protocol'
import { countWireRuns, listWireRuns, wireRun, wireRunStatus } from '../../storage/powerjob-runs.ts'
import { WireError, type Endpoint, type JavaError, type WireCall, type WireServices } from '../call.ts'
import { instanceStatuses } from '../codes.ts'
import { instanceInfo } from '../instance-codec.ts'
import { bodyFields, formDigits, formLong } from '../jackson.ts'
import { readInstanceQuery } from '../query.ts'
import { ownedJob } from './jobs.ts'

/** What one page holds; a page that would hold more is refused, not cut. */
const pageMax = 1000

/** The failures of our services that have words of their own on this wire. */
type Words = Partial<Record<Refusal['code'], readonly [JavaError, string]>>

/** Runs the work; a refusal that has words here is told in them. */
const inWords = async <T>(work: Promise<T>, words: Words): Promise<T> => {
  try {
    return await work
  } catch (error) {
    // translated: the same no, as callers of this wire know it
    const own = error instanceof Refusal ? words[error.code] : undefined
    if (own !== undefined) throw new WireError(...own)
    throw error
  }
}

const delayIn = (call: WireCall): number | null => {
  const delayMs = formLong(call, 'delay') ?? 0
  if (delayMs > longestMs)
    throw new WireError('IllegalArgumentException', `delay is ${delayMs}; at most ${longestMs} ms are possible`)
  return delayMs > 0 ? delayMs : null
}

/** Why there is no run; told apart only here, so that calls which succeed cost one statement. */
const noRun = async (call: WireCall, services: WireServices, jobId: number, refusal: Refusal): Promise<never> => {
  if (refusal.code === 'JOB_NOT_FOUND') {
    await ownedJob(call, services, jobId)
    throw new WireError('IllegalArgumentException', `can't find job by jobId: ${jobId}`)
  }
  const { limit } = refusal.facts
  if (refusal.code === 'RUN_LIMIT' && typeof limit === 'number')
    throw new WireError('PowerJobException', `too many instances(${limit + 1}>${limit})`)
  throw refusal
}

const runJob = async (call: WireCall, services: WireServices): Promise<number> => {
  const jobId = formLong(call, 'jobId')
  const delayMs = delayIn(call)
  const text = call.fields.get('instanceParams') ?? ''
  if (jobId === null) throw new WireError('IllegalArgumentException', `can't find job by jobId: ${jobId}`)
  try {
    const { id } = await services.runs.submit({
      appId: call.appId,
      job: jobId,
      params: text === '' ? null : JSON.stringify(text),
      delayMs,
      runAtMs: null,
      priority: null,
      queueTimeoutMs: null,
      runKey: null,
      requestKey: call.keyed?.key ?? null,
      keyed: call.keyed,
    })
    return id
  } catch (error) {
    // translated
    if (error instanceof Refusal) return noRun(call, services, jobId, error)
    throw error
  }
}

const foreign = ({ appId }: WireCall): WireError =>
  new WireError('IllegalArgumentException', `instance is not belong to the app whose appId is ${appId}`)

interface Instance {
  readonly id: number
  readonly status: number
}

/** The instance that a call names, of the calling app. @throws WireError */
const namedInstance = async (call: WireCall, { db }: WireServices, missing: string): Promise<Instance> => {
  const id = formLong(call, 'instanceId')
  const row = id === null ? undefined : await wireRunStatus(db, id)
  if (id === null || row === undefined)
    throw new WireError('IllegalArgumentException', `${missing}: ${formDigits(call, 'instanceId')}`)
  if (row.app_id !== call.appId) throw foreign(call)
  return { id, status: row.status }
}

const toSteer = (call: WireCall, services: WireServices): Promise<Instance> =>
  namedInstance(call, services, "can't find instance by instanceId")

const stopInstance = async (call: WireCall, services: WireServices): Promise<null> => {
  const { id } = await toSteer(call, services)
  await inWords(services.runs.stop(call.appId, id, call.actor), {
    RUN_ENDED: ['IllegalArgumentException', "can't stop finished instance!"],
  })
  return null
}

const upAndRunning = ['PowerJobException', 'instance already up and running'] as const

const cancelInstance = async (call: WireCall, services: WireServices): Promise<null> => {
  const { id, status } = await toSteer(call, services)
  // also one whose outcome is unknown, which our own cancel would end
  if (status === instanceStatuses.codeOf('RUNNING')) throw new WireError(...upAndRunning)
  await inWords(services.runs.cancel(call.appId, id, call.actor), {
    RUN_ENDED: upAndRunning,
    RUN_RUNNING: upAndRunning,
  })
  return null
}

const retryInstance = async (call: WireCall, services: WireServices): Promise<null> => {
  const { id } = await toSteer(call, services)
  await inWords(services.runs.retry(call.appId, id, call.actor), {
    RUN_NOT_ENDED: ['PowerJobException', 'Only stopped instance can be retry!'],
  })
  return null
}

const fetchInstanceStatus = async (call: WireCall, services: WireServices): Promise<number> =>
  (await namedInstance(call, services, 'invalid instanceId')).status

const fetchInstanceInfo = async (call: WireCall, { db }: WireServices): Promise<unknown> => {
  const id = formLong(call, 'instanceId')
  const run = id === null ? undefined : await wireRun(db, id)
  if (run === undefined)
    throw new WireError('IllegalArgumentException', `invalid instanceId: ${formDigits(call, 'instanceId')}`)
  if (run.app_id !== call.appId) throw foreign(call)
  return instanceInfo(run)
}

const queryInstance = async (call: WireCall, { db }: WireServices): Promise<unknown> => {
  const { filter, index, pageSize, sortBy, ascending } = readInstanceQuery(bodyFields(call), call.appId)
  const totalItems = await countWireRuns(db, filter)
  const offset = index * pageSize
  const size = Math.min(pageSize, totalItems - offset)
  if (size > pageMax) {
    const says = `the page would hold ${size} instances; ask for pages of at most ${pageMax}`
    throw new WireError('IllegalArgumentException', says)
  }
  const runs = size <= 0 ? [] : await listWireRuns(db, { filter, sortBy, ascending, offset, limit: size })
  return { index, pageSize, totalPages: Math.ceil(totalItems / pageSize), totalItems, data: runs.map(instanceInfo) }
}

/** Clients 4.x look at instances without naming their app. */
const owner: NonNullable<Endpoint['owner']> = async (fields, { db }) => {
  const text = fields.get('instanceId') ?? ''
  const id = /^\s*\d{1,16}\s*$/.test(text) ? Number(text) : undefined
  return id === undefined ? undefined : (await wireRunStatus(db, id))?.app_id
}

const form = { accepts: 'form', app: 'appId' } as const

export const instanceEndpoints: readonly Endpoint[] = [
  { ...form, path: '/runJob', mutates: true, keyed: 'statement', handle: runJob },
  { ...form, path: '/stopInstance', mutates: true, handle: stopInstance },
  { ...form, path: '/cancelInstance', mutates: true, handle: cancelInstance },
  { ...form, path: '/retryInstance', mutates: true, handle: retryInstance },
  { ...form, path: '/fetchInstanceStatus', mutates: false, owner, handle: fetchInstanceStatus },
  { ...form, path: '/fetchInstanceInfo', mutates: false, owner, handle: fetchInstanceInfo },
  { path: '/queryInstance', accepts: 'json', mutates: false, app: 'appIdEq', handle: queryInstance },
]
