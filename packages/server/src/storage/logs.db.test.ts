// Promises of the run logs in the database: order, bounds, and which lines are kept.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { appendLines, deleteLogsBelow, readLines, readLogHead, type NewLine } from './logs.ts'
import { sql } from './sql.ts'

let database: TestDatabase
let nextRun = 1
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

const limits = { maxLines: 10, maxBytes: 1000 }

/** A running run of app 7 with the given lease. */
const running = async (lease: number, appId = 7): Promise<number> => {
  const id = nextRun++
  await database.db.query(sql`
    insert into oncejob.run (id, app_id, job_id, priority, due_at) values (${id}, ${appId}, 1, 0, now())`)
  await database.db.query(sql`
    insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows)
    values (${id}, ${lease}, 1, ${appId}, 1, 1, false)`)
  return id
}
const line = (runId: number, lease: number, text: string, appId = 7): NewLine => ({
  appId,
  runId,
  lease,
  atMs: 1_700_000_000_123,
  level: 'info',
  text,
})
const texts = async (runId: number, after = 0, limit = 100): Promise<string[]> =>
  (await readLines(database.db, runId, after, limit)).map(({ seq, text }) => `${seq} ${text}`)

describe('run logs', () => {
  it('keep lines in the order of their coming, over batches and runs', async () => {
    const [a, b] = [await running(101), await running(102)]
    await appendLines(database.db, [line(a, 101, 'a1'), line(b, 102, 'b1'), line(a, 101, 'a2')], limits)
    await appendLines(database.db, [line(b, 102, 'b2'), line(a, 101, 'a3')], limits)
    expect(await texts(a)).toEqual(['1 a1', '2 a2', '3 a3'])
    expect(await texts(b)).toEqual(['1 b1', '2 b2'])
    expect(await texts(a, 1)).toEqual(['2 a2', '3 a3'])
    expect(await texts(a, 1, 1)).toEqual(['2 a2'])
  })

  it('keep time, level and any text as they were', async () => {
    const run = await running(103)
    const odd = 'quote " backslash \\ brace {} comma, newline \n ünïcödé 🦀 null'
    await appendLines(database.db, [{ ...line(run, 103, odd), level: 'error' }, line(run, 103, '')], limits)
    const [first, second] = await readLines(database.db, run, 0, 10)
    expect(first).toEqual({ seq: 1, at: new Date(1_700_000_000_123), level: 'error', text: odd, attempt: 1 })
    expect(second?.text).toBe('')
  })

  it('ignore lines of other apps, unknown runs and unknown leases', async () => {
    const run = await running(104)
    const known = await appendLines(
      database.db,
      [line(run, 104, 'mine'), line(run, 104, 'other app', 8), line(run, 999, 'made up'), line(999_999, 104, 'no run')],
      limits,
    )
    expect(known).toEqual([{ appId: 7, runId: run, lease: 104 }])
    expect(await texts(run)).toEqual(['1 mine'])
  })

  it('keep lines of a lease that was lost, with the number of its attempt', async () => {
    const run = await running(106)
    await database.db.query(sql`update oncejob.attempt set number = 2 where run_id = ${run}`)
    await database.db.query(sql`
      insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, outcome)
      values (${run}, 1, 105, 1, now(), 'lost')`)
    await appendLines(database.db, [line(run, 106, 'new'), line(run, 105, 'late'), line(run, 106, 'newer')], limits)
    const lines = await readLines(database.db, run, 0, 10)
    expect(lines.map(({ seq, text, attempt }) => [seq, text, attempt])).toEqual([
      [1, 'late', 1],
      [2, 'new', 2],
      [3, 'newer', 2],
    ])
  })

  it('are cut after the last line that fits, visibly and once', async () => {
    const run = await running(107)
    await appendLines(
      database.db,
      Array.from({ length: 7 }, (_, i) => line(run, 107, `x${i + 1}`)),
      limits,
    )
    await appendLines(
      database.db,
      Array.from({ length: 7 }, (_, i) => line(run, 107, `y${i + 1}`)),
      limits,
    )
    await appendLines(database.db, [line(run, 107, 'z')], limits)
    const kept = await texts(run)
    expect(kept).toHaveLength(11)
    expect(kept[9]).toBe('10 y3')
    expect(kept[10]).toBe('11 log cut: more than 10 lines or 1000 bytes')
    expect(await readLogHead(database.db, 7, run)).toEqual({ state: 'open', endedAgoMs: null, truncated: true })
  })

  it('are cut by bytes, counted in UTF-8', async () => {
    const run = await running(108)
    const long = 'é'.repeat(240)
    const known = await appendLines(
      database.db,
      [line(run, 108, long), line(run, 108, long), line(run, 108, long)],
      limits,
    )
    expect(known).toHaveLength(1)
    expect(await texts(run)).toEqual([`1 ${long}`, `2 ${long}`, '3 log cut: more than 10 lines or 1000 bytes'])
  })

  it('show the cut also when not even the first line fits', async () => {
    const run = await running(109)
    await appendLines(database.db, [line(run, 109, 'x'.repeat(2000))], limits)
    expect(await texts(run)).toEqual(['1 log cut: more than 10 lines or 1000 bytes'])
  })

  it('give every line a number of its own when many write at once', async () => {
    const run = await running(110)
    const wide = { maxLines: 1000, maxBytes: 100_000 }
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        appendLines(database.db, [line(run, 110, `${i}a`), line(run, 110, `${i}b`), line(run, 110, `${i}c`)], wide),
      ),
    )
    const lines = await readLines(database.db, run, 0, 100)
    expect(lines.map(({ seq }) => seq)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
    expect(new Set(lines.map(({ text }) => text)).size).toBe(60)
  })

  it('tell whether the run has ended, and nothing to other apps', async () => {
    const run = await running(111)
    await database.db.query(
      sql`update oncejob.run set state = 'failed', ended_at = now() - interval '5 s' where id = ${run}`,
    )
    const head = await readLogHead(database.db, 7, run)
    expect(head?.state).toBe('failed')
    expect(head?.endedAgoMs).toBeGreaterThanOrEqual(5000)
    expect(await readLogHead(database.db, 8, run)).toBeUndefined()
  })

  it('are deleted below an id, in batches', async () => {
    const [a, b, c] = [await running(121), await running(122), await running(123)]
    await appendLines(database.db, [line(a, 121, 'a'), line(b, 122, 'b'), line(c, 123, 'c')], limits)
    while ((await deleteLogsBelow(database.db, c, 1)) > 0);
    expect(await texts(a)).toEqual([])
    expect(await texts(b)).toEqual([])
    expect(await texts(c)).toEqual(['1 c'])
  })
})
