// Promises of logs, audit and doctor over the wire, with real connections: who may ask, what comes, and when a stream ends.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import type { LogLine } from '@oncejob/protocol'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RunsApi, SessionsApi } from '../../dispatch/api.ts'
import { systemClock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { createLogs, type Logs } from '../../logs/service.ts'
import { sql } from '../../storage/sql.ts'
import { ensureAdminToken } from '../admin-token.ts'
import { createHttp, type HttpServer } from '../server.ts'
import { testServices } from '../testing/services.ts'
import { logRoutes } from './logs.ts'
import { operationsRoutes } from './operations.ts'

let database: TestDatabase
let server: HttpServer
let base: string
let admin: string
let token: string
let appId: number
let nextRun = 1
/** Followers under way. */
let following = 0

const counted = (logs: Logs): Logs => ({
  ...logs,
  follow: async function* (...args) {
    following += 1
    try {
      yield* logs.follow(...args)
    } finally {
      following -= 1
    }
  },
})

const newServer = (): HttpServer => {
  const needs = { db: database.db, clock: systemClock, log: silentLog }
  const logs = counted(createLogs(needs, { pollMs: 50, settleMs: 0 }))
  return createHttp({
    ...needs,
    ...testServices(needs.db, {} as RunsApi, needs.clock),
    sessions: {} as SessionsApi,
    random: systemRandom,
    registry: new Registry(),
    version: '0.0.0',
    ready: async () => undefined,
    routes: [logRoutes({ ...needs, logs }), operationsRoutes({ ...needs, graceMs: 5_000 })],
  })
}
const call = (
  method: string,
  path: string,
  options: { body?: unknown; bearer?: string; headers?: Record<string, string>; signal?: AbortSignal } = {},
) =>
  fetch(base + path, {
    method,
    headers: {
      authorization: `Bearer ${options.bearer ?? token}`,
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })

beforeAll(async () => {
  database = await openTestDatabase()
  server = newServer()
  base = await server.listen('127.0.0.1', 0)
  admin = (await ensureAdminToken(database.db, systemRandom)) ?? ''
  const made = await call('POST', '/api/v1/apps', { bearer: admin, body: { name: 'shop' } })
  appId = ((await made.json()) as { id: number }).id
  const answer = await call('POST', '/api/v1/apps/shop/tokens', { bearer: admin, body: { name: 'worker' } })
  token = ((await answer.json()) as { token: string }).token
})
afterAll(async () => {
  await server.stop(1_000)
  await database.close()
})

const running = async (app = appId): Promise<number> => {
  const id = nextRun++
  await database.db.query(
    sql`insert into oncejob.run (id, app_id, job_id, priority, due_at) values (${id}, ${app}, 1, 0, now())`,
  )
  await database.db.query(sql`
    insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows) values (${id}, ${id}, 1, ${app}, 1, 1, false)`)
  return id
}
const end = (runId: number) =>
  database.db.query(
    sql`update oncejob.run set state = 'stopped', ended_at = now() - interval '5 s' where id = ${runId}`,
  )
const write = (runId: number, ...texts: string[]) =>
  call('POST', '/api/v1/worker/logs', {
    body: { entries: texts.map((text) => ({ runId, lease: runId, at: 1_700_000_000_000, level: 'info', text })) },
  })

/** Reads events from a stream until `enough` says so or it ends. */
const readEvents = async (answer: Response, enough: (text: string) => boolean = () => false): Promise<string> => {
  let text = ''
  const decoder = new TextDecoder()
  const reader = answer.body!.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return text
    text += decoder.decode(value, { stream: true })
    if (enough(text)) return text
  }
}
const linesIn = (text: string): string[] =>
  [...text.matchAll(/^event: line\ndata: (.*)$/gm)].map((match) => (JSON.parse(match[1]!) as LogLine).text)

describe('run logs over the wire', () => {
  it('take the lines of a worker and give them back by page', async () => {
    const run = await running()
    const answer = await write(run, 'one', 'two')
    expect(answer.status).toBe(202)
    expect(await answer.json()).toEqual({ accepted: 2 })
    const page = await (await call('GET', `/api/v1/runs/${run}/logs?after=1`)).json()
    expect(page).toEqual({
      lines: [{ seq: 2, at: '2023-11-14T22:13:20.000Z', level: 'info', text: 'two', attempt: 1 }],
      next: 2,
      complete: false,
      truncated: false,
    })
  })

  it('say nothing about runs of other apps', async () => {
    const run = await running(appId + 1)
    for (const path of [
      `/api/v1/runs/${run}/logs`,
      `/api/v1/runs/${run}/logs/stream`,
      '/api/v1/runs/x/logs',
      '/api/v1/runs/99999/logs/stream',
    ]) {
      const answer = await call('GET', path)
      expect([path, answer.status, ((await answer.json()) as { code: string }).code]).toEqual([
        path,
        404,
        'RUN_NOT_FOUND',
      ])
    }
    expect(await (await write(run, 'not mine')).json()).toEqual({ accepted: 0 })
  })

  it('refuse what does not fit the schema, and store nothing of it', async () => {
    const run = await running()
    const entry = { runId: run, lease: run, at: 0, level: 'info', text: 'fits' }
    for (const bad of [
      { ...entry, level: 'loud' },
      { ...entry, at: -1 },
      { ...entry, at: 1.5 },
      { ...entry, extra: 1 },
      { ...entry, runId: '1' },
    ]) {
      const answer = await call('POST', '/api/v1/worker/logs', { body: { entries: [entry, bad] } })
      expect(answer.status).toBe(400)
    }
    expect((await call('GET', `/api/v1/runs/${run}/logs?limit=0`)).status).toBe(400)
    expect(((await (await call('GET', `/api/v1/runs/${run}/logs`)).json()) as { lines: unknown[] }).lines).toEqual([])
  })

  it('stream what is there, what comes, and the end, then close', async () => {
    const run = await running()
    await write(run, 'before')
    const answer = await call('GET', `/api/v1/runs/${run}/logs/stream`)
    expect(answer.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const text = readEvents(answer)
    await write(run, 'live')
    await end(run)
    expect(linesIn(await text)).toEqual(['before', 'live'])
    expect((await text).endsWith('event: end\ndata: {"state":"stopped"}\n\n')).toBe(true)
  })

  it('continue after the Last-Event-ID', async () => {
    const run = await running()
    await write(run, 'one', 'two', 'three')
    await end(run)
    const answer = await call('GET', `/api/v1/runs/${run}/logs/stream?after=1`, { headers: { 'last-event-id': '2' } })
    expect(linesIn(await readEvents(answer))).toEqual(['three'])
    const later = await call('GET', `/api/v1/runs/${run}/logs/stream?after=1`)
    expect(linesIn(await readEvents(later))).toEqual(['two', 'three'])
  })

  it('stop following when the reader goes away', async () => {
    const run = await running()
    const gone = new AbortController()
    const answer = await call('GET', `/api/v1/runs/${run}/logs/stream`, { signal: gone.signal })
    await readEvents(answer, (text) => text.includes('following'))
    await expect.poll(() => following, { timeout: 20_000 }).toBe(1)
    gone.abort()
    await expect.poll(() => following, { timeout: 20_000 }).toBe(0)
  })

  it('end when the server stops, without the event end', async () => {
    const run = await running()
    const second = newServer()
    const address = await second.listen('127.0.0.1', 0)
    const answer = await fetch(`${address}/api/v1/runs/${run}/logs/stream`, {
      headers: { authorization: `Bearer ${token}` },
    })
    const text = readEvents(answer)
    await expect.poll(() => following, { timeout: 20_000 }).toBe(1)
    await second.stop(60_000)
    expect(await text).not.toContain('event: end')
    expect(following).toBe(0)
  })
})

describe('audit and doctor over the wire', () => {
  it('are for admins', async () => {
    for (const path of ['/api/v1/audit', '/api/v1/doctor']) {
      expect((await call('GET', path)).status).toBe(403)
      expect((await call('GET', path, { bearer: admin })).status).toBe(200)
    }
  })

  it('list every check and every topic', async () => {
    await database.db.script('truncate oncejob.run, oncejob.attempt')
    const report = (await (await call('GET', '/api/v1/audit', { bearer: admin })).json()) as {
      clean: boolean
      findings: { invariant: string }[]
    }
    expect(report.clean).toBe(true)
    expect([...new Set(report.findings.map(({ invariant }) => invariant))]).toEqual([
      'I1',
      'I2',
      'I3',
      'I4',
      'I5',
      'I7',
      'I8',
    ])
    await database.db.script('insert into oncejob.run_slot values (77, 1)')
    const broken = (await (await call('GET', '/api/v1/audit', { bearer: admin })).json()) as {
      clean: boolean
      findings: { violations: number }[]
    }
    expect(broken.clean).toBe(false)
    expect(broken.findings.find(({ violations }) => violations > 0)).toEqual({
      invariant: 'I5',
      check: 'whatever waits, runs or holds a slot is a run',
      violations: 1,
      examples: ['slot of run 77, which does not exist'],
    })
    const doctor = (await (await call('GET', '/api/v1/doctor', { bearer: admin })).json()) as { lines: unknown[] }
    expect(doctor.lines.length).toBeGreaterThanOrEqual(10)
  })
})
