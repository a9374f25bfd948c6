// The whole server over a test database, with its duties, as Java applications meet it; apps are made as an operator makes them.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { configFrom, type ServerConfig } from '../../config.ts'
import { ensureAdminToken } from '../../http/admin-token.ts'
import { systemClock, type Clock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { wire } from '../../wire.ts'

export interface RealWire {
  readonly url: string
  /** Of the port for Java workers. */
  readonly workerUrl: string
  readonly database: TestDatabase
  readonly adminToken: string
  /** Moves the wall clock of the server on; its timers go on as they are. */
  moveClock(ms: number): void
  /** Calls /api/v1 with the admin token, or another one. */
  native(path: string, body: unknown, bearer?: string): Promise<Record<string, unknown>>
  /** Makes an app with the password `pw`; the answer has its id and a token for workers. */
  app(name: string, more?: object): Promise<{ readonly id: number; readonly token: string }>
  /** Stops taking requests, as a server does that is told to end. */
  drain(graceMs: number): Promise<void>
  stop(): Promise<void>
}

/** Starts it on a free port. */
export const startRealWire = async (env: Readonly<Record<string, string>> = {}): Promise<RealWire> => {
  const database = await openTestDatabase()
  const { db } = database
  const config: ServerConfig = { ...configFrom({ ONCEJOB_POWERJOB_ZONE: 'UTC', ...env }), stopPatienceMs: 0 }
  let movedMs = 0
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + movedMs }
  const outside = { db, clock, random: systemRandom, log: silentLog, name: 'real', version: '0' }
  const server = wire(outside, config)
  await server.duties.start()
  const url = await server.http.listen('127.0.0.1', 0)
  const { host } = config
  const web = { host, port: Number(new URL(url).port) }
  const workerAddress = await server.java.open({ port: 0, host, address: undefined, web })
  const admin = (await ensureAdminToken(db, systemRandom)) ?? ''
  const native: RealWire['native'] = async (path, body, bearer = admin) => {
    const answer = await fetch(`${url}/api/v1/${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as Record<string, unknown>
  }
  return {
    url,
    workerUrl: `http://${workerAddress}`,
    database,
    adminToken: admin,
    native,
    moveClock: (ms) => {
      movedMs += ms
    },
    app: async (name, more = {}) => {
      const { id } = await native('apps', { name, password: 'pw', ...more })
      const { token } = await native(`apps/${name}/tokens`, { name: 'worker' })
      return { id: Number(id), token: String(token) }
    },
    drain: (graceMs) => server.http.stop(graceMs),
    stop: async () => {
      await server.java.close(1_000)
      await server.http.stop(1_000)
      await server.duties.stop()
      await database.close()
    },
  }
}
