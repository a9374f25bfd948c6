// Both ports for Java workers over handlers that a test gives, without a database.
import { Registry } from 'prom-client'
import type { RunsApi, SessionsApi } from '../../dispatch/api.ts'
import { refusalOf } from '../../http/problems.ts'
import { createHttp } from '../../http/server.ts'
import { forgetfulKeys, testServices } from '../../http/testing/services.ts'
import { systemClock } from '../../kernel/clock.ts'
import { systemRandom } from '../../kernel/random.ts'
import type { Db } from '../../storage/db.ts'
import { notingLog, type LoggedLine } from '../../testing/log.ts'
import { createOpenApi } from '../plugin.ts'
import type { Discovery } from '../worker/discovery.ts'
import { createMessages, messagePaths, type Handler, type Handlers } from '../worker/messages.ts'
import { createTransport } from '../worker/transport.ts'
import { askAnswer, resultOf, type Members } from '../worker/wire.ts'
import { noResends } from './wire-rig.ts'

export interface TransportRig {
  /** http://host:port of the port for workers, and of the web port. */
  readonly url: string
  readonly webUrl: string
  readonly received: { readonly path: string; readonly message: Members; readonly peer: string }[]
  readonly logged: LoggedLine[]
  readonly registry: Registry
  stopPort(graceMs: number): Promise<void>
  stopWeb(graceMs: number): Promise<void>
  stop(): Promise<void>
}

/** Starts both ports. Messages are noted and answered; `handlers` answer instead. */
export const startTransport = async (handlers: Partial<Record<string, Handler>> = {}): Promise<TransportRig> => {
  const received: TransportRig['received'] = []
  const { log, logged } = notingLog()
  const registry = new Registry()
  const noting =
    (path: string): Handler =>
    async (message, { peer }) => {
      received.push({ path, message, peer })
      return path === messagePaths.status ? askAnswer() : null
    }
  const all = Object.fromEntries(
    Object.values(messagePaths).map((path) => [path, handlers[path] ?? noting(path)]),
  ) as unknown as Handlers
  const isMine = (): boolean => false
  const discovery: Discovery = {
    assert: async (query) => resultOf(query.get('appName')),
    acquire: async (query) => resultOf([...query.keys()].join()),
    checkConnectivity: async () => resultOf(false),
  }
  const messages = createMessages({ handlers: all, clock: systemClock, log, registry, isMine })
  const downloads = {
    send: async (query: URLSearchParams, response: { end(text: string): unknown }) =>
      void response.end(`jar ${query.get('version')}`),
  }
  const transport = createTransport({ messages, discovery, downloads, clock: systemClock, isMine })
  const db = { kind: 'embedded' } as unknown as Db
  const { services, join } = testServices(db, {} as RunsApi, systemClock)
  const keys = forgetfulKeys(db)
  const shared = { services, join, keys, clock: systemClock, random: systemRandom, log, registry }
  const http = createHttp({
    ...shared,
    sessions: {} as SessionsApi,
    version: '9.9.9',
    ready: async () => undefined,
    routes: [(app) => transport.plugin(app)],
    openApi: createOpenApi({
      ...shared,
      endpoints: [],
      resends: noResends,
      settings: { auth: true, zone: 'UTC', tokenSeconds: 60 },
      refusalOf,
    }),
  })
  const webUrl = await http.listen('127.0.0.1', 0)
  const port = await transport.listen('127.0.0.1', 0)
  return {
    url: `http://127.0.0.1:${port}`,
    webUrl,
    received,
    logged,
    registry,
    stopPort: (graceMs) => transport.stop(graceMs),
    stopWeb: (graceMs) => http.stop(graceMs),
    stop: async () => {
      await transport.stop(1_000)
      await http.stop(1_000)
    },
  }
}
