// Real PowerJob workers in Java processes of their own: started, killed, frozen, and what they wrote down that they did.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { start, type Child } from '../../e2e/support/children.ts'
import { stablePort } from '../../e2e/support/fleet.ts'

export const workerVersions = ['4.3.9', '5.1.0', '5.1.1'] as const
export type WorkerVersion = (typeof workerVersions)[number]

/** Names of the processors of interop/java/src/worker. */
export const processor = (name: string): string => `oncejob.interop.worker.${name}`

export interface JavaWorkerSettings {
  readonly version: WorkerVersion
  readonly app: string
  /** Web addresses of the servers, host:port. */
  readonly servers: readonly string[]
  /** A folder for the ledgers, which workers of a test share. */
  readonly ledgers: string
  readonly tag?: string
  /** It is not told to be at 127.0.0.1, but looks for an address as workers do; `address` is not its own then. */
  readonly findsAddress?: boolean
  /** How often it reports and looks at its tasks; as often as workers usually do, or every second. */
  readonly pace?: 'usual' | 'fast'
  /** Seconds between its heartbeats; 10 when nothing is said. */
  readonly heartbeatSeconds?: number
  /** It has Spring among its jars, which containers need. */
  readonly spring?: boolean
  /** Flags of the JVM. */
  readonly flags?: readonly string[]
}

/** A line of the ledger: what a processor did, as its process saw it. */
export interface JavaEntry {
  /** ms since the epoch, with fractions; the machine's clock, which the servers share here. */
  readonly at: number
  readonly kind: 'start' | 'end' | 'threw' | 'before' | 'after' | 'split' | 'reduce'
  /** Of the worker: in these tests each has one of its own. */
  readonly port: number
  readonly instanceId: number
  /** Equal to instanceId except in the long run of a job on a short interval. */
  readonly subInstanceId: number
  readonly taskId: string
  readonly task: string
}

export interface JavaWorker {
  readonly version: WorkerVersion
  readonly port: number
  /** What it is called everywhere. */
  readonly address: string
  readonly tag: string | undefined
  /** Where it keeps its files. */
  readonly workspace: string
  /** The process of now; another one after a restart. */
  child(): Child
  /** Starts it (again) at the same address; resolves when it has found a server. */
  start(): Promise<void>
  kill(): Promise<void>
  /** Stops its process as it is; its port still takes connections, nobody answers. */
  freeze(): void
  thaw(): void
  /** How many messages about its parts it dropped inside itself (contract 5.7), and how many of these told an end. */
  drops(): { readonly all: number; readonly ends: number }
}

/** Where Maven has put what a module of interop/java came to. */
export const built = (module: string): string => fileURLToPath(new URL(`../java/${module}/target`, import.meta.url))

/** A JVM of these tests is to be there soon, and is not to take much. */
export const modest = ['-Xmx192m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xss512k']

/** A worker that is not started yet. It ends with its test: its stdin is held by it. */
export const javaWorker = async (settings: JavaWorkerSettings): Promise<JavaWorker> => {
  const { version, app, servers, ledgers, tag, pace = 'fast', heartbeatSeconds, flags = modest } = settings
  const port = await stablePort()
  const workspace = join(ledgers, `workspace-${port}`)
  const folder = built(`worker-${version}`)
  const jars = [`${folder}/worker-${version}-1.jar`, `${folder}/lib/*`]
  if (settings.spring === true) jars.push(`${built('container-1')}/lib/*`)
  const args = [
    ...flags,
    ...(settings.findsAddress === true ? [] : ['-Dpowerjob.network.local.address=127.0.0.1']),
    ...(pace === 'fast' ? ['-Dpowerjob.worker.status-check.normal.period=1'] : []),
    ...(heartbeatSeconds === undefined ? [] : [`-Doncejob.heartbeatSeconds=${heartbeatSeconds}`]),
    `-Dpowerjob.worker.workspace=${workspace}`,
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    `-Doncejob.app=${app}`,
    `-Doncejob.servers=${servers.join(',')}`,
    `-Doncejob.port=${port}`,
    `-Doncejob.ledger=${ledgers}`,
    ...(tag === undefined ? [] : [`-Doncejob.tag=${tag}`]),
    '-cp',
    jars.join(':'),
    'oncejob.interop.worker.WorkerMain',
  ]
  let child: Child | undefined
  const current = (): Child => {
    if (child === undefined) throw new Error('the worker was not started')
    return child
  }
  return {
    version,
    port,
    address: `127.0.0.1:${port}`,
    tag,
    workspace,
    child: current,
    start: async () => {
      const next = start('java', args, { tied: true })
      child = next
      await next.says(/^READY$/m)
    },
    kill: () => current().kill(),
    freeze: () => current().signal('SIGSTOP'),
    thaw: () => current().signal('SIGCONT'),
    drops: () => {
      const dropped = current()
        .stderr()
        .split('\n')
        .filter((line) => line.includes('will drop this report'))
      // 5: failed, 6: succeeded
      return { all: dropped.length, ends: dropped.filter((line) => /newStatus=[56]/.test(line)).length }
    },
  }
}

/** All that the workers of a folder wrote, in the order of its time. */
export const readJavaLedgers = (folder: string): JavaEntry[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.ledger'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1))
    .map((line) => JSON.parse(line) as JavaEntry)
    .toSorted((one, other) => one.at - other.at)
