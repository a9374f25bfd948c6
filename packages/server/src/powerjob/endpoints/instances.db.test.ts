// Promises about the calls for instances (contract 6.4, 6.6, 6.7), on a real database with the real services.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import type { RequestKey } from '../../storage/request-keys.ts'
import { sql } from '../../storage/sql.ts'
import { createEndpointRig, type EndpointRig } from '../testing/endpoint-rig.ts'
import { instanceEndpoints } from './instances.ts'
import { sentJob } from '../testing/jobs.ts'

let database: TestDatabase
let rig: EndpointRig
let app: number
let other: number
let job: number
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createEndpointRig(database.db)
})
afterAll(() => database.close())
beforeEach(async () => {
  app = await rig.app()
  other = await rig.app()
  job = await save({ jobParams: 'ok' })
})

type Sent = Record<string, unknown>
const send = (path: string, sent: Sent = {}, told = {}) => rig.send(path, sent, { appId: app, ...told })
const no = (path: string, sent: Sent = {}, told = {}) => rig.no(path, sent, { appId: app, ...told })
const save = async (change: Sent = {}): Promise<number> =>
  (await send('/saveJob', sentJob({ appId: app, processorInfo: 'work', ...change }))) as number
const run = async (sent: Sent = {}, told = {}): Promise<number> =>
  (await send('/runJob', { jobId: job, delay: 0, ...sent }, told)) as number
const info = async (instanceId: number): Promise<Sent> => (await send('/fetchInstanceInfo', { instanceId })) as Sent
const status = (instanceId: number) => send('/fetchInstanceStatus', { instanceId })
const audit = (runId: number) => rig.audit(`run/${runId}`)

interface Running {
  readonly id: number
  readonly lease: number
}
/** A run that a worker has. */
const running = async (sent: Sent = {}): Promise<Running> => {
  const { sessionId } = await rig.worker(app, { name: 'w1' })
  await rig.directory.refresh()
  const id = await run(sent)
  const { runs } = await rig.poll(app, sessionId)
  expect(runs.map(({ runId }) => runId)).toEqual([id])
  return { id, lease: runs[0]!.lease }
}
const succeed = ({ id, lease }: Running, result: unknown) =>
  rig.sessions.report(app, { reports: [{ runId: id, lease, outcome: 'succeeded', result }] })
const fail = ({ id, lease }: Running, message: string) =>
  rig.sessions.report(app, {
    reports: [
      { runId: id, lease, outcome: 'failed', error: { code: 'X', message, stack: 'at secret' }, terminal: true },
    ],
  })

describe('runJob', () => {
  it('makes a run each time, with what was given', async () => {
    const first = await run({ instanceParams: '{"a":"ü 漢"}' })
    const second = await run()
    expect(second).not.toBe(first)
    const { gmtCreate, gmtModified, expectedTriggerTime, ...rest } = await info(first)
    expect(gmtCreate).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/)
    expect(gmtModified).toBe(gmtCreate)
    expect(Math.abs(Number(expectedTriggerTime) - Date.parse(String(gmtCreate)))).toBeLessThan(2)
    expect(rest).toEqual({
      jobId: job,
      appId: app,
      instanceId: first,
      wfInstanceId: null,
      jobParams: 'ok',
      instanceParams: '{"a":"ü 漢"}',
      status: 1,
      type: 1,
      result: null,
      actualTriggerTime: null,
      finishedTime: null,
      taskTrackerAddress: null,
      runningTimes: 0,
    })
    expect(await info(second)).toMatchObject({ instanceParams: null })
  })

  it('takes no delay, a delay, and a negative one as none', async () => {
    expect(await rig.where(await run({ delay: -5 }))).toMatchObject({ places: ['ready'] })
    expect(await rig.where((await send('/runJob', { jobId: job })) as number)).toMatchObject({ places: ['ready'] })
    const later = await run({ delay: 60_000 })
    expect(await rig.where(later)).toMatchObject({ places: ['later'] })
    const { expectedTriggerTime, gmtCreate } = await info(later)
    expect(Number(expectedTriggerTime) - Date.parse(String(gmtCreate))).toBeGreaterThan(59_000)
    expect(await no('/runJob', { jobId: job, delay: 'soon' })).toMatch(/^MethodArgumentTypeMismatchException: /)
    expect(await no('/runJob', { jobId: job, delay: '9223372036854775807' })).toMatch(
      /^IllegalArgumentException: delay/,
    )
  })

  it('hands the worker plain texts', async () => {
    const { sessionId } = await rig.worker(app)
    const id = await run({ instanceParams: 'ip' })
    const { runs } = await rig.poll(app, sessionId)
    expect(runs).toMatchObject([{ runId: id, params: 'ip', jobParams: 'ok' }])
  })

  it('runs a disabled job, and no deleted one', async () => {
    await send('/disableJob', { jobId: job })
    expect(await status(await run())).toBe(1)
    await send('/deleteJob', { jobId: job })
    expect(await no('/runJob', { jobId: job, delay: 0 })).toBe(
      `IllegalArgumentException: can't find job by jobId: ${job}`,
    )
  })

  it('gives native workers nothing of a mode that only Java workers execute', async () => {
    const { sessionId } = await rig.worker(app)
    const map = await run({ jobId: await save({ executeType: 'MAP_REDUCE' }) })
    const plain = await run()
    await rig.directory.refresh()
    const { runs } = await rig.poll(app, sessionId)
    expect(runs.map(({ runId }) => runId)).toEqual([plain])
    expect(await status(map)).toBe(1)
  })

  it('fails at once what is beyond the maximum of instances, and still answers its id', async () => {
    const limited = await save({ maxInstanceNum: 1 })
    const first = await run({ jobId: limited })
    const second = await run({ jobId: limited })
    expect(await status(first)).toBe(1)
    expect(await info(second)).toMatchObject({ status: 4, result: 'too many instances(2>1)', runningTimes: 0 })
    const native = await rig.job(app, {
      maxConcurrentRuns: 1,
      schedule: { trigger: { kind: 'none' }, overlap: 'skip' },
    })
    await run({ jobId: native })
    expect(await no('/runJob', { jobId: native })).toBe('PowerJobException: too many instances(2>1)')
  })

  it('takes its request key by its own statement: the same key makes one run', async () => {
    const keyed: RequestKey = {
      appId: app,
      key: 'order-1',
      fingerprint: 'f',
      requestId: 'r',
      route: 'POST /openApi/runJob',
    }
    const ids = await Promise.all([1, 2, 3, 4].map(() => run({}, { keyed })))
    expect(new Set(ids).size).toBe(1)
    expect(await send('/queryInstance', { appIdEq: app })).toMatchObject({ totalItems: 1 })
    await send('/deleteJob', { jobId: job })
    expect(await run({}, { keyed })).toBe(ids[0])
  })

  it('asks the database once for a run that is made', async () => {
    let asked = 0
    const endpoint = instanceEndpoints.find(({ path }) => path === '/runJob')!
    const services = {
      db: { ...rig.db, query: () => Promise.reject(new Error('another statement')) },
      runs: { ...rig.runs, submit: async () => ({ id: (asked += 1), replayOf: null, deduplicated: false }) },
      jobs: { wire: { find: () => Promise.reject(new Error('another statement')) } },
    }
    const call = {
      path: '/runJob',
      appId: app,
      actor: 't',
      settings: { tokenless: false, copyEnabled: false, collapse: 'off' },
      zone: 'UTC',
      fields: new Map([['jobId', String(job)]]),
      body: undefined,
      keyed: null,
    } as const
    expect(await endpoint.handle(call, services as never)).toBe(1)
  })

  it('a run in the transaction of another is there when that commits', async () => {
    expect(await status(await run({}, { joined: true }))).toBe(1)
  })
})

describe('what became of a run', () => {
  it.each<[unknown, string | null]>([
    ['done', 'done'],
    [{ a: [1] }, '{"a":[1]}'],
    [5, '5'],
    [null, null],
  ])('a result %j is shown as %j', async (result, shown) => {
    const one = await running()
    expect(await info(one.id)).toMatchObject({ status: 3, taskTrackerAddress: 'w1', runningTimes: 1, result: null })
    await succeed(one, result)
    expect(await info(one.id)).toMatchObject({ status: 5, result: shown, runningTimes: 1, taskTrackerAddress: 'w1' })
    const { actualTriggerTime, finishedTime, gmtModified } = await info(one.id)
    expect(finishedTime).toBeGreaterThanOrEqual(Number(actualTriggerTime))
    expect(Date.parse(String(gmtModified))).toBe(finishedTime)
  })

  it('a failure shows its message, and never its stack', async () => {
    const one = await running()
    await fail(one, 'boom')
    expect(await info(one.id)).toMatchObject({ status: 4, result: 'boom' })
  })

  it('a run whose outcome is unknown is running', async () => {
    const one = await running()
    await database.db.query(sql`delete from oncejob.attempt where run_id = ${one.id}`)
    await database.db.query(sql`
      insert into oncejob.run_undecided (run_id, job_id, lease, session_id, reason, follows) values (${one.id}, ${job}, 1, 1, 'lost', false)`)
    expect(await status(one.id)).toBe(3)
    expect(await no('/cancelInstance', { instanceId: one.id })).toBe(
      'PowerJobException: instance already up and running',
    )
    expect(await no('/retryInstance', { instanceId: one.id })).toBe(
      'PowerJobException: Only stopped instance can be retry!',
    )
    expect(await status(one.id)).toBe(3)
    await send('/stopInstance', { instanceId: one.id })
    expect(await info(one.id)).toMatchObject({ status: 10, result: 'stopped by user' })
  })
})

describe('stopInstance', () => {
  it('stops a run that waits, and may be asked again', async () => {
    const id = await run({ delay: 60_000 })
    for (let i = 0; i < 3; i += 1) expect(await send('/stopInstance', { instanceId: id })).toBeNull()
    const stopped = await info(id)
    expect(stopped).toMatchObject({ status: 10, result: 'stopped by user', actualTriggerTime: null, runningTimes: 0 })
    expect(stopped['finishedTime']).toEqual(expect.any(Number))
    expect(await audit(id)).toHaveLength(1)
  })

  it('asks the worker of a running one to stop, with one audit entry however often it is asked', async () => {
    const one = await running()
    await Promise.all(Array.from({ length: 6 }, () => send('/stopInstance', { instanceId: one.id })))
    await send('/stopInstance', { instanceId: one.id }, { joined: true })
    expect(await status(one.id)).toBe(3)
    expect(await audit(one.id)).toEqual(['run.stop'])
    await fail(one, 'stopped')
    expect(await info(one.id)).toMatchObject({ status: 10, result: 'stopped by user' })
    await send('/stopInstance', { instanceId: one.id })
    expect(await audit(one.id)).toEqual(['run.stop'])
  })

  it('is refused for what has ended by itself', async () => {
    const one = await running()
    await succeed(one, 1)
    expect(await no('/stopInstance', { instanceId: one.id })).toBe(
      "IllegalArgumentException: can't stop finished instance!",
    )
  })
})

describe('cancelInstance', () => {
  it('cancels a run that waits, and may be asked again', async () => {
    const id = await run({ delay: 60_000 })
    for (let i = 0; i < 3; i += 1) expect(await send('/cancelInstance', { instanceId: id })).toBeNull()
    expect(await info(id)).toMatchObject({
      status: 9,
      result: 'canceled by user',
      finishedTime: null,
      actualTriggerTime: null,
    })
    expect(await audit(id)).toEqual(['run.cancel'])
  })

  it('is refused for a running one, and for what has ended', async () => {
    const one = await running()
    const expected = 'PowerJobException: instance already up and running'
    expect(await no('/cancelInstance', { instanceId: one.id })).toBe(expected)
    await succeed(one, 1)
    expect(await no('/cancelInstance', { instanceId: one.id })).toBe(expected)
    expect(await status(one.id)).toBe(5)
  })
})

describe('retryInstance', () => {
  it('keeps the id, and clears what the first try left', async () => {
    const one = await running()
    await fail(one, 'boom')
    expect(await send('/retryInstance', { instanceId: one.id })).toBeNull()
    expect(await info(one.id)).toMatchObject({
      status: 1,
      result: null,
      finishedTime: null,
      actualTriggerTime: null,
      runningTimes: 1,
    })
    expect(await audit(one.id)).toEqual(['run.retry'])
  })

  it('takes what was canceled, stopped and what succeeded, and nothing that is open', async () => {
    const open = 'PowerJobException: Only stopped instance can be retry!'
    const one = await running()
    expect(await no('/retryInstance', { instanceId: one.id })).toBe(open)
    await succeed(one, 1)
    await send('/retryInstance', { instanceId: one.id })
    expect(await status(one.id)).toBe(1)
    const id = await run({ delay: 60_000 })
    expect(await no('/retryInstance', { instanceId: id })).toBe(open)
    for (const path of ['/cancelInstance', '/stopInstance']) {
      await send(path, { instanceId: id })
      await send('/retryInstance', { instanceId: id })
      expect(await status(id)).toBe(1)
    }
  })
})

describe('ownership', () => {
  it.each(['/stopInstance', '/cancelInstance', '/retryInstance', '/fetchInstanceStatus', '/fetchInstanceInfo'])(
    '%s finds no instance of another app, and none that is not',
    async (path) => {
      const theirs = await rig.job(other)
      const id = await rig.submit(other, theirs, { delayMs: 60_000 })
      expect(await no(path, { instanceId: id })).toBe(
        `IllegalArgumentException: instance is not belong to the app whose appId is ${app}`,
      )
      const missing = path.startsWith('/fetch') ? 'invalid instanceId' : "can't find instance by instanceId"
      expect(await no(path, { instanceId: 123_456_789 })).toBe(`IllegalArgumentException: ${missing}: 123456789`)
      expect(await no(path)).toBe(`IllegalArgumentException: ${missing}: null`)
      expect(await no(path, { instanceId: '1004656552407203904' })).toContain(missing)
      expect(await no(path, { instanceId: 'x' })).toMatch(/^MethodArgumentTypeMismatchException: /)
      expect(await rig.send('/fetchInstanceStatus', { instanceId: id }, { appId: other })).toBe(1)
      expect(await rig.audit(`run/${id}`)).toEqual([])
    },
  )

  it('the owner of an instance is told where the caller names no app', async () => {
    const id = await run()
    const endpoint = instanceEndpoints.find(({ path }) => path === '/fetchInstanceInfo')!
    const ownerOf = (text: string) => endpoint.owner!(new Map([['instanceId', text]]), { db: rig.db } as never)
    expect(await ownerOf(String(id))).toBe(app)
    for (const text of ['0', '99999999', '', 'x', '-1', '99999999999999999999'])
      expect(await ownerOf(text)).toBeUndefined()
  })
})

describe('queryInstance', () => {
  interface Page {
    readonly index: number
    readonly pageSize: number
    readonly totalPages: number
    readonly totalItems: number
    readonly data: { readonly instanceId: number }[]
  }
  const query = async (sent: Sent = {}): Promise<Page> =>
    (await send('/queryInstance', { appIdEq: app, ...sent })) as Page
  const ids = async (sent: Sent = {}): Promise<number[]> =>
    (await query({ pageSize: 100, ...sent })).data.map(({ instanceId }) => instanceId)

  it('pages by index and size, and a page past the end is empty', async () => {
    const all = [await run(), await run(), await run(), await run()]
    await rig.submit(other, await rig.job(other))
    expect(await query()).toMatchObject({ index: 0, pageSize: 10, totalPages: 1, totalItems: 4 })
    const first = await query({ pageSize: 3 })
    expect(first).toMatchObject({ index: 0, pageSize: 3, totalPages: 2, totalItems: 4 })
    const second = await query({ pageSize: 3, index: 1 })
    expect([...first.data, ...second.data].map(({ instanceId }) => instanceId)).toEqual(all)
    expect(await query({ pageSize: 3, index: 99 })).toEqual({
      index: 99,
      pageSize: 3,
      totalPages: 2,
      totalItems: 4,
      data: [],
    })
    expect(await query({ pageSize: 2_147_483_647, index: 2_147_483_647 })).toMatchObject({ totalItems: 4, data: [] })
    expect(first.data[0]).toEqual(await info(all[0]!))
  })

  it('refuses pages that can not be', async () => {
    expect(await no('/queryInstance', { pageSize: 0 })).toBe(
      'IllegalArgumentException: Page size must not be less than one',
    )
    expect(await no('/queryInstance', { pageSize: null })).toBe(
      'IllegalArgumentException: Page size must not be less than one',
    )
    expect(await no('/queryInstance', { index: -1, pageSize: 0 })).toBe(
      'IllegalArgumentException: Page index must not be less than zero',
    )
    expect(await no('/queryInstance', { sortBy: 'nope' })).toMatch(
      /^PropertyReferenceException: No property 'nope' found for type 'InstanceInfoDO'/,
    )
  })

  it('a page of more than a thousand is refused, not cut; asking for more than there is is fine', async () => {
    const id = await run()
    await database.db.query(sql`
      insert into oncejob.run (id, app_id, job_id, priority, due_at, state, ended_at)
      select nextval('oncejob.run_id_seq'), app_id, job_id, 0, now(), 'canceled', now() from oncejob.run, generate_series(1, 1000) where id = ${id}`)
    expect(await no('/queryInstance', { pageSize: 2000 })).toContain('at most 1000')
    expect((await query({ pageSize: 2000, statusIn: [1] })).data).toHaveLength(1)
    expect((await query({ pageSize: 1000, index: 1 })).data).toHaveLength(1)
  })

  it('every condition narrows, alone and together', async () => {
    const waiting = await run()
    const canceled = await run({ delay: 60_000 })
    await send('/cancelInstance', { instanceId: canceled })
    const stopped = await run({ delay: 60_000 })
    await send('/stopInstance', { instanceId: stopped })
    const second = await save({ maxInstanceNum: 1, processorInfo: 'other' })
    const blocking = await run({ jobId: second })
    const failed = await run({ jobId: second })
    const all = [waiting, canceled, stopped, blocking, failed]
    await database.db.query(sql`update oncejob.run set created_at = '2020-01-01T00:00:00Z' where id = ${waiting}`)
    const at2020 = Date.UTC(2020, 0, 1)
    const cases: [Sent, number[]][] = [
      [{}, all],
      [{ instanceIdEq: stopped }, [stopped]],
      [{ instanceIdEq: '889273645123456789' }, []],
      [{ instanceIdLt: stopped }, [waiting, canceled]],
      [{ instanceIdGt: stopped }, [blocking, failed]],
      [{ jobIdEq: second }, [blocking, failed]],
      [{ statusIn: [1] }, [waiting, blocking]],
      [{ statusIn: [9] }, [canceled]],
      [{ statusIn: [10] }, [stopped]],
      [{ statusIn: [4, '9'] }, [canceled, failed]],
      [{ statusIn: [2, 3, 5] }, []],
      [{ statusIn: [] }, []],
      [{ gmtCreateLt: at2020 + 1 }, [waiting]],
      [{ gmtCreateLt: at2020 }, []],
      [{ gmtCreateGt: at2020 }, [canceled, stopped, blocking, failed]],
      [{ gmtModifiedGt: '2020-01-02T00:00:00.000+00:00' }, [canceled, stopped, blocking, failed]],
      [{ gmtModifiedLt: at2020 + 1 }, [waiting]],
      [{ gmtModifiedLt: '9223372036854775807' }, all],
      [{ jobIdEq: second, statusIn: [4] }, [failed]],
    ]
    for (const [sent, expected] of cases) expect([sent, await ids(sent)]).toEqual([sent, expected])
  })

  it('sorts by every property in both directions, by ids where the property does not tell', async () => {
    const a = await run({ instanceParams: 'b', delay: 60_000 })
    const b = await run({ instanceParams: 'a', delay: 30_000 })
    const c = await run({ instanceParams: 'b', delay: 90_000 })
    await send('/cancelInstance', { instanceId: b })
    await send('/stopInstance', { instanceId: c })
    const orders: Record<string, number[]> = {
      id: [a, b, c],
      instanceId: [a, b, c],
      jobId: [a, b, c],
      appId: [a, b, c],
      type: [a, b, c],
      wfInstanceId: [a, b, c],
      status: [a, b, c],
      expectedTriggerTime: [b, a, c],
      actualTriggerTime: [a, b, c],
      taskTrackerAddress: [a, b, c],
      runningTimes: [a, b, c],
      gmtCreate: [a, b, c],
      gmtModified: [a, b, c],
      lastReportTime: [a, b, c],
      jobParams: [a, b, c],
      instanceParams: [b, a, c],
    }
    for (const [sortBy, expected] of Object.entries(orders)) {
      expect([sortBy, await ids({ sortBy, asc: true })]).toEqual([sortBy, expected])
      expect([sortBy, await ids({ sortBy, asc: false })]).toEqual([sortBy, expected.toReversed()])
    }
    for (const sortBy of ['result', 'finishedTime']) expect(new Set(await ids({ sortBy }))).toEqual(new Set([a, b, c]))
    expect(await ids({ asc: false })).toEqual([a, b, c])
  })
})
