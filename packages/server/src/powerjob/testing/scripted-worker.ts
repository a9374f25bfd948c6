// A scripted Java worker on the wire: it posts what a test tells it to say, and notes what it is told.
import { heartbeatOf, openWorkerPort, reportOf, type Taken } from './worker-port.ts'

interface Posted {
  readonly status: number
  readonly text: string
}

export interface ScriptedWorker {
  readonly address: string
  /** What of the server's messages went to this path, in order. */
  toldAt(path: string): readonly Taken['body'][]
  /** Answers /worker/queryInstanceStatus; undefined: it knows no such instance. */
  detail: ((body: Taken['body']) => unknown) | undefined
  /** Posts to the server; the answer is its status and text. */
  post(path: string, body: unknown): Promise<Posted>
  heartbeat(more?: object): Promise<Posted>
  /** A status report of an instance; `status`: 3 running, 4 failed, 5 succeeded. */
  report(jobId: number, instanceId: number, status: 3 | 4 | 5, more?: object): Promise<Posted>
  stop(): Promise<void>
}

/** @param url of the port that takes its messages */
export const startScriptedWorker = async (
  url: string,
  app: { readonly id: number; readonly name: string },
): Promise<ScriptedWorker> => {
  const { address, takenAt, close } = await openWorkerPort(() => ({
    answering: () => 200,
    detailOf: (body) => worker.detail?.(body),
  }))
  const post: ScriptedWorker['post'] = async (path, body) => {
    const answer = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    return { status: answer.status, text: await answer.text() }
  }
  // its clock goes on with each report, and never back
  let nowMs = Date.now()
  const starts = new Map<number, number>()
  const worker: ScriptedWorker = {
    address,
    toldAt: takenAt,
    detail: undefined,
    post,
    heartbeat: (more = {}) => post('/server/workerHeartbeat', { ...heartbeatOf(address, app, Date.now()), ...more }),
    report: (jobId, instanceId, status, more = {}) => {
      const startMs = starts.get(instanceId) ?? nowMs
      starts.set(instanceId, startMs)
      nowMs = Math.max(nowMs + 1, Date.now())
      const said = reportOf({ address, appId: app.id, jobId, runId: instanceId, status, startMs, nowMs })
      return post('/server/reportInstanceStatus', { ...said, ...more })
    },
    stop: close,
  }
  return worker
}
