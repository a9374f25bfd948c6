// Promises of the effect ledger over the wire: outcomes come back as they went, and refusals say why.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RunsApi, SessionsApi } from '../../dispatch/api.ts'
import { createEffects } from '../../dispatch/effects.ts'
import { systemClock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { sql } from '../../storage/sql.ts'
import { ensureAdminToken } from '../admin-token.ts'
import { createHttp, type HttpServer } from '../server.ts'
import { testServices } from '../testing/services.ts'
import { effectRoutes } from './effects.ts'

let database: TestDatabase
let server: HttpServer
let token: string
let appId: number
let nextRun = 1

const call = async (path: string, body: unknown, bearer = token) => {
  const answer = await server.app.inject({
    method: 'POST',
    url: `/api/v1/${path}`,
    headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
    payload: JSON.stringify(body),
  })
  return { status: answer.statusCode, body: answer.json<Record<string, unknown>>() }
}
const begin = (body: unknown) => call('worker/effects/begin', body)
const end = (body: unknown) => call('worker/effects/end', body)

beforeAll(async () => {
  database = await openTestDatabase()
  const { db } = database
  server = createHttp({
    ...testServices(db, {} as RunsApi, systemClock),
    sessions: {} as SessionsApi,
    clock: systemClock,
    log: silentLog,
    random: systemRandom,
    registry: new Registry(),
    version: '0.0.0',
    ready: async () => undefined,
    routes: [effectRoutes(createEffects({ db, maxResultBytes: 1000 }))],
  })
  const admin = (await ensureAdminToken(db, systemRandom)) ?? ''
  appId = Number((await call('apps', { name: 'shop' }, admin)).body['id'])
  token = String((await call('apps/shop/tokens', { name: 'worker' }, admin)).body['token'])
})
afterAll(async () => {
  await server.stop(1_000)
  await database.close()
})

/** An effect of a running run. */
const effect = async (app = appId) => {
  const runId = nextRun++
  await database.db.query(sql`
    insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows) values (${runId}, ${runId}, 1, ${app}, 1, 1, false)`)
  return { runId, lease: runId, name: 'charge the card' }
}

describe('the effect ledger over the wire', () => {
  it.each([null, false, 0, '', 'text \u0000 "quoted"', ['a', { b: [1.5] }], { nested: { outcome: null } }])(
    'gives an outcome back as it went: %j',
    async (outcome) => {
      const one = await effect()
      expect(await begin(one)).toEqual({ status: 200, body: { state: 'new' } })
      expect(await end({ ...one, outcome })).toEqual({ status: 200, body: { outcome } })
      expect(await begin(one)).toEqual({ status: 200, body: { state: 'done', outcome } })
    },
  )

  it('tells no outcome from the outcome null', async () => {
    const one = await effect()
    await begin(one)
    expect(await end(one)).toEqual({ status: 200, body: {} })
    expect(await begin(one)).toEqual({ status: 200, body: { state: 'done' } })
  })

  it('says unknown of what an earlier lease began', async () => {
    const one = await effect()
    await begin(one)
    await database.db.query(sql`update oncejob.attempt set lease = lease + 1000 where run_id = ${one.runId}`)
    const next = { ...one, lease: one.lease + 1000 }
    expect(await begin(next)).toEqual({ status: 200, body: { state: 'unknown' } })
    for (const answer of [await begin(one), await end({ ...one, outcome: 1 })])
      expect(answer).toMatchObject({ status: 409, body: { code: 'LEASE_LOST', retry: 'never' } })
  })

  it('refuses foreign runs, ends without a beginning, and outcomes that are too large', async () => {
    expect(await begin(await effect(appId + 1))).toMatchObject({ status: 409, body: { code: 'LEASE_LOST' } })
    const one = await effect()
    expect(await end(one)).toMatchObject({ status: 409, body: { code: 'EFFECT_NOT_BEGUN' } })
    await begin(one)
    expect(await end({ ...one, outcome: 'x'.repeat(1000) })).toMatchObject({
      status: 413,
      body: { code: 'EFFECT_OUTCOME_TOO_LARGE' },
    })
  })

  it('refuses what does not fit the schema', async () => {
    const one = await effect()
    for (const bad of [
      { name: '' },
      { name: ' ' },
      { name: 'a\u0000b' },
      { name: 'x'.repeat(256) },
      { lease: 0 },
      { extra: 1 },
    ])
      expect(await begin({ ...one, ...bad })).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } })
  })
})
