// Promises of containers: exact bytes from any server, links that only we make, workers told in batches, nothing left of what broke.
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, type Clock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { adoptJar, findContainer, type ContainerRow } from '../../storage/containers.ts'
import { sql } from '../../storage/sql.ts'
import type { JavaWorker, JavaWorkers, LoadedContainer } from './api.ts'
import { createContainers, type Containers } from './containers.ts'
import { createOrigins } from './origins.ts'

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
const opened: Server[] = []
afterEach(async () => {
  for (const server of opened.splice(0)) {
    const closed = new Promise((resolve) => server.close(resolve))
    // those that are kept
    server.closeAllConnections()
    await closed
  }
})

const worker = (address: string, containers: LoadedContainer[] = []): JavaWorker => ({
  sessionId: 1,
  appId,
  address,
  version: '5.1.1',
  tag: null,
  overload: false,
  lightTasks: 0,
  heavyTasks: 0,
  containers,
  running: 0,
  heardAtMs: 0,
})

interface Told {
  readonly address: string
  readonly path: string
  readonly body: { readonly downloadURL?: string }
}

/** Sessions of workers; those of other tests are gone. */
const sessions = async (addresses: readonly string[]): Promise<void> => {
  await database.db.query(sql`delete from oncejob.worker_session`)
  await database.db.query(sql`
    insert into oncejob.worker_session (app_id, name, address, processors, labels, slots, protocol, expires_at)
    select ${appId}, a, a, '{*}', '{}', 1, 'powerjob', now() + interval '1 hour' from unnest(${addresses}::text[]) a`)
}

const start = (options: { clock?: Clock; live?: JavaWorker[]; limitBytes?: number; own?: string } = {}) => {
  const { clock = systemClock, live = [], limitBytes = 4 * 1024 * 1024 } = options
  const told: Told[] = []
  const workers = {
    list: async (id: number) => (id === appId ? live : []),
    tell: async (address: string, path: string, body: unknown) => {
      told.push({ address, path, body: body as Told['body'] })
      return 'delivered'
    },
  } as unknown as JavaWorkers
  const needs = { db: database.db, clock, random: systemRandom, log: silentLog, workers, limitBytes }
  const origins = createOrigins({ db: database.db, clock, workers })
  const containers = createContainers({ ...needs, origins, own: () => options.own })
  return { containers, told }
}

/** The jar port of a server. */
const serve = async (containers: Containers): Promise<string> => {
  // as long as the port for workers keeps a connection
  const server = createServer({ keepAliveTimeout: 300_000 }, (request, response) => {
    void containers.send(new URL(request.url ?? '', 'http://x').searchParams, response)
  })
  opened.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
}

const jarOf = (bytes: number): Buffer =>
  Buffer.concat([Buffer.from('PK\u0003\u0004', 'latin1'), randomBytes(bytes - 4)])
async function* chunked(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}
const md5 = (bytes: Buffer): string => createHash('md5').update(bytes).digest('hex')

let names = 0
const store = async (containers: Containers, bytes: Buffer, name = `c-${++names}`): Promise<ContainerRow> => {
  const jar = await containers.receive(chunked(bytes, 65_000))
  const { id } = await database.db.transaction((tx) => adoptJar(tx, appId, name, jar))
  const row = await findContainer(database.db, appId, id)
  if (row === undefined) throw new Error('not stored')
  return row
}
const linkOf = async (containers: Containers, told: Told[], container: ContainerRow): Promise<string> => {
  await sessions(['127.0.0.1:1'])
  const telling = await containers.deploy(database.db, appId, container)
  telling.send()
  await expect.poll(() => told.length).toBeGreaterThan(0)
  return told[0]?.body.downloadURL ?? ''
}
const count = async (what: 'container_jar' | 'container_part'): Promise<number> => {
  const [row] = await database.db.query<{ n: number }>(
    what === 'container_jar'
      ? sql`select count(*)::int as n from oncejob.container_jar`
      : sql`select count(*)::int as n from oncejob.container_part`,
  )
  return row?.n ?? 0
}

describe('a jar', () => {
  it('is given to workers byte for byte, by another server than the one that took it', async () => {
    const bytes = jarOf(3 * 1024 * 1024 + 17)
    const container = await store(start().containers, bytes)
    expect(container).toMatchObject({ version: md5(bytes), size: bytes.length })
    expect(container.sha256).toBe(createHash('sha256').update(bytes).digest('hex'))
    const other = start({ live: [worker('127.0.0.1:1')] })
    const address = await serve(other.containers)
    const third = start({ live: [worker('127.0.0.1:1')], own: address })
    const link = await linkOf(third.containers, third.told, container)
    expect(link.startsWith(`http://${address}/container/downloadJar?version=${container.version}&`)).toBe(true)
    const answer = await fetch(link)
    expect([answer.status, answer.headers.get('content-length')]).toEqual([200, String(bytes.length)])
    expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true)
  })
  it('is given for a link of ours only, for this jar, and not for ever', async () => {
    const clock = fakeClock()
    const rig = start({ clock, live: [worker('127.0.0.1:1')], own: '' })
    const address = await serve(rig.containers)
    const [container, other] = [await store(rig.containers, jarOf(100)), await store(rig.containers, jarOf(100))]
    const link = new URL((await linkOf(rig.containers, rig.told, container)).replace('http://', `http://${address}`))
    const statusWith = async (change: Record<string, string | null>): Promise<number> => {
      const url = new URL(link)
      for (const [name, value] of Object.entries(change)) {
        if (value === null) url.searchParams.delete(name)
        else url.searchParams.set(name, value)
      }
      return (await fetch(url)).status
    }
    const token = link.searchParams.get('token') ?? ''
    expect(await statusWith({})).toBe(200)
    expect(await statusWith({ token: null })).toBe(403)
    expect(await statusWith({ token: `9${token}` })).toBe(403)
    expect(await statusWith({ token: `${token.slice(0, -2)}AA` })).toBe(403)
    expect(await statusWith({ version: other.version })).toBe(403)
    expect(await statusWith({ container: String(other.id), version: other.version })).toBe(403)
    for (const version of ['', 'x', `${container.version}'`, '../../etc/passwd', null])
      expect(await statusWith({ version }), String(version)).toBe(404)
    expect(await statusWith({ container: null })).toBe(404)
    await clock.advance(901_000)
    expect(await statusWith({})).toBe(403)
  })
  it('is gone with its container: 404, and nothing empty', async () => {
    const rig = start({ live: [worker('127.0.0.1:1')], own: '' })
    const address = await serve(rig.containers)
    const container = await store(rig.containers, jarOf(100))
    const link = (await linkOf(rig.containers, rig.told, container)).replace('http://', `http://${address}`)
    await database.db.query(sql`delete from oncejob.container where id = ${container.id}`)
    expect((await fetch(link)).status).toBe(404)
  })
  it('that is deleted while a worker fetches it breaks off: nobody waits for the rest', async () => {
    const rig = start({ live: [worker('127.0.0.1:1')], own: '' })
    const address = await serve(rig.containers)
    const container = await store(rig.containers, jarOf(3 * 1024 * 1024))
    const link = (await linkOf(rig.containers, rig.told, container)).replace('http://', `http://${address}`)
    await database.db.query(sql`
      delete from oncejob.container_part p using oncejob.container_jar j
      where j.id = p.jar_id and j.container_id = ${container.id} and p.number > 0`)
    const answer = await fetch(link)
    await expect(answer.arrayBuffer()).rejects.toThrow('terminated')
  })
  it('that is too long, no jar, empty or broken off leaves nothing behind', async () => {
    const { containers } = start({ limitBytes: 2 * 1024 * 1024 })
    const before = [await count('container_jar'), await count('container_part')]
    await expect(containers.receive(chunked(jarOf(2 * 1024 * 1024 + 1), 65_000))).rejects.toMatchObject({
      code: 'BODY_TOO_LARGE',
    })
    await expect(containers.receive(chunked(Buffer.from('#!/bin/sh'), 3))).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
    await expect(containers.receive(chunked(Buffer.alloc(0), 3))).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    async function* broken(): AsyncGenerator<Buffer> {
      yield jarOf(1_500_000)
      throw new Error('the sender is gone')
    }
    await expect(containers.receive(broken())).rejects.toThrow('the sender is gone')
    expect([await count('container_jar'), await count('container_part')]).toEqual(before)
    const exact = jarOf(2 * 1024 * 1024)
    expect((await store(containers, exact)).size).toBe(exact.length)
  })
  it('once more changes nothing; a new one is the new version, the last is kept for who loads it, older ones go', async () => {
    const { containers } = start()
    const jars = [jarOf(50), jarOf(60), jarOf(70)] as const
    const first = await store(containers, jars[0], 'same')
    const parts = await count('container_jar')
    expect(await store(containers, jars[0], 'same')).toEqual(first)
    expect(await count('container_jar')).toBe(parts)
    expect(await store(containers, jars[1], 'same')).toMatchObject({ id: first.id, version: md5(jars[1]) })
    // and back
    expect(await store(containers, jars[0], 'same')).toMatchObject({ id: first.id, version: md5(jars[0]) })
    expect(await store(containers, jars[2], 'same')).toMatchObject({ id: first.id, version: md5(jars[2]) })
    const kept = await database.db.query<{ version: string }>(
      sql`select version from oncejob.container_jar where container_id = ${first.id} order by id`,
    )
    expect(kept.map(({ version }) => version).toSorted()).toEqual([md5(jars[0]), md5(jars[2])].toSorted())
  })
  it('that two people upload at once as one container ends as one of the two', async () => {
    const { containers } = start()
    const jars = await Promise.all([1, 2, 3, 4].map(() => containers.receive(chunked(jarOf(99), 10))))
    const all = await Promise.all(jars.map((jar) => database.db.transaction((tx) => adoptJar(tx, appId, 'raced', jar))))
    expect(new Set(all.map(({ id }) => id)).size).toBe(1)
    expect(all.filter(({ made }) => made)).toHaveLength(1)
    const row = await findContainer(database.db, appId, all[0]?.id ?? 0)
    expect(jars.map(({ version }) => version)).toContain(row?.version)
  })
})

describe('workers', () => {
  it('are told fifty at a time, with a pause for their downloads', async () => {
    const clock = fakeClock()
    const live = Array.from({ length: 120 }, (_, i) => worker(`10.0.0.${i}:27777`))
    const { containers, told } = start({ clock, own: 'here:1' })
    await sessions(live.map(({ address }) => address))
    const telling = await containers.deploy(database.db, appId, await store(containers, jarOf(100)))
    expect(telling.addresses).toHaveLength(120)
    expect(told).toHaveLength(0)
    telling.send()
    await expect.poll(() => told.length).toBe(50)
    await clock.advance(900)
    expect(told).toHaveLength(50)
    await clock.advance(200)
    await expect.poll(() => told.length).toBe(100)
    await clock.advance(1_100)
    await expect.poll(() => told.length).toBe(120)
    expect(new Set(told.map(({ address }) => address)).size).toBe(120)
    expect(told[0]).toMatchObject({ path: '/worker/deployContainer', body: { containerName: expect.any(String) } })
    await containers.service.stop()
  })
  it('are not told the rest of a deployment that a later message has overtaken', async () => {
    const clock = fakeClock()
    const live = Array.from({ length: 60 }, (_, i) => worker(`10.0.0.${i}:27777`))
    const { containers, told } = start({ clock, own: 'here:1' })
    await sessions(live.map(({ address }) => address))
    const container = await store(containers, jarOf(100))
    ;(await containers.deploy(database.db, appId, container)).send()
    await expect.poll(() => told.length).toBe(50)
    ;(await containers.destroy(database.db, appId, container.id)).send()
    await expect.poll(() => told.length).toBe(100)
    await clock.advance(5_000)
    await expect.poll(() => told.length).toBe(110)
    expect(told.slice(50).every(({ path }) => path === '/worker/destroyContainer')).toBe(true)
    await containers.service.stop()
  })
  it('say by their heartbeats what they have', async () => {
    const { containers } = start()
    const container = await store(containers, jarOf(100))
    const has = (version: string): LoadedContainer => ({
      containerId: container.id,
      version,
      deployedTime: 1_700_000_000_000,
    })
    const asked = start({
      live: [
        worker('a:1', [has(container.version)]),
        worker('b:1', [has('0'.repeat(32))]),
        worker('c:1', [{ ...has(container.version), containerId: container.id + 1 }]),
      ],
    })
    expect(await asked.containers.holders(appId, container)).toEqual([
      { address: 'a:1', state: 'loaded', version: container.version, loadedAt: '2023-11-14T22:13:20.000Z' },
      { address: 'b:1', state: 'outdated', version: '0'.repeat(32), loadedAt: '2023-11-14T22:13:20.000Z' },
      { address: 'c:1', state: 'absent', version: null, loadedAt: null },
    ])
  })
  it('are answered with what to load when they ask, and nobody else is', async () => {
    const rig = start({ live: [worker('10.0.0.7:27777')], own: 'here:1' })
    const container = await store(rig.containers, jarOf(100))
    const isMine = (): boolean => false
    const ask = (id: unknown, peer: string) => rig.containers.query({ containerId: id }, { peer, isMine })
    expect(await ask(container.id, '10.0.0.7')).toEqual({
      success: true,
      data: {
        containerId: container.id,
        containerName: container.name,
        version: container.version,
        downloadURL: expect.stringContaining(`http://here:1/container/downloadJar?version=${container.version}&`),
      },
    })
    const none = { success: false, message: `can't find container by id: ${container.id}` }
    expect(await ask(container.id, '10.0.0.8')).toEqual(none)
    expect(await ask(String(container.id), '10.0.0.7')).toMatchObject({ success: true })
    expect(await ask(999_999, '10.0.0.7')).toMatchObject({ success: false })
    expect(await ask(null, '10.0.0.7')).toMatchObject({ success: false })
  })
})
