// Child processes of a test: what they say, how they end, and that none of them outlives its test.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { GivenUp as Ended, patienceMs, until, within } from './until.ts'

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Child {
  readonly pid: number
  readonly ended: Promise<Ending>
  isAlive(): boolean
  stdout(): string
  stderr(): string
  /** Resolves with the first match in what it writes to stdout; rejects with its words when it ends without. */
  says(pattern: RegExp): Promise<RegExpExecArray>
  /** The same for stderr, where the command talks to people. */
  tells(pattern: RegExp): Promise<RegExpExecArray>
  /** The last it has said, for messages. */
  words(): string
  signal(name: NodeJS.Signals): void
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  /** Sends the signal and resolves with how it ended. */
  endBy(name: NodeJS.Signals, limitMs?: number): Promise<Ending>
}

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** The children of e2e/support end when their stdin does; others have none. */
  readonly tied?: boolean
}

const living = new Set<ChildProcess>()

/** Settings of the machine must not reach what is tested. */
const cleanEnv = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(ONCEJOB_|DATABASE_URL$|VITEST|NODE_OPTIONS$|NODE_ENV$|PG)/.test(name),
    ),
  )

const keep = (stream: NodeJS.ReadableStream | null): (() => string) => {
  const parts: string[] = []
  stream?.setEncoding('utf8').on('data', (text: string) => parts.push(text))
  return () => parts.join('')
}

/** Runs a program. */
export const start = (file: string, args: readonly string[], options: SpawnOptions = {}): Child => {
  const child = spawn(file, args, {
    env: { ...cleanEnv(), NO_COLOR: '1', ...options.env },
    stdio: [options.tied === true ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  living.add(child)
  // A pipe to a process that is killed breaks; that is the purpose of these tests.
  child.stdin?.on('error', () => undefined)
  const stdout = keep(child.stdout)
  const stderr = keep(child.stderr)
  const ended = new Promise<Ending>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      living.delete(child)
      resolve({ code, signal })
    })
  })
  ended.catch(() => living.delete(child))
  const isAlive = (): boolean => living.has(child)
  const words = (): string =>
    `process ${child.pid} (${isAlive() ? 'lives' : 'has ended'}) ${args.join(' ')} said:\n${stdout().slice(-3000)}\n${stderr().slice(-3000)}`
  const endBy = async (name: NodeJS.Signals, limitMs = patienceMs): Promise<Ending> => {
    child.kill(name)
    return within(`end of process ${child.pid} after ${name}; ${words()}`, ended, limitMs)
  }
  const matching = (read: () => string, pattern: RegExp): Promise<RegExpExecArray> =>
    until(`${pattern} from process ${child.pid} ${args.join(' ')}`, () => {
      const match = pattern.exec(read())
      if (match === null && !isAlive()) throw new Ended(`it ended without saying ${pattern}; ${words()}`)
      return match ?? undefined
    })
  return {
    pid: child.pid ?? -1,
    ended,
    isAlive,
    stdout,
    stderr,
    words,
    says: (pattern) => matching(stdout, pattern),
    tells: (pattern) => matching(stderr, pattern),
    signal: (name) => void child.kill(name),
    kill: async () => void (await endBy('SIGKILL')),
    endBy,
  }
}

/** Runs a TypeScript or JavaScript file with this Node. */
export const startNode = (file: string, args: readonly string[] = [], options: SpawnOptions = {}): Child =>
  start(process.execPath, ['--disable-warning=ExperimentalWarning', file, ...args], options)

/** For afterEach: whatever is still there, also what was stopped with SIGSTOP. */
export const killAll = async (): Promise<void> => {
  await Promise.all(
    [...living].map(async (child) => {
      const gone = once(child, 'close')
      child.kill('SIGKILL')
      await gone
    }),
  )
}

process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL')
})
