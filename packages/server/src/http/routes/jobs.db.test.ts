// Jobs, schedules, fires, workers and runs over HTTP, on a real database.
import { fakeClock, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { RunsApi, SessionsApi } from '../../dispatch/api.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { createJobsService } from '../../scheduling/jobs-service.ts'
import { keepSubRuns } from '../../storage/java-attempts.ts'
import { sql } from '../../storage/sql.ts'
import { ensureAdminToken } from '../admin-token.ts'
import { createHttp, type HttpServer } from '../server.ts'
import { testServices } from '../testing/services.ts'
import { fireRoutes } from './fires.ts'
import { jobRoutes } from './jobs.ts'
import { runReadRoutes } from './runs-read.ts'
import { scheduleRoutes } from './schedules.ts'
import { workerReadRoutes } from './workers.ts'

let database: TestDatabase
let server: HttpServer
let admin: string
let app: string
let appId: number
let waits: { runId: number; waitMs: number }[] = []
let whileWaiting: () => Promise<void> = async () => undefined

beforeAll(async () => {
  database = await openTestDatabase()
  const { db } = database
  const waitForEnd: RunsApi['waitForEnd'] = async (runId, waitMs) => {
    waits.push({ runId, waitMs })
    await whileWaiting()
    return true
  }
  server = createHttp({
    ...testServices(db, { waitForEnd } as RunsApi, fakeClock()),
    sessions: {} as SessionsApi,
    clock: fakeClock(),
    random: systemRandom,
    log: silentLog,
    registry: new Registry(),
    version: '0.0.0',
    ready: async () => undefined,
    routes: [
      jobRoutes(createJobsService({ db, hints: { jobChanged: () => undefined } })),
      scheduleRoutes(db),
      fireRoutes(db),
      workerReadRoutes(db),
      runReadRoutes({ db, runs: { waitForEnd } }),
    ],
  })
  await server.app.ready()
  admin = (await ensureAdminToken(db, systemRandom)) ?? ''
})
afterAll(async () => {
  await server.app.close()
  await database.close()
})

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
const call = async (method: Method, url: string, payload?: object, headers: Record<string, string> = {}) => {
  const answer = await server.app.inject({
    method,
    url: `/api/v1${url}${url.includes('?') ? '&' : '?'}app=${app}`,
    headers: { authorization: `Bearer ${admin}`, ...headers },
    ...(payload === undefined ? {} : { payload }),
  })
  return { status: answer.statusCode, headers: answer.headers, json: answer.body === '' ? undefined : answer.json() }
}

let apps = 0
/** Makes an app and lets the following calls be for it. */
const enterApp = async (): Promise<void> => {
  apps += 1
  app = `app-${apps}`
  const answer = await server.app.inject({
    method: 'POST',
    url: '/api/v1/apps',
    headers: { authorization: `Bearer ${admin}` },
    payload: { name: app },
  })
  appId = answer.json().id
}
beforeEach(async () => {
  await enterApp()
  waits = []
  whileWaiting = async () => undefined
})

const mail = { name: 'mail', processor: 'send-mail' }
const make = async (input: object = mail) => {
  const answer = await call('POST', '/jobs', input)
  expect(answer.status).toBe(201)
  return answer
}

describe('jobs', () => {
  it('are created with a location and an entity tag, and read by id and by name', async () => {
    const made = await make({
      ...mail,
      params: { a: [1] },
      schedule: { trigger: { kind: 'cron', expression: '0 3 * * *' } },
    })
    const { id } = made.json
    expect(made.headers).toMatchObject({ location: `/api/v1/jobs/${id}`, etag: `"job-${id}-v1"` })
    for (const ref of [id, 'mail']) {
      const read = await call('GET', `/jobs/${ref}`)
      expect(read.json).toEqual(made.json)
      expect(read.headers['etag']).toBe(made.headers['etag'])
    }
    expect(made.json).toMatchObject({
      app,
      params: { a: [1] },
      version: 1,
      nextFireAt: expect.stringMatching(/T03:00:00\.000Z$/),
    })
  })

  it('a name with a slash, a space or a percent sign is found', async () => {
    for (const name of ['a/b', 'two words', '100%', 'ü?#']) {
      await make({ ...mail, name })
      expect((await call('GET', `/jobs/${encodeURIComponent(name)}`)).json).toMatchObject({ name })
    }
  })

  it.each([
    [{ ...mail, surprise: 1 }, 400, 'REQUEST_INVALID'],
    [{ ...mail, priority: '1' }, 400, 'REQUEST_INVALID'],
    [{ name: 'x' }, 400, 'REQUEST_INVALID'],
    [{ ...mail, mode: 'map' }, 422, 'JOB_INVALID'],
    [{ ...mail, schedule: { trigger: { kind: 'cron', expression: '* * * *' } } }, 422, 'SCHEDULE_INVALID'],
    [{ ...mail, schedule: { trigger: { kind: 'cron', expression: '* * * * * * * *' } } }, 422, 'SCHEDULE_INVALID'],
    [{ ...mail, schedule: { trigger: { kind: 'none' }, zone: 'Nowhere/Land' } }, 422, 'SCHEDULE_INVALID'],
  ])('%j is refused with %i', async (input, status, code) => {
    const answer = await call('POST', '/jobs', input)
    expect([answer.status, answer.json.code]).toEqual([status, code])
    expect((await call('GET', '/jobs')).json.items).toEqual([])
  })

  it('a change needs the version that was seen', async () => {
    const { json, headers } = await make()
    const url = `/jobs/${json.id}`
    expect((await call('PATCH', url, { priority: 1 })).json).toMatchObject({ status: 428, code: 'VERSION_REQUIRED' })
    expect((await call('PUT', url, mail)).status).toBe(428)
    expect((await call('DELETE', url)).status).toBe(428)
    const etag = String(headers['etag'])
    const changed = await call('PATCH', url, { priority: 1 }, { 'if-match': `W/${etag}` })
    expect([changed.status, changed.headers['etag'], changed.json.priority]).toEqual([200, `"job-${json.id}-v2"`, 1])
    const stale = await call('PATCH', url, { priority: 2 }, { 'if-match': etag })
    expect(stale.json).toMatchObject({
      status: 412,
      code: 'VERSION_CONFLICT',
      expected: 1,
      current: 2,
      changes: [{ path: '/priority', yours: 2, current: 1 }],
    })
    expect((await call('PUT', url, mail, { 'if-match': '*' })).json).toMatchObject({ priority: 0, version: 3 })
    expect((await call('DELETE', url, undefined, { 'if-match': '"nonsense"' })).status).toBe(412)
    expect((await call('DELETE', url, undefined, { 'if-match': `"job-${json.id}-v3"` })).status).toBe(204)
    expect((await call('GET', url)).json.code).toBe('JOB_NOT_FOUND')
  })

  it('are switched off and on, and copied', async () => {
    const { id } = (await make()).json
    expect((await call('POST', `/jobs/${id}/disable`)).json).toMatchObject({ enabled: false, version: 2 })
    expect((await call('POST', `/jobs/${id}/disable`)).json).toMatchObject({ enabled: false, version: 2 })
    expect((await call('POST', '/jobs/mail/enable')).json).toMatchObject({ enabled: true, version: 3 })
    const copy = await call('POST', '/jobs/mail/copy', { name: 'second' })
    expect([copy.status, copy.headers['location']]).toEqual([201, `/api/v1/jobs/${copy.json.id}`])
    expect(copy.json).toMatchObject({ name: 'second', enabled: false, version: 1 })
  })

  it('the trail says who did what', async () => {
    const { id } = (await make()).json
    await call('PATCH', `/jobs/${id}`, { tag: 'x' }, { 'if-match': '*' })
    const { items } = (await call('GET', '/audit-log')).json
    expect(items.filter(({ target }: { target: string }) => target === `job/${id}`)).toMatchObject([
      { actor: 'admin', action: 'job.update', app, detail: { changed: ['/tag'] } },
      { actor: 'admin', action: 'job.create', app },
    ])
  })

  it('lists page through every order, and a cursor of another list is refused', async () => {
    for (const name of ['b', 'a', 'ä'.repeat(255), 'c']) await make({ ...mail, name })
    for (const sort of ['id', '-id', 'name', '-name', 'updatedAt', '-updatedAt', 'nextFireAt']) {
      const seen: string[] = []
      let cursor = ''
      do {
        const { json } = await call('GET', `/jobs?limit=1&sort=${sort}${cursor}`)
        seen.push(...json.items.map(({ name }: { name: string }) => name))
        cursor = json.next === null ? '' : `&cursor=${json.next}`
      } while (cursor !== '')
      expect(seen.toSorted()).toEqual(['a', 'b', 'c', 'ä'.repeat(255)])
    }
    const { next } = (await call('GET', '/jobs?limit=1&sort=name')).json
    for (const other of ['', '&sort=-name', '&sort=name&q=a', '&sort=updatedAt']) {
      expect((await call('GET', `/jobs?cursor=${next}${other}`)).json.code).toBe('CURSOR_INVALID')
    }
    expect((await call('GET', '/jobs?cursor=garbage')).json.code).toBe('CURSOR_INVALID')
  })

  it('filters come from the query, and unknown ones are refused', async () => {
    await make({ ...mail, tag: 'x', enabled: false })
    await make({ ...mail, name: 'other' })
    const names = async (query: string) =>
      (await call('GET', `/jobs?${query}`)).json.items.map(({ name }: { name: string }) => name)
    expect(await names('enabled=false')).toEqual(['mail'])
    expect(await names('tag=x&q=MAIL&kind=none&processor=send-mail&name=mail')).toEqual(['mail'])
    expect(await names('enabled=true')).toEqual(['other'])
    expect((await call('GET', '/jobs?colour=red')).json.code).toBe('REQUEST_INVALID')
    expect((await call('GET', '/jobs?q=%00')).json.code).toBe('REQUEST_INVALID')
  })

  it('a file goes out and comes in elsewhere, twice without harm', async () => {
    await make()
    const file = (await call('GET', '/jobs/export')).json
    expect(file).toMatchObject({ format: 'oncejob.jobs/1', jobs: [{ name: 'mail', processor: 'send-mail' }] })
    await enterApp()
    const first = await call('POST', '/jobs/import', file)
    const second = await call('POST', '/jobs/import', file)
    expect([first.json.jobs[0].outcome, second.json.jobs[0].outcome]).toEqual(['created', 'unchanged'])
  })
})

describe('schedules', () => {
  it('a preview shows the next fires from a moment on, that moment included', async () => {
    const preview = (schedule: object, rest: object = {}) =>
      call('POST', '/schedules/preview', { schedule, from: '2030-01-01T00:00:00Z', ...rest })
    const cron = { trigger: { kind: 'cron', expression: '0 12 * * *' }, zone: 'Europe/Berlin' }
    expect((await preview(cron, { count: 2 })).json).toEqual({
      fires: ['2030-01-01T11:00:00.000Z', '2030-01-02T11:00:00.000Z'],
    })
    expect((await preview({ trigger: { kind: 'fixed-rate', everyMs: 500 } }, { count: 2 })).json).toEqual({
      fires: ['2030-01-01T00:00:00.000Z', '2030-01-01T00:00:00.500Z'],
    })
    expect((await preview({ trigger: { kind: 'fixed-delay', delayMs: 500 } })).json).toEqual({
      fires: ['2030-01-01T00:00:00.000Z'],
    })
    expect((await preview({ trigger: { kind: 'none' } })).json).toEqual({ fires: [] })
    expect((await preview({ trigger: { kind: 'cron', expression: '0 0 31 2 *' } })).json.code).toBe('SCHEDULE_INVALID')
    expect((await preview(cron, { from: '2030-13-01T00:00:00Z' })).json.code).toBe('REQUEST_INVALID')
    const { fires } = (await call('POST', '/schedules/preview', { schedule: cron })).json
    expect(fires).toHaveLength(10)
  })
})

const makeRun = async (jobId: number, ended = false): Promise<number> => {
  const rows = await database.db.query<{ id: number }>(sql`
    insert into oncejob.run (id, app_id, job_id, priority, due_at, state, ended_at)
    values (nextval('oncejob.run_id_seq'), ${appId}, ${jobId}, 0, now(), ${ended ? 'succeeded' : 'open'}, case when ${ended} then now() end)
    returning id`)
  return rows[0]!.id
}
const makeReady = async (jobId: number): Promise<number> => {
  const runId = await makeRun(jobId)
  await database.db.query(sql`
    insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows)
    select ${runId}, route_id, 0, now(), id, 0, false from oncejob.job where id = ${jobId}`)
  return runId
}

describe('runs', () => {
  it('a waiting run says why it waits', async () => {
    const { id } = (await make()).json
    const runId = await makeReady(id)
    const { json } = await call('GET', `/runs/${runId}`)
    expect(json).toMatchObject({
      id: runId,
      job: 'mail',
      state: 'waiting',
      attemptHistory: [],
      why: [{ code: 'NO_WORKER' }],
    })
    expect((await call('GET', `/runs/${runId}/attempts`)).json).toEqual({ items: [] })
    expect(waits).toEqual([])
  })

  it('with waitMs the answer has the state at the end of the wait, and an ended run does not wait', async () => {
    const { id } = (await make()).json
    const runId = await makeReady(id)
    whileWaiting = async () => {
      await database.db.query(sql`delete from oncejob.run_ready where run_id = ${runId}`)
      await database.db.query(
        sql`update oncejob.run set state = 'succeeded', ended_at = now(), result = '7' where id = ${runId}`,
      )
    }
    expect((await call('GET', `/runs/${runId}?waitMs=5000`)).json).toMatchObject({
      state: 'succeeded',
      result: 7,
      why: [],
    })
    expect((await call('GET', `/runs/${runId}?waitMs=5000`)).json).toMatchObject({ state: 'succeeded' })
    expect(waits).toEqual([{ runId, waitMs: 5000 }])
    expect((await call('GET', `/runs/${runId}?waitMs=30001`)).json.code).toBe('REQUEST_INVALID')
  })

  it('runs of other apps, and what is no id, are not there', async () => {
    const runId = await makeReady((await make()).json.id)
    await enterApp()
    for (const id of [runId, 0, 'x', '9007199254740993', '1e3', '-1']) {
      for (const url of [`/runs/${id}`, `/runs/${id}?waitMs=1`, `/runs/${id}/attempts`]) {
        expect((await call('GET', url)).json).toMatchObject({ status: 404, code: 'RUN_NOT_FOUND' })
      }
    }
  })

  it('lists narrow by job, also a deleted one by its id, by states and by time', async () => {
    const { id } = (await make()).json
    const other = (await make({ ...mail, name: 'other' })).json.id
    const first = await makeRun(id, true)
    const second = await makeReady(id)
    const third = await makeRun(other, true)
    const ids = async (query: string) =>
      (await call('GET', `/runs?${query}`)).json.items.map((run: { id: number }) => run.id)
    expect(await ids('')).toEqual([third, second, first])
    expect(await ids('job=mail')).toEqual([second, first])
    expect(await ids('state=waiting,running')).toEqual([second])
    expect(await ids('state=waiting,succeeded&limit=2')).toEqual([third, second])
    expect(await ids('from=2999-01-01T00:00:00Z')).toEqual([])
    await call('DELETE', `/jobs/${id}`, undefined, { 'if-match': '*' })
    expect(await ids(`job=${id}`)).toEqual([second, first])
    expect((await call('GET', '/runs?job=mail')).json.code).toBe('JOB_NOT_FOUND')
    expect((await call('GET', '/runs?state=sleeping')).json.code).toBe('REQUEST_INVALID')
    expect((await call('GET', '/runs?from=yesterday')).json.code).toBe('REQUEST_INVALID')
    const page = (await call('GET', '/runs?limit=2')).json
    expect(await ids(`limit=2&cursor=${page.next}`)).toEqual([first])
    expect((await call('GET', `/runs?state=failed&cursor=${page.next}`)).json.code).toBe('CURSOR_INVALID')
  })
})

describe('fires and workers', () => {
  it('fires of a job and of the app, by page', async () => {
    const { id } = (await make()).json
    await database.db.query(sql`
      insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, reason)
      select s.id, timestamptz '2026-01-01' + n * interval '1 s', s.job_id, 'skipped', 'because'
      from oncejob.schedule s, generate_series(1, 3) n where s.job_id = ${id}`)
    for (const url of ['/jobs/mail/fires?', '/fires?', '/fires?job=mail&', `/fires?job=${id}&outcome=skipped&`]) {
      const first = (await call('GET', `${url}limit=2`)).json
      expect(first.items.map(({ fireAt }: { fireAt: string }) => fireAt)).toEqual([
        '2026-01-01T00:00:03.000Z',
        '2026-01-01T00:00:02.000Z',
      ])
      const second = (await call('GET', `${url}limit=2&cursor=${first.next}`)).json
      expect(second).toMatchObject({
        items: [{ fireAt: '2026-01-01T00:00:01.000Z', reason: 'because', covers: 1 }],
        next: null,
      })
    }
    expect((await call('GET', '/fires?outcome=fired')).json.items).toEqual([])
    expect((await call('GET', '/fires?kind=sub-run')).json.items).toEqual([])
    expect((await call('GET', '/fires?job=nobody')).json.code).toBe('JOB_NOT_FOUND')
  })

  it('sub-runs stand among the fires, page by page, each kind by itself, and no cursor is of another list', async () => {
    const { id } = (await make()).json
    const [run] = await database.db.query<{ id: number }>(sql`
      insert into oncejob.run (id, app_id, job_id, priority, due_at) values (nextval('oncejob.run_id_seq'), ${appId}, ${id}, 0, now()) returning id`)
    const runId = run!.id
    const atMs = Date.parse('2026-01-01T00:00:02Z')
    const ended = { startedMs: atMs, finishedMs: atMs + 5, status: 4, result: 'no' }
    await keepSubRuns(database.db, runId, 9, [
      { ...ended, number: 2 },
      { ...ended, number: 1 },
    ])
    await database.db.query(sql`
      insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, reason)
      select s.id, timestamptz '2026-01-01 00:00:02Z', s.job_id, 'skipped', 'because' from oncejob.schedule s where s.job_id = ${id}`)
    const subRun = { lease: 9, state: 'failed', endedAt: '2026-01-01T00:00:02.005Z', result: 'no' }
    for (const url of ['/jobs/mail/fires?limit=1', '/fires?limit=1', `/fires?job=${id}&limit=1`]) {
      const seen: object[] = []
      for (let next = ''; ;) {
        const page = (await call('GET', `${url}${next}`)).json
        seen.push(...page.items)
        if (page.next === null) break
        next = `&cursor=${page.next}`
      }
      expect(seen).toMatchObject([
        { fireAt: '2026-01-01T00:00:02.000Z', outcome: 'fired', runId, reason: null, subRun: { ...subRun, number: 2 } },
        { fireAt: '2026-01-01T00:00:02.000Z', outcome: 'fired', runId, reason: null, subRun: { ...subRun, number: 1 } },
        { fireAt: '2026-01-01T00:00:02.000Z', outcome: 'skipped', runId: null, reason: 'because', subRun: null },
      ])
    }
    const of = async (query: string) => (await call('GET', `/fires?${query}`)).json
    expect((await of('kind=fire')).items).toHaveLength(1)
    expect((await of('kind=sub-run')).items).toHaveLength(2)
    expect((await of('kind=sub-run&outcome=skipped')).items).toEqual([])
    expect((await of('kind=both')).code).toBe('REQUEST_INVALID')
    const { next } = await of('limit=1&kind=sub-run')
    expect((await of(`limit=1&cursor=${next}`)).code).toBe('CURSOR_INVALID')
    // one that was made before there were sub-runs
    const list = JSON.parse(Buffer.from(next, 'base64url').toString())[0]
    const short = Buffer.from(JSON.stringify([list, '2026-01-01T00:00:02.000Z', id])).toString('base64url')
    expect((await of(`kind=sub-run&cursor=${short}`)).code).toBe('CURSOR_INVALID')
  })

  it('workers are listed, shown, and those of other apps are not there', async () => {
    const rows = await database.db.query<{ id: number }>(sql`
      insert into oncejob.worker_session (app_id, name, processors, labels, slots, expires_at)
      values (${appId}, 'w1', '{p}', '{"a":"b"}', 3, now() + interval '1 hour') returning id`)
    const sessionId = rows[0]!.id
    expect((await call('GET', '/workers')).json).toMatchObject({
      items: [{ sessionId, name: 'w1', state: 'live', labels: { a: 'b' }, slots: 3, running: 0, metrics: null }],
      next: null,
    })
    expect((await call('GET', `/workers/${sessionId}`)).json).toMatchObject({ sessionId, app })
    await enterApp()
    expect((await call('GET', `/workers/${sessionId}`)).json.code).toBe('WORKER_NOT_FOUND')
    expect((await call('GET', '/workers?state=all')).json.items).toEqual([])
  })
})
