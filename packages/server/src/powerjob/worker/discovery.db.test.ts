// Promises of discovery: the recorded answers, workers spread over the servers that live, and no way to look around in a network.
import { readFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemClock, type Clock } from '../../kernel/clock.ts'
import { silentLog, type Log } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import type { Db } from '../../storage/db.ts'
import { sql } from '../../storage/sql.ts'
import { createDiscovery, type Discovery } from './discovery.ts'
import type { Origin } from './networks.ts'

let database: TestDatabase
let appId: number
beforeAll(async () => {
  database = await openTestDatabase()
  const [app] = await database.db.query<{ id: number }>(
    sql`insert into oncejob.app (namespace_id, name) values (1, 'bench') returning id`,
  )
  appId = app?.id ?? 0
})
afterAll(() => database.close())
beforeEach(() => database.db.script('delete from oncejob.server; delete from oncejob.worker_session;'))

const listening: Server[] = []
const sockets = new Set<Socket>()
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  for (const server of listening.splice(0)) await new Promise((resolve) => server.close(resolve))
})
/** Something that listens and treats its connections so; the answer is its port. */
const listen = async (talk: (socket: Socket) => void): Promise<number> => {
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    talk(socket)
  })
  listening.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
const living = (): Promise<number> =>
  listen((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')))
const deadPort = async (): Promise<number> => {
  const port = await living()
  await new Promise((resolve) => listening.pop()?.close(resolve))
  return port
}

const register = async (address: string | null, silentMs = 0): Promise<number> => {
  const [row] = await database.db.query<{ id: number }>(sql`
    insert into oncejob.server (name, version, worker_address, seen_at)
    values ('s', '1', ${address}, now() - ${silentMs}::int * interval '1 ms' + interval '1 hour' * ${silentMs === 0 ? 1 : 0}::int) returning id`)
  return row?.id ?? 0
}
const session = (serverId: number, address: string) =>
  database.db.query(sql`
    insert into oncejob.worker_session (app_id, name, address, processors, labels, slots, protocol, server_id, expires_at)
    values (${appId}, ${address}, ${address}, '{*}', '{}', 1, 'powerjob', ${serverId}, now() + interval '1 hour')`)

interface Options {
  readonly own?: () => string | undefined
  readonly db?: Db
  readonly clock?: Clock
  readonly log?: Log
}
const start = ({
  own = () => '127.0.0.1:10010',
  db = database.db,
  clock = systemClock,
  log = silentLog,
}: Options = {}): Discovery => createDiscovery({ db, clock, random: systemRandom, log, own })

const answerOf = (text: string): { success: boolean; data: unknown; message: string | null } => JSON.parse(text)
const acquire = async (discovery: Discovery, more: Record<string, string> = {}) =>
  answerOf(
    await discovery.acquire(new URLSearchParams({ protocol: 'HTTP', appId: String(appId), ...more }), '127.0.0.1'),
  )

describe('discovery', () => {
  it('answers as the recording has it, byte for byte but for the id of the app', async () => {
    const discovery = start()
    const lines = readFileSync(new URL('../testing/golden-worker-5.1.1.jsonl', import.meta.url), 'utf8')
      .trim()
      .split('\n')
    let compared = 0
    for (const line of lines) {
      const { path, direction, response } = JSON.parse(line) as { path: string; direction: string; response: string }
      if (direction !== 'worker→server (web port)' || path.includes('AKKA')) continue
      const [, name = '', query = ''] = /^GET \/server\/(\w+)\?(.*)$/.exec(path) ?? []
      const given = new URLSearchParams(query.replace('appId=1', `appId=${appId}`))
      const answer =
        name === 'acquire'
          ? discovery.acquire(given, '127.0.0.1')
          : discovery.assert(given, name === 'assertV2' ? 2 : 1, '127.0.0.1')
      const expected = response.replace(/("data":|"appId":)1\b(?!\d|\.)/, `$1${appId}`)
      expect(await answer, path).toBe(expected)
      compared += 1
    }
    expect(compared).toBe(5)
  })
  it('refuses what it does not speak, and says how to set it, also in the log: workers keep it to themselves', async () => {
    const warned: unknown[] = []
    const discovery = start({ log: { ...silentLog, warn: (facts) => void warned.push(facts) } })
    for (const query of [`appId=${appId}&protocol=AKKA`, `appId=${appId}`]) {
      const answer = answerOf(await discovery.acquire(new URLSearchParams(query), '10.0.0.7'))
      expect(Object.keys(answer)).toEqual(['success', 'data', 'message'])
      expect(answer).toMatchObject({ success: false, data: null })
      expect(answer.message).toContain('HTTP and not AKKA')
    }
    expect(warned).toEqual([
      { peer: '10.0.0.7', app: appId, says: expect.stringContaining('powerjob.worker.protocol=http') },
    ])
    expect(await acquire(discovery, { appId: '999999' })).toMatchObject({ success: false, data: null })
    expect(await acquire(discovery, { appId: '1004656552407203904' })).toMatchObject({ success: false })
    for (const query of ['', 'appName=', 'appName=%00', 'appName=nosuchapp'])
      expect(answerOf(await discovery.assert(new URLSearchParams(query), 1, '127.0.0.1')).success).toBe(false)
  })
})

describe('workers', () => {
  it('go to the server that has the fewest, those on their way included', async () => {
    const [one, two] = [`127.0.0.1:${await living()}`, `127.0.0.1:${await living()}`]
    const first = await register(one)
    await register(two)
    await register(null)
    for (let i = 0; i < 6; i += 1) await session(first, `10.0.0.${i}:1`)
    const discovery = start({ own: () => undefined })
    const given = []
    for (let i = 0; i < 20; i += 1) given.push((await acquire(discovery)).data)
    // six to the second before they are even, then one to each
    expect(given.slice(0, 6)).toEqual([two, two, two, two, two, two])
    expect(given.filter((address) => address === two)).toHaveLength(13)
  })
  it('stay where they are as long as that server lives, whichever server they ask', async () => {
    const [one, two] = [`127.0.0.1:${await living()}`, `127.0.0.1:${await living()}`]
    const first = await register(one)
    await register(two)
    for (let i = 0; i < 9; i += 1) await session(first, `10.0.0.${i}:1`)
    const discovery = start({ own: () => two })
    for (let i = 0; i < 5; i += 1) expect((await acquire(discovery, { currentServer: one })).data).toBe(one)
    expect((await acquire(discovery, { currentServer: two })).data).toBe(two)
  })
  it('leave a server at their next question: one that was stopped, one whose port refuses, one that is not seen any more', async () => {
    const here = `127.0.0.1:${await living()}`
    await register(here)
    const killed = `127.0.0.1:${await deadPort()}`
    await register(killed)
    const gone = `127.0.0.1:${await living()}`
    await register(gone, 11_000)
    const silent = `127.0.0.1:${await listen(() => undefined)}`
    await register(silent, 5_000)
    const discovery = start({ own: () => here })
    for (const currentServer of ['127.0.0.1:1', killed, gone, silent, 'nonsense', ''])
      expect((await acquire(discovery, { currentServer })).data, currentServer).toBe(here)
  })
  it('are not sent to a server that is dead, however few it has', async () => {
    const here = `127.0.0.1:${await living()}`
    const id = await register(here)
    for (let i = 0; i < 9; i += 1) await session(id, `10.0.0.${i}:1`)
    await register(`127.0.0.1:${await deadPort()}`)
    expect((await acquire(start({ own: () => here }))).data).toBe(here)
  })
  it('stay through an outage of the database, and are told when there is no server at all', async () => {
    const broken: Db = { ...database.db, query: () => Promise.reject(new Error('no database')) }
    const discovery = start({ db: broken })
    expect((await acquire(discovery, { currentServer: '127.0.0.1:10010' })).data).toBe('127.0.0.1:10010')
    expect(await acquire(start({ own: () => undefined }))).toMatchObject({ success: false, data: null })
  })
})

describe('the check of connectivity', () => {
  const nobody: Origin = { peer: '10.9.9.9', isMine: () => false }
  const local: Origin = { peer: '127.0.0.1', isMine: () => false }
  const check = async (discovery: Discovery, port: number, origin: Origin, ip = '127.0.0.1') =>
    answerOf(await discovery.checkConnectivity(new URLSearchParams({ targetIp: ip, targetPort: String(port) }), origin))

  it('hears a worker of every version, also one that hangs up at once', async () => {
    const discovery = start()
    for (const pong of ['pong', 'pong\n', 'PONG\r\n']) {
      // like a worker, it never reads the ping
      const port = await listen((socket) => void socket.end(pong))
      expect(await check(discovery, port, local), pong).toEqual({ success: true, data: true, message: null })
    }
  })
  it('is not content with anything else', async () => {
    const discovery = start()
    expect((await check(discovery, await deadPort(), local)).data).toBe(false)
    for (const text of ['ping\n', 'HTTP/1.1 400 Bad Request\r\n', ''])
      expect((await check(discovery, await listen((socket) => socket.end(text)), local)).data, text).toBe(false)
  })
  it('gives up on what never answers', async () => {
    const clock = fakeClock()
    const connected = Promise.withResolvers<void>()
    const port = await listen(() => connected.resolve())
    const asked = check(start({ clock }), port, local)
    await connected.promise
    await clock.advance(2_001)
    expect((await asked).data).toBe(false)
  })
  it('touches nothing but the caller itself and the networks of apps', async () => {
    const discovery = start()
    let touched = 0
    const port = await listen((socket) => {
      touched += 1
      socket.end('pong')
    })
    expect(await check(discovery, port, nobody)).toEqual({ success: true, data: false, message: null })
    expect(touched).toBe(0)
    await database.db.query(sql`update oncejob.app set powerjob_worker_networks = '{127.0.0.0/8}' where id = ${appId}`)
    expect((await check(start(), port, nobody)).data, 'asked from outside').toBe(false)
    const both = '{127.0.0.0/8,10.9.9.0/24}'
    await database.db.query(sql`update oncejob.app set powerjob_worker_networks = ${both} where id = ${appId}`)
    expect((await check(start(), port, { ...nobody, isMine: () => true })).data).toBe(true)
    await database.db.query(sql`update oncejob.app set powerjob_worker_networks = '{}' where id = ${appId}`)
    expect(touched).toBe(1)
    for (const ip of ['::1', 'localhost', '127.1', '', '2130706433', '127.0.0.1:80'])
      expect((await check(discovery, port, local, ip)).success, ip).toBe(false)
    for (const wrong of [0, 65_536, -1, Number.NaN])
      expect((await check(discovery, wrong, local)).success, String(wrong)).toBe(false)
  })
  it('has a rate for each caller', async () => {
    const discovery = start({ clock: fakeClock() })
    const port = await listen((socket) => socket.end('pong\n'))
    const answers = []
    for (let i = 0; i < 220; i += 1) answers.push(await check(discovery, port, local))
    expect(answers.filter(({ success }) => success)).toHaveLength(200)
  })
})
