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
  stop(mode: 'immediate' | 'fast'): Promise<void>
  /** Makes a replica the primary; resolves when it takes changes. */
  promote(): Promise<void>
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
    for (const name of ['initdb', 'pg_ctl', 'pg_basebackup']) accessSync(join(folder, name), constants.X_OK)
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

type Run = (name: string, args: readonly string[]) => Promise<unknown>

/**
 * Makes and starts a server on a free port, in a temporary folder.
 * @param fill makes the cluster in the folder `data`; the default: an empty one
 */
export const startCluster = async (fill?: (run: Run, data: string) => Promise<unknown>): Promise<Cluster> => {
  const bin = binFolder()
  if (bin === undefined) throw new Error(whyNoCluster())
  const who = owner()
  const temp = tempFolder('postgres')
  const data = join(temp.path, 'data')
  mkdirSync(data, { mode: 0o700 })
  chmodSync(temp.path, 0o755)
  if (who !== undefined) for (const path of [temp.path, data]) chownSync(path, who.uid, who.gid)
  const run: Run = (name, args) => promisify(execFile)(join(bin, name), [...args], { cwd: temp.path, ...who })
  const port = await stablePort()
  if (fill === undefined) await run('initdb', ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C'])
  else await fill(run, data)
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
    stop: async (mode) => void (await stop(mode)),
    promote: async () => void (await run('pg_ctl', ['promote', '-D', data, '-w', '-t', '120'])),
    remove,
  }
}

/** A second server that follows the first, which from now on answers no COMMIT before the second has written it too. */
export const startReplica = async (primary: Cluster): Promise<Cluster> => {
  const { hostname, port } = new URL(primary.url)
  const from = `host=${hostname} port=${port} user=postgres application_name=replica`
  const replica = await startCluster((run, data) =>
    run('pg_basebackup', ['-D', data, '-d', from, '-X', 'stream', '-c', 'fast', '-R']),
  )
  await onServer(primary.url, `alter system set synchronous_standby_names = 'replica'`)
  await onServer(primary.url, 'select pg_reload_conf()')
  await until('the replica follows', async () => {
    const { rows } = await onServer(primary.url, 'select sync_state from pg_stat_replication')
    return (rows[0] as { sync_state: string } | undefined)?.sync_state === 'sync'
  })
  return replica
}
