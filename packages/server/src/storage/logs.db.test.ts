// Promises of the run logs in the database: order, bounds, and which lines are kept.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { appendLines, deleteLogs, loggedAttempts, readLines, readLogHead, rollLongLogs, type NewLine } from './logs.ts'
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
    values (${id}, ${lease}, 0, ${appId}, 1, 1, false)`)
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
    expect(first).toEqual({
      seq: 1,
      at: new Date(1_700_000_000_123),
      level: 'error',
      text: odd,
      attempt: 1,
      worker: null,
    })
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

  it('are deleted in a range of ids only, in batches', async () => {
    const [a, b, c, d] = [await running(121), await running(122), await running(123), await running(124)]
    await appendLines(database.db, [line(a, 121, 'a'), line(b, 122, 'b'), line(c, 123, 'c'), line(d, 124, 'd')], limits)
    while ((await deleteLogs(database.db, { from: b, to: d }, 1)) > 0);
    expect(await texts(a)).toEqual(['1 a'])
    expect(await texts(b)).toEqual([])
    expect(await texts(c)).toEqual([])
    expect(await texts(d)).toEqual(['1 d'])
  })
})

describe('logs of runs that Java workers have', () => {
  const address = '10.0.0.7:27777'
  let appId = 0
  const session = async (at: string, app = appId, ended = false): Promise<number> => {
    const [row] = await database.db.query<{ id: number }>(sql`
      insert into oncejob.worker_session (app_id, name, address, processors, labels, slots, protocol, expires_at, ended_at, end_reason)
      values (${app}, ${at}, ${at}, '{*}', '{}', 1, 'powerjob', now(), case when ${ended} then now() end, case when ${ended} then 'lost' end)
      returning id`)
    return row?.id ?? 0
  }
  const runOf = async (sessionId: number, lease: number): Promise<number> => {
    const run = await running(lease, appId)
    await database.db.query(sql`update oncejob.attempt set session_id = ${sessionId} where run_id = ${run}`)
    return run
  }
  beforeAll(async () => {
    const [app] = await database.db.query<{ id: number }>(
      sql`insert into oncejob.app (namespace_id, name) values (1, 'java') returning id`,
    )
    appId = app?.id ?? 0
  })

  it('name who wrote a line, one chunk for each, and count lines of all of them together', async () => {
    const run = await running(201)
    const by = (worker: string | null, text: string): NewLine => ({ ...line(run, 201, text), worker })
    await appendLines(database.db, [by('b:1', 'b1'), by('a:1', 'a1'), by('b:1', 'b2')], limits)
    await appendLines(database.db, [by(null, 'n')], limits)
    const lines = await readLines(database.db, run, 0, 10)
    expect(lines.map(({ seq, text, worker }) => [seq, text, worker])).toEqual([
      [1, 'a1', 'a:1'],
      [2, 'b1', 'b:1'],
      [3, 'b2', 'b:1'],
      [4, 'n', null],
    ])
  })
  it('are open to the workers that had the run and to those that live in its app, and to nobody else', async () => {
    const own = await session(address, appId, true)
    await session('10.0.0.8:27777')
    await session('10.0.0.9:27777', appId, true)
    await session('10.0.0.6:27777', appId + 1)
    const run = await runOf(own, 202)
    const asked = ['10.0.0.6', '10.0.0.7', '10.0.0.8', '10.0.0.9'].map((host) => ({
      address: `${host}:27777`,
      runId: run,
    }))
    const known = await loggedAttempts(database.db, [...asked, { address, runId: 999_999 }])
    expect(new Map(known.map(({ address: at, ...attempt }) => [at, attempt]))).toEqual(
      new Map([
        [address, expect.objectContaining({ lease: 202, own: true })],
        ['10.0.0.8:27777', expect.objectContaining({ lease: 202, own: false })],
      ]),
    )
    const native = await runOf(999, 203)
    expect(await loggedAttempts(database.db, [{ address, runId: native }])).toEqual([])
  })
  it('that last as long as their job lose their oldest lines and never the newest; others are cut as ever', async () => {
    const small = { maxLines: 40, maxBytes: 100_000 }
    const [job] = await database.db.query<{ id: number }>(sql`
      with route as (
        insert into oncejob.route (app_id, processor, labels, designated, min_free_cpu_cores, min_free_memory_gb, min_free_disk_gb,
          max_workers, strategy, digest) values (${appId}, 'p', '{}', '{}', 0, 0, 0, 0, 'random', 'd') returning id
      )
      insert into oncejob.job (app_id, name, processor, processor_type, mode, enabled, priority, overlap, max_concurrent_runs, task_concurrency,
        retry_max, retry_backoff, retry_delay_ms, retry_max_delay_ms, retry_jitter, retry_on, no_retry_on, max_lost, task_retry_max, labels,
        designated, min_free_cpu_cores, min_free_memory_gb, min_free_disk_gb, max_workers, strategy, route_id, notify, log_level, log_type, tracker_behavior)
      select ${appId}, 'often', 'p', 'built-in', 'standalone', true, 0, 'allow', 0, 1, 0, 'fixed', 0, 0, 0, '{}', '{}', 0, 0, '{}', '{}', 0, 0, 0, 0,
        'random', route.id, '{}', 'info', 'online', 'normal' from route returning id`)
    await database.db.query(sql`
      insert into oncejob.schedule (job_id, kind, expression, zone, jitter_ms, misfire_policy, misfire_max_runs, dst_gap, dst_overlap)
      values (${job?.id}, 'fixed-rate', '1000', 'UTC', 0, 'skip', 1, 'next', 'first')`)
    const holder = await session('10.0.0.5:27777')
    const [often, once] = [await runOf(holder, 204), await runOf(holder, 205)]
    await database.db.query(sql`update oncejob.attempt set job_id = ${job?.id} where run_id = ${often}`)
    await database.db.query(sql`update oncejob.attempt set job_id = 999 where run_id = ${once}`)
    const fill = async (from: number, to: number): Promise<void> => {
      for (let n = from; n <= to; n += 5) {
        const lines = [0, 1, 2, 3, 4].flatMap((i) => [
          line(often, 204, `o${n + i}`, appId),
          line(once, 205, `x${n + i}`, appId),
        ])
        await appendLines(database.db, lines, small)
      }
    }
    await fill(1, 15)
    expect(await rollLongLogs(database.db, small)).toBe(0)
    await fill(16, 30)
    expect(await rollLongLogs(database.db, small)).toBe(1)
    expect(await texts(often)).toEqual(Array.from({ length: 10 }, (_, i) => `${21 + i} o${21 + i}`))
    await fill(31, 75)
    // too much came between two rounds: that is said, and the next lines are kept again
    expect((await readLogHead(database.db, appId, often))?.truncated).toBe(true)
    expect(await rollLongLogs(database.db, small)).toBe(1)
    await fill(76, 80)
    const kept = await texts(often)
    expect(kept.at(-1)).toMatch(/ o80$/)
    expect(kept.length).toBeLessThan(20)
    expect(await texts(once)).toHaveLength(41)
  })
})
