// A whole installation for one test: a database, servers and workers as processes, an app with its token, clients.
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createClient, type ClientOptions, type OnceJobClient } from '@oncejob/client'
import { killAll, startNode, type Child } from './children.ts'
import { readLedgers, type Entry } from './ledger.ts'
import { openPlace, tempFolder, type Place } from './places.ts'

export interface WorkerSettings {
  readonly urls: readonly string[]
  readonly token: string
  readonly name: string
  readonly ledger: string
  readonly concurrency?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly drainMs?: number
}

/** What the processor `work` of e2e/support/worker.ts does, in this order. */
export interface WorkParams {
  /** Sleep so long. */
  readonly ms?: number
  /** Wait until this file exists. */
  readonly gate?: string
  /** On the worker of this name: wait until the signal aborts, and return nevertheless. */
  readonly untilAborted?: string
  /** Lines for the run's log. */
  readonly says?: readonly string[]
}

export interface ServerProcess {
  readonly url: string
  /** The process of now; another one after a restart. */
  child(): Child
  /** Starts it (again) at the same address; resolves when it answers. */
  start(): Promise<void>
}

export interface WorkerProcess {
  readonly name: string
  readonly ledger: string
  child(): Child
  start(): Promise<void>
}

export interface Fleet {
  readonly place: Place
  readonly servers: readonly ServerProcess[]
  readonly urls: string[]
  readonly adminToken: string
  readonly appToken: string
  /** Of the app of this fleet. */
  readonly client: OnceJobClient
  /** With the admin token, for the same app. */
  readonly admin: OnceJobClient
  /** A folder for gates and ledgers. */
  readonly folder: string
  /** A client that the fleet closes. */
  connect(options?: Partial<ClientOptions>): OnceJobClient
  addWorker(name: string, settings?: Partial<WorkerSettings>): Promise<WorkerProcess>
  /** Every line that the workers wrote. */
  ledger(): Entry[]
  /** The last that servers and workers of now have said, and whether they live: for the log of a failed test. */
  words(): string
  /** Ends everything and removes it. */
  close(): Promise<void>
}

export interface FleetOptions {
  readonly place?: Place
  readonly servers?: number
  readonly leaseMs?: number
  readonly graceMs?: number
  readonly env?: Readonly<Record<string, string>>
  /** By how much the clock of each server is wrong, in ms. */
  readonly skewsMs?: readonly number[]
  /** Each server has a port for Java workers that it comes back to; otherwise the usual one if it is free. */
  readonly javaWorkers?: boolean
}

/** Environment of a process whose wall clock is wrong. */
const skewed = (skewMs: number | undefined): Readonly<Record<string, string>> =>
  skewMs === undefined
    ? {}
    : { NODE_OPTIONS: `--import=${new URL('skewed-clock.ts', import.meta.url).href}`, E2E_SKEW_MS: String(skewMs) }

const adminToken = 'an-admin-token-for-e2e-only'
export const appName = 'shop'

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })

/**
 * A port that a server can come back to: below the range from which the system gives ports to connections, which
 * would take it while the server is down.
 */
export const stablePort = async (): Promise<number> => {
  for (;;) {
    const port = randomInt(15_000, 32_000)
    if (await isFree(port)) return port
  }
}

const support = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

const makeServer = async (env: Readonly<Record<string, string>>, hasJava = false): Promise<ServerProcess> => {
  const port = await stablePort()
  const java = hasJava ? { ONCEJOB_POWERJOB_PORT: String(await stablePort()) } : {}
  let child: Child | undefined
  return {
    url: `http://127.0.0.1:${port}`,
    child: () => {
      if (child === undefined) throw new Error('the server was not started')
      return child
    },
    start: async () => {
      const next = startNode(support('server.ts'), [], {
        tied: true,
        env: { ...env, ...java, ONCEJOB_PORT: String(port) },
      })
      child = next
      await next.says(/^READY /m)
    },
  }
}

const makeWorker = (settings: WorkerSettings): WorkerProcess => {
  let child: Child | undefined
  return {
    name: settings.name,
    ledger: settings.ledger,
    child: () => {
      if (child === undefined) throw new Error('the worker was not started')
      return child
    },
    start: async () => {
      const next = startNode(support('worker.ts'), [], { tied: true, env: { E2E_WORKER: JSON.stringify(settings) } })
      child = next
      await next.says(/^READY$/m)
    },
  }
}

/** Starts servers on a database of their own, with an app `shop`. */
export const openFleet = async (options: FleetOptions = {}): Promise<Fleet> => {
  const place = options.place ?? (await openPlace())
  const temp = tempFolder('fleet')
  try {
    return await assemble(place, temp, options)
  } catch (error) {
    await killAll()
    await place.remove()
    temp.remove()
    throw error
  }
}

const assemble = async (place: Place, temp: ReturnType<typeof tempFolder>, options: FleetOptions): Promise<Fleet> => {
  const env = {
    ...place.env,
    ONCEJOB_ADMIN_TOKEN: adminToken,
    ONCEJOB_LOG_LEVEL: 'warn',
    ONCEJOB_LEASE_MS: String(options.leaseMs ?? 10_000),
    ONCEJOB_GRACE_MS: String(options.graceMs ?? 5_000),
    ...options.env,
  }
  const servers = await Promise.all(
    Array.from({ length: options.servers ?? 1 }, (_, index) =>
      makeServer({ ...env, ...skewed(options.skewsMs?.[index]) }, options.javaWorkers),
    ),
  )
  await Promise.all(servers.map((server) => server.start()))
  const urls = servers.map((server) => server.url)
  const clients: OnceJobClient[] = []
  const connect = (given: Partial<ClientOptions>): OnceJobClient => {
    const client = createClient({ urls, token: adminToken, ...given } as ClientOptions)
    clients.push(client)
    return client
  }
  const admin = connect({ app: appName })
  await admin.apps.create({ name: appName })
  const { token: appToken } = await admin.tokens.create(appName, { name: 'e2e' })
  const workers: WorkerProcess[] = []
  return {
    place,
    servers,
    urls,
    adminToken,
    appToken,
    client: connect({ token: appToken }),
    admin,
    folder: temp.path,
    connect: (given = {}) => connect({ token: appToken, ...given }),
    addWorker: async (name, settings = {}) => {
      const ledger = join(temp.path, `${name}.ledger`)
      const worker = makeWorker({ urls, token: appToken, name, ledger, ...settings })
      workers.push(worker)
      await worker.start()
      return worker
    },
    ledger: () => readLedgers(workers.map((worker) => worker.ledger)),
    words: () => [...servers, ...workers].map((one) => one.child().words()).join('\n'),
    close: async () => {
      for (const client of clients) client.close()
      await killAll()
      await place.remove()
      temp.remove()
    },
  }
}
