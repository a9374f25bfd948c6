// Runs as this wire answers them: InstanceInfoDTO (contract 5.2), with PowerJob's words for what ended them (7.16).
import { jsonValue } from '../kernel/json.ts'
import type { WireRunRow } from '../storage/powerjob-runs.ts'
import { instanceStatuses, instanceTypes } from './codes.ts'
import { isFields, isoText, member } from './jackson.ts'
import { plainText } from './job-codec.ts'

const limitReached = (limit: unknown): string | undefined =>
  typeof limit === 'number' ? `too many instances(${limit + 1}>${limit})` : undefined

const late = 'instance execute timeout'

/** What PowerJob says where we have a code of our own. */
const wordsFor = (code: unknown, limit: unknown, message: unknown): string | undefined => {
  switch (code) {
    case 'RUN_LIMIT':
      return limitReached(limit)
    case 'WORKER_LOST':
      return 'worker report timeout, maybe TaskTracker down'
    case 'RUN_TIMEOUT':
    case 'ATTEMPT_TIMED_OUT':
      // a Java worker says more about it
      return String(message).startsWith(late) ? String(message) : late
    case 'CANCELED':
      return 'canceled by user'
    default:
      return undefined
  }
}

/** The result of a run; of one that did not succeed, why, and never its stack. */
const resultOf = ({ status, state, result, error }: WireRunRow): string | null => {
  if (status === instanceStatuses.codeOf('STOPPED')) return 'stopped by user'
  if (state === 'open' || state === 'succeeded') return plainText(jsonValue(result))
  const stored = jsonValue(error)
  if (!isFields(stored)) return null
  const message = member(stored, 'message')
  return (
    wordsFor(member(stored, 'code'), member(stored, 'limit'), message) ?? (typeof message === 'string' ? message : null)
  )
}

/** InstanceInfoDTO. */
export const instanceInfo = (run: WireRunRow): Readonly<Record<string, unknown>> => ({
  jobId: run.job_id,
  appId: run.app_id,
  instanceId: run.id,
  wfInstanceId: null,
  jobParams: plainText(jsonValue(run.job_params)),
  instanceParams: plainText(jsonValue(run.params)),
  status: run.status,
  type: instanceTypes.codeOf('NORMAL'),
  result: resultOf(run),
  expectedTriggerTime: run.due_at.getTime(),
  actualTriggerTime: run.started_at?.getTime() ?? null,
  // a canceled instance has none there
  finishedTime: run.status === instanceStatuses.codeOf('CANCELED') ? null : (run.ended_at?.getTime() ?? null),
  taskTrackerAddress: run.worker,
  runningTimes: run.attempts,
  gmtCreate: isoText(run.created_at),
  gmtModified: isoText(run.modified_at),
})
