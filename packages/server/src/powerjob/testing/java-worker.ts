// A scripted Java worker in the process of the server that it talks to: it says what a test lets it say.
import { setTimeout as sleep } from 'node:timers/promises'
import type { JavaWorkers } from '../worker/api.ts'
import { heartbeatOf, openWorkerPort, reportOf, type Answering, type Taken } from './worker-port.ts'

export interface ScriptedWorker {
  readonly address: string
  readonly taken: Taken[]
  answering: Answering
  /** The answer to queryInstanceStatus; null: it knows no such instance. */
  detail: unknown
  /** The clock of the worker, ms since the epoch: every look makes it later. */
  now(): number
  runs(): Record<string, unknown>[]
  stops(): unknown[]
  /** Waits until it was told of so many runs. */
  handed(count: number): Promise<Record<string, unknown>[]>
  heartbeat(to: JavaWorkers, more?: object): Promise<void>
  report(to: JavaWorkers, runId: number, status: number, more?: object): Promise<unknown>
  /** Its process is killed: nobody listens any more. */
  kill(): Promise<void>
}

const patienceMs = 20_000

/** Waits for something that will come. */
export const until = async (holds: () => boolean | Promise<boolean>, what: string): Promise<void> => {
  const endMs = performance.now() + patienceMs
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`it did not come about: ${what}`)
    await sleep(10)
  }
}

export const startScriptedWorker = async (appId: number, appName: string): Promise<ScriptedWorker> => {
  let clockMs = Date.now()
  let started = 0
  const starts = new Map<number, number>()
  const port = await openWorkerPort(() => ({
    answering: worker.answering,
    detailOf: () => worker.detail ?? undefined,
  }))
  const { address, taken } = port
  const runs = (): Record<string, unknown>[] => port.takenAt('/worker/runJob')
  const worker: ScriptedWorker = {
    address,
    taken,
    answering: () => 200,
    detail: null,
    now: () => (clockMs += 1),
    runs,
    stops: () => port.takenAt('/worker/stopInstance').map(({ instanceId }) => instanceId),
    handed: async (count) => {
      await until(() => runs().length >= count, `${count} runs at ${address}`)
      return runs()
    },
    heartbeat: (to, more = {}) =>
      to.heartbeat({ ...heartbeatOf(address, { id: appId, name: appName }, worker.now()), ...more }),
    report: (to, runId, status, more = {}) => {
      // a worker begins once with each hand-over
      const handed = runs().filter(({ instanceId }) => instanceId === runId).length
      const key = runId * 100 + handed
      const startMs = starts.get(key) ?? Date.now() + (started += 1)
      starts.set(key, startMs)
      const said = reportOf({ address, appId, jobId: 1, runId, status, startMs, nowMs: worker.now() })
      return to.report(JSON.parse(JSON.stringify({ ...said, ...more })) as Record<string, unknown>)
    },
    kill: port.close,
  }
  return worker
}
