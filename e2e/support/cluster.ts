// A PostgreSQL server of a test's own, which it may stop as rudely as it likes.
import { accessSync, chmodSync, chownSync, constants, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { execFile, execFileSync } from 'node:child_process'
import { promisify } from 'node:util'
import { stablePort } from './fleet.ts'
import { onServer, tempFolder } from './places.ts'
import { until } from './until.ts'

export interface Cluster {
  readonly url: string
  /** Stops it and starts it again; `immediate` is as hard as a crash, `fast` throws everybody out first. */
  restart(mode: 'immediate' | 'fast'): Promise<void>
  remove(): Promise<void>
}

interface Owner {
  readonly uid: number
  readonly gid: number
}

const root = '/usr/lib/postgresql'

const binFolder = (): string | undefined => {
  try {
    const [newest] = readdirSync(root).toSorted((left, right) => Number(right) - Number(left))
    const folder = join(root, newest ?? '', 'bin')
    for (const name of ['initdb', 'pg_ctl']) accessSync(join(folder, name), constants.X_OK)
    return folder
  } catch {
    return undefined
  }
}

const idOf = (flag: '-u' | '-g'): number =>
  Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))

/** PostgreSQL refuses to run as root: then it is the user postgres, who must be there. */
const owner = (): Owner | undefined => {
  if (process.getuid?.() !== 0) return undefined
  return { uid: idOf('-u'), gid: idOf('-g') }
}

/** Why no server can be made here; undefined when one can. */
export const whyNoCluster = (): string | undefined => {
  if (binFolder() === undefined) return `there is no initdb below ${root}`
  try {
    owner()
    return undefined
  } catch {
    return 'PostgreSQL does not run as root, and there is no user postgres'
  }
}

/** Makes and starts a server on a free port, with an empty cluster in a temporary folder. */
export const startCluster = async (): Promise<Cluster> => {
  const bin = binFolder()
  if (bin === undefined) throw new Error(whyNoCluster())
  const who = owner()
  const temp = tempFolder('postgres')
  const data = join(temp.path, 'data')
  mkdirSync(data, { mode: 0o700 })
  chmodSync(temp.path, 0o755)
  if (who !== undefined) for (const path of [temp.path, data]) chownSync(path, who.uid, who.gid)
  const run = (name: string, args: readonly string[]): Promise<unknown> =>
    promisify(execFile)(join(bin, name), [...args], { cwd: temp.path, ...who })
  const port = await stablePort()
  await run('initdb', ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C'])
  const settings = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${temp.path} -c max_connections=100`
  const log = join(temp.path, 'log')
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const start = async (): Promise<void> => {
    await run('pg_ctl', ['start', '-D', data, '-w', '-t', '120', '-l', log, '-o', settings])
    await until('PostgreSQL answers', async () => (await onServer(url, 'select 1')).rowCount === 1)
  }
  const stop = (mode: string): Promise<unknown> => run('pg_ctl', ['stop', '-D', data, '-w', '-t', '120', '-m', mode])
  const remove = async (): Promise<void> => {
    // It may be stopped already, when a restart has failed.
    await stop('immediate').catch(() => undefined)
    temp.remove()
  }
  try {
    await start()
  } catch (error) {
    await remove()
    throw error
  }
  return {
    url,
    restart: async (mode) => {
      await stop(mode)
      await start()
    },
    remove,
  }
}
