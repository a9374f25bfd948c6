// Promises of what the database tells about itself, on every engine.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../kernel/clock.ts'
import { examine } from '../retention/doctor.ts'
import { readBacklog, readDatabaseFacts, readHorizonHolders, readSettings } from './doctor.ts'
import { sql } from './sql.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

describe('the database tells', () => {
  it('its version and its clock', async () => {
    const facts = await readDatabaseFacts(database.db)
    expect(facts?.versionNumber).toBeGreaterThanOrEqual(150_000)
    expect(Math.abs(facts!.nowMs - Date.now())).toBeLessThan(3_600_000)
  })

  it('the settings a session begins with', async () => {
    const settings = await readSettings(database.db, ['fsync', 'max_connections'])
    expect(settings.map(({ name }) => name).toSorted()).toEqual(['fsync', 'max_connections'])
    expect(settings.find(({ name }) => name === 'fsync')?.value).toMatch(
      database.kind === 'memory' ? /^off$/ : /^(on|off)$/,
    )
  })

  it('who holds old row versions', async () => {
    if (database.kind !== 'postgres') return expect(await readHorizonHolders(database.db, 5)).toEqual([])
    await database.db.transaction(async (tx) => {
      await tx.query(sql`set transaction isolation level repeatable read`)
      await tx.query(sql`select count(*) from oncejob.run`)
      const holders = await readHorizonHolders(database.db, 100)
      expect(holders.some(({ kind, name }) => kind === 'connection' && name.includes('idle in transaction'))).toBe(true)
    })
  })

  it('how much waits and runs', async () => {
    expect(await readBacklog(database.db)).toEqual({
      ready: 0,
      later: 0,
      blocked: 0,
      running: 0,
      unknown: 0,
      lagMs: 0,
      live: 0,
      draining: 0,
      late: 0,
    })
    await database.db.script(`
      insert into oncejob.run_ready values (1, 1, 0, now() - interval '90 s', 1, 0, false, null), (2, 1, 0, now(), 1, 0, false, null);
      insert into oncejob.run_later values (3, 1, 0, now() + interval '1 h', 1, 0, false, null, false);
      insert into oncejob.run_undecided (run_id, job_id, lease, session_id, reason, follows) values (4, 1, 1, 1, 'lost', false);
      insert into oncejob.worker_session (app_id, name, processors, labels, slots, draining, expires_at, ended_at, end_reason) values
        (1, 'a', '{}', '{}', 1, false, now() + interval '1 h', null, null), (1, 'b', '{}', '{}', 1, true, now() + interval '1 h', null, null),
        (1, 'c', '{}', '{}', 1, false, now() - interval '1 s', null, null), (1, 'd', '{}', '{}', 1, false, now(), now(), 'left')`)
    const backlog = await readBacklog(database.db)
    expect(backlog).toMatchObject({
      ready: 2,
      later: 1,
      blocked: 0,
      running: 0,
      unknown: 1,
      live: 1,
      draining: 1,
      late: 1,
    })
    expect(backlog.lagMs).toBeGreaterThanOrEqual(90_000)
  })
})

describe('the doctor', () => {
  it('has a line for every topic, on every engine', async () => {
    const { lines } = await examine({ db: database.db, clock: systemClock })
    expect([...new Set(lines.map(({ topic }) => topic))].join(' ')).toBe(
      'database schema settings clock horizon tables partitions powerjob java servers workers backlog',
    )
    expect(lines.filter(({ says }) => says.includes('can not be told'))).toEqual([])
    expect(lines.find(({ topic }) => topic === 'database')?.says).toContain(
      database.db.kind === 'embedded' ? 'embedded PostgreSQL' : 'PostgreSQL',
    )
    expect(lines.find(({ topic }) => topic === 'schema')?.status).toBe('ok')
  })
})
