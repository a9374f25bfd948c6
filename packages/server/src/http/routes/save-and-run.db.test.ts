// Save and run: job and run are there together or not at all, however often the call is sent and wherever it breaks.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeRequestKey } from '@oncejob/protocol'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { configFrom } from '../../config.ts'
import { systemClock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import type { Db, Queries } from '../../storage/db.ts'
import { sql } from '../../storage/sql.ts'
import { createRig } from '../../testing/rig.ts'
import { wire, type Wired } from '../../wire.ts'
import { ensureAdminToken } from '../admin-token.ts'

let database: TestDatabase
let token: string
const servers: { url: string; wired: Wired }[] = []

/** Counts the statements of transactions down; the one that finds 0 left, and all after it, never reach the database. */
let statementsLeft = Infinity
const breaking = (db: Db): Db => ({
  ...db,
  transaction: (work) =>
    db.transaction((tx) => {
      const fragile: Queries = {
        query: (statement, options) => {
          statementsLeft -= 1
          return statementsLeft < 0 ? Promise.reject(new Error('the test cut it')) : tx.query(statement, options)
        },
      }
      return work(fragile)
    }),
})

const startServer = async (db: Db): Promise<void> => {
  const outside = { db, clock: systemClock, random: systemRandom, log: silentLog, name: 'test', version: '0.0.0' }
  const wired = wire(outside, configFrom({}))
  servers.push({ url: await wired.http.listen('127.0.0.1', 0), wired })
}
beforeAll(async () => {
  database = await openTestDatabase()
  token = (await ensureAdminToken(database.db, systemRandom)) ?? ''
  await startServer(database.db)
  await startServer(database.db)
  await startServer(breaking(database.db))
  await call('POST', '/api/v1/apps', { name: 'shop' }, { app: null })
})
afterAll(async () => {
  for (const { wired } of servers) await wired.http.stop(0)
  await database.close()
})
beforeEach(() => {
  statementsLeft = Infinity
})

interface Options {
  readonly key?: string | undefined
  readonly app?: string | null
  readonly server?: number
}
const call = async (method: string, path: string, body?: unknown, options: Options = {}) => {
  const { key, app = 'shop', server = 0 } = options
  const answer = await fetch(`${servers[server]!.url}${path}${app === null ? '' : `?app=${app}`}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, text, json: text === '' ? null : JSON.parse(text) }
}
const path = '/api/v1/jobs:run'
const save = (job: object, run?: object, options: Options = {}) =>
  call('POST', path, { job: { processor: 'work', ...job }, ...(run === undefined ? {} : { run }) }, options)

/** Everything that a call may leave behind. */
const traces = async (): Promise<Record<string, number>> => {
  const [row] = await database.db.query<Record<string, number>>(sql`
    select (select count(*)::int from oncejob.job) as jobs, (select coalesce(sum(version), 0)::int from oncejob.job) as versions,
      (select count(*)::int from oncejob.schedule) as schedules, (select count(*)::int from oncejob.run) as runs,
      (select count(*)::int from oncejob.run_ready) as ready, (select count(*)::int from oncejob.run_later) as later,
      (select count(*)::int from oncejob.run_blocked) as blocked, (select count(*)::int from oncejob.run_slot) as slots,
      (select count(*)::int from oncejob.audit) as audit, (select count(*)::int from oncejob.request_key) as keys`)
  return row!
}
let names = 0
const freshName = (): string => `job-${(names += 1)}`

describe.each([
  ['with a request key', () => makeRequestKey()],
  ['without one', () => undefined],
])('save and run %s', (_, newKey) => {
  test('creates the job and one run, then replaces the job and runs it again', async () => {
    const name = freshName()
    const first = await save({ name }, { params: { a: 1 } }, { key: newKey() })
    expect(first.status).toBe(201)
    expect(first.json).toEqual({
      job: { id: expect.any(Number), name, version: 1, outcome: 'created' },
      run: { id: expect.any(Number) },
    })
    expect(first.headers.get('location')).toBe(`/api/v1/runs/${first.json.run.id}`)
    const { id } = first.json.job
    expect((await call('GET', `/api/v1/runs/${first.json.run.id}`)).json).toMatchObject({ jobId: id, params: { a: 1 } })

    const same = await save({ name }, undefined, { key: newKey() })
    expect(same.json.job).toEqual({ id, name, version: 1, outcome: 'unchanged' })
    const other = await save({ name, priority: 7 }, { priority: -3 }, { key: newKey() })
    expect(other.json.job).toEqual({ id, name, version: 2, outcome: 'updated' })
    expect((await call('GET', `/api/v1/runs/${other.json.run.id}`)).json).toMatchObject({ jobId: id, priority: -3 })
    const runs = (await call('GET', '/api/v1/runs')).json.items.filter((run: { jobId: number }) => run.jobId === id)
    expect(runs).toHaveLength(3)
    const { items } = (await call('GET', '/api/v1/audit-log')).json
    const actions = items.filter((entry: { target: string }) => entry.target === `job/${id}`)
    expect(actions.map((entry: { action: string }) => entry.action).toSorted()).toEqual(['job.create', 'job.update'])
  })

  test('a refusal of the job, or of the run, leaves neither behind', async () => {
    const limited = { name: freshName(), schedule: { trigger: { kind: 'none' }, overlap: 'skip' } }
    expect((await save(limited, {}, { key: newKey() })).status).toBe(201)
    const before = await traces()
    const fresh = { name: freshName() }
    const key = newKey()
    const refusals: [string, object, object][] = [
      ['JOB_INVALID', { ...fresh, mode: 'map' }, {}],
      ['SCHEDULE_INVALID', { ...fresh, schedule: { trigger: { kind: 'cron', expression: '61 * * * *' } } }, {}],
      ['REQUEST_INVALID', fresh, { delayMs: 1, runAt: '2030-01-01T00:00:00Z' }],
      ['REQUEST_INVALID', fresh, { priority: 100_000 }],
      // the edit is undone with the run that could not be
      ['RUN_LIMIT', { ...limited, priority: 9 }, {}],
    ]
    for (const [code, job, run] of refusals) {
      const answer = await save(job, run, { key })
      expect([answer.json.code, answer.headers.get('location')]).toEqual([code, null])
    }
    expect(await traces()).toEqual(before)
    // the key is free: nothing was done
    expect((await save(fresh, {}, { key })).json.job.outcome).toBe('created')
  })

  test('a name that several jobs of the PowerJob wire have is refused, the name of one means that one', async () => {
    const name = freshName()
    const { json: job } = await call('POST', '/api/v1/jobs', { name, processor: 'work' })
    await database.db.query(sql`update oncejob.job set origin = 'powerjob' where id = ${job.id}`)
    expect((await save({ name }, {}, { key: newKey() })).json.job).toMatchObject({ id: job.id, outcome: 'unchanged' })
    const { json: twin } = await call('POST', '/api/v1/jobs', { name, processor: 'work' })
    await database.db.query(sql`update oncejob.job set origin = 'powerjob' where id = ${twin.id}`)
    const before = await traces()
    const answer = await save({ name, priority: 3 }, {}, { key: newKey() })
    expect(answer.json).toMatchObject({ code: 'NAME_AMBIGUOUS', ids: [job.id, twin.id] })
    expect(await traces()).toEqual(before)
  })

  test('ten at once that save one name make one job, and a run each', async () => {
    const name = freshName()
    const before = await traces()
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_unused, i) => save({ name }, { params: i }, { key: newKey(), server: i % 2 })),
    )
    expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(201))
    expect(new Set(answers.map((answer) => answer.json.job.id)).size).toBe(1)
    expect(new Set(answers.map((answer) => answer.json.run.id)).size).toBe(10)
    expect(answers.filter((answer) => answer.json.job.outcome === 'created')).toHaveLength(1)
    const after = await traces()
    expect([after['jobs'], after['runs']]).toEqual([before['jobs']! + 1, before['runs']! + 10])
  })

  test('a run key that has its run already makes no second one, and the job is saved all the same', async () => {
    const name = freshName()
    const run = { key: 'order-4711', params: { order: 4711 } }
    const first = await save({ name }, run, { key: newKey() })
    expect([first.status, first.json.run.deduplicated]).toEqual([201, false])
    const before = await traces()
    const again = await save({ name, priority: 4 }, run, { key: newKey() })
    expect(again.json).toMatchObject({
      job: { version: 2, outcome: 'updated' },
      run: { id: first.json.run.id, deduplicated: true },
    })
    expect(again.headers.get('run-deduplicated')).toBe('true')
    expect((await traces())['runs']).toBe(before['runs'])
    // refused: the edit goes with it
    const refusal = await save({ name, priority: 5 }, { ...run, keyPolicy: { onOpen: 'reject' } }, { key: newKey() })
    expect(refusal.json.code).toBe('RUN_KEY_CONFLICT')
    expect((await call('GET', `/api/v1/jobs/${name}`)).json).toMatchObject({ version: 2, priority: 4 })
  })

  test('cut at any statement: job and run are both there or neither is, and the same call then works', async () => {
    const name = freshName()
    // a limit takes the longest way: the run waits for a slot and is let in
    const job = { name, maxConcurrentRuns: 1 }
    const key = newKey()
    const before = await traces()
    let cuts = 0
    for (;;) {
      statementsLeft = cuts
      const answer = await save(job, {}, { key, server: 2 })
      if (answer.status === 201) break
      expect(answer.json.code).toBe('BUG')
      expect(await traces(), `cut at statement ${cuts}`).toEqual(before)
      cuts += 1
    }
    expect(cuts).toBeGreaterThan(8)
    const after = await traces()
    expect([after['jobs'], after['runs'], after['audit']]).toEqual([
      before['jobs']! + 1,
      before['runs']! + 1,
      before['audit']! + 1,
    ])
  })
})

describe('the same call of save and run, sent again', () => {
  test('gets the first answer, byte for byte, from every server, and has one effect', async () => {
    const key = makeRequestKey()
    const name = freshName()
    const first = await save({ name }, { params: 1 }, { key })
    const before = await traces()
    for (const server of [0, 1]) {
      const again = await save({ name }, { params: 1 }, { key, server })
      expect([again.status, again.text]).toEqual([201, first.text])
      expect(again.headers.get('location')).toBe(first.headers.get('location'))
      expect(again.headers.get('idempotent-replayed')).toBe('true')
    }
    expect((await save({ name }, { params: 2 }, { key })).json.code).toBe('IDEMPOTENCY_KEY_REUSED')
    expect(await traces()).toEqual(before)
    expect((await call('GET', `/api/v1/idempotency-keys/${key}`)).json).toMatchObject({
      route: 'POST /api/v1/jobs:run',
      location: `/api/v1/runs/${first.json.run.id}`,
    })
  })
  test('thirty times at once: one job, one run, equal answers', async () => {
    const key = makeRequestKey()
    const before = await traces()
    const name = freshName()
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => save({ name }, {}, { key, server: i % 2 })))
    expect(new Set(answers.map((one) => `${one.status} ${one.text}`)).size).toBe(1)
    expect(answers[0]!.json.job.outcome).toBe('created')
    const after = await traces()
    expect([after['jobs'], after['runs'], after['audit']]).toEqual([
      before['jobs']! + 1,
      before['runs']! + 1,
      before['audit']! + 1,
    ])
  })
  test('of an app that takes no change without a key', async () => {
    await call('POST', '/api/v1/apps', { name: 'strict', requireRequestKeys: true }, { app: null })
    expect((await save({ name: 'job' }, {}, { app: 'strict' })).json.code).toBe('IDEMPOTENCY_KEY_REQUIRED')
    expect((await save({ name: 'job' }, {}, { app: 'strict', key: makeRequestKey() })).status).toBe(201)
  })
})

test('saving an enabled by-call job starts no run', async () => {
  const rig = await createRig(database.db)
  const byCall = freshName()
  const key = makeRequestKey()
  const body = { name: byCall, processor: 'work', enabled: true, schedule: { trigger: { kind: 'none' } } }
  const job = (await call('POST', '/api/v1/jobs', body, { key })).json
  await call('POST', `/api/v1/jobs/${job.id}/enable`)
  // its neighbour, due in the next second, shows that the scheduler looks at what was just saved
  const atMs = Date.now() + 1_500
  const once = { kind: 'once', at: new Date(atMs).toISOString() }
  const neighbour = (
    await call('POST', '/api/v1/jobs', { name: freshName(), processor: 'work', schedule: { trigger: once } })
  ).json
  const runsOf = async (jobId: number): Promise<number> => {
    const [row] = await database.db.query<{ n: number }>(
      sql`select count(*)::int as n from oncejob.run where job_id = ${jobId}`,
    )
    return row!.n
  }
  await expect
    .poll(
      async () => {
        await rig.scheduler.runOnce()
        return runsOf(neighbour.id)
      },
      { timeout: 30_000 },
    )
    .toBe(1)
  expect(await runsOf(job.id)).toBe(0)
  // and the one of save and run is all there is
  await save({ ...body, priority: 1 }, {}, { key: makeRequestKey() })
  await rig.scheduler.runOnce()
  expect(await runsOf(job.id)).toBe(1)
})
