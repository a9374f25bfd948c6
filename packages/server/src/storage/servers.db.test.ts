// Promises of the cluster's list of servers: the database's clock says who lives.
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../kernel/log.ts'
import { createPresence } from '../retention/presence.ts'
import { beatServer, listServers, registerServer, removeServer } from './servers.ts'
import { sql } from './sql.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())
beforeEach(() => database.db.script('delete from oncejob.server'))

/** Seen that long ago; negative: seen for long to come, however slow the test is. */
const age = (id: number, seconds: number) =>
  database.db.query(
    sql`update oncejob.server set seen_at = now() - ${seconds}::integer * interval '1 s' where id = ${id}`,
  )

const registered = () => database.db.query<{ id: number }>(sql`select id, name, version from oncejob.server`)

describe('servers', () => {
  it('have a rank among the living, the oldest first', async () => {
    const a = await registerServer(database.db, { name: 'a', version: '1' })
    const b = await registerServer(database.db, { name: 'b', version: '1' })
    await age(b, -3600)
    expect(await beatServer(database.db, a)).toEqual({ known: true, rank: 0, alive: 2 })
    await age(a, -3600)
    expect(await beatServer(database.db, b)).toEqual({ known: true, rank: 1, alive: 2 })
    await age(b, -3600)
    expect((await listServers(database.db)).map(({ name }) => name)).toEqual(['a', 'b'])
  })

  it('are gone when not seen for ten seconds, and back with the next beat', async () => {
    const a = await registerServer(database.db, { name: 'a', version: '1' })
    const b = await registerServer(database.db, { name: 'b', version: '1' })
    await age(a, 11)
    expect(await beatServer(database.db, b)).toEqual({ known: true, rank: 0, alive: 1 })
    await age(b, -3600)
    expect((await listServers(database.db)).map(({ name }) => name)).toEqual(['b'])
    expect(await beatServer(database.db, a)).toEqual({ known: true, rank: 0, alive: 2 })
  })

  it('learn that they were forgotten', async () => {
    const a = await registerServer(database.db, { name: 'a', version: '1' })
    await removeServer(database.db, a)
    expect((await beatServer(database.db, a)).known).toBe(false)
  })

  it('register at the start, come back when they were forgotten, and leave at the stop', async () => {
    const clock = fakeClock()
    const presence = createPresence({ db: database.db, clock, log: silentLog }, { name: 'me', version: '2' })
    await presence.start()
    const first = presence.id()
    expect(presence.rank()).toBe(0)
    expect(presence.alive()).toBe(1)
    expect(await registered()).toMatchObject([{ id: first, name: 'me', version: '2' }])
    await database.db.script('delete from oncejob.server')
    await expect
      .poll(
        async () => {
          await clock.advance(2_000)
          return (await registered()).some(({ id }) => id !== first)
        },
        { timeout: 20_000 },
      )
      .toBe(true)
    await presence.stop()
    await presence.stop()
    expect(await registered()).toEqual([])
  })
})
