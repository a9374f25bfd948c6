// Promises of the retention while a run stays open for months: it keeps its own partition and month, and nothing else.
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../kernel/log.ts'
import type { Db } from '../storage/db.ts'
import {
  dropFireMonth,
  dropRunPartition,
  listDroppedIds,
  listOldFireMonths,
  listRunPartitions,
  lockPartitions,
  momentOf,
} from '../storage/partitions.ts'
import { sql } from '../storage/sql.ts'
import { freshPartitions, oldRuns } from '../testing/old-runs.ts'
import { createRig } from '../testing/rig.ts'
import { audit } from './audit.ts'
import { ensurePartitions } from './partitions.ts'
import { createRetentionDuty, sweep, type Holders } from './retention.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())
beforeEach(() => script(freshPartitions(5)))

const script = (text: string): Promise<void> => database.db.script(text)
const days = { retentionDays: 30, batchRows: 2 }
const million = 1_000_000

const idsIn = async (table: string, column = 'run_id'): Promise<number[]> => {
  await script(`create or replace view oncejob.seen as select distinct ${column} as id from oncejob.${table}`)
  const rows = await database.db.query<{ id: number }>(sql`select id from oncejob.seen order by 1`)
  await script('drop view oncejob.seen')
  return rows.map(({ id }) => id)
}
const startsOf = async (): Promise<number[]> => (await listRunPartitions(database.db)).map(({ from }) => from)
const violations = async (): Promise<unknown[]> =>
  (await audit(database.db, { graceMs: 1, patienceMs: 1 })).findings.filter(({ violations }) => violations > 0)
const month = (name: string, from: string, to: string): string =>
  `create table oncejob.fire_${name} partition of oncejob.fire for values from ('${from}') to ('${to}');`
/** Ends run 1 so many days ago. */
const endOpenRun = (age: number): Promise<void> =>
  script(`delete from oncejob.attempt where run_id = 1;
    insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, ended_at, outcome)
      values (1, 2, 9000000, 1, now() - interval '80 d', now() - interval '${age} d', 'succeeded');
    update oncejob.run set state = 'succeeded', ended_at = now() - interval '${age} d' where id = 1`)

/**
 * Run 1 is open for months, in its second attempt. Partitions 1 to 3 (with it, and of later runs) are old enough, the fourth has one
 * run that ended lately, the fifth is the newest. Fires: January 2020 of run 1 and run 1000001, February of runs of the second
 * and third partition, the others in the default partition.
 */
const world = (): Promise<void> =>
  script(`
    ${month('202001', '2020-01-01Z', '2020-02-01Z')} ${month('202002', '2020-02-01Z', '2020-03-01Z')}
    ${oldRuns([1], 90)} ${oldRuns([2], 80, '2020-03-01Z')}
    ${oldRuns([million + 1], 70)} ${oldRuns([million + 2, 2 * million + 1], 60, '2020-02-01Z')}
    ${oldRuns([million + 3, 2 * million], 60, '2020-03-02Z')}
    ${oldRuns([3 * million + 1], 50, '2020-03-03Z')} ${oldRuns([4 * million + 1], 40, '2020-03-04Z')}
    update oncejob.run set ended_at = now() - interval '2 d' where id = ${3 * million + 1};
    update oncejob.attempt_log set outcome = 'lost' where run_id = 1;
    update oncejob.run set state = 'open', ended_at = null where id = 1;
    insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows) values (1, 9000000, 1, 1, 1, 2, false);
    select setval('oncejob.lease_seq', 9000000);
    insert into oncejob.run_key (app_id, job_id, key, run_id, input_hash) values (1, 1, 'open', 1, 'h'), (1, 1, 'gone', ${million + 1}, 'h');
    select setval('oncejob.run_id_seq', ${4 * million + 1})`)
const kept = [1, 2, 3 * million + 1, 4 * million + 1]

describe('a run that stays open', () => {
  it('holds back no later partition, nor what belongs to its runs, and loses nothing itself', async () => {
    await world()
    expect(await violations()).toEqual([])
    const swept = await sweep(database.db, days)
    expect(swept).toMatchObject({ runPartitions: 2, logs: 5, effects: 10, fires: 2, fireMonths: 1, again: false })
    expect(await startsOf()).toEqual([1, 3 * million + 1, 4 * million + 1])
    for (const table of ['attempt_log', 'run_log', 'log_chunk', 'effect', 'powerjob_attempt', 'powerjob_sub_run'])
      expect([table, await idsIn(table)]).toEqual([table, kept])
    expect(await idsIn('run', 'id')).toEqual(kept)
    expect(await idsIn('attempt')).toEqual([1])
    // its month names it, so it is kept whole
    expect(await idsIn('fire')).toEqual([1, 2, million + 1, 3 * million + 1, 4 * million + 1])
    expect((await listOldFireMonths(database.db, 30)).map(({ name }) => name)).toEqual(['fire_202001'])
    // run keys outlive their runs
    expect(await database.db.query(sql`select key, state from oncejob.run_key order by key`)).toEqual([
      { key: 'gone', state: 'succeeded' },
      { key: 'open', state: null },
    ])
    expect(await violations()).toEqual([])
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 0, logs: 0, effects: 0, told: 0, fires: 0 })
  })

  it('frees its partition and its month when it has ended long enough ago, and not before', async () => {
    await world()
    await sweep(database.db, days)
    await endOpenRun(29)
    expect(await violations()).toEqual([])
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 0, logs: 0, fireMonths: 0 })
    await script(`update oncejob.run set ended_at = now() - interval '31 d' where id = 1`)
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 1, logs: 2, fires: 1, fireMonths: 1 })
    expect(await startsOf()).toEqual([3 * million + 1, 4 * million + 1])
    expect(await idsIn('fire')).toEqual([3 * million + 1, 4 * million + 1])
    expect(await violations()).toEqual([])
  })

  it('lets new ids never fall into a gap', async () => {
    await world()
    await script(`delete from oncejob.run where id = ${3 * million + 1} or id = ${4 * million + 1};
      ${oldRuns([3 * million + 2, 4 * million + 2], 40)}`)
    expect(await sweep(database.db, days)).toMatchObject({ runPartitions: 3 })
    expect(await startsOf()).toEqual([1, 4 * million + 1])
    expect(await listDroppedIds(database.db)).toEqual([{ from: million + 1, to: 4 * million + 1 }])
    const { made } = await ensurePartitions(database.db)
    expect(made.filter((name) => name.startsWith('run_'))).toEqual(['run_5000001', 'run_6000001'])
    expect(await ensurePartitions(database.db)).toEqual({ made: [], again: false })
    // what is dropped stays so: the new partitions are above
    expect(await listDroppedIds(database.db)).toEqual([{ from: million + 1, to: 4 * million + 1 }])
  })

  it('is no hindrance for several servers that sweep at once', async () => {
    await world()
    const all = await Promise.all(Array.from({ length: 3 }, () => sweep(database.db, days)))
    // who came too late for a partition, or met a row that another one had, has left it to that one
    const rest = await sweep(database.db, days)
    const sum = (key: 'runPartitions' | 'logs' | 'effects' | 'fires' | 'fireMonths'): number =>
      [...all, rest].reduce((total, swept) => total + swept[key], 0)
    expect([sum('runPartitions'), sum('logs'), sum('effects'), sum('fires'), sum('fireMonths')]).toEqual([
      2, 5, 10, 2, 1,
    ])
    expect(await idsIn('run', 'id')).toEqual(kept)
    expect(await violations()).toEqual([])
  })
})

describe('the audit, with gaps', () => {
  it('still misses a run that should be there, between two dropped ranges and above all of them', async () => {
    await world()
    await sweep(database.db, days)
    await script(`insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, run_id) values
        (7, '2020-01-06Z', 1, 'fired', ${2 * million + 7}), (7, '2020-01-07Z', 1, 'fired', 7), (7, '2020-01-08Z', 1, 'fired', 9999999);
      insert into oncejob.effect (run_id, name, lease) values (${2 * million + 7}, 'c', 1), (7, 'c', 1), (9999999, 'c', 1)`)
    const found = await violations()
    expect(found).toMatchObject([
      { check: 'every fire that says fired has its run', violations: 2 },
      { check: 'every effect was written by a lease of its run', violations: 2 },
    ])
    expect(JSON.stringify(found)).not.toContain('2000007')
  })
})

describe('what changes while the retention looks', () => {
  const drop = (from: number, since: Awaited<ReturnType<typeof momentOf>>): Promise<boolean> =>
    database.db.transaction(async (tx) => {
      await lockPartitions(tx, 10_000)
      return dropRunPartition(tx, { from, to: from + million }, since)
    })

  it('a run that was retried by hand stays, also when it has ended again', async () => {
    const rig = await createRig(database.db)
    const appId = await rig.app()
    const jobId = await rig.job(appId)
    const { sessionId } = await rig.worker(appId)
    const run = await rig.submit(appId, jobId)
    const perform = async (): Promise<void> => {
      const { runs } = await rig.poll(appId, sessionId)
      const reports = runs.map(({ runId, lease }) => ({ runId, lease, outcome: 'succeeded' as const }))
      await rig.sessions.report(appId, { reports })
    }
    await perform()
    const since = await momentOf(database.db)
    await rig.runs.retry(appId, run, 'ada')
    expect(await drop(1, since)).toBe(false)
    await perform()
    expect(await rig.where(run)).toMatchObject({ state: 'succeeded', places: [] })
    expect(await drop(1, since)).toBe(false)
    expect(await drop(million + 1, since)).toBe(true)
    await script(`update oncejob.audit set at = at - interval '1 h'`)
    expect(await drop(1, await momentOf(database.db))).toBe(true)
  })

  it('a month stays when a schedule that catches up has fired in it', async () => {
    await script(month('202001', '2020-01-01Z', '2020-02-01Z'))
    const since = await momentOf(database.db)
    const dropMonth = (): Promise<boolean> =>
      database.db.transaction(async (tx) => {
        const [old] = await listOldFireMonths(tx, 30)
        return dropFireMonth(tx, old!, since)
      })
    await script(oldRuns([1], 0))
    expect(await dropMonth()).toBe(false)
    await script(`update oncejob.run set fire_at = '2020-02-01Z'`)
    expect(await dropMonth()).toBe(true)
  })
})

describe('a round', () => {
  /** Counts how often it looks at the runs and at the fires of slices. */
  const counting = (): { db: Db; looks: () => number } => {
    let looks = 0
    const query: Db['query'] = (statement, options) => {
      if (/ended_at is null or ended_at >=|ctid >=/.test(statement.toQuery().text)) looks += 1
      return database.db.query(statement, options)
    }
    return { db: { ...database.db, query }, looks: () => looks }
  }

  it('looks once at what kept a partition or a month before, and only then at all of it', async () => {
    await world()
    // it ended lately, far behind the beginning of its partition
    await script(`${oldRuns([3 * million + 250_001], 50, '2020-03-05Z')}
      update oncejob.run set ended_at = now() - interval '40 d' where id = ${3 * million + 1};
      update oncejob.run set ended_at = now() - interval '2 d' where id = ${3 * million + 250_001}`)
    await sweep(database.db, days)
    const holders: Holders = new Map()
    const [first, second] = [counting(), counting()]
    await sweep(first.db, days, holders)
    expect([...holders]).toEqual([
      [`run_${3 * million + 1}`, 3 * million + 250_001],
      ['fire_202001', 1],
    ])
    await sweep(second.db, days, holders)
    // three slices of runs and one of fires; then the run that was found
    expect([first.looks(), second.looks()]).toEqual([4, 1])
    await script(`update oncejob.run set ended_at = now() - interval '40 d' where id = ${3 * million + 250_001}`)
    await endOpenRun(40)
    expect(await sweep(database.db, days, holders)).toMatchObject({ runPartitions: 2, fireMonths: 1 })
    expect([...holders]).toEqual([])
  })

  it('ends early when the server stops, and the next one goes on', async () => {
    await script(`${oldRuns([1, 1_000_001], 40)}
      insert into oncejob.effect (run_id, name, lease) select 1, 'e' || n, 1 from generate_series(1, 250) n`)
    const stopped = await sweep(database.db, { ...days, batchRows: 10 }, new Map(), AbortSignal.abort())
    expect(stopped).toMatchObject({ runPartitions: 0, effects: 0, again: true })
    expect(await sweep(database.db, { ...days, batchRows: 10 })).toMatchObject({
      runPartitions: 1,
      effects: 252,
      again: false,
    })
  })

  it('is bounded, and the next one comes soon while more can go', async () => {
    await script(`${oldRuns([1, 1_000_001], 40)}
      insert into oncejob.effect (run_id, name, lease) select 1, 'e' || n, 1 from generate_series(1, 250) n`)
    const clock = fakeClock()
    const duty = createRetentionDuty({ db: database.db, clock, log: silentLog }, { retentionDays: 30, batchRows: 1 })
    await duty.start()
    const left = async (): Promise<number> =>
      (await database.db.query<{ n: number }>(sql`select count(*)::int as n from oncejob.effect where run_id = 1`))[0]!
        .n
    await expect.poll(() => clock.pending(), { timeout: 20_000 }).toBe(1)
    expect(await left()).toBe(52)
    await clock.advance(60_000)
    await expect.poll(left, { timeout: 20_000 }).toBe(0)
    await duty.stop()
  })
})
