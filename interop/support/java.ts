// A real PowerJob client in a Java process of its own, told over pipes what to do.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const clientVersions = ['4.3.6', '5.1.0', '5.1.1'] as const
export type ClientVersion = (typeof clientVersions)[number]

/** What a call of the client came to: its ResultDTO, or what it threw. */
export interface Told {
  readonly value?: unknown
  readonly thrown?: Thrown
}
export interface Thrown {
  readonly type: string
  readonly message: string | null
  readonly cause?: Thrown
}
export interface ResultDto<T = unknown> {
  readonly success: boolean
  readonly data: T | null
  readonly message: string | null
}
export interface Repeated {
  readonly tookMs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly results: readonly { readonly data?: unknown; readonly failure?: string; readonly thrown?: Thrown }[]
}
export interface Opening {
  readonly addresses: readonly string[]
  readonly app: string
  readonly password?: string
  /** Only clients 5.x have these. */
  readonly config?: {
    readonly connectionTimeout?: number
    readonly readTimeout?: number
    readonly writeTimeout?: number
    readonly defaultHeaders?: Readonly<Record<string, string>>
  }
}

export interface JavaClient {
  /** The name under which the client is known in its process. */
  open(client: string, opening: Opening): Promise<void>
  /** @throws Error with what the client threw */
  call<T = unknown>(client: string, method: string, ...args: unknown[]): Promise<ResultDto<T>>
  /** The same without throwing. */
  attempt(client: string, method: string, ...args: unknown[]): Promise<Told>
  repeat(
    client: string,
    method: string,
    args: readonly unknown[],
    options: { readonly times: number; readonly threads: number; readonly own?: Opening },
  ): Promise<Repeated>
  close(): Promise<void>
}

const folder = (version: ClientVersion): string =>
  fileURLToPath(new URL(`../java/client-${version}/target`, import.meta.url))

/** Why real clients can not be run here; undefined when they can. */
export const whyNoJava = (): string | undefined => {
  for (const command of ['java', 'mvn']) {
    const { error, status } = spawnSync(command, ['-version'], { stdio: 'ignore', timeout: 60_000 })
    if (error !== undefined || status !== 0) return `no ${command} command`
  }
  return undefined
}

const say = (thrown: Thrown): string =>
  `${thrown.type}: ${thrown.message}${thrown.cause === undefined ? '' : `; caused by ${say(thrown.cause)}`}`

const living = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL')
})

/** Starts the process of one version; it ends with `close`, or with this process. */
export const startJava = async (version: ClientVersion): Promise<JavaClient> => {
  const target = folder(version)
  const child = spawn(
    'java',
    ['-Xmx256m', '-cp', `${target}/client-${version}-1.jar:${target}/lib/*`, 'oncejob.interop.ClientRemote'],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  )
  living.add(child)
  const waiting = new Map<number, (told: Told) => void>()
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4_000)
  })
  const ready = Promise.withResolvers<void>()
  createInterface({ input: child.stdout }).on('line', (line) => {
    const answer = JSON.parse(line) as Told & { id?: number; ready?: true }
    if (answer.ready === true) return ready.resolve()
    if (answer.id === undefined) return
    waiting.get(answer.id)?.(answer)
    waiting.delete(answer.id)
  })
  const ended = new Promise<void>((resolve) => {
    child.on('close', () => {
      living.delete(child)
      const thrown: Thrown = { type: 'Gone', message: `the Java process has ended: ${errors}` }
      ready.reject(new Error(say(thrown)))
      for (const tell of waiting.values()) tell({ thrown })
      resolve()
    })
  })
  child.on('error', (error) => ready.reject(error))
  await ready.promise
  let count = 0
  const ask = (command: object): Promise<Told> =>
    new Promise((resolve) => {
      count += 1
      waiting.set(count, resolve)
      child.stdin.write(`${JSON.stringify({ id: count, ...command })}\n`)
    })
  const demand = async (command: object): Promise<unknown> => {
    const { value, thrown } = await ask(command)
    if (thrown !== undefined) throw new Error(say(thrown))
    return value
  }
  return {
    open: async (client, opening) => void (await demand({ op: 'open', client, ...opening })),
    call: async <T>(client: string, method: string, ...args: unknown[]) =>
      (await demand({ op: 'call', client, method, args })) as ResultDto<T>,
    attempt: (client, method, ...args) => ask({ op: 'call', client, method, args }),
    repeat: async (client, method, args, { own, ...options }) =>
      (await demand({
        op: 'repeat',
        client,
        method,
        args,
        ...options,
        ...(own === undefined ? {} : { own: true, ...own }),
      })) as Repeated,
    close: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}
