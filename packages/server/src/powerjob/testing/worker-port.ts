// What the scripted Java workers are made of: a port that takes the messages of a server, and the messages that a worker sends.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Taken {
  readonly path: string
  readonly body: Record<string, unknown>
}

/** How a message is answered: with a status, or by ending the connection without a word. */
export type Answering = (taken: Taken) => number | 'hang-up' | Promise<number | 'hang-up'>

export interface WorkerPort {
  readonly address: string
  /** What the server has sent, in order. */
  readonly taken: Taken[]
  /** What of it went to this path. */
  takenAt(path: string): Taken['body'][]
  /** Nobody listens any more. */
  close(): Promise<void>
}

/** What a test may change while the port listens. */
export interface Script {
  readonly answering: Answering
  /** Answers /worker/queryInstanceStatus; undefined: the worker knows no such instance. */
  detailOf(body: Taken['body']): unknown
}

const textOf = async (request: IncomingMessage): Promise<string> => {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

/** Opens the port; `script` is asked anew for each message. */
export const openWorkerPort = async (script: () => Script): Promise<WorkerPort> => {
  const taken: Taken[] = []
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const one: Taken = {
      path: request.url ?? '',
      body: JSON.parse(await textOf(request)) as Taken['body'],
    }
    taken.push(one)
    const status = await script().answering(one)
    if (status === 'hang-up') {
      request.socket.destroy()
      return
    }
    response.statusCode = status
    if (one.path !== '/worker/queryInstanceStatus') {
      response.end()
      return
    }
    const detail = script().detailOf(one.body)
    const told =
      detail === undefined
        ? { success: false, message: "can't find TaskTracker" }
        : { success: true, data: Buffer.from(JSON.stringify(detail)).toString('base64url') }
    response.end(JSON.stringify(told))
  }
  const server = createServer((request, response) => void answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    taken,
    takenAt: (path) => taken.filter((one) => one.path === path).map(({ body }) => body),
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

/** A heartbeat as worker 5.1.1 sends it. */
export const heartbeatOf = (
  address: string,
  app: { readonly id: number; readonly name: string },
  atMs: number,
): Record<string, unknown> => ({
  workerAddress: address,
  appName: app.name,
  appId: app.id,
  heartbeatTime: atMs,
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
})

/** A status report as worker 5.1.1 sends it; `status`: 3 running, 4 failed, 5 succeeded. */
export const reportOf = (about: {
  readonly address: string
  readonly appId: number
  readonly jobId: number
  readonly runId: number
  readonly status: number
  readonly startMs: number
  readonly nowMs: number
}): Record<string, unknown> => {
  const { address, appId, jobId, runId, status, startMs, nowMs } = about
  return {
    instanceId: runId,
    appId,
    jobId,
    totalTaskNum: 1,
    succeedTaskNum: status === 5 ? 1 : 0,
    failedTaskNum: status === 3 || status === 5 ? 0 : 1,
    startTime: startMs,
    sourceAddress: address,
    needAlert: false,
    instanceStatus: status,
    reportTime: nowMs,
    ...(status === 3 ? {} : { endTime: nowMs, result: status === 5 ? 'done' : 'boom' }),
  }
}
