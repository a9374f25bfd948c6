// Promises of partitions and retention on a database: ids always have a place, and only what is old and over goes.
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../kernel/log.ts'
import { keepSubRuns } from '../storage/java-attempts.ts'
import { lockPartitions, listOldFireMonths, listRunPartitions, nextRunId } from '../storage/partitions.ts'
import { sql } from '../storage/sql.ts'
import { freshPartitions, oldRuns } from '../testing/old-runs.ts'
import { audit } from './audit.ts'
import { createPartitionDuty, ensurePartitions } from './partitions.ts'
import { createRetentionDuty, sweep } from './retention.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())
// every test begins with the partitions of a new database and no rows
beforeEach(() => script(freshPartitions(2)))

const script = (text: string): Promise<void> => database.db.script(text)
const count = async (table: string, where = 'true'): Promise<number> => {
  await script(`create or replace view oncejob.counted as select count(*) as n from oncejob.${table} where ${where}`)
  const [row] = await database.db.query<{ n: number }>(sql`select n from oncejob.counted`)
  await script('drop view oncejob.counted')
  return row?.n ?? -1
}
const days = { retentionDays: 30, batchRows: 2 }

describe('partitions', () => {
  it('are ahead of the ids and of the calendar after the start, and a second look makes nothing', async () => {
    const { made, again } = await ensurePartitions(database.db)
    expect(again).toBe(false)
    expect(made.filter((name) => name.startsWith('fire_'))).toHaveLength(4)
    expect((await listRunPartitions(database.db)).length).toBeGreaterThanOrEqual(3)
    expect(await ensurePartitions(database.db)).toEqual({ made: [], again: false })
  })

  it('take rows of every id and month they were made for, with the keys and checks of the table', async () => {
    await ensurePartitions(database.db)
    const last = (await listRunPartitions(database.db)).at(-1)!
    await script(`select setval('oncejob.run_id_seq', ${last.from})`)
    await ensurePartitions(database.db)
    const newest = (await listRunPartitions(database.db)).at(-1)!
    expect(newest.from).toBeGreaterThan(last.from)
    await script(
      `insert into oncejob.run (id, app_id, job_id, priority, due_at) values (${newest.to - 1}, 1, 1, 0, now())`,
    )
    expect(await count(`run_${newest.from}`)).toBe(1)
    await expect(
      script(
        `insert into oncejob.run (id, app_id, job_id, priority, due_at, state) values (${newest.from}, 1, 1, 0, now(), 'failed')`,
      ),
    ).rejects.toThrow('check')
    await expect(
      script(
        `insert into oncejob.run (id, app_id, job_id, priority, due_at) values (${newest.to - 1}, 1, 1, 0, now())`,
      ),
    ).rejects.toThrow('duplicate key')
    await script(
      `insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, reason) values (1, now() + interval '80 d', 1, 'skipped', 'x')`,
    )
    expect(await count('fire_default')).toBe(0)
    expect(await nextRunId(database.db)).toBe(last.from + 1)
  })

  it('have the indexes of their table', async () => {
    await ensurePartitions(database.db)
    const [row] = await database.db.query<{ n: number }>(sql`
      select count(*) as n from pg_inherits link join pg_index i on i.indexrelid = link.inhrelid
       where i.indrelid = 'oncejob.run_2000001'::regclass`)
    expect(row?.n).toBe(4)
  })

  it('are made once when several servers ask at the same time', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => ensurePartitions(database.db)))
    const made = all.flatMap((one) => one.made)
    expect(new Set(made).size).toBe(made.length)
    for (let again = true; again;) again = (await ensurePartitions(database.db)).again
    expect((await ensurePartitions(database.db)).made).toEqual([])
  })

  it('of a month that has rows in the default partition are left out', async () => {
    await script(
      `insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, reason) values (1, now(), 1, 'skipped', 'x')`,
    )
    const { made } = await ensurePartitions(database.db)
    expect(made.filter((name) => name.startsWith('fire_'))).toHaveLength(3)
    expect(await count('fire_default')).toBe(1)
  })

  it('are there when the duty has started', async () => {
    const duty = createPartitionDuty({ db: database.db, clock: fakeClock(), log: silentLog })
    await duty.start()
    expect((await listRunPartitions(database.db)).length).toBeGreaterThanOrEqual(3)
    await duty.stop()
  })
})

describe('retention', () => {
  it('drops a partition with its history, logs, effects and fires when all of its runs ended long ago', async () => {
    await script(
      `create table oncejob.fire_202001 partition of oncejob.fire for values from ('2020-01-01Z') to ('2020-02-01Z')`,
    )
    await script(oldRuns([1, 2, 3, 4, 5], 40))
    await script(oldRuns([1_000_001], 35))
    const swept = await sweep(database.db, days)
    expect(swept).toMatchObject({ runPartitions: 1, logs: 5, effects: 10, fireMonths: 0 })
    expect(await count('run')).toBe(1)
    expect(await count('attempt_log')).toBe(1)
    expect(await count('log_chunk')).toBe(1)
    expect(await count('effect')).toBe(2)
    // the month still names a run that is kept
    expect(await count('fire')).toBe(6)
    expect(
      (await audit(database.db, { graceMs: 1, patienceMs: 1 })).findings.filter(({ violations }) => violations > 0),
    ).toEqual([])
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 0, fireMonths: 0 })
  })

  it('drops a month of fires once none of its runs is kept, and never before', async () => {
    await script(
      `create table oncejob.fire_202001 partition of oncejob.fire for values from ('2020-01-01Z') to ('2020-02-01Z')`,
    )
    await script(oldRuns([1], 40))
    await script(`insert into oncejob.run (id, app_id, job_id, priority, created_at, due_at, state, ended_at)
      values (1000001, 1, 1, 0, now() - interval '35 d', now(), 'failed', now())`)
    expect(await listOldFireMonths(database.db, 30)).toHaveLength(1)
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 1, fireMonths: 1 })
    expect(await count('fire')).toBe(0)
  })

  it('deletes old fires of the default partition under the same rule', async () => {
    await script(oldRuns([1, 2, 3], 40))
    await script(oldRuns([1_000_001], 35))
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 1, fires: 3 })
    expect(await count('fire', 'run_id = 1000001')).toBe(1)
  })

  it('keeps a partition with an open run, with a run that ended lately, or with ids that may still come', async () => {
    await script(oldRuns([1, 2], 40))
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 0 })
    await script(oldRuns([1_000_001], 35))
    await script(`update oncejob.run set ended_at = now() - interval '29 d' where id = 2`)
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 0 })
    await script(`update oncejob.run set ended_at = null, state = 'open' where id = 2`)
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 0 })
    await script(`update oncejob.run set ended_at = now() - interval '31 d', state = 'failed' where id = 2`)
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 1 })
  })

  it('keeps a partition of which a run was retried by hand at the last moment', async () => {
    await script(oldRuns([1], 40))
    await script(oldRuns([1_000_001], 35))
    await script(`insert into oncejob.run_ready values (1, 1, 0, now(), 1, 0, false, null)`)
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 0 })
    expect(await count('run')).toBe(2)
  })

  it('bounds the executions within a run that is open for years: by age, and to the newest of each job', async () => {
    // one per hour for 40 days, of two jobs in two attempts each; a third has few
    await script(`
      insert into oncejob.run (id, app_id, job_id, priority, due_at) select n, 1, n, 0, now() from generate_series(1, 3) n;
      insert into oncejob.powerjob_sub_run (run_id, lease, number, job_id, started_at, status)
        select job, 1 + n / 500, n, job, now() - (960 - n) * interval '1 hour', 2 from generate_series(1, 2) job, generate_series(1, 960) n;
      insert into oncejob.powerjob_sub_run (run_id, lease, number, job_id, started_at, status)
        select 3, 1, n, 3, now(), 5 from generate_series(1, 5) n`)
    expect(await sweep(database.db, { retentionDays: 30, batchRows: 100 })).toMatchObject({ subRuns: 480, told: 0 })
    expect(await count('powerjob_sub_run', 'job_id = 1')).toBe(720)
    expect(await count('powerjob_sub_run', "started_at < now() - interval '30 days'")).toBe(0)
    expect(await sweep(database.db, { retentionDays: 30, mostSubRuns: 200 })).toMatchObject({ subRuns: 1_040 })
    for (const job of [1, 2]) {
      expect(await count('powerjob_sub_run', `job_id = ${job}`)).toBe(200)
      expect(await count('powerjob_sub_run', `job_id = ${job} and number <= 760`)).toBe(0)
    }
    expect(await count('powerjob_sub_run', 'job_id = 3')).toBe(5)
    expect(await sweep(database.db, { retentionDays: 30, mostSubRuns: 200 })).toMatchObject({ subRuns: 0 })
  })

  it('keeps the executions that came last also when the clock of their worker was a year ahead before', async () => {
    await script(`insert into oncejob.run (id, app_id, job_id, priority, due_at) values (1, 1, 1, 0, now())`)
    const told = (number: number, startedMs: number) => ({
      number,
      startedMs,
      finishedMs: startedMs,
      status: 5,
      result: null,
    })
    const aYearMs = 366 * 86_400_000
    for (const number of [1, 2, 3]) await keepSubRuns(database.db, 1, 1, [told(number, Date.now() + aYearMs)])
    // hours off is nothing unusual
    const aheadMs = Date.now() + 3 * 3_600_000
    for (const number of [4, 5, 6]) await keepSubRuns(database.db, 1, 1, [told(number, aheadMs + number)])
    expect(await sweep(database.db, { retentionDays: 30, mostSubRuns: 3 })).toMatchObject({ subRuns: 3 })
    const kept = await database.db.query<{ number: number; started_at: Date }>(sql`
      select number, started_at from oncejob.powerjob_sub_run order by number`)
    expect(kept).toEqual([4, 5, 6].map((number) => ({ number, started_at: new Date(aheadMs + number) })))
    // nor does one that is told in the far future stay for ever
    await script(`truncate oncejob.powerjob_sub_run`)
    await keepSubRuns(database.db, 1, 1, [told(1, Date.parse('9999-12-31T00:00:00Z'))])
    const [row] = await database.db.query<{ ahead: boolean }>(sql`
      select started_at > now() + interval '1 day' as ahead from oncejob.powerjob_sub_run`)
    expect(row).toEqual({ ahead: false })
  })

  it('forgets sessions that ended long ago and servers that died, and nothing that is alive', async () => {
    await script(`
      insert into oncejob.worker_session (app_id, name, processors, labels, slots, expires_at, ended_at, end_reason) values
        (1, 'a', '{}', '{}', 1, now(), now() - interval '40 d', 'left'), (1, 'b', '{}', '{}', 1, now(), now() - interval '40 d', 'lost'),
        (1, 'c', '{}', '{}', 1, now(), now() - interval '40 d', 'lost'), (1, 'd', '{}', '{}', 1, now(), now() - interval '2 d', 'lost'),
        (1, 'e', '{}', '{}', 1, now() - interval '50 d', null, null);
      insert into oncejob.server (name, version, seen_at) values ('x', '1', now() - interval '2 d'), ('y', '1', now())`)
    expect(await sweep(database.db, days)).toMatchObject({ sessions: 3, servers: 1 })
    expect(await count('worker_session')).toBe(2)
    expect(await count('server')).toBe(1)
  })

  it('does all of it as a duty', async () => {
    await script(`insert into oncejob.server (name, version, seen_at) values ('x', '1', now() - interval '2 d')`)
    const clock = fakeClock()
    const duty = createRetentionDuty({ db: database.db, clock, log: silentLog }, days)
    await duty.start()
    await expect.poll(() => count('server'), { timeout: 20_000 }).toBe(0)
    await duty.stop()
  })
})

describe('changing partitions', () => {
  it('never waits for long behind someone who uses the table', async () => {
    // only PostgreSQL has a second connection that could be in the way
    if (database.kind !== 'postgres') return expect(database.db.kind).toBe('embedded')
    await script(
      `insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, reason) values (1, now(), 1, 'skipped', 'x')`,
    )
    await script(oldRuns([1], 40))
    await script(oldRuns([1_000_001], 35))
    await ensurePartitions(database.db)
    await database.db.transaction(async (tx) => {
      await tx.query(sql`select count(*) from oncejob.run`)
      expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 0 })
    })
    await database.db.transaction(async (tx) => {
      await lockPartitions(tx, 1000)
      await script(`select setval('oncejob.run_id_seq', 2500000)`)
      expect(await ensurePartitions(database.db)).toEqual({ made: [], again: true })
    })
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 1 })
  })
})
