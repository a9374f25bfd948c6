// Bad input over real HTTP: each a clear error from the table, and nothing half made stays behind.
import { errors, isErrorCode } from '@oncejob/protocol'
import { sql } from '@oncejob/server/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openFleet, type Fleet } from './support/fleet.ts'
import { rowsOf, type Place } from './support/places.ts'
import { send, type RawAnswer, type RawRequest } from './support/raw.ts'
import { until } from './support/until.ts'

const countsOf = (place: Place): Promise<Record<string, number>[]> =>
  rowsOf(
    place,
    sql`
      select (select count(*) from oncejob.namespace) as namespaces, (select count(*) from oncejob.app) as apps,
        (select count(*) from oncejob.api_token) as tokens, (select count(*) from oncejob.audit) as audit,
        (select count(*) from oncejob.route) as routes, (select count(*) from oncejob.job) as jobs,
        (select sum(version) from oncejob.job) as versions,
        (select count(*) from oncejob.schedule) as schedules, (select count(*) from oncejob.fire) as fires,
        (select count(*) from oncejob.run) as runs, (select count(*) from oncejob.attempt_log) as past,
        (select count(*) from oncejob.run_ready) as ready, (select count(*) from oncejob.run_later) as later,
        (select count(*) from oncejob.run_blocked) as blocked, (select count(*) from oncejob.run_slot) as slots,
        (select count(*) from oncejob.attempt) as running, (select count(*) from oncejob.run_log) as logs,
        (select count(*) from oncejob.log_chunk) as lines,
        (select count(*) from oncejob.worker_session) as sessions`,
  )

interface Scene {
  readonly fleet: Fleet
  readonly jobId: number
  readonly runId: number
  /** Of the app `other`: nothing of it may be seen with the token of this app. */
  readonly foreign: { readonly jobId: number; readonly runId: number; readonly sessionId: number }
  readonly endedSession: number
  readonly expired: string
  readonly readOnly: string
  readonly before: Record<string, number>[]
}

let opened: Fleet | undefined
let scene: Scene

const worker = { name: 'by-hand', processors: ['work'], slots: 1 }

/** Looks into the database while no server has it open. */
const countWhileDown = async (fleet: Fleet): Promise<Record<string, number>[]> => {
  const server = fleet.servers[0]!
  await server.child().endBy('SIGTERM')
  return countsOf(fleet.place)
}

beforeAll(async () => {
  const fleet = (opened = await openFleet({ leaseMs: 3_600_000 }))
  const origin = fleet.urls[0]!
  const job = await fleet.client.jobs.create({ name: 'job', processor: 'work' })
  const run = await fleet.client.runs.create({ job: 'job', delayMs: 3_600_000 })
  await fleet.admin.apps.create({ name: 'other' })
  const other = await fleet.admin.tokens.create('other', { name: 'other' })
  const theirs = fleet.connect({ token: other.token })
  const theirJob = await theirs.jobs.create({ name: 'theirs', processor: 'work' })
  const theirRun = await theirs.runs.create({ job: 'theirs', delayMs: 3_600_000 })
  const open = async (token: string): Promise<number> => {
    const answer = await send(origin, { method: 'POST', path: '/api/v1/worker/sessions', token, json: worker })
    expect(answer.status).toBe(201)
    return Number(answer.body['sessionId'])
  }
  const theirSession = await open(other.token)
  const endedSession = await open(fleet.appToken)
  const ended = await send(origin, {
    method: 'DELETE',
    path: `/api/v1/worker/sessions/${endedSession}`,
    token: fleet.appToken,
  })
  expect(ended.status).toBe(204)
  const soon = new Date(Date.now() + 2_000).toISOString()
  const { token: expired } = await fleet.admin.tokens.create('shop', { name: 'brief', expiresAt: soon })
  const { token: readOnly } = await fleet.admin.tokens.create('shop', { name: 'reader', scope: 'read' })
  await until(
    'the token expires',
    async () => (await send(origin, { method: 'GET', path: '/api/v1/me', token: expired })).status === 401,
  )
  const before = await countWhileDown(fleet)
  await fleet.servers[0]!.start()
  const foreign = { jobId: theirJob.id, runId: theirRun.id, sessionId: theirSession }
  scene = { fleet, jobId: job.id, runId: run.id, foreign, endedSession, expired, readOnly, before }
})
afterAll(() => opened?.close())

/** Sends with the app's token unless another is named. */
const ask = (asked: RawRequest): Promise<RawAnswer> =>
  send(scene.fleet.urls[0]!, { token: scene.fleet.appToken, ...asked })

const expectProblem = (answer: RawAnswer, code: string): RawAnswer => {
  expect(answer.body).toMatchObject({
    code,
    type: `https://oncejob.dev/problems/${code.toLowerCase().replaceAll('_', '-')}`,
  })
  if (!isErrorCode(code)) throw new Error(`${code} is not in the table`)
  const { status, retry, title } = errors[code]
  expect(answer.body).toMatchObject({
    status,
    retry,
    title,
    detail: expect.stringMatching(/\S/),
    instance: expect.stringMatching(/\S/),
  })
  expect(answer.status).toBe(status)
  expect(answer.type).toMatch(/^application\/problem\+json/)
  expect(answer.headers['x-request-id']).toBe(answer.body['instance'])
  expect(JSON.stringify(answer.body)).not.toMatch(/node_modules|\.ts:\d+|select |insert /)
  return answer
}

const refused = async (code: string, asked: RawRequest): Promise<RawAnswer> => expectProblem(await ask(asked), code)

const pathsOf = (answer: RawAnswer): string => JSON.stringify(answer.body['issues'])

const postJob = (json: unknown): RawRequest => ({ method: 'POST', path: '/api/v1/jobs', json })
const postRun = (json: unknown): RawRequest => ({ method: 'POST', path: '/api/v1/runs', json })
const withTrigger = (trigger: unknown, more: object = {}): RawRequest =>
  postJob({ name: 'new', processor: 'work', schedule: { trigger, ...more } })

describe('what does not fit the schema', () => {
  it.each([
    ['an unknown field', postJob({ name: 'new', processor: 'work', colour: 'red' }), 'colour'],
    ['an unknown field deep inside', postJob({ name: 'new', processor: 'work', retry: { maximum: 3 } }), 'maximum'],
    ['an unknown field of a run', postRun({ job: 'job', parms: {} }), 'parms'],
    ['a number for a text', postJob({ name: 7, processor: 'work' }), 'name'],
    ['a text for a number: nothing is guessed', postJob({ name: 'new', processor: 'work', priority: '5' }), 'priority'],
    ['a text for a boolean', postJob({ name: 'new', processor: 'work', enabled: 'true' }), 'enabled'],
    ['null for a job', postRun({ job: null }), 'job'],
    ['a blank name', postJob({ name: '  ', processor: 'work' }), 'name'],
    ['a missing field', postJob({ name: 'new' }), 'processor'],
    ['a negative delay', postRun({ job: 'job', delayMs: -1 }), 'delayMs'],
    ['half a millisecond', postRun({ job: 'job', delayMs: 0.5 }), 'delayMs'],
    ['a delay beyond all measure', postRun({ job: 'job', delayMs: 1e300 }), 'delayMs'],
    ['a negative fixed delay', withTrigger({ kind: 'fixed-delay', delayMs: -5 }), 'delayMs'],
    ['a rate of 10 ms', withTrigger({ kind: 'fixed-rate', everyMs: 10 }), 'everyMs'],
    ['an unknown kind of trigger', withTrigger({ kind: 'lunar' }), 'trigger'],
    [
      'a session with no slots',
      { method: 'POST', path: '/api/v1/worker/sessions', json: { ...worker, slots: 0 } },
      'slots',
    ],
    ['an empty report', { method: 'POST', path: '/api/v1/worker/reports', json: { reports: [] } }, 'reports'],
    ['a page of 100,000', { method: 'GET', path: '/api/v1/runs?limit=100000' }, 'limit'],
  ] satisfies [string, RawRequest, string][])('%s', async (_, asked, path) => {
    expect(pathsOf(await refused('REQUEST_INVALID', asked))).toContain(path)
  })

  it.each([
    ['a list for an object', postJob([])],
    ['a text for an object', postJob('job')],
    ['nothing for an object', { method: 'POST', path: '/api/v1/jobs' }],
    ['both a delay and a date', postRun({ job: 'job', delayMs: 1, runAt: '2030-01-01T00:00:00Z' })],
    ['a date that is none', postRun({ job: 'job', runAt: '2030-02-31T00:00:00Z' })],
    ['a date without offset', postRun({ job: 'job', runAt: '2030-02-03T00:00:00' })],
  ] satisfies [string, RawRequest][])('%s', async (_, asked) => {
    await refused('REQUEST_INVALID', asked)
  })

  it('U+0000 in a name: no database could keep it', async () => {
    await refused('JOB_INVALID', postJob({ name: 'a\u0000b', processor: 'work' }))
  })

  it('one bad run in a batch of good ones: none is made', async () => {
    const runs = Array.from({ length: 50 }, (_, index) => (index === 30 ? { job: 'job', delayMs: -1 } : { job: 'job' }))
    expect(
      pathsOf(await refused('REQUEST_INVALID', { method: 'POST', path: '/api/v1/runs/batch', json: { runs } })),
    ).toContain('30')
  })

  it('one run of an unknown job in a batch: none is made', async () => {
    const runs = [{ job: 'job' }, { job: 'nobody-knows' }, { job: 'job' }]
    await refused('JOB_NOT_FOUND', { method: 'POST', path: '/api/v1/runs/batch', json: { runs } })
  })

  it('one bad job in an import: none is made', async () => {
    const jobs = [
      { name: 'good', processor: 'work' },
      { name: 'bad', processor: 'work', schedule: { trigger: { kind: 'cron', expression: '* * * *' } } },
    ]
    await refused('SCHEDULE_INVALID', {
      method: 'POST',
      path: '/api/v1/jobs/import',
      json: { format: 'oncejob.jobs/1', jobs },
    })
  })
})

describe('what is no JSON in UTF-8', () => {
  it.each([
    [
      'invalid UTF-8 in a text',
      Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xc3, 0x28]), Buffer.from('","processor":"work"}')]),
    ],
    [
      'a lone surrogate in UTF-8',
      Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('","processor":"work"}')]),
    ],
    ['half a document', Buffer.from('{"name":"new"')],
    ['no document', Buffer.from('name=new')],
  ])('%s', async (_, bytes) => {
    await refused('BODY_UNREADABLE', { method: 'POST', path: '/api/v1/jobs', bytes })
  })

  it('another media type', async () => {
    const headers = { 'content-type': 'text/plain' }
    await refused('MEDIA_TYPE_UNSUPPORTED', { method: 'POST', path: '/api/v1/jobs', bytes: Buffer.from('{}'), headers })
  })
})

describe('a body of 20 MB', () => {
  const bytes = Buffer.from(JSON.stringify({ job: 'job', params: 'x'.repeat(20_000_000) }))

  it('is refused by its length', async () => {
    await refused('BODY_TOO_LARGE', { method: 'POST', path: '/api/v1/runs', bytes })
  })

  it('is refused when it grows too long', async () => {
    await refused('BODY_TOO_LARGE', { method: 'POST', path: '/api/v1/runs', bytes, chunked: true })
  })

  it('leaves the server well', async () => {
    expect((await ask({ method: 'GET', path: '/api/v1/me' })).status).toBe(200)
  })
})

describe('schedules that can not be used', () => {
  it.each([
    ['an unknown zone', { kind: 'cron', expression: '0 3 * * *' }, { zone: 'Mars/Olympus_Mons' }, /Mars\/Olympus_Mons/],
    ['a cron of 4 fields', { kind: 'cron', expression: '* * * *' }, {}, /4/],
    ['a cron of 8 fields', { kind: 'cron', expression: '* * * * * * * *' }, {}, /8/],
    ['a cron that can never fire', { kind: 'cron', expression: '0 0 30 2 *' }, {}, /never/],
    ['a minute 61', { kind: 'cron', expression: '61 * * * *' }, {}, /61/],
    [
      'an end before its start',
      { kind: 'cron', expression: '* * * * *' },
      { startAt: '2030-01-02T00:00:00Z', endAt: '2030-01-01T00:00:00Z' },
      /./,
    ],
  ])('%s', async (_, trigger, more, says) => {
    const answer = await refused('SCHEDULE_INVALID', withTrigger(trigger, more))
    expect(answer.body['detail']).toMatch(says)
    await refused('SCHEDULE_INVALID', {
      method: 'POST',
      path: '/api/v1/schedules/preview',
      json: { schedule: { trigger, ...more } },
    })
    await refused('SCHEDULE_INVALID', {
      method: 'PATCH',
      path: `/api/v1/jobs/${scene.jobId}`,
      headers: { 'if-match': '*' },
      json: { schedule: { trigger, ...more } },
    })
  })
})

describe('what belongs to another app is not there', () => {
  const paths = (): [string, RawRequest][] => {
    const { jobId, runId, sessionId } = scene.foreign
    return [
      ['JOB_NOT_FOUND', { method: 'GET', path: `/api/v1/jobs/${jobId}` }],
      ['JOB_NOT_FOUND', { method: 'GET', path: '/api/v1/jobs/theirs' }],
      ['JOB_NOT_FOUND', { method: 'GET', path: `/api/v1/jobs/${jobId}/fires` }],
      ['JOB_NOT_FOUND', { method: 'POST', path: `/api/v1/jobs/${jobId}/enable` }],
      ['JOB_NOT_FOUND', { method: 'POST', path: `/api/v1/jobs/${jobId}/copy`, json: {} }],
      ['JOB_NOT_FOUND', { method: 'DELETE', path: `/api/v1/jobs/${jobId}`, headers: { 'if-match': '*' } }],
      [
        'JOB_NOT_FOUND',
        { method: 'PATCH', path: `/api/v1/jobs/${jobId}`, headers: { 'if-match': '*' }, json: { priority: 1 } },
      ],
      ['JOB_NOT_FOUND', { method: 'POST', path: `/api/v1/jobs/${jobId}/runs`, json: {} }],
      ['JOB_NOT_FOUND', postRun({ job: jobId })],
      ['JOB_NOT_FOUND', postRun({ job: 'theirs' })],
      ['RUN_NOT_FOUND', { method: 'GET', path: `/api/v1/runs/${runId}` }],
      ['RUN_NOT_FOUND', { method: 'GET', path: `/api/v1/runs/${runId}/attempts` }],
      ['RUN_NOT_FOUND', { method: 'GET', path: `/api/v1/runs/${runId}/logs` }],
      ['RUN_NOT_FOUND', { method: 'GET', path: `/api/v1/runs/${runId}/logs/stream` }],
      ['RUN_NOT_FOUND', { method: 'POST', path: `/api/v1/runs/${runId}/cancel` }],
      ['RUN_NOT_FOUND', { method: 'POST', path: `/api/v1/runs/${runId}/stop` }],
      ['RUN_NOT_FOUND', { method: 'POST', path: `/api/v1/runs/${runId}/retry` }],
      ['WORKER_NOT_FOUND', { method: 'GET', path: `/api/v1/workers/${sessionId}` }],
      [
        'WORKER_NOT_FOUND',
        { method: 'POST', path: `/api/v1/worker/sessions/${sessionId}/poll`, json: { free: 1, held: [] } },
      ],
      ['WORKER_NOT_FOUND', { method: 'DELETE', path: `/api/v1/worker/sessions/${sessionId}` }],
      ['APP_NOT_FOUND', { method: 'GET', path: '/api/v1/jobs?app=other' }],
      ['APP_NOT_FOUND', { method: 'GET', path: '/api/v1/apps/other' }],
    ]
  }

  it('404 for every route that names it, the same answer as for what never was', async () => {
    for (const [code, asked] of paths()) {
      const answer = await ask(asked)
      expect({ ...asked, code: answer.body['code'] }).toEqual({ ...asked, code })
      expectProblem(answer, code)
    }
  })

  it.each(['999999999', '0', '-1', 'abc', '9007199254740993', '%00', '1e3'])('so is run %s', async (id) => {
    await refused('RUN_NOT_FOUND', { method: 'GET', path: `/api/v1/runs/${id}` })
  })
})

describe('tokens', () => {
  const anything = { method: 'GET', path: '/api/v1/jobs' }

  it('an expired one', async () => {
    await refused('TOKEN_EXPIRED', { ...anything, token: scene.expired })
    await refused('TOKEN_EXPIRED', { ...postRun({ job: 'job' }), token: scene.expired })
  })

  it('an unknown one', async () => {
    await refused('TOKEN_INVALID', { ...anything, token: 'oj_nobody' })
  })

  it('none', async () => {
    expectProblem(await send(scene.fleet.urls[0]!, anything), 'TOKEN_MISSING')
  })

  it('one that may only read', async () => {
    await refused('READ_ONLY', { ...postRun({ job: 'job' }), token: scene.readOnly })
  })

  it('one of an app where an admin is needed', async () => {
    await refused('ADMIN_ONLY', { method: 'POST', path: '/api/v1/apps', json: { name: 'more' } })
    await refused('ADMIN_ONLY', { method: 'GET', path: '/api/v1/audit' })
  })

  it('an admin who does not say which app', async () => {
    await refused('APP_REQUIRED', { ...anything, token: scene.fleet.adminToken })
  })
})

describe('changes', () => {
  it('from a version that is not the current one', async () => {
    const path = `/api/v1/jobs/${scene.jobId}`
    const headers = { 'if-match': `"job-${scene.jobId}-v999"` }
    for (const method of ['PATCH', 'PUT'] as const) {
      const json = { name: 'job', processor: 'work', priority: 9 }
      const answer = await refused('VERSION_CONFLICT', { method, path, headers, json })
      expect(answer.body).toMatchObject({ current: 1 })
    }
    await refused('VERSION_CONFLICT', { method: 'DELETE', path, headers })
  })

  it('without saying from which version', async () => {
    await refused('VERSION_REQUIRED', { method: 'PATCH', path: `/api/v1/jobs/${scene.jobId}`, json: { priority: 9 } })
    await refused('VERSION_REQUIRED', { method: 'DELETE', path: `/api/v1/jobs/${scene.jobId}` })
  })

  it('to a name that is taken', async () => {
    await refused('NAME_TAKEN', postJob({ name: 'job', processor: 'work' }))
  })

  it('with a request key that is none', async () => {
    for (const key of ['short', 'with, a comma', 'x'.repeat(300)]) {
      await refused('IDEMPOTENCY_KEY_INVALID', { ...postRun({ job: 'job' }), headers: { 'idempotency-key': key } })
    }
  })
})

describe('the worker protocol', () => {
  it('a report for a run that does not exist is answered, item by item', async () => {
    const reports = [
      { runId: 999_999_999, lease: 1, outcome: 'succeeded', result: 1 },
      { runId: scene.foreign.runId, lease: 1, outcome: 'succeeded', result: 1 },
      { runId: scene.runId, lease: 999_999, outcome: 'succeeded', result: 1 },
    ]
    const answer = await ask({ method: 'POST', path: '/api/v1/worker/reports', json: { reports } })
    expect(answer.status).toBe(200)
    expect(answer.body['answers']).toEqual([
      { runId: 999_999_999, lease: 1, answer: 'unknown', code: 'RUN_NOT_FOUND' },
      { runId: scene.foreign.runId, lease: 1, answer: 'unknown', code: 'RUN_NOT_FOUND' },
      { runId: scene.runId, lease: 999_999, answer: 'lost', code: 'LEASE_LOST' },
    ])
  })

  it('a poll from a session that has ended', async () => {
    const path = `/api/v1/worker/sessions/${scene.endedSession}/poll`
    await refused('SESSION_ENDED', { method: 'POST', path, json: { free: 1, held: [] } })
  })

  it('a poll from a session that never was', async () => {
    await refused('WORKER_NOT_FOUND', {
      method: 'POST',
      path: '/api/v1/worker/sessions/999999/poll',
      json: { free: 1, held: [] },
    })
  })
})

describe('the rest', () => {
  it('a route that is none, and a method that the route does not have', async () => {
    await refused('ROUTE_NOT_FOUND', { method: 'GET', path: '/api/v1/nothing' })
    await refused('METHOD_NOT_ALLOWED', { method: 'PUT', path: '/api/v1/runs', json: {} })
  })

  it('a cursor of nobody', async () => {
    await refused('CURSOR_INVALID', { method: 'GET', path: '/api/v1/runs?cursor=xyz' })
  })

  it('acts that the state of a run does not allow', async () => {
    await refused('RUN_NOT_ENDED', { method: 'POST', path: `/api/v1/runs/${scene.runId}/retry` })
  })
})

// The last test of the file: it looks at what all the others have left behind.
it('nothing of all this has left a trace in the database', async () => {
  const after = await countWhileDown(scene.fleet)
  expect(after).toEqual(scene.before)
})
