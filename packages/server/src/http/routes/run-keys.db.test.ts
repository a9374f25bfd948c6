// Run keys over real HTTP, with the whole server twice on one database (I8): answers, races, resets, batches.
import { setImmediate } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { makeRequestKey } from '@oncejob/protocol'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { configFrom } from '../../config.ts'
import { systemClock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { audit } from '../../retention/audit.ts'
import { sweepRunKeys } from '../../storage/run-keys.ts'
import { sql } from '../../storage/sql.ts'
import { wire, type Wired } from '../../wire.ts'
import { ensureAdminToken } from '../admin-token.ts'

let database: TestDatabase
let token: string
const servers: { url: string; wired: Wired }[] = []

const startServer = async (): Promise<void> => {
  const [clock, random, log] = [systemClock, systemRandom, silentLog]
  const wired = wire({ db: database.db, clock, random, log, name: 'test', version: '0.0.0' }, configFrom({}))
  servers.push({ url: await wired.http.listen('127.0.0.1', 0), wired })
}
beforeAll(async () => {
  database = await openTestDatabase()
  token = (await ensureAdminToken(database.db, systemRandom)) ?? ''
  await startServer()
  await startServer()
  await call('POST', '/api/v1/apps', { name: 'shop' }, { app: null })
})
afterAll(async () => {
  for (const { wired } of servers) await wired.http.stop(0)
  await database.close()
})
afterEach(async () => {
  const { findings } = await audit(database.db, { graceMs: 5_000, patienceMs: 60_000 })
  expect(findings.filter(({ violations }) => violations > 0)).toEqual([])
})

interface Options {
  readonly key?: string
  readonly app?: string | null
  readonly server?: number
}
let turn = 0
const call = async (method: string, path: string, body?: unknown, options: Options = {}) => {
  const { key, app = 'shop', server = (turn += 1) % servers.length } = options
  const url = new URL(`${servers[server]!.url}${path}`)
  if (app !== null) url.searchParams.set('app', app)
  const answer = await fetch(url, {
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
const newJob = async (more: object = {}): Promise<{ id: number; name: string }> => {
  const answer = await call('POST', '/api/v1/jobs', { name: `job-${makeRequestKey()}`, processor: 'work', ...more })
  expect(answer.status).toBe(201)
  return answer.json
}
const runsOf = async (jobId: number): Promise<number> => {
  const [row] = await database.db.query<{ n: number }>(
    sql`select count(*)::int as n from oncejob.run where job_id = ${jobId}`,
  )
  return row!.n
}
/** Ends a run without a worker: what became of it is all that matters here. */
const endAs = async (runId: number, state: string): Promise<void> => {
  await database.db.script(`
    delete from oncejob.run_ready where run_id = ${runId};
    update oncejob.run set state = '${state}', ended_at = now() where id = ${runId}`)
  if (state === 'succeeded') {
    await database.db.script(`insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, outcome)
      values (${runId}, 1, nextval('oncejob.lease_seq'), 1, now(), 'succeeded')`)
  }
}
/** Does `total` things, at most `width` at a time. */
const inParallel = async <T>(total: number, width: number, work: (i: number) => Promise<T>): Promise<T[]> => {
  const results: T[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < total) {
      const i = next++
      results[i] = await work(i)
    }
  }
  await Promise.all(Array.from({ length: width }, lane))
  return results
}

describe('an answer', () => {
  test('tells a new run from one that the key had: 201 and 200, with a header', async () => {
    const job = await newJob()
    const plain = await call('POST', '/api/v1/runs', { job: job.id })
    expect(plain.json).toEqual({ id: expect.any(Number) })
    const first = await call('POST', '/api/v1/runs', { job: job.name, key: 'a' })
    expect(first).toMatchObject({ status: 201, json: { id: expect.any(Number), deduplicated: false } })
    expect(first.headers.get('location')).toBe(`/api/v1/runs/${first.json.id}`)
    expect(first.headers.get('run-deduplicated')).toBeNull()
    const repeat = await call('POST', `/api/v1/jobs/${job.name}/runs`, { key: 'a' })
    expect(repeat).toMatchObject({ status: 200, json: { id: first.json.id, deduplicated: true } })
    expect(repeat.headers.get('run-deduplicated')).toBe('true')
    expect(repeat.headers.get('location')).toBe(`/api/v1/runs/${first.json.id}`)
    const other = await call('POST', '/api/v1/runs', { job: job.id, key: 'a', keyPolicy: { onOpen: 'replace' } })
    expect(other).toMatchObject({ status: 201, json: { deduplicated: false, replaces: first.json.id } })
  })
  test('is the same, byte for byte, when the call is repeated with its request key', async () => {
    const job = await newJob()
    const made = await call('POST', '/api/v1/runs', { job: job.id, key: 'a' })
    const input = { job: job.id, key: 'a' }
    const replacing = { ...input, keyPolicy: { onOpen: 'replace' } }
    for (const [body, status] of [
      [input, 200],
      [replacing, 201],
    ] as const) {
      const key = makeRequestKey()
      const first = await call('POST', '/api/v1/runs', body, { key })
      expect(first.status).toBe(status)
      for (const server of [0, 1]) {
        const again = await call('POST', '/api/v1/runs', body, { key, server })
        expect([again.status, again.text]).toEqual([first.status, first.text])
        expect(again.headers.get('run-deduplicated')).toBe(first.headers.get('run-deduplicated'))
        expect(again.headers.get('idempotent-replayed')).toBe('true')
      }
    }
    expect(made.status).toBe(201)
    expect(await runsOf(job.id)).toBe(2)
  })
  test('to a refusal names the run that is in the way', async () => {
    const job = await newJob()
    const { json } = await call('POST', '/api/v1/runs', { job: job.id, key: 'a', params: 1 })
    const conflict = await call('POST', '/api/v1/runs', {
      job: job.id,
      key: 'a',
      params: 1,
      keyPolicy: { onOpen: 'reject' },
    })
    const facts = { existingRunId: json.id, existingState: 'waiting', existingInputHash: expect.any(String) }
    expect(conflict).toMatchObject({ status: 409, json: { code: 'RUN_KEY_CONFLICT', ...facts } })
    const mismatch = await call('POST', '/api/v1/runs', { job: job.id, key: 'a', params: 2 })
    expect(mismatch).toMatchObject({ status: 422, json: { code: 'RUN_KEY_INPUT_MISMATCH', ...facts } })
  })
  test('refuses a policy without a key, and keys that are none', async () => {
    const job = await newJob()
    const answers = await Promise.all([
      call('POST', '/api/v1/runs', { job: job.id, keyPolicy: { onOpen: 'return' } }),
      call('POST', '/api/v1/runs/batch', { runs: [{ job: job.id }, { job: job.id, keyPolicy: {} }] }),
      ...['', 'a\nb', 'a\u0000b', 'x'.repeat(256)].map((key) => call('POST', '/api/v1/runs', { job: job.id, key })),
      call('POST', '/api/v1/runs', { job: job.id, key: 'a', keyPolicy: { onOpen: 'maybe' } }),
      call('POST', '/api/v1/runs', { job: job.id, key: 'a', keyPolicy: { ttlMs: -1 } }),
      call('POST', '/api/v1/runs', { job: 987_654_321, key: 'a' }),
    ])
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 400, 400, 400, 400, 400, 400, 404])
    expect(answers[0].json.detail).toContain('/keyPolicy')
    expect(answers[1].json.detail).toContain('/runs/1/keyPolicy')
    expect(await runsOf(job.id)).toBe(0)
    expect((await call('POST', '/api/v1/runs', { job: job.id, key: 'Straße „7“ / 😀' })).status).toBe(201)
  })
  test('of a list and of one run shows the key, and the list can be narrowed to it', async () => {
    const job = await newJob()
    const { json } = await call('POST', '/api/v1/runs', { job: job.id, key: 'order-77' })
    await call('POST', '/api/v1/runs', { job: job.id })
    const list = await call('GET', `/api/v1/runs?key=order-77&job=${job.id}`)
    expect(list.json.items).toMatchObject([{ id: json.id, key: 'order-77' }])
    expect((await call('GET', `/api/v1/runs/${json.id}`)).json.key).toBe('order-77')
    expect(
      (await call('GET', `/api/v1/runs?job=${job.id}`)).json.items.map((run: { key: unknown }) => run.key),
    ).toEqual([null, 'order-77'])
  })
})

describe('a batch', () => {
  test('says which of its runs were there already, and is all or nothing', async () => {
    const job = await newJob()
    const { json } = await call('POST', '/api/v1/runs', { job: job.id, key: 'b' })
    const key = makeRequestKey()
    const runs = [{ job: job.id, key: 'a' }, { job: job.name }, { job: job.name, key: 'b' }]
    const answer = await call('POST', '/api/v1/runs/batch', { runs }, { key })
    expect(answer).toMatchObject({ status: 201, json: { deduplicated: [json.id] } })
    expect(answer.json.ids[2]).toBe(json.id)
    expect((await call('POST', '/api/v1/runs/batch', { runs }, { key })).text).toBe(answer.text)
    expect((await call('POST', '/api/v1/runs/batch', { runs: [{ job: job.id }] })).json).toEqual({
      ids: [expect.any(Number)],
    })
    const before = await runsOf(job.id)
    const refusedOne = [
      { job: job.id, key: 'c' },
      { job: job.id, key: 'b', params: 'other' },
    ]
    expect(await call('POST', '/api/v1/runs/batch', { runs: refusedOne }, { key: makeRequestKey() })).toMatchObject({
      status: 422,
      json: { code: 'RUN_KEY_INPUT_MISMATCH', index: 1, detail: expect.stringMatching(/^\/runs\/1: /) },
    })
    expect(await runsOf(job.id)).toBe(before)
    expect((await call('GET', `/api/v1/jobs/${job.id}/run-keys/c`)).status).toBe(404)
  })
})

describe('a key', () => {
  test('can be looked at and reset, of a job and of the app, once per request key', async () => {
    const job = await newJob()
    const [name, of] = ['eins / zwei?', encodeURIComponent('eins / zwei?')]
    for (const scope of ['job', 'app'] as const) {
      const path = scope === 'job' ? `/api/v1/jobs/${job.name}/run-keys/${of}` : `/api/v1/run-keys/${of}`
      expect(await call('GET', path)).toMatchObject({ status: 404, json: { code: 'RUN_KEY_NOT_FOUND' } })
      const input = { job: job.id, key: name, keyPolicy: { scope, ttlMs: null } }
      const { json } = await call('POST', '/api/v1/runs', input)
      expect((await call('GET', path)).json).toMatchObject({
        key: name,
        scope,
        runId: json.id,
        state: 'waiting',
        inputHash: expect.any(String),
        expiresAt: null,
        ttlMs: null,
      })
      expect(await call('DELETE', path)).toMatchObject({ status: 409, json: { code: 'RUN_KEY_CONFLICT' } })
      const key = makeRequestKey()
      const reset = await call('DELETE', `${path}?force=true`, undefined, { key })
      expect(reset).toMatchObject({ status: 200, json: { key: name, runId: json.id, state: 'canceled' } })
      const next = await call('POST', '/api/v1/runs', input)
      expect(next.json.id).not.toBe(json.id)
      // the repeat is a replay: it does not free the key again
      expect((await call('DELETE', `${path}?force=true`, undefined, { key })).text).toBe(reset.text)
      expect((await call('GET', path)).json).toMatchObject({ runId: next.json.id })
    }
    const log = await call('GET', '/api/v1/audit-log?limit=20')
    const resets = log.json.items.filter((entry: { action: string }) => entry.action === 'run-key.reset')
    expect(resets).toMatchObject([
      { target: 'run-key', detail: { key: name, force: true } },
      { target: `job/${job.id}/run-key`, detail: { key: name, force: true } },
    ])
  })
  test('goes with save-and-run, too', async () => {
    const body = { job: { name: `saved-${makeRequestKey()}`, processor: 'work' }, run: { key: 'a' } }
    const first = await call('POST', '/api/v1/jobs:run', body)
    expect(first.json.run).toEqual({ id: expect.any(Number), deduplicated: false })
    const again = await call('POST', '/api/v1/jobs:run', body)
    expect(again.json.run).toEqual({ id: first.json.run.id, deduplicated: true })
    expect(again.headers.get('run-deduplicated')).toBe('true')
  })
})

describe('races', () => {
  const onServer = (): boolean => database.kind === 'postgres'

  test('many submits of few keys make one run per key, and every answer has its id', { timeout: 240_000 }, async () => {
    const job = await newJob()
    const [submits, keys] = onServer() ? [6_000, 200] : [600, 20]
    // those of one key follow on each other: they meet while its row is being made
    const keyAt = (i: number): number => Math.floor((i * keys) / submits)
    const answers = await inParallel(submits, 96, (i) =>
      call(
        'POST',
        '/api/v1/runs',
        { job: job.id, key: `k-${keyAt(i)}`, params: { key: keyAt(i) } },
        i % 2 === 0 ? {} : { key: makeRequestKey() },
      ),
    )
    const wrong = answers.filter(({ status, json }) => status > 201 || typeof json?.id !== 'number')
    expect(wrong.slice(0, 3)).toEqual([])
    const idsOf = Map.groupBy(answers.keys(), keyAt)
    for (const places of idsOf.values()) expect(new Set(places.map((i) => answers[i]!.json.id)).size).toBe(1)
    expect(answers.filter(({ json }) => json.deduplicated === false)).toHaveLength(keys)
    expect(await runsOf(job.id)).toBe(keys)
  })
  test('thirty submits of one key at the same moment make one run and give thirty times its id', async () => {
    const job = await newJob()
    const answers = await inParallel(30, 30, () => call('POST', '/api/v1/runs', { job: job.name, key: 'ref-1' }))
    expect(new Set(answers.map(({ json }) => json.id)).size).toBe(1)
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1)
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(29)
    expect(await runsOf(job.id)).toBe(1)
  })
  test('a failed run is followed by one new run, however many ask at once', async () => {
    for (let round = 0; round < 5; round += 1) {
      const job = await newJob()
      const first = await call('POST', '/api/v1/runs', { job: job.id, key: 'a' })
      await endAs(first.json.id, 'failed')
      const answers = await inParallel(30, 30, () => call('POST', '/api/v1/runs', { job: job.id, key: 'a' }))
      expect(new Set(answers.map(({ json }) => json.id)).size).toBe(1)
      expect(await runsOf(job.id)).toBe(2)
    }
  })
  test('a key whose time is over is taken by one of many, while it is swept', async () => {
    const job = await newJob()
    const keys = onServer() ? 60 : 10
    await inParallel(keys, 8, async (i) => {
      const policy = { ttlMs: 0 }
      const { json } = await call('POST', '/api/v1/runs', { job: job.id, key: `k-${i}`, keyPolicy: policy })
      await endAs(json.id, 'succeeded')
    })
    await database.db
      .query(sql`update oncejob.run_key k set state = r.state, ended_at = r.ended_at, expires_at = r.ended_at
      from oncejob.run r where r.id = k.run_id and r.job_id = ${job.id}`)
    const over = new AbortController()
    const sweeper = (async () => {
      while (!over.signal.aborted) {
        await sweepRunKeys(database.db, 1)
        // the embedded database works in this process: the calls need their turn
        await setImmediate()
      }
    })()
    const answers = await inParallel(keys * 5, 48, (i) =>
      call('POST', '/api/v1/runs', { job: job.id, key: `k-${i % keys}` }),
    )
    over.abort()
    await sweeper
    expect(answers.filter(({ json }) => typeof json?.id !== 'number')).toEqual([])
    expect(answers.filter(({ json }) => json.deduplicated === false)).toHaveLength(keys)
    expect(await runsOf(job.id)).toBe(2 * keys)
  })
  test('of policies leave one open run per key', { timeout: 120_000 }, async () => {
    const job = await newJob()
    const answers = await inParallel(onServer() ? 400 : 80, 32, (i) =>
      call('POST', '/api/v1/runs', {
        job: job.id,
        key: `k-${i % 4}`,
        keyPolicy: { onOpen: (['return', 'replace', 'replace', 'after'] as const)[(i % 7) % 4] },
      }),
    )
    expect(answers.filter(({ status }) => status > 201)).toEqual([])
    const [row] = await database.db.query<{ n: number }>(
      sql`select count(*)::int as n from oncejob.run where job_id = ${job.id} and state = 'open'
            and id not in (select run_id from oncejob.run_blocked where after_run_id is not null)`,
    )
    expect(row!.n).toBe(4)
  })
  test(
    'of callers who take the same keys and jobs crosswise never end in a deadlock',
    { timeout: 240_000 },
    async () => {
      const one = await newJob({ maxConcurrentRuns: 1, schedule: { trigger: { kind: 'none' }, overlap: 'replace' } })
      const two = await newJob({ maxConcurrentRuns: 1, schedule: { trigger: { kind: 'none' }, overlap: 'replace' } })
      const keys = ['a', 'b', 'c', 'd']
      const keyPolicy = { scope: 'app', onOpen: 'replace', onInputMismatch: 'ignore' }
      const answers = await inParallel(onServer() ? 120 : 30, 24, (i) => {
        const order = i % 2 === 0 ? keys : keys.toReversed()
        const jobs = i % 3 === 0 ? [one, two] : [two, one]
        const runs = order.map((key, j) => ({ job: jobs[j % 2]!.id, key: `cross-${key}`, keyPolicy }))
        return call('POST', '/api/v1/runs/batch', { runs })
      })
      expect(answers.filter(({ status }) => status !== 201).map(({ json }) => json)).toEqual([])
    },
  )
})
