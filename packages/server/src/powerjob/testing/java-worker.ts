// A scripted Java worker: an HTTP server that takes the messages of a server, and says what a test lets it say.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { JavaWorkers } from '../worker/api.ts'

export interface Taken {
  readonly path: string
  readonly body: Record<string, unknown>
}

/** How it answers a message: with a status, or by ending the connection without a word. */
export type Answering = (taken: Taken) => number | 'hang-up' | Promise<number | 'hang-up'>

export interface ScriptedWorker {
  readonly address: string
  readonly taken: Taken[]
  answering: Answering
  /** The answer to queryInstanceStatus. */
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
  const taken: Taken[] = []
  let nowMs = Date.now()
  let started = 0
  const starts = new Map<number, number>()
  const answer = async (text: string, request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const one = { path: request.url ?? '', body: JSON.parse(text) as Record<string, unknown> }
    taken.push(one)
    const status = await worker.answering(one)
    if (status === 'hang-up') {
      request.socket.destroy()
      return
    }
    response.statusCode = status
    if (one.path !== '/worker/queryInstanceStatus') {
      response.end()
      return
    }
    const data = Buffer.from(JSON.stringify(worker.detail)).toString('base64url')
    response.end(
      JSON.stringify(
        worker.detail === null ? { success: false, message: "can't find TaskTracker" } : { success: true, data },
      ),
    )
  }
  const server: Server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => void answer(Buffer.concat(parts).toString('utf8'), request, response))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const at = (path: string) => taken.filter((one) => one.path === path).map(({ body }) => body)
  const worker: ScriptedWorker = {
    address,
    taken,
    answering: () => 200,
    detail: null,
    now: () => (nowMs += 1),
    runs: () => at('/worker/runJob'),
    stops: () => at('/worker/stopInstance').map(({ instanceId }) => instanceId),
    handed: async (count) => {
      await until(() => at('/worker/runJob').length >= count, `${count} runs at ${address}`)
      return at('/worker/runJob')
    },
    heartbeat: (to, more = {}) =>
      to.heartbeat({
        workerAddress: address,
        appName,
        appId,
        heartbeatTime: worker.now(),
        containerInfos: [],
        version: '5.1.1',
        protocol: 'HTTP',
        client: 'KingPenguin',
        lightTaskTrackerNum: 0,
        heavyTaskTrackerNum: 0,
        overload: false,
        systemMetrics: {
          cpuProcessors: 4,
          cpuLoad: 0.5,
          jvmUsedMemory: 0.2,
          jvmMaxMemory: 4,
          jvmMemoryUsage: 0.05,
          diskUsed: 10,
          diskTotal: 100,
          diskUsage: 0.1,
          score: 11,
        },
        ...more,
      }),
    report: (to, runId, status, more = {}) => {
      // a worker begins once with each hand-over
      const handed = at('/worker/runJob').filter(({ instanceId }) => instanceId === runId).length
      const key = runId * 100 + handed
      const startTime = starts.get(key) ?? Date.now() + (started += 1)
      starts.set(key, startTime)
      const done =
        status === 3
          ? { succeedTaskNum: 0, failedTaskNum: 0 }
          : {
              endTime: worker.now(),
              result: status === 5 ? 'done' : 'boom',
              succeedTaskNum: status === 5 ? 1 : 0,
              failedTaskNum: status === 5 ? 0 : 1,
            }
      const message = {
        instanceId: runId,
        appId,
        jobId: 1,
        totalTaskNum: 1,
        ...done,
        startTime,
        sourceAddress: address,
        needAlert: false,
        instanceStatus: status,
        reportTime: worker.now(),
        ...more,
      }
      return to.report(JSON.parse(JSON.stringify(message)) as Record<string, unknown>)
    },
    kill: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
  return worker
}
