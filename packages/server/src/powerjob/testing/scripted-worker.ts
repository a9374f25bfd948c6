// A Java worker as the wire sees it: it says what a test tells it to say, and notes what it is told.
import { createServer, type IncomingMessage, type Server } from 'node:http'

export interface Told {
  readonly path: string
  readonly body: Readonly<Record<string, unknown>>
}

export interface ScriptedWorker {
  readonly address: string
  /** What the server has sent, in order. */
  readonly told: readonly Told[]
  /** What of it went to this path. */
  toldAt(path: string): readonly Told['body'][]
  /** Answers /worker/queryInstanceStatus; undefined: it knows no such instance. */
  detail: ((body: Told['body']) => unknown) | undefined
  /** Posts to the server; the answer is its status and text. */
  post(path: string, body: unknown): Promise<{ readonly status: number; readonly text: string }>
  heartbeat(more?: object): Promise<{ readonly status: number; readonly text: string }>
  /** A status report of an instance; `status`: 3 running, 4 failed, 5 succeeded. */
  report(
    jobId: number,
    instanceId: number,
    status: 3 | 4 | 5,
    more?: object,
  ): Promise<{ readonly status: number; readonly text: string }>
  stop(): Promise<void>
}

const textOf = async (request: IncomingMessage): Promise<string> => {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

const listen = async (server: Server, port: number): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** @param url of the port that takes its messages */
export const startScriptedWorker = async (
  url: string,
  app: { readonly id: number; readonly name: string },
  port = 0,
): Promise<ScriptedWorker> => {
  const told: Told[] = []
  const server = createServer((request, response) => {
    void (async () => {
      const path = request.url ?? ''
      const body = JSON.parse(await textOf(request)) as Told['body']
      told.push({ path, body })
      if (path !== '/worker/queryInstanceStatus') return response.end()
      const detail = worker.detail?.(body)
      const answer =
        detail === undefined
          ? { success: false, message: "can't find TaskTracker" }
          : { success: true, data: Buffer.from(JSON.stringify(detail)).toString('base64url') }
      return response.end(JSON.stringify(answer))
    })()
  })
  const address = `127.0.0.1:${await listen(server, port)}`
  const post: ScriptedWorker['post'] = async (path, body) => {
    const answer = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    return { status: answer.status, text: await answer.text() }
  }
  const systemMetrics = {
    cpuProcessors: 4,
    cpuLoad: 0.5,
    jvmUsedMemory: 0.2,
    jvmMaxMemory: 4,
    jvmMemoryUsage: 0.05,
    diskUsed: 10,
    diskTotal: 100,
    diskUsage: 0.1,
    score: 11,
  }
  // its clock goes on with each report, and never back
  let nowMs = Date.now()
  const starts = new Map<number, number>()
  const startOf = (instanceId: number): number => {
    const startMs = starts.get(instanceId) ?? nowMs
    starts.set(instanceId, startMs)
    return startMs
  }
  const worker: ScriptedWorker = {
    address,
    told,
    toldAt: (path) => told.filter((one) => one.path === path).map(({ body }) => body),
    detail: undefined,
    post,
    heartbeat: (more = {}) =>
      post('/server/workerHeartbeat', {
        workerAddress: address,
        appName: app.name,
        appId: app.id,
        heartbeatTime: Date.now(),
        containerInfos: [],
        version: '5.1.1',
        protocol: 'HTTP',
        client: 'KingPenguin',
        lightTaskTrackerNum: 0,
        heavyTaskTrackerNum: 0,
        overload: false,
        systemMetrics,
        ...more,
      }),
    report: (jobId, instanceId, status, more = {}) =>
      post('/server/reportInstanceStatus', {
        appId: app.id,
        jobId,
        instanceId,
        instanceStatus: status,
        totalTaskNum: 1,
        succeedTaskNum: status === 5 ? 1 : 0,
        failedTaskNum: status === 4 ? 1 : 0,
        startTime: startOf(instanceId),
        reportTime: (nowMs = Math.max(nowMs + 1, Date.now())),
        sourceAddress: address,
        needAlert: false,
        ...(status === 3 ? {} : { result: status === 5 ? 'done' : 'boom', endTime: nowMs }),
        ...more,
      }),
    stop: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return worker
}
