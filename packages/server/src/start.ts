// Starts a whole server and stops it again: database, migrations, duties, HTTP, in that order.
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, isIP } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { ServerConfig } from './config.ts'
import { ensureAdminToken } from './http/admin-token.ts'
import { systemClock } from './kernel/clock.ts'
import { StartFailure } from './kernel/errors.ts'
import type { Log } from './kernel/log.ts'
import { createLog } from './kernel/pino.ts'
import { systemRandom } from './kernel/random.ts'
import type { Db } from './storage/db.ts'
import { warnOfSwitches } from './powerjob/switches.ts'
import type { JavaFront } from './powerjob/worker/front.ts'
import { migrate } from './storage/migrate.ts'
import { version } from './version.ts'
import { wire } from './wire.ts'

export interface RunningServer {
  readonly url: string
  /** Where Java workers are told to send their messages; undefined: none are taken. */
  readonly workerAddress: string | undefined
  /** Made at the first start of this database, and only then: show it, nobody can read it again. */
  readonly adminToken: string | undefined
  readonly database: 'postgres' | 'embedded'
  /** Resolves when the server can not go on (the embedded database broke down): stop it and start anew, which recovers. */
  readonly broken: Promise<unknown>
  /** Lets requests finish, stops the duties, closes the database. Twice is fine. */
  stop(): Promise<void>
}

/** Parts that a test or an embedding program brings itself. */
export interface ServerParts {
  readonly log?: Log
}

/** Only the engine that is used is loaded: the other would cost tens of megabytes. */
const openDatabase = async (config: ServerConfig, log: Log, onBreakdown: (cause: unknown) => void): Promise<Db> => {
  if (config.databaseUrl === undefined) {
    const { openEmbedded } = await import('./storage/engine/embedded.ts')
    return openEmbedded({ dir: config.dataDir, log, onBreakdown })
  }
  const { openPostgres } = await import('./storage/engine/postgres.ts')
  return openPostgres({ url: config.databaseUrl, log, applicationName: 'oncejob', poolMax: config.poolMax })
}

/** Beside an embedded database its admin token is kept for the command line of the same user; it opens no more than the data do. */
const keepToken = (config: ServerConfig, token: string): void => {
  if (config.databaseUrl !== undefined || config.dataDir === 'memory') return
  mkdirSync(config.dataDir, { recursive: true })
  writeFileSync(join(config.dataDir, 'admin-token'), `${token}\n`, { mode: 0o600 })
}

const listenFailure = (error: unknown, { host, port }: Pick<ServerConfig, 'host' | 'port'>): unknown => {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE')
    return new StartFailure(
      `port ${port} on ${host} is taken by another process; choose one with --port or ONCEJOB_PORT`,
    )
  if (code === 'EACCES')
    return new StartFailure(`port ${port} on ${host} needs more rights; choose one above 1023 with --port`)
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return new StartFailure(`${host} is no address of this machine; choose another with --host`)
  return error
}

/**
 * Opens the port for Java workers. One that nobody chose and somebody else has is no reason not to start: the web port
 * takes their messages as well.
 */
const openJava = async (
  java: JavaFront,
  config: ServerConfig,
  webUrl: string,
  log: Log,
): Promise<string | undefined> => {
  const { workerPort, workerPortChosen, workerHost, workerAddress } = config.powerjob
  const web = { host: config.host, port: Number(new URL(webUrl).port) }
  const port = { port: workerPort, host: workerHost, address: workerAddress, web }
  const host = workerPort === web.port ? web.host : workerHost
  // the wire has no IPv6; `::` stands for all addresses, and one of them is told
  if (workerPort !== null && workerAddress === undefined && isIP(host) === 6 && host !== '::') {
    const says = `they can not read the address ${host}: set ONCEJOB_POWERJOB_ADDRESS to a name or an IPv4 address of it, ONCEJOB_POWERJOB_HOST to an IPv4 address, or ONCEJOB_POWERJOB_PORT to off`
    if (workerPortChosen) throw new StartFailure(`for Java workers: ${says}`)
    log.warn({ says }, 'java workers are not taken')
    return undefined
  }
  try {
    return await java.open(port)
  } catch (error) {
    // translated
    const failure = listenFailure(error, { host: workerHost, port: workerPort ?? 0 })
    if (!(failure instanceof StartFailure)) throw failure
    const says = failure.message
      .replace(/--(port|host)/, '--powerjob-$1')
      .replace('ONCEJOB_PORT', 'ONCEJOB_POWERJOB_PORT')
    if (workerPortChosen) throw new StartFailure(`for Java workers: ${says}`)
    log.warn({ says }, 'port for java workers not opened, they are taken on the web port')
    return java.open({ ...port, port: web.port })
  }
}

/** Finds a taken port before the database is opened or made: the most common mistake is told first. */
const probePort = async (config: ServerConfig): Promise<void> => {
  if (config.port === 0) return
  const probe = createServer()
  try {
    await new Promise<void>((resolve, reject) => {
      probe.once('error', reject)
      probe.listen(config.port, config.host, resolve)
    })
  } catch (error) {
    // translated
    throw listenFailure(error, config)
  }
  await new Promise((resolve) => probe.close(resolve))
}

/**
 * Starts a server. Resolves when it answers.
 * @throws StartFailure with one readable line for what an operator can mend: port taken, database unreachable, newer or in use
 */
export const startServer = async (config: ServerConfig, parts: ServerParts = {}): Promise<RunningServer> => {
  const log = parts.log ?? createLog(config.logLevel)
  await probePort(config)
  const { promise: broken, resolve: onBreakdown } = Promise.withResolvers<unknown>()
  const db = await openDatabase(config, log, onBreakdown)
  const undo: (() => Promise<void>)[] = [() => db.close()]
  const unwind = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step()
  }
  try {
    const schema = await migrate(db)
    if (schema.from !== schema.to) log.info({ from: schema.from, to: schema.to }, 'database migrated')
    const made = await ensureAdminToken(db, systemRandom, config.adminToken)
    const adminToken = made ?? undefined
    const kept = made ?? config.adminToken
    if (kept !== undefined) keepToken(config, kept)
    await warnOfSwitches(db, log, config.powerjob.auth)
    const name = `${hostname()}:${process.pid}`
    const { http, duties, java } = wire({ db, clock: systemClock, random: systemRandom, log, name, version }, config)
    await duties.start()
    undo.push(() => duties.stop())
    const url = await http.listen(config.host, config.port).catch((error: unknown) => {
      throw listenFailure(error, config)
    })
    undo.push(() => http.stop(config.stopGraceMs))
    const workerAddress = await openJava(java, config, url, log)
    undo.push(() => java.close(config.stopGraceMs))
    log.info(
      { url, javaWorkers: workerAddress ?? 'off', database: db.kind, schema: schema.to, version },
      'server started',
    )
    let stopping: Promise<void> | undefined
    return {
      url,
      workerAddress,
      adminToken,
      database: db.kind,
      broken,
      stop: () => {
        stopping ??= unwind().then(() => log.info({ url }, 'server stopped'))
        return stopping
      },
    }
  } catch (error) {
    // what was begun is ended before the failure goes on
    await unwind()
    throw error
  }
}
