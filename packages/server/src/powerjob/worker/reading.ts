// What Java workers say of themselves and of their runs (contract 3.1, 3.3), read into our words.
import type { JavaBeat } from '../../storage/java-workers.ts'
import { readAddress } from './networks.ts'
import { flagOf, numberOf, objectOf, objectsOf, textOf, UnreadableMessage, wholeOf, type Members } from './wire.ts'

const mostText = 255
const mostContainers = 1_000

// PostgreSQL's texts and JSON have neither U+0000 nor half a surrogate pair
const storable = (text: string): string => text.replaceAll('\0', '').toWellFormed()

const shortText = (members: Members, name: string): string | null => {
  const text = textOf(members, name)
  return text === null ? null : storable(text).slice(0, mostText).toWellFormed()
}

const count = (members: Members, name: string): number => Math.max(0, wholeOf(members, name) ?? 0)

const needed = (members: Members, name: string): number => {
  const value = wholeOf(members, name)
  if (value === null) throw new UnreadableMessage(`its member "${name}" is missing`)
  return value
}

const metricsIn = (metrics: Members | null): JavaBeat['metrics'] => {
  if (metrics === null) return null
  // a collector of the user's own may say what is no number: Jackson writes it as a text
  const number = (name: string): number =>
    /^[+-]?(NaN|INF|Infinity)$/.test(String(metrics[name])) ? 0 : (numberOf(metrics, name) ?? 0)
  const [load, score] = [number('cpuLoad'), Math.trunc(number('score'))]
  return {
    cpuCores: Math.max(0, Math.trunc(number('cpuProcessors'))),
    // a machine that can not tell its load says 0 or less
    cpuLoad: load > 0 ? load : -1,
    freeMemoryGb: Math.max(0, number('jvmMaxMemory') - number('jvmUsedMemory')),
    freeDiskGb: Math.max(0, number('diskTotal') - number('diskUsed')),
    ...(score > 0 ? { score } : {}),
  }
}

// Such a worker executes light runs on ten threads for each of its cores, and heavy ones beside them, up to 64. So many again
// are on their way, so that no thread waits for us; more would only make them wait there instead of here.
const slotsOf = (cores: number): number => Math.min(64 + 20 * Math.max(1, cores), 1_000)

/** A heartbeat, with what of it is not kept. */
export interface Heartbeat extends JavaBeat {
  readonly appName: string | null
  /** When it was written, by the clock of the worker; null: it does not say. */
  readonly timeMs: number | null
  /** It says that the worker has no run. */
  readonly idle: boolean
}

/** Reads a heartbeat. @throws UnreadableMessage */
export const readHeartbeat = (message: Members): Heartbeat => {
  const address = textOf(message, 'workerAddress') ?? ''
  if (readAddress(address) === undefined)
    throw new UnreadableMessage('its member "workerAddress" is no host and port, such as 10.0.0.7:27777')
  const metrics = metricsIn(objectOf(message, 'systemMetrics'))
  return {
    appId: needed(message, 'appId'),
    appName: textOf(message, 'appName'),
    address,
    version: shortText(message, 'version'),
    slots: slotsOf(metrics?.cpuCores ?? 1),
    metrics,
    timeMs: wholeOf(message, 'heartbeatTime'),
    // a worker that does not count them has said nothing
    idle: wholeOf(message, 'lightTaskTrackerNum') === 0 && wholeOf(message, 'heavyTaskTrackerNum') === 0,
    facts: {
      tag: shortText(message, 'tag'),
      overload: flagOf(message, 'overload'),
      lightTasks: count(message, 'lightTaskTrackerNum'),
      heavyTasks: count(message, 'heavyTaskTrackerNum'),
      containers: objectsOf(message, 'containerInfos')
        .slice(0, mostContainers)
        .map((container) => ({
          containerId: count(container, 'containerId'),
          version: shortText(container, 'version'),
          deployedTime: wholeOf(container, 'deployedTime'),
        })),
    },
  }
}

/** Statuses that workers send (contract 3). */
export type ReportedStatus = 'running' | 'failed' | 'succeeded'

/** A status report. Times in ms, by the clock of the worker. */
export interface WorkerReport {
  /** Null: it names none. */
  readonly appId: number | null
  readonly jobId: number
  readonly runId: number
  readonly status: ReportedStatus
  readonly result: string | null
  readonly total: number
  readonly succeeded: number
  readonly failed: number
  /** When the worker began with the run. */
  readonly startTime: number
  readonly reportTime: number
  readonly address: string
  /** A job on a short interval has failed as often as it is not to fail; else null. */
  readonly alert: string | null
}

const statusIn = (message: Members): ReportedStatus => {
  const code = wholeOf(message, 'instanceStatus')
  if (code === 3) return 'running'
  if (code === 5) return 'succeeded'
  // canceled and stopped are never sent; who says so has ended it without success
  if (code === 4 || code === 9 || code === 10) return 'failed'
  throw new UnreadableMessage(`its member "instanceStatus" is ${String(code)}, which no worker reports`)
}

/** Reads a report. @throws UnreadableMessage */
export const readReport = (message: Members): WorkerReport => {
  const result = textOf(message, 'result')
  const alert = textOf(message, 'alertContent')
  return {
    appId: wholeOf(message, 'appId'),
    jobId: wholeOf(message, 'jobId') ?? 0,
    // what is beyond 2^53 is no run of ours
    runId: wholeOf(message, 'instanceId') ?? 0,
    status: statusIn(message),
    result: result === null ? null : storable(result),
    total: count(message, 'totalTaskNum'),
    succeeded: count(message, 'succeedTaskNum'),
    failed: count(message, 'failedTaskNum'),
    startTime: count(message, 'startTime'),
    reportTime: count(message, 'reportTime'),
    address: textOf(message, 'sourceAddress') ?? '',
    alert: flagOf(message, 'needAlert') ? storable(alert ?? '') : null,
  }
}
