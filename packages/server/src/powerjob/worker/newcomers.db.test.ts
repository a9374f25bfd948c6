// Promises for workers that come later: what is deployed they are told of, once, and nothing else.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { systemClock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { addPart, adoptJar, beginJar, noteDeployed, type ContainerRow } from '../../storage/containers.ts'
import { sql } from '../../storage/sql.ts'
import type { JavaWorker, SendOutcome } from './api.ts'
import { createWelcome } from './newcomers.ts'

let database: TestDatabase
let appId: number
const ids: Record<string, number> = {}
beforeAll(async () => {
  database = await openTestDatabase()
  const { db } = database
  const apps = await db.query<{ id: number }>(
    sql`insert into oncejob.app (namespace_id, name) values (1, 'one'), (1, 'other') returning id`,
  )
  appId = apps[0]?.id ?? 0
  for (const [name, app] of [
    ['stored', apps[0]],
    ['first', apps[0]],
    ['second', apps[0]],
    ['foreign', apps[1]],
  ] as const) {
    const id = await beginJar(db)
    await addPart(db, id, 0, Buffer.from('PK'))
    const version = name.padEnd(32, '0')
    const jar = await adoptJar(db, app?.id ?? 0, name, { id, version, sha256: 'f'.repeat(64), size: 2 })
    ids[name] = jar.id
    if (name !== 'stored') await noteDeployed(db, jar.id)
  }
})
afterAll(() => database.close())

const worker = (address: string, has: readonly string[] = []): JavaWorker => ({
  sessionId: 1,
  appId,
  address,
  version: '5.1.1',
  tag: null,
  overload: false,
  lightTasks: 0,
  heavyTasks: 0,
  containers: has.map((name) => ({ containerId: ids[name] ?? 0, version: 'an older one', deployedTime: 1 })),
  running: 0,
  heardAtMs: 0,
})

const start = (outcome: () => Promise<SendOutcome> = async () => 'delivered') => {
  const told: string[] = []
  const ending = new AbortController()
  const welcome = createWelcome({
    db: database.db,
    clock: systemClock,
    log: silentLog,
    workers: {
      tell: (address, path, body) => {
        expect(path).toBe('/worker/deployContainer')
        told.push(`${address} ${(body as ContainerRow).name}`)
        return outcome()
      },
    },
    requestFor: async (container) => container,
    ending: ending.signal,
  })
  return { welcome, told, ending }
}

it('a new one is told of each container of its app that was deployed', async () => {
  const { welcome, told } = start()
  await welcome(worker('a:1'))
  expect(told).toEqual(['a:1 first', 'a:1 second'])
})
it('who has a version of one is left with it', async () => {
  const { welcome, told } = start()
  await Promise.all([welcome(worker('a:1', ['first'])), welcome(worker('b:1', ['first', 'second']))])
  expect(told).toEqual(['a:1 second'])
})
it('fifty are told at once, the others after them', async () => {
  const gates: (() => void)[] = []
  const { welcome, told } = start(() => new Promise((resolve) => gates.push(() => resolve('delivered'))))
  const all = Promise.all(Array.from({ length: 70 }, (_, at) => welcome(worker(`w${at}:1`, ['second']))))
  await expect.poll(() => told.length).toBe(50)
  for (const open of gates.splice(0)) open()
  await expect.poll(() => told.length).toBe(70)
  for (const open of gates.splice(0)) open()
  await all
})
it('one that is gone again, and a server that stops, end it', async () => {
  const gone = start(async () => 'refused')
  await gone.welcome(worker('a:1'))
  expect(gone.told).toEqual(['a:1 first'])
  const stopping = start()
  stopping.ending.abort()
  await stopping.welcome(worker('a:1'))
  expect(stopping.told).toEqual([])
})
it('a failure is that of one worker, and is not passed on', async () => {
  let calls = 0
  const { welcome, told } = start(async () => {
    calls += 1
    if (calls === 1) throw new Error('no')
    return 'delivered'
  })
  await Promise.all([welcome(worker('a:1', ['second'])), welcome(worker('b:1', ['second']))])
  expect(told).toEqual(['a:1 first', 'b:1 first'])
})
