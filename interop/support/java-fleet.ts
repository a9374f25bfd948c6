// Servers that Java workers reach, apps with workers of each version, and jobs as Java applications save them.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { OnceJobClient } from '@oncejob/client'
import type { RunDetail } from '@oncejob/protocol'
import { openFleet, type Fleet, type FleetOptions } from '../../e2e/support/fleet.ts'
import { patienceMs, until } from '../../e2e/support/until.ts'
import type { ResultDto } from './java.ts'
import {
  javaWorker,
  readJavaLedgers,
  type JavaEntry,
  type JavaWorker,
  type JavaWorkerSettings,
  type WorkerVersion,
} from './java-worker.ts'
import { apiJob } from './jobs.ts'

type Fields = Readonly<Record<string, unknown>>

/** An app with Java workers. */
export interface JavaApp {
  readonly name: string
  readonly id: number
  readonly client: OnceJobClient
  readonly workers: readonly JavaWorker[]
  /** Starts a worker; resolves when a server has heard of it. */
  addWorker(version: WorkerVersion, settings?: Partial<JavaWorkerSettings>): Promise<JavaWorker>
  /** Resolves when the worker has a live session. */
  heard(worker: Pick<JavaWorker, 'port'>): Promise<void>
  /** One call of the OpenAPI. @throws Error when it is refused */
  call<T>(path: string, fields: Fields): Promise<T>
  /** Saves a job on the wire; what is not given is that of an API job. */
  saveJob(name: string, fields: Fields): Promise<number>
  runJob(jobId: number, params?: string, delayMs?: number): Promise<number>
  /** The run when it has ended. */
  ended(runId: number, limitMs?: number): Promise<RunDetail>
  ledger(): JavaEntry[]
  /** The lines of one run. */
  linesOf(runId: number, kind?: JavaEntry['kind']): JavaEntry[]
}

export interface JavaFleet {
  readonly fleet: Fleet
  /** Makes an app without workers. */
  openApp(name: string): Promise<JavaApp>
  /** What all have said last: for the log of a failed test. */
  words(): string
  close(): Promise<void>
}

const post = async <T>(url: string, fields: Fields, form: boolean): Promise<T> => {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined)
  const response = await fetch(url, {
    method: 'POST',
    ...(form
      ? { body: new URLSearchParams(given.map(([name, value]) => [name, String(value)])) }
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(fields) }),
  })
  const answer = (await response.json()) as ResultDto<T>
  if (!answer.success) throw new Error(`${url} ${JSON.stringify(fields)}: ${answer.message}`)
  return answer.data as T
}

const isOver = (run: RunDetail): boolean => !['waiting', 'running', 'unknown'].includes(run.state)

const openApp = async (fleet: Fleet, name: string): Promise<JavaApp> => {
  // the fleet has made one app itself
  const known = (await fleet.admin.apps.list().page()).items.some((app) => app.name === name)
  if (!known) await fleet.admin.apps.create({ name })
  await fleet.admin.apps.patch(name, { powerjob: { tokenless: true } })
  const folder = join(fleet.folder, `java-${name}`)
  mkdirSync(folder)
  const client = fleet.connect({ token: fleet.adminToken, app: name })
  const url = fleet.urls[0] ?? ''
  const { data: id } = (await (await fetch(`${url}/server/assert?appName=${name}`)).json()) as ResultDto<number>
  if (id === null) throw new Error(`the app ${name} is not known to the wire`)
  const call = <T>(path: string, fields: Fields): Promise<T> =>
    post<T>(`${url}/openApi/${path}`, { ...fields, appId: id }, path !== 'saveJob')
  const workers: JavaWorker[] = []
  const heard = (worker: Pick<JavaWorker, 'port'>): Promise<void> =>
    until(`a server hears of the worker at port ${worker.port}`, async () => {
      const { items } = await client.workers.list({ limit: 500 }).page()
      return items.some(({ address, state }) => address?.endsWith(`:${worker.port}`) === true && state === 'live')
    }).then(() => undefined)
  const ledger = (): JavaEntry[] => readJavaLedgers(folder)
  return {
    name,
    id,
    client,
    workers,
    addWorker: async (version, settings = {}) => {
      const servers = fleet.urls.map((one) => new URL(one).host)
      const worker = await javaWorker({ version, app: name, servers, ledgers: folder, ...settings })
      workers.push(worker)
      await worker.start()
      await heard(worker)
      return worker
    },
    heard,
    call,
    saveJob: (jobName, fields) => call<number>('saveJob', apiJob(jobName, fields)),
    runJob: (jobId, params, delayMs = 0) => call<number>('runJob', { jobId, instanceParams: params, delay: delayMs }),
    ended: (runId, limitMs = patienceMs) =>
      until(
        `run ${runId} has ended`,
        async () => {
          const run = await client.runs.get(runId)
          return isOver(run) ? run : undefined
        },
        limitMs,
      ),
    ledger,
    linesOf: (runId, kind) =>
      ledger().filter((entry) => entry.instanceId === runId && (kind === undefined || entry.kind === kind)),
  }
}

/** Starts servers, each with a port for Java workers. */
export const openJavaFleet = async (options: FleetOptions = {}): Promise<JavaFleet> => {
  const fleet = await openFleet({ ...options, javaWorkers: true })
  const apps: JavaApp[] = []
  return {
    fleet,
    openApp: async (name) => {
      const app = await openApp(fleet, name)
      apps.push(app)
      return app
    },
    words: () =>
      [fleet.words(), ...apps.flatMap((app) => app.workers.map((worker) => worker.child().words()))].join('\n'),
    close: () => fleet.close(),
  }
}
