// Promises of run logs as callers and readers see them: pages, followers, the end.
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { appendLines } from '../storage/logs.ts'
import { sql } from '../storage/sql.ts'
import { createLogs, type LogEvent } from './service.ts'

let database: TestDatabase
let nextRun = 1
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

const app = 7
const running = async (): Promise<number> => {
  const id = nextRun++
  await database.db.query(
    sql`insert into oncejob.run (id, app_id, job_id, priority, due_at) values (${id}, ${app}, 1, 0, now())`,
  )
  await database.db.query(sql`
    insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows) values (${id}, ${id}, 1, ${app}, 1, 1, false)`)
  return id
}
const end = (runId: number, agoMs = 5_000) =>
  database.db.query(sql`
    update oncejob.run set state = 'succeeded', ended_at = now() - ${agoMs}::bigint * interval '1 ms' where id = ${runId}`)
const entry = (runId: number, text: string) => ({
  runId,
  lease: runId,
  at: 1_700_000_000_000,
  level: 'info' as const,
  text,
})
const newLogs = (options = {}) => createLogs({ db: database.db, clock: systemClock, log: silentLog }, options)
const shown = (event: LogEvent): string => ('end' in event ? `end ${event.end}` : event.text)

describe('logs', () => {
  it('answer each of many requests at once with its own count', async () => {
    const run = await running()
    const logs = newLogs()
    const answers = await Promise.all([
      logs.append(app, { entries: [entry(run, 'a'), entry(run, 'b')] }),
      logs.append(8, { entries: [entry(run, 'of another app')] }),
      logs.append(app, { entries: [entry(run, 'c'), entry(999_999, 'no such run')] }),
    ])
    expect(answers).toEqual([
      { accepted: 2, ignored: 0 },
      { accepted: 0, ignored: 1 },
      { accepted: 1, ignored: 1 },
    ])
    expect((await logs.page(app, run, 0, 10)).lines.map(({ text }) => text)).toEqual(['a', 'b', 'c'])
  })

  it('page through, and say when all was read', async () => {
    const run = await running()
    const logs = newLogs()
    await logs.append(app, { entries: [entry(run, '1'), entry(run, '2'), entry(run, '3')] })
    const first = await logs.page(app, run, 0, 2)
    expect(first).toMatchObject({ next: 2, complete: false, truncated: false })
    expect(first.lines[0]).toEqual({ seq: 1, at: '2023-11-14T22:13:20.000Z', level: 'info', text: '1', attempt: 1 })
    expect(await logs.page(app, run, 3, 2)).toEqual({ lines: [], next: 3, complete: false, truncated: false })
    await end(run)
    expect(await logs.page(app, run, 0, 2)).toMatchObject({ next: 2, complete: false })
    expect(await logs.page(app, run, 2, 2)).toMatchObject({ next: 3, complete: true })
  })

  it('hold any text and any time that a worker sends', async () => {
    const run = await running()
    const logs = newLogs()
    const odd = { ...entry(run, 'nul \u0000 lone \uD800 end'), at: Number.MAX_SAFE_INTEGER }
    expect(await logs.append(app, { entries: [odd] })).toEqual({ accepted: 1, ignored: 0 })
    const [line] = (await logs.page(app, run, 0, 10)).lines
    expect(line?.text).toBe('nul \uFFFD lone \uFFFD end')
    expect(line?.at).toBe('9999-12-31T23:59:59.999Z')
  })

  it('refuse runs of other apps and unknown runs', async () => {
    const run = await running()
    await expect(newLogs().page(8, run, 0, 10)).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' })
    const stop = new AbortController()
    await expect(newLogs().follow(app, 999_999, 0, stop.signal)[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'RUN_NOT_FOUND',
    })
  })

  it('bring a follower every line in order and then the end', async () => {
    const run = await running()
    const logs = newLogs({ pollMs: 50, settleMs: 0 })
    await logs.append(app, { entries: [entry(run, 'before')] })
    const seen: string[] = []
    for await (const event of logs.follow(app, run, 0, new AbortController().signal)) {
      seen.push(shown(event))
      if (seen.length === 1) await logs.append(app, { entries: [entry(run, 'live 1'), entry(run, 'live 2')] })
      if (seen.length === 3) await end(run)
    }
    expect(seen).toEqual(['before', 'live 1', 'live 2', 'end succeeded'])
  })

  it('bring a follower the lines that another server stored, by polling alone', async () => {
    const run = await running()
    const logs = newLogs({ pollMs: 50, settleMs: 0 })
    const events = logs.follow(app, run, 0, new AbortController().signal)[Symbol.asyncIterator]()
    const first = events.next()
    await appendLines(
      database.db,
      [{ appId: app, runId: run, lease: run, atMs: 0, level: 'info', text: 'from elsewhere' }],
      { maxLines: 10, maxBytes: 1000 },
    )
    expect((await first).value).toMatchObject({ text: 'from elsewhere' })
    await events.return?.()
  })

  it('wake a follower without any poll when the lines come through this server', async () => {
    const run = await running()
    // this clock never moves: only the hint can wake
    const clock = fakeClock()
    const logs = createLogs({ db: database.db, clock, log: silentLog })
    const events = logs.follow(app, run, 0, new AbortController().signal)[Symbol.asyncIterator]()
    const first = events.next()
    await expect.poll(() => clock.pending(), { timeout: 20_000 }).toBe(1)
    await logs.append(app, { entries: [entry(run, 'hint')] })
    expect((await first).value).toMatchObject({ text: 'hint' })
    await events.return?.()
  })

  it('continue after the number that a follower names', async () => {
    const run = await running()
    const logs = newLogs({ pollMs: 50, settleMs: 0 })
    await logs.append(app, { entries: [entry(run, '1'), entry(run, '2')] })
    await end(run)
    const seen = await Array.fromAsync(logs.follow(app, run, 1, new AbortController().signal))
    expect(seen.map(shown)).toEqual(['2', 'end succeeded'])
  })

  it('end a follower without the end when its signal aborts', async () => {
    const run = await running()
    const stop = new AbortController()
    const seen = Array.fromAsync(newLogs().follow(app, run, 0, stop.signal))
    stop.abort()
    expect(await seen).toEqual([])
  })
})
