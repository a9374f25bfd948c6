// Everything that Java workers meet of a server, put together around the core that runs them.
import type { Registry } from 'prom-client'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { Random } from '../../kernel/random.ts'
import type { Service } from '../../kernel/service.ts'
import type { Logs } from '../../logs/service.ts'
import type { Db } from '../../storage/db.ts'
import type { AskReply, JavaWorkers } from './api.ts'
import { createContainers, type Containers } from './containers.ts'
import { createJavaDetails, type JavaDetails } from './detail.ts'
import { createDiscovery } from './discovery.ts'
import { createJavaLogs, type JavaLogs } from './logs.ts'
import { createMessages, ForeignMessage, messagePaths, type Handlers } from './messages.ts'
import { createOrigins, myAddresses, outwardAddress, type Origins } from './origins.ts'
import { createTransport, type Transport } from './transport.ts'
import { askAnswer, askRefusal, numberOf, textOf, UnreadableMessage, wholeOf, type Members } from './wire.ts'

export interface JavaFrontNeeds {
  readonly db: Db
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly registry: Registry
  readonly workers: JavaWorkers
  readonly logs: Logs
  /** Tells the other servers where this one takes messages of workers. */
  readonly presence: { announce(address: string | null): void; announced(): string | null }
  readonly maxJarBytes: number
  /** Null: nothing is there for Java workers. */
  readonly workerPort: number | null
}

/** Where workers are taken. */
export interface JavaPort {
  /** Null: nowhere. */
  readonly port: number | null
  readonly host: string
  /** What workers are told: `host` or `host:port`; undefined: found out. */
  readonly address: string | undefined
  /** Of the web port, which takes their messages as well. */
  readonly web: { readonly host: string; readonly port: number }
}

export interface JavaFront {
  readonly containers: Containers
  readonly details: JavaDetails
  /** Adds what Java workers find on the web port. */
  plugin(app: Parameters<Transport['plugin']>[0]): void
  /** Opens the port and tells the others; resolves with the address that workers are told. @throws when it can not be had */
  open(port: JavaPort): Promise<string | undefined>
  /** Sends workers to other servers, and closes the port. */
  close(graceMs: Millis): Promise<void>
  readonly services: readonly Service[]
}

const textFrom = (reply: AskReply): string => (reply.success ? askAnswer(reply.data) : askRefusal(reply.message))

const addressIn = (message: Members, name: string): string => {
  const address = textOf(message, name)
  if (address === null) throw new UnreadableMessage(`it has no ${name}`)
  return address
}
const appIn = (message: Members): number => {
  const appId = wholeOf(message, 'appId')
  if (appId === null || appId < 1) throw new UnreadableMessage('it has no appId')
  return appId
}

interface Heeding {
  readonly workers: JavaWorkers
  readonly origins: Origins
  readonly logs: JavaLogs
  readonly containers: Containers
}

const handlersOf = ({ workers, origins, logs, containers }: Heeding): Handlers => ({
  [messagePaths.heartbeat]: async (message, origin) => {
    const address = addressIn(message, 'workerAddress')
    await origins.demandPlace(appIn(message), address, origin)
    const atMs = numberOf(message, 'heartbeatTime')
    if (atMs !== null) logs.noteClock(address, atMs)
    await workers.heartbeat(message)
    return null
  },
  [messagePaths.status]: async (message, origin) => {
    await origins.demandPlace(appIn(message), addressIn(message, 'sourceAddress'), origin)
    const reply = await workers.report(message)
    return reply === undefined ? null : textFrom(reply)
  },
  [messagePaths.logs]: async (message, origin) => {
    await origins.demandPlaceAnywhere(addressIn(message, 'workerAddress'), origin)
    await logs.report(message, origin)
    return null
  },
  [messagePaths.cluster]: async (message, origin) => {
    if (!(await origins.isFromWorker(appIn(message), origin)))
      throw new ForeignMessage('it comes from where no live worker of its app is')
    return textFrom(await workers.queryJobCluster(message))
  },
  [messagePaths.container]: async (message, origin) => textFrom(await containers.query(message, origin)),
})

const announcedOf = ({ host, address, web }: JavaPort, opened: number): string => {
  if (address?.includes(':') === true) return address
  const bound = opened === web.port ? web.host : host
  const isAll = bound === '0.0.0.0' || bound === '::'
  return `${address ?? (isAll ? outwardAddress() : bound)}:${opened}`
}

export const createJavaFront = (needs: JavaFrontNeeds): JavaFront => {
  const { db, clock, random, log, registry, workers, presence, maxJarBytes, workerPort } = needs
  const own = (): string | undefined => presence.announced() ?? undefined
  const isMine = myAddresses(clock)
  const origins = createOrigins({ db, clock, workers })
  const logs = createJavaLogs({ db, logs: needs.logs, clock, log, registry, origins })
  const containers = createContainers({ db, clock, random, log, workers, origins, own, limitBytes: maxJarBytes })
  workers.on({ seen: (worker) => containers.welcome(worker) })
  const messages = createMessages({
    handlers: handlersOf({ workers, origins, logs, containers }),
    clock,
    log,
    registry,
    isMine,
  })
  const discovery = createDiscovery({ db, clock, random, log, own })
  const transport = createTransport({ messages, discovery, downloads: containers, clock, isMine })
  return {
    containers,
    details: createJavaDetails({ db, workers }),
    plugin: (app) => {
      if (workerPort !== null) transport.plugin(app)
    },
    open: async (port) => {
      if (port.port === null) return undefined
      const opened = port.port === port.web.port ? port.port : await transport.listen(port.host, port.port)
      const address = announcedOf(port, opened)
      presence.announce(address)
      log.info({ address, host: port.host, port: opened }, 'java workers are taken')
      return address
    },
    close: async (graceMs) => {
      presence.announce(null)
      await transport.stop(graceMs)
    },
    services: [logs.duty, containers.service],
  }
}
