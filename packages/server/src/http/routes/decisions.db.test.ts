// Decisions over the wire: every answer, refusals that say why, and a repeat with the same key that changes nothing.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeRequestKey } from '@oncejob/protocol'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { configFrom } from '../../config.ts'
import { systemClock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { createRig, type Rig } from '../../testing/rig.ts'
import { wire, type Wired } from '../../wire.ts'
import { ensureAdminToken } from '../admin-token.ts'

let database: TestDatabase
let wired: Wired
let url: string
let token: string
let appId: number
/** A second server, at which the workers are. */
let rig: Rig

const call = async (
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
  more: { key?: string; app?: string } = {},
) => {
  const { key, app = 'shop' } = more
  const answer = await fetch(`${url}/api/v1${path}${path.includes('?') ? '&' : '?'}app=${app}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, text, json: JSON.parse(text) }
}

beforeAll(async () => {
  database = await openTestDatabase()
  const { db } = database
  const outside = { db, clock: systemClock, random: systemRandom, log: silentLog, name: 'test', version: '0.0.0' }
  wired = wire(outside, configFrom({}))
  url = await wired.http.listen('127.0.0.1', 0)
  token = (await ensureAdminToken(db, systemRandom)) ?? ''
  rig = await createRig(db)
  appId = await rig.app('shop')
  await rig.app('other')
})
afterAll(async () => {
  await wired.http.stop(0)
  await database.close()
})

/** A run of a job of its own that was handed to a worker and began these effects; the worker is gone when `lose`. */
const claimed = async ({ effects = [], lose = true }: { effects?: string[]; lose?: boolean } = {}) => {
  const processor = `work-${makeRequestKey()}`
  const jobId = await rig.job(appId, { guarantee: 'at-most-once', processor })
  const { sessionId } = await rig.worker(appId, { processors: [processor] })
  const runId = (await call('POST', '/runs', { job: jobId })).json.id as number
  const { runs } = await rig.poll(appId, sessionId)
  const { lease } = runs[0]!
  for (const name of effects) await rig.effects.begin({ appId, runId, lease, name })
  if (lose) await rig.sessions.leave(appId, sessionId)
  return { jobId, runId, lease, sessionId, processor }
}
const trailOf = async (runId: number) =>
  (await call('GET', '/audit-log?limit=100')).json.items.filter(
    (entry: { target: string }) => entry.target === `run/${runId}`,
  )

describe('a run of unknown outcome', () => {
  it('is listed, says why it waits and what its guarantee is', async () => {
    const { runId, jobId } = await claimed()
    const waiting = (await call('POST', '/runs', { job: jobId })).json.id
    const listed = await call('GET', `/runs?state=unknown&job=${jobId}`)
    expect(listed.json.items).toMatchObject([
      { id: runId, state: 'unknown', guarantee: 'at-most-once', decidedBy: null },
    ])
    const open = (await call('GET', `/runs?state=waiting,running&job=${jobId}`)).json.items
    expect(open).toMatchObject([{ id: waiting, state: 'waiting' }])
    expect((await call('GET', `/runs/${runId}`)).json).toMatchObject({
      state: 'unknown',
      attempts: 1,
      endedAt: null,
      attemptHistory: [{ number: 1, outcome: 'lost' }],
      why: [{ code: 'OUTCOME_UNKNOWN', cause: 'lost', since: expect.any(String) }],
    })
    expect((await call('GET', `/jobs/${jobId}`)).json).toMatchObject({ guarantee: 'at-most-once' })
  })

  it('is ended by a decision, once: with the same key the answer comes again, without it nothing changes', async () => {
    const { runId } = await claimed()
    const key = makeRequestKey()
    const first = await call('POST', `/runs/${runId}/resolve`, { as: 'succeeded', result: [1] }, { key })
    expect([first.status, first.json]).toEqual([200, { id: runId, state: 'succeeded', changed: true }])
    const again = await call('POST', `/runs/${runId}/resolve`, { as: 'succeeded', result: [1] }, { key })
    expect([again.text, again.headers.get('idempotent-replayed')]).toEqual([first.text, 'true'])
    const without = await call('POST', `/runs/${runId}/resolve`, { as: 'succeeded', result: [1] })
    expect([without.status, without.json]).toEqual([200, { id: runId, state: 'succeeded', changed: false }])
    expect((await call('GET', `/runs/${runId}`)).json).toMatchObject({
      state: 'succeeded',
      result: [1],
      decidedBy: 'admin',
      why: [],
    })
    expect(await trailOf(runId)).toMatchObject([{ action: 'run.resolve', detail: { as: 'succeeded' } }])
    const other = await call('POST', `/runs/${runId}/resolve`, { as: 'failed' })
    expect([other.status, other.json.code, other.json.state]).toEqual([409, 'RUN_NOT_UNKNOWN', 'succeeded'])
  })

  it('comes back to the workers by retry, with the key too', async () => {
    const { runId, lease, processor } = await claimed()
    const retried = await call('POST', `/runs/${runId}/resolve`, { as: 'retry' }, { key: makeRequestKey() })
    expect(retried.json).toEqual({ id: runId, state: 'waiting', changed: true })
    const { sessionId } = await rig.worker(appId, { processors: [processor] })
    const { runs } = await rig.poll(appId, sessionId)
    expect(runs).toMatchObject([{ runId, attempt: 2, guarantee: 'at-most-once' }])
    expect(runs[0]!.lease).toBeGreaterThan(lease)
  })

  it('is not found for another app, and decides nothing by a bad body', async () => {
    const { runId } = await claimed()
    expect((await call('POST', `/runs/${runId}/resolve`, { as: 'retry' }, { app: 'other' })).json.code).toBe(
      'RUN_NOT_FOUND',
    )
    for (const body of [
      {},
      { as: 'maybe' },
      { as: 'retry', result: 1 },
      { as: 'succeeded', message: 'm' },
      { as: 'failed', result: 1 },
    ])
      expect((await call('POST', `/runs/${runId}/resolve`, body)).json.code, JSON.stringify(body)).toBe(
        'REQUEST_INVALID',
      )
    expect((await call('GET', `/runs/${runId}`)).json.state).toBe('unknown')
  })
})

describe('the effects of a run', () => {
  it('are listed in the order in which they were begun, over pages too', async () => {
    const effects = ['b', 'a/1', 'c ü']
    const { runId, lease } = await claimed({ effects, lose: false })
    await rig.effects.end({ appId, runId, lease, name: 'b' }, '{"id":7}')
    const all = await call('GET', `/runs/${runId}/effects`)
    expect(
      all.json.items.map((effect: { name: string; state: string }) => [effect.name, effect.state]).toSorted(),
    ).toEqual([
      ['a/1', 'intent'],
      ['b', 'done'],
      ['c ü', 'intent'],
    ])
    expect(all.json.items.find((effect: { name: string }) => effect.name === 'b')).toEqual({
      name: 'b',
      state: 'done',
      outcome: { id: 7 },
      startedAt: expect.any(String),
      endedAt: expect.any(String),
      lease,
      attempt: 1,
      decidedBy: null,
    })
    const paged: string[] = []
    for (let next: string | null | undefined; next !== null;) {
      const page = await call('GET', `/runs/${runId}/effects?limit=1${next === undefined ? '' : `&cursor=${next}`}`)
      paged.push(...page.json.items.map((effect: { name: string }) => effect.name))
      next = page.json.next
    }
    expect(paged).toEqual(all.json.items.map((effect: { name: string }) => effect.name))
    const other = await call('GET', `/runs/${runId}/effects`, undefined, { app: 'other' })
    expect([other.status, other.json.code]).toEqual([404, 'RUN_NOT_FOUND'])
  })

  it('can be decided by name, whatever is in the name, and the next attempt heeds it', async () => {
    const effects = ['mail/ada & bob?', 'x'.repeat(255)]
    const { runId, processor } = await claimed({ effects })
    const at = (name: string): string => `/runs/${runId}/effects/${encodeURIComponent(name)}/resolve`
    const key = makeRequestKey()
    const done = await call('POST', at(effects[0]!), { done: true, outcome: { sent: 1 } }, { key })
    expect([done.status, done.json]).toEqual([200, { name: effects[0], done: true, changed: true }])
    expect((await call('POST', at(effects[0]!), { done: true, outcome: { sent: 1 } }, { key })).text).toBe(done.text)
    expect((await call('POST', at(effects[1]!), { done: false })).json).toMatchObject({ changed: true })
    expect((await call('GET', `/runs/${runId}/effects`)).json.items).toMatchObject([
      { name: effects[0], state: 'done', decidedBy: 'admin' },
    ])
    expect(await trailOf(runId)).toMatchObject([
      { action: 'effect.resolve', detail: { name: effects[1], done: false } },
      { action: 'effect.resolve', detail: { name: effects[0], done: true } },
    ])
    await call('POST', `/runs/${runId}/resolve`, { as: 'retry' })
    const { sessionId } = await rig.worker(appId, { processors: [processor] })
    const { lease } = (await rig.poll(appId, sessionId)).runs[0]!
    const begin = (name: string) => rig.effects.begin({ appId, runId, lease, name })
    expect(await begin(effects[0]!)).toEqual({ state: 'done', outcome: '{"sent":1}' })
    expect(await begin(effects[1]!)).toEqual({ state: 'new' })
  })

  it('can not be decided while an attempt has the run, nor against what is recorded', async () => {
    const { runId, sessionId } = await claimed({ effects: ['mail'], lose: false })
    const running = await call('POST', `/runs/${runId}/effects/mail/resolve`, { done: true })
    expect([running.status, running.json.code]).toEqual([409, 'RUN_RUNNING'])
    await rig.sessions.leave(appId, sessionId)
    const resolve = (name: string, body: unknown) => call('POST', `/runs/${runId}/effects/${name}/resolve`, body)
    expect((await resolve('mail', { done: true, outcome: 1 })).status).toBe(200)
    expect((await resolve('mail', { done: true, outcome: 1 })).json).toMatchObject({ changed: false })
    expect((await resolve('mail', { done: false })).json.code).toBe('EFFECT_DONE')
    expect((await resolve('other', { done: true })).json.code).toBe('EFFECT_NOT_FOUND')
    expect((await resolve('%00', { done: true })).json.code).toBe('EFFECT_NOT_FOUND')
    expect((await resolve('mail', { done: false, outcome: 1 })).json.code).toBe('REQUEST_INVALID')
    expect((await resolve('mail', { done: true, outcome: 'x'.repeat(70_000) })).json.code).toBe(
      'EFFECT_OUTCOME_TOO_LARGE',
    )
    expect((await call('GET', `/runs/${runId}/effects?cursor=nonsense`)).json.code).toBe('CURSOR_INVALID')
  })
})
