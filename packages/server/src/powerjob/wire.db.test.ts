// The wire on a real database: passwords and switches of apps, tokens over servers and restarts, request keys, nothing half-made.
import { fakeClock, openTestDatabase, type FakeClock, type TestDatabase } from '@oncejob/testkit'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { configFrom } from '../config.ts'
import { ensureAdminToken } from '../http/admin-token.ts'
import type { Log } from '../kernel/log.ts'
import { silentLog } from '../kernel/log.ts'
import { systemClock } from '../kernel/clock.ts'
import { systemRandom } from '../kernel/random.ts'
import { sql } from '../storage/sql.ts'
import { createRig } from '../testing/rig.ts'
import { wire } from '../wire.ts'
import type { Endpoint } from './call.ts'
import { md5Of } from './passwords.ts'
import { warnOfSwitches } from './switches.ts'
import { connectRaw, type RawAnswer } from './testing/raw-http.ts'
import { noResends, passed, startWire, type WireRig, type WireRigOptions } from './testing/wire-rig.ts'

let database: TestDatabase
let admin: string
let count = 0
const running: WireRig[] = []

beforeAll(async () => {
  database = await openTestDatabase()
  admin = (await ensureAdminToken(database.db, systemRandom)) ?? ''
})
afterAll(async () => {
  await database.close()
})
afterEach(async () => {
  await Promise.all(running.splice(0).map((rig) => rig.http.stop(0)))
})

/** One more server on the database. Its endpoints write audit entries, so that effects can be counted. */
const start = async (options: WireRigOptions = {}): Promise<WireRig> => {
  const write: Endpoint['handle'] = async ({ appId, fields, path }, { db }) => {
    await db.query(sql`
      insert into oncejob.audit (actor, app_id, action, target) values ('test', ${appId}, ${path}, ${fields.get('jobId') ?? ''})`)
    if (fields.get('how') === 'fail') throw new Error('broken after its first write')
    if (fields.get('how') === 'bad-text') await db.query(sql`select ${'a\0b'}::text`)
    return Number(fields.get('jobId') ?? 0)
  }
  const rig = await startWire({
    db: database.db,
    endpoints: [
      { path: '/deleteJob', accepts: 'form', mutates: true, app: 'appId', handle: write },
      { path: '/copyJob', accepts: 'form', mutates: true, app: 'appId', handle: write },
    ],
    ...options,
  })
  running.push(rig)
  return rig
}

const effects = async (target: string): Promise<number> => {
  const [row] = await database.db.query<{ n: number }>(sql`
    select count(*)::int as n from oncejob.audit where actor = 'test' and target = ${target}`)
  return row?.n ?? -1
}

const native = async (
  rig: WireRig,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
) => {
  const answer = await fetch(rig.url + path, {
    method,
    headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, text, json: text === '' ? null : JSON.parse(text) }
}

const fresh = (): string => `app-${(count += 1)}`
const newApp = async (rig: WireRig, more: object = { password: 'pw' }): Promise<{ id: number; name: string }> => {
  const made = await native(rig, 'POST', '/api/v1/apps', { name: fresh(), ...more })
  expect(made.status).toBe(201)
  return made.json
}
const headersOf = async (rig: WireRig, app: string, password = 'pw'): Promise<Record<string, string>> => {
  const { data, message } = await rig.login(app, password)
  if (data === null) throw new Error(message ?? 'refused')
  return { 'X-POWERJOB-APP-ID': String(data.appId), 'X-POWERJOB-ACCESS-TOKEN': data.token }
}
const bodyOf = ({ body }: RawAnswer): { success: boolean; data: unknown; message: string | null; code?: string } =>
  JSON.parse(body)

describe('the password of an app', () => {
  it('opens the wire, can be changed and removed, and is nowhere to be read', async () => {
    const rig = await start()
    const made = await native(rig, 'POST', '/api/v1/apps', { name: fresh(), password: 'pässword-one' })
    expect(made.json).toMatchObject({
      hasPassword: true,
      powerjob: { tokenless: false, copyEnabled: false, collapse: 'evidence', tagSubstring: false, workerNetworks: [] },
    })
    const { name, id } = made.json
    expect(await rig.login(name, 'pässword-one')).toMatchObject({ success: true, data: { appId: id } })
    expect(bodyOf(await rig.call(rig.form('/assert', { appName: name, password: 'pässword-one' })))).toMatchObject({
      data: id,
    })
    const changed = await native(rig, 'PATCH', `/api/v1/apps/${name}`, {
      password: 'pässword-two',
      powerjob: { copyEnabled: true },
    })
    expect(changed.json).toMatchObject({ hasPassword: true, powerjob: { tokenless: false, copyEnabled: true } })
    expect(await rig.login(name, 'pässword-one')).toMatchObject({ success: false, code: '-400' })
    expect(await rig.login(name, 'pässword-two')).toMatchObject({ success: true })
    const removed = await native(rig, 'PATCH', `/api/v1/apps/${name}`, { password: null })
    expect(removed.json).toMatchObject({ hasPassword: false })
    expect(await rig.login(name, 'pässword-two')).toMatchObject({ success: false, code: '-400' })
    expect((await native(rig, 'PATCH', `/api/v1/apps/${name}`, { password: '' })).status).toBe(400)
    expect((await native(rig, 'PATCH', `/api/v1/apps/${name}`, { powerjob: { open: true } })).status).toBe(400)
    const trail = await database.db.query<{ action: string; detail: unknown }>(sql`
      select action, detail from oncejob.audit where target = ${`app/${name}`} order by id`)
    expect(trail).toEqual([
      { action: 'app.create', detail: { namespace: 'default', title: null, password: 'set' } },
      { action: 'app.update', detail: { password: 'set', powerjob: { copyEnabled: true } } },
      { action: 'app.update', detail: { password: 'removed' } },
    ])
    const shown = JSON.stringify([made.json, changed.json, removed.json, trail])
    for (const secret of ['pässword', md5Of('pässword-one'), md5Of('pässword-two'), 'scrypt'])
      expect(shown).not.toContain(secret)
  })

  it('counts in the fingerprint of a request key, from which it can not be guessed fast', async () => {
    const rig = await start()
    const body = { name: fresh(), password: 'pw' }
    const key = { 'idempotency-key': `make-${body.name}` }
    const first = await native(rig, 'POST', '/api/v1/apps', body, key)
    const again = await native(rig, 'POST', '/api/v1/apps', body, key)
    expect([first.status, again.status, again.text]).toEqual([201, 201, first.text])
    expect(again.headers.get('idempotent-replayed')).toBe('true')
    const other = await native(rig, 'POST', '/api/v1/apps', { ...body, password: 'pw2' }, key)
    expect(other.json).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED', differs: ['body'] })
    const [row] = await database.db.query<{ text: string; fingerprint: string }>(sql`
      select request_key::text as text, fingerprint from oncejob.request_key where key = ${`make-${body.name}`}`)
    expect(row?.text).not.toContain('"pw"')
    const { fingerprintOf } = await import('../requests/fingerprint.ts')
    const fast = fingerprintOf({ method: 'POST', path: '/api/v1/apps', query: {}, ifMatch: undefined, body })
    expect(row?.fingerprint.split('\n').slice(0, 5)).toEqual(fast.split('\n').slice(0, 5))
    expect(row?.fingerprint).not.toBe(fast)
  })
})

describe('a token', () => {
  it('is good on every server of the database, also on one that is started later, whoever made the key', async () => {
    await database.db.query(sql`delete from oncejob.signing_key`)
    const [one, two] = await Promise.all([start(), start()])
    const app = await newApp(one)
    // both need the key at the same time, and neither has it
    const [a, b] = await Promise.all([headersOf(one, app.name), headersOf(two, app.name)])
    expect(await database.db.query(sql`select length(key) as length from oncejob.signing_key`)).toEqual([
      { length: 32 },
    ])
    const restarted = await start()
    for (const rig of [one, two, restarted])
      for (const headers of [a, b])
        expect(passed(await rig.call(rig.form('/deleteJob', { appId: String(app.id) }, headers)))).toBe('true')
  })

  it('is void once the password changes: here at once, elsewhere within a second; a new one is good at once everywhere', async () => {
    const clock: FakeClock = fakeClock()
    const [here, elsewhere] = await Promise.all([start({ clock }), start({ clock })])
    const app = await newApp(here)
    const old = await headersOf(here, app.name)
    const by = async (rig: WireRig, headers: Record<string, string>) => {
      const answer = await rig.call(rig.form('/deleteJob', { appId: String(app.id) }, headers))
      return `${passed(answer)} ${bodyOf(answer).message}`
    }
    expect([await by(here, old), await by(elsewhere, old)]).toEqual(['true null', 'true null'])
    await native(here, 'PATCH', `/api/v1/apps/${app.name}`, { password: 'new' })
    expect(await by(here, old)).toBe('false INCORRECT_PASSWORD')
    const renewed = await headersOf(here, app.name, 'new')
    expect(await by(elsewhere, renewed)).toBe('true null')
    expect(await by(elsewhere, old)).toBe('false INCORRECT_PASSWORD')
    await native(here, 'PATCH', `/api/v1/apps/${app.name}`, { password: 'newer' })
    // not yet heard of there: the password is looked up before it is called wrong
    expect(await elsewhere.login(app.name, 'newer')).toMatchObject({ success: true })
    await native(here, 'PATCH', `/api/v1/apps/${app.name}`, { password: 'newest' })
    await clock.advance(1_001)
    expect(await by(elsewhere, renewed)).toBe('false INCORRECT_PASSWORD')
    await native(here, 'DELETE', `/api/v1/apps/${app.name}`)
    await clock.advance(1_001)
    expect(await by(elsewhere, renewed)).toBe('false INVALID_APP:can_not_find_app')
  })

  it('needs no look into the database while it is used', async () => {
    let queries = 0
    const { db } = database
    const counting = {
      ...db,
      kind: db.kind,
      query: ((statement, options) => {
        queries += 1
        return db.query(statement, options)
      }) as typeof db.query,
      transaction: db.transaction.bind(db),
    }
    const rig = await start({
      db: counting,
      clock: fakeClock(),
      endpoints: [{ path: '/fetchJob', accepts: 'form', mutates: false, app: 'appId', handle: async () => 1 }],
    })
    const app = await newApp(rig)
    const headers = await headersOf(rig, app.name)
    const ask = () => rig.call(rig.form('/fetchJob', { appId: String(app.id) }, headers))
    await ask()
    queries = 0
    for (let i = 0; i < 20; i += 1) expect(bodyOf(await ask()).success).toBe(true)
    expect(queries).toBe(0)
  })
})

describe('a call with an Idempotency-Key', () => {
  it('takes effect once and is answered the same; another call with the key is refused in the form of the wire', async () => {
    const [one, two] = await Promise.all([start(), start()])
    const app = await newApp(one)
    const headers = {
      ...(await headersOf(one, app.name)),
      'Idempotency-Key': `key of ${app.name}`.replaceAll(' ', '-'),
    }
    const fields = { appId: String(app.id), jobId: '4711' }
    const first = await one.call(one.form('/deleteJob', fields, headers))
    const again = await two.call(two.form('/deleteJob', fields, headers))
    expect([bodyOf(first).data, again.body]).toEqual([4711, first.body])
    expect(again.lines.join('\n')).toMatch(/^idempotent-replayed: true$/im)
    expect(again.lines.join('\n')).toMatch(/^original-request-id: /im)
    expect(first.lines.join('\n')).not.toMatch(/replayed/i)
    for (const [path, changed] of [
      ['/deleteJob', { ...fields, jobId: '4712' }],
      ['/copyJob', fields],
    ] as const) {
      const refused = await one.call(one.form(path, changed, headers))
      expect([refused.status, passed(refused)]).toEqual([200, 'true'])
      expect(bodyOf(refused)).toMatchObject({
        success: false,
        code: null,
        message: expect.stringMatching(/^PowerJobException: The key belongs to POST \/openApi\/deleteJob of /),
      })
    }
    const malformed = await one.call(one.form('/deleteJob', fields, { ...headers, 'Idempotency-Key': 'a,b' }))
    expect(bodyOf(malformed).message).toContain('Send one Idempotency-Key')
    expect(await effects('4711')).toBe(1)
    const outcomes = one.logged.flatMap(({ facts }) => (facts['path'] === '/deleteJob' ? [facts['outcome']] : []))
    expect(outcomes).toEqual(['ok', 'refused', 'refused'])
    expect(two.logged.at(-1)?.facts).toMatchObject({ outcome: 'replayed', repeat: 'request-key' })
  })

  it('sent forty times at once takes effect once', async () => {
    const rig = await start()
    const app = await newApp(rig)
    const headers = { ...(await headersOf(rig, app.name)), 'Idempotency-Key': `storm-${app.name}` }
    const call = () => rig.call(rig.form('/deleteJob', { appId: String(app.id), jobId: '40' }, headers))
    const answers = await Promise.all(Array.from({ length: 40 }, call))
    const bodies = new Set(answers.map(({ body }) => body))
    // who waited too long for the first is told so; nobody is told anything else
    for (const body of bodies) expect(body).toMatch(/"data":40|still under way/)
    expect(await effects('40')).toBe(1)
  })

  it('is demanded where the app takes no change without one', async () => {
    const rig = await start()
    const app = await newApp(rig, { password: 'pw', requireRequestKeys: true })
    const headers = await headersOf(rig, app.name)
    const fields = { appId: String(app.id), jobId: '77' }
    expect(bodyOf(await rig.call(rig.form('/deleteJob', fields, headers))).message).toContain('defaultHeaders')
    expect(await effects('77')).toBe(0)
    const keyed = { ...headers, 'Idempotency-Key': 'key-number-77' }
    expect(bodyOf(await rig.call(rig.form('/deleteJob', fields, keyed)))).toMatchObject({ success: true })
  })

  it('makes one run where the statement takes the key, and the key of an attempt gives its answer again', async () => {
    const core = await createRig(database.db)
    const runJob: Endpoint = {
      path: '/runJob',
      accepts: 'form',
      mutates: true,
      keyed: 'statement',
      app: 'appId',
      handle: async ({ appId, fields, keyed }, { runs }) => {
        const made = await runs.submit({
          appId,
          job: Number(fields.get('jobId')),
          params: null,
          delayMs: null,
          runAtMs: null,
          priority: null,
          queueTimeoutMs: null,
          requestKey: keyed?.key ?? null,
          keyed,
          runKey: null,
        })
        return made.id
      },
    }
    let key: string | null = null
    const rig = await start({
      runs: core.runs,
      endpoints: [runJob],
      resends: {
        ...noResends,
        run: async (_call, execute) => ({ answer: await execute({ id: null, key }), collapsed: null }),
      },
    })
    const app = await newApp(rig)
    const jobId = String(await core.job(app.id))
    const headers = await headersOf(rig, app.name)
    const call = (more: Record<string, string> = {}) =>
      rig.call(rig.form('/runJob', { appId: String(app.id), jobId }, { ...headers, ...more }))
    const own = { 'Idempotency-Key': `run-${app.name}` }
    const [first, second] = [await call(own), await call(own)]
    expect(second.body).toBe(first.body)
    expect(second.lines.join('\n')).toMatch(/^idempotent-replayed: true$/im)
    key = `attempt 1 of ${app.name}`
    const [third, fourth] = [await call(), await call()]
    expect(fourth.body).toBe(third.body)
    expect(third.body).not.toBe(first.body)
    expect(fourth.lines.join('\n')).not.toMatch(/idempot/i)
    const [row] = await database.db.query<{ n: number }>(
      sql`select count(*)::int as n from oncejob.run where app_id = ${app.id}`,
    )
    expect(row?.n).toBe(2)
  })
})

describe('a call that fails', () => {
  it('leaves nothing half-made, whether it breaks, is refused by the database, or its client hangs up before the commit', async () => {
    let letGo = (): void => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    let begun = (): void => undefined
    const isBegun = new Promise<void>((resolve) => (begun = resolve))
    const plain = await start()
    const app = await newApp(plain)
    const appId = String(app.id)
    const headers = await headersOf(plain, app.name)
    const broken = await plain.call(plain.form('/deleteJob', { appId, jobId: 'h1', how: 'fail' }, headers))
    expect(bodyOf(broken)).toMatchObject({ success: false, message: expect.stringContaining('something broke inside') })
    const refused = await plain.call(plain.form('/deleteJob', { appId, jobId: 'h2', how: 'bad-text' }, headers))
    expect(bodyOf(refused).message).toMatch(/^PowerJobException: A text contains U\+0000/)
    const slow: Endpoint = {
      path: '/slow',
      accepts: 'form',
      mutates: true,
      app: 'appId',
      handle: async (_call, { db }) => {
        await db.query(sql`insert into oncejob.audit (actor, app_id, action, target) values ('test', null, 'x', 'h3')`)
        begun()
        await held
      },
    }
    const rig = await start({ endpoints: [slow] })
    const connection = await connectRaw(rig.url)
    connection.send(rig.form('/slow', { appId }, headers))
    await isBegun
    connection.socket.destroy()
    await connection.closed
    await new Promise<void>((resolve) => {
      // the server must have heard of it: its side of the connection is closed as well
      const look = (): void =>
        void rig.http.app.server.getConnections((_error, open) => (open === 0 ? resolve() : void setImmediate(look)))
      look()
    })
    letGo()
    await expect.poll(() => rig.logged.some(({ facts }) => facts['outcome'] === 'abandoned')).toBe(true)
    expect([await effects('h1'), await effects('h2'), await effects('h3')]).toEqual([0, 0, 0])
  })
})

describe('switches that are off', () => {
  it('are said aloud at the start and by the doctor', async () => {
    const rig = await start()
    const app = await newApp(rig, { password: 'pw', powerjob: { tokenless: true, collapse: 'off' } })
    const strict = await newApp(rig)
    const warned: { facts: Readonly<Record<string, unknown>>; message: string }[] = []
    const log: Log = { ...silentLog, warn: (facts, message) => void warned.push({ facts, message }) }
    await warnOfSwitches(database.db, log, true)
    expect(warned).toContainEqual({
      facts: { app: app.name, switch: 'tokenless' },
      message: 'openapi calls of an app are taken without a token',
    })
    expect(warned).toContainEqual({
      facts: { app: app.name, switch: 'collapse' },
      message: 'calls that clients of an app send again are executed',
    })
    expect(warned.some(({ facts }) => facts['app'] === strict.name)).toBe(false)
    await warnOfSwitches(database.db, log, false)
    expect(warned.map(({ message }) => message)).toContain('openapi calls are taken without a token')

    const outside = {
      db: database.db,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      name: 'x',
      version: '0',
    }
    const wired = wire(outside, configFrom({ ONCEJOB_POWERJOB_AUTH: 'off' }))
    try {
      const url = await wired.http.listen('127.0.0.1', 0)
      const answer = await fetch(`${url}/api/v1/doctor`, { headers: { authorization: `Bearer ${admin}` } })
      const { lines } = (await answer.json()) as { lines: { topic: string; status: string; says: string }[] }
      const says = lines.flatMap((line) => (line.topic === 'powerjob' && line.status === 'warn' ? [line.says] : []))
      expect(says.join('\n')).toContain('ONCEJOB_POWERJOB_AUTH=on')
      expect(says.join('\n')).toContain(`oncejob apps set ${app.name} --collapse evidence`)
      // the whole server has the wire on it
      const authApp = await fetch(`${url}/openApi/authApp`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{}',
      })
      expect(await authApp.json()).toMatchObject({ success: false, code: '-402' })
    } finally {
      await wired.http.stop(0)
    }
  })
})
