// Promises about the calls for jobs (contract 6.2–6.5), on a real database with the real services.
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../../storage/sql.ts'
import { createEndpointRig, type EndpointRig } from '../testing/endpoint-rig.ts'
import { anyJob, runsOf, sentJob } from '../testing/jobs.ts'

let database: TestDatabase
let rig: EndpointRig
let app: number
let other: number
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createEndpointRig(database.db)
})
afterAll(() => database.close())
beforeEach(async () => {
  app = await rig.app()
  other = await rig.app()
})

type Sent = Record<string, unknown>
const send = (path: string, sent: Sent = {}, told = {}) => rig.send(path, sent, { appId: app, ...told })
const no = (path: string, sent: Sent = {}, told = {}) => rig.no(path, sent, { appId: app, ...told })
const save = async (change: Sent = {}, told = {}): Promise<number> =>
  (await send('/saveJob', sentJob({ appId: app, ...change }), told)) as number
const fetch = async (jobId: number, told = {}): Promise<Sent> => (await send('/fetchJob', { jobId }, told)) as Sent
const found = async (query: Sent): Promise<number[]> =>
  ((await send('/queryJob', { appIdEq: app, ...query })) as { id: number }[]).map(({ id }) => id)
const audit = (jobId: number) => rig.audit(`job/${jobId}`)
const cron = { timeExpressionType: 'CRON', timeExpression: '0 0 3 * * ?' }
const rate = { timeExpressionType: 'FIXED_RATE', timeExpression: '5000' }
const full = {
  jobName: 'full',
  jobDescription: 'd',
  jobParams: 'p',
  executeType: 'MAP_REDUCE',
  maxInstanceNum: 3,
  concurrency: 7,
  instanceTimeLimit: 60_000,
  instanceRetryNum: 1,
  taskRetryNum: 2,
  minCpuCores: 1.5,
  minMemorySpace: 0.5,
  minDiskSpace: 1,
  designatedWorkers: 'blue,127.0.0.1:27777',
  maxWorkerCount: 4,
  notifyUserIds: [1, 2],
  extra: 'x',
  dispatchStrategy: 'RANDOM',
  lifeCycle: { start: 1_795_304_785_565, end: 4_795_391_186_565 },
  alarmConfig: { alertThreshold: 3, statisticWindowLen: 60, silenceWindowLen: 300 },
  tag: 't1',
  logConfig: { type: 4, level: 1, loggerName: 'L' },
  advancedRuntimeConfig: { taskTrackerBehavior: 11 },
}

describe('saveJob', () => {
  it('every field comes back, with the keys, codes and nulls that were recorded', async () => {
    const id = await save(full)
    const job = await fetch(id)
    const { gmtCreate, gmtModified, ...rest } = job
    expect(gmtCreate).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/)
    expect(gmtModified).toBe(gmtCreate)
    expect(rest).toEqual({
      id,
      jobName: 'full',
      jobDescription: 'd',
      appId: app,
      jobParams: 'p',
      timeExpressionType: 1,
      timeExpression: null,
      executeType: 3,
      processorType: 1,
      processorInfo: 'com.acme.Nightly',
      maxInstanceNum: 3,
      concurrency: 7,
      instanceTimeLimit: 60_000,
      instanceRetryNum: 1,
      taskRetryNum: 2,
      status: 1,
      nextTriggerTime: null,
      minCpuCores: 1.5,
      minMemorySpace: 0.5,
      minDiskSpace: 1,
      designatedWorkers: 'blue,127.0.0.1:27777',
      maxWorkerCount: 4,
      notifyUserIds: '1,2',
      extra: 'x',
      dispatchStrategy: 2,
      dispatchStrategyConfig: null,
      lifecycle: '{"end":4795391186565,"start":1795304785565}',
      alarmConfig: { alertThreshold: 3, statisticWindowLen: 60, silenceWindowLen: 300 },
      tag: 't1',
      logConfig: { type: 4, level: 1, loggerName: 'L' },
      advancedRuntimeConfig: { taskTrackerBehavior: 11 },
    })
    expect(Object.keys(job).join()).toBe(
      'id,jobName,jobDescription,appId,jobParams,timeExpressionType,timeExpression,executeType,processorType,processorInfo,' +
        'maxInstanceNum,concurrency,instanceTimeLimit,instanceRetryNum,taskRetryNum,status,nextTriggerTime,minCpuCores,' +
        'minMemorySpace,minDiskSpace,designatedWorkers,maxWorkerCount,notifyUserIds,gmtCreate,gmtModified,extra,' +
        'dispatchStrategy,dispatchStrategyConfig,lifecycle,alarmConfig,tag,logConfig,advancedRuntimeConfig',
    )
    expect(await audit(id)).toEqual(['job.create'])
  })

  it('an update overwrites everything except what the contract keeps, and leaves one audit entry', async () => {
    const id = await save(full)
    const created = await fetch(id)
    expect(await save({ id, jobName: 'full2' })).toBe(id)
    expect(await fetch(id)).toEqual({
      ...created,
      ...Object.fromEntries(
        ['jobDescription', 'jobParams', 'designatedWorkers', 'extra', 'tag', 'dispatchStrategyConfig'].map((key) => [
          key,
          null,
        ]),
      ),
      jobName: 'full2',
      executeType: 1,
      maxInstanceNum: 0,
      concurrency: 5,
      instanceTimeLimit: 0,
      instanceRetryNum: 0,
      taskRetryNum: 0,
      minCpuCores: 0,
      minMemorySpace: 0,
      minDiskSpace: 0,
      maxWorkerCount: 0,
      dispatchStrategy: 1,
      lifecycle: '{}',
      gmtModified: (await fetch(id))['gmtModified'],
    })
    await save({ id, jobName: 'full2' })
    expect(await audit(id)).toEqual(['job.create', 'job.update'])
  })

  it('random requests come back from the database as they were sent', async () => {
    await fc.assert(
      fc.asyncProperty(anyJob, anyJob, async (first, second) => {
        const pairs: readonly (readonly [Sent, Sent])[] = [
          [first, {}],
          [second, first],
        ]
        for (const [sent, before] of pairs) {
          const id = before === first ? ids.at(-1) : undefined
          ids.push(await save({ ...sent, ...(id === undefined ? {} : { id }) }))
          const exported = (await send('/exportJob', { jobId: ids.at(-1)! })) as Sent
          const kept = ['notifyUserIds', 'alarmConfig', 'logConfig', 'advancedRuntimeConfig'].map((key) => {
            const value = sent[key] ?? before[key] ?? null
            return [key, Array.isArray(value) && value.length === 0 ? null : value] as const
          })
          if (Array.isArray(sent['notifyUserIds']) && sent['notifyUserIds'].length === 0)
            kept[0] = ['notifyUserIds', null]
          expect(exported).toEqual({
            ...sent,
            ...Object.fromEntries(kept),
            id: null,
            appId: app,
            jobName: exported['jobName'],
            lifeCycle: sent['lifeCycle'] ?? { start: null, end: null },
            enable: true,
          })
          expect((await fetch(ids.at(-1)!))['status']).toBe(sent['enable'] === true ? 1 : 2)
        }
      }),
      runsOf(25),
    )
  })
  const ids: number[] = []

  it('a cron job has its next trigger time in the zone of the wire', async () => {
    const id = await save(cron, { zone: 'Asia/Kathmandu' })
    const next = new Date((await fetch(id))['nextTriggerTime'] as number)
    expect(next.getTime()).toBeGreaterThan(Date.now())
    expect([next.getUTCHours(), next.getUTCMinutes()]).toEqual([21, 15])
  })

  it('both day fields of a cron expression must match, also for the scheduler', async () => {
    const id = await save({ timeExpressionType: 'CRON', timeExpression: '0 0 0 13 * FRI' })
    const next = new Date((await fetch(id))['nextTriggerTime'] as number)
    expect([next.getUTCDate(), next.getUTCDay()]).toEqual([13, 5])
    await database.db.query(sql`update oncejob.schedule set next_fire_at = now() - interval '1 s' where job_id = ${id}`)
    await rig.scheduler.runOnce()
    const after = new Date((await fetch(id))['nextTriggerTime'] as number)
    expect([after.getUTCDate(), after.getUTCDay()]).toEqual([13, 5])
    expect(((await send('/queryInstance', { appIdEq: app, jobIdEq: id })) as Sent)['totalItems']).toBe(1)
  })

  it('checks in the order of the contract: ownership, fields, life cycle, time, alarm', async () => {
    const theirs = (await rig.send('/saveJob', sentJob({ appId: other }), { appId: other })) as number
    const wrong: Sent = {
      id: theirs,
      jobName: '',
      lifeCycle: { start: 1, end: 2 },
      timeExpressionType: 'CRON',
      timeExpression: 'x',
      alarmConfig: {},
    }
    expect(await no('/saveJob', sentJob(wrong))).toBe(
      `IllegalArgumentException: this job is not belong to the app whose appId is ${app}`,
    )
    wrong['id'] = 999_999
    expect(await no('/saveJob', sentJob(wrong))).toBe("IllegalArgumentException: can't find job by jobId: 999999")
    wrong['id'] = null
    expect(await no('/saveJob', sentJob(wrong))).toBe("PowerJobException: jobName can't be empty")
    wrong['jobName'] = 'x'
    expect(await no('/saveJob', sentJob(wrong))).toBe('PowerJobException: lifecycle is out of date!')
    wrong['lifeCycle'] = null
    expect(await no('/saveJob', sentJob(wrong))).toContain('IllegalArgumentException: Cron expression contains 1 parts')
    wrong['timeExpression'] = '0 0 0 1 1 ? 2001'
    expect(await no('/saveJob', sentJob(wrong))).toBe(
      'PowerJobException: time expression is out of date: 0 0 0 1 1 ? 2001',
    )
    wrong['timeExpression'] = cron.timeExpression
    expect(await no('/saveJob', sentJob(wrong))).toBe('PowerJobException: illegal alarm config!')
    expect(await send('/fetchAllJob')).toEqual([])
  })

  it('names may repeat, natively only once', async () => {
    const ids = [await save({ jobName: 'same' }), await save({ jobName: 'same' })]
    expect(new Set(ids).size).toBe(2)
    const native = await rig.job(app, { name: 'same' })
    expect(await found({ jobNameEq: 'same' })).toEqual([...ids, native])
    expect(await save({ id: native, jobName: 'same', tag: 'x' })).toBe(native)
    await rig.job(app, { name: 'taken' })
    expect(await no('/saveJob', sentJob({ id: native, jobName: 'taken' }))).toMatch(/^PowerJobException: Another job/)
  })

  it('every mode is kept, with whatever schedule', async () => {
    for (const [executeType, code] of [
      ['BROADCAST', 2],
      ['MAP_REDUCE', 3],
      ['MAP', 4],
    ] as const) {
      const job = await fetch(await save({ ...cron, executeType }))
      expect(job).toMatchObject({ executeType: code, status: 1, nextTriggerTime: expect.any(Number) })
    }
  })

  it('what the database can not keep is refused, with nothing made', async () => {
    expect(await no('/saveJob', sentJob({ jobName: 'a\0b' }))).toMatch(/^PowerJobException: .*NUL/)
    expect(await send('/fetchAllJob')).toEqual([])
  })
})

describe('export and copy', () => {
  it('an export can be saved as it is', async () => {
    const id = await save({ ...full, ...cron, executeType: 'STANDALONE', enable: false })
    const exported = (await send('/exportJob', { jobId: id })) as Sent
    expect(exported).toMatchObject({
      id: null,
      enable: true,
      appId: app,
      notifyUserIds: [1, 2],
      timeExpressionType: 'CRON',
    })
    expect(exported['jobName']).toMatch(/^full_EXPORT_\d{13}$/)
    const again = await fetch(await save(exported))
    const first = await fetch(id)
    const same = (job: Sent) => ({
      ...job,
      id: 0,
      jobName: '',
      status: 0,
      nextTriggerTime: 0,
      gmtCreate: '',
      gmtModified: '',
    })
    expect(same(again)).toEqual(same(first))
  })

  it('a plain export has an object without bounds', async () => {
    const exported = (await send('/exportJob', { jobId: await save() })) as Sent
    expect(exported).toMatchObject({ lifeCycle: { start: null, end: null }, alarmConfig: null, logConfig: null })
  })

  it('a copy is disabled, unless the app wants copies as PowerJob makes them', async () => {
    const id = await save({ ...full, ...cron, executeType: 'STANDALONE' })
    const source = await fetch(id)
    const copy = await fetch((await send('/copyJob', { jobId: id })) as number)
    const times = { id: 0, gmtCreate: '', gmtModified: '', nextTriggerTime: 0 }
    expect({ ...copy, ...times }).toEqual({ ...source, ...times, jobName: 'full_COPY', status: 2 })
    expect(copy['nextTriggerTime']).toBeNull()
    const enabled = await fetch((await send('/copyJob', { jobId: id }, { copyEnabled: true })) as number)
    expect(enabled).toMatchObject({ jobName: 'full_COPY', status: 1, nextTriggerTime: source['nextTriggerTime'] })
    await send('/disableJob', { jobId: id })
    const ofDisabled = await fetch((await send('/copyJob', { jobId: id }, { copyEnabled: true })) as number)
    expect(ofDisabled['status']).toBe(2)
    expect(await audit(copy['id'] as number)).toEqual(['job.copy'])
  })

  it('a deleted job is not copied', async () => {
    const id = await save()
    await send('/deleteJob', { jobId: id })
    expect(await no('/copyJob', { jobId: id })).toBe(
      "IllegalStateException: can't copy the job which has been deleted!",
    )
  })
})

describe('ownership', () => {
  const calls = ['/copyJob', '/exportJob', '/fetchJob', '/deleteJob', '/disableJob', '/enableJob', '/runJob']
  it.each(calls)('%s finds no job of another app, and no job that is not', async (path) => {
    const theirs = (await rig.send('/saveJob', sentJob({ appId: other }), { appId: other })) as number
    expect(await no(path, { jobId: theirs })).toBe(
      `IllegalArgumentException: this job is not belong to the app whose appId is ${app}`,
    )
    expect(await no(path, { jobId: 999_999 })).toBe("IllegalArgumentException: can't find job by jobId: 999999")
    expect(await no(path)).toBe("IllegalArgumentException: can't find job by jobId: null")
    expect(await no(path, { jobId: 'abc' })).toMatch(/^MethodArgumentTypeMismatchException: /)
    expect(await rig.audit(`job/${theirs}`)).toEqual(['job.create'])
    expect((await fetch(theirs, { appId: other }))['status']).toBe(1)
  })

  it('lists and queries show the jobs of the calling app', async () => {
    await rig.send('/saveJob', sentJob({ appId: other }), { appId: other })
    const mine = await save()
    expect(await found({})).toEqual([mine])
    expect(((await send('/fetchAllJob')) as { id: number }[]).map(({ id }) => id)).toEqual([mine])
  })
})

describe('switching and deleting', () => {
  it('each end state can be asked for again, with one audit entry', async () => {
    const id = await save(cron)
    for (const path of ['/disableJob', '/disableJob', '/enableJob', '/enableJob', '/deleteJob', '/deleteJob'])
      expect(await send(path, { jobId: id })).toBeNull()
    expect(await audit(id)).toEqual(['job.create', 'job.disable', 'job.enable', 'job.delete'])
    expect(await fetch(id)).toMatchObject({ status: 99, nextTriggerTime: null })
    expect((await send('/fetchAllJob')) as Sent[]).toHaveLength(1)
  })

  it('a deleted job comes back by a save or by being enabled, and the audit trail says so', async () => {
    const id = await save(cron)
    await send('/deleteJob', { jobId: id })
    expect(await send('/disableJob', { jobId: id })).toBeNull()
    expect((await fetch(id))['status']).toBe(99)
    await send('/enableJob', { jobId: id })
    expect(await fetch(id)).toMatchObject({ status: 1, nextTriggerTime: expect.any(Number) })
    await send('/deleteJob', { jobId: id })
    expect(await save({ id, jobName: 'again' })).toBe(id)
    expect(await fetch(id)).toMatchObject({ status: 1, jobName: 'again', timeExpressionType: 1 })
    await send('/deleteJob', { jobId: id })
    expect(await save({ id, jobName: 'again', enable: false })).toBe(id)
    expect((await fetch(id))['status']).toBe(2)
    expect(await audit(id)).toEqual([
      'job.create',
      'job.delete',
      'job.restore',
      'job.delete',
      'job.restore',
      'job.delete',
      'job.restore',
    ])
  })

  it('a native job whose name was taken meanwhile does not come back under it', async () => {
    const id = await rig.job(app, { name: 'mine' })
    await send('/deleteJob', { jobId: id })
    await rig.job(app, { name: 'mine' })
    expect(await no('/enableJob', { jobId: id })).toMatch(/^PowerJobException: Another job/)
    expect((await fetch(id))['status']).toBe(99)
    await save({ id, jobName: 'other' })
    expect(await fetch(id)).toMatchObject({ status: 1, jobName: 'other' })
  })

  it('an expression that is out of date can not be enabled', async () => {
    const id = await save({ ...cron, lifeCycle: { start: null, end: Date.now() + 400 * 86_400_000 } })
    await send('/disableJob', { jobId: id })
    await database.db.query(sql`update oncejob.schedule set end_at = now() - interval '1 day' where job_id = ${id}`)
    expect(await no('/enableJob', { jobId: id })).toBe('PowerJobException: time expression is out of date: 0 0 3 * * ?')
    expect((await fetch(id))['status']).toBe(2)
  })

  it.each(['/deleteJob', '/disableJob'])('%s of a job on a short interval stops its runs', async (path) => {
    const id = await save({ ...rate, processorInfo: 'work', maxInstanceNum: 3 })
    const { sessionId } = await rig.worker(app)
    const running = (await send('/runJob', { jobId: id, delay: 0 })) as number
    expect(await rig.poll(app, sessionId)).toMatchObject({ runs: [{ runId: running }] })
    const delayed = (await send('/runJob', { jobId: id, delay: 60_000 })) as number
    const kept = (await send('/runJob', { jobId: await save(), delay: 60_000 })) as number
    await send(path, { jobId: id })
    await send(path, { jobId: id })
    expect(await send('/fetchInstanceStatus', { instanceId: delayed })).toBe(10)
    expect(await send('/fetchInstanceStatus', { instanceId: kept })).toBe(1)
    const asked = await database.db.query<{ run_id: number }>(
      sql`select run_id from oncejob.attempt where session_id = ${sessionId} and stop_requested_at is not null`,
    )
    expect(asked).toEqual([{ run_id: running }])
    expect(await rig.audit(`run/${running}`)).toEqual(['run.stop'])
  })

  it('a job without a short interval keeps its runs', async () => {
    const id = await save(cron)
    const run = await send('/runJob', { jobId: id, delay: 60_000 })
    await send('/deleteJob', { jobId: id })
    expect(await send('/fetchInstanceStatus', { instanceId: run })).toBe(1)
  })

  it('several at once leave one entry each', async () => {
    const id = await save(cron)
    await Promise.all(Array.from({ length: 8 }, () => send('/disableJob', { jobId: id })))
    await Promise.all(Array.from({ length: 8 }, () => send('/deleteJob', { jobId: id })))
    expect(await audit(id)).toEqual(['job.create', 'job.disable', 'job.delete'])
  })

  it('works in the transaction of another, and is undone with it', async () => {
    const id = await save(cron, { joined: true })
    await send('/disableJob', { jobId: id }, { joined: true })
    await send('/deleteJob', { jobId: id }, { joined: true })
    expect(await audit(id)).toEqual(['job.create', 'job.disable', 'job.delete'])
  })
})

describe('native jobs', () => {
  it('are shown and operated here as well', async () => {
    const id = await rig.job(app, {
      name: 'native',
      params: { a: 1 },
      schedule: { trigger: { kind: 'fixed-rate', everyMs: 300_000 } },
    })
    expect(await fetch(id)).toMatchObject({
      jobName: 'native',
      jobParams: '{"a":1}',
      timeExpressionType: 3,
      timeExpression: '300000',
      nextTriggerTime: null,
    })
    await send('/disableJob', { jobId: id })
    expect((await rig.service.get(app, 'native')).definition.enabled).toBe(false)
    const exported = (await send('/exportJob', { jobId: id })) as Sent
    await save({ ...exported, id, jobName: 'native' })
    const { definition } = await rig.service.get(app, 'native')
    expect(definition).toMatchObject({ params: { a: 1 }, schedule: { trigger: { everyMs: 300_000 } }, enabled: true })
  })
})

describe('queryJob', () => {
  const far = Date.UTC(2090, 0, 1)
  it('every operator over every field, alone and together', async () => {
    const a = await save({
      jobName: 'night_A',
      jobDescription: 'first 100%',
      jobParams: 'über "q" p',
      tag: 't',
      notifyUserIds: [12, 3],
    })
    const b = await save({
      jobName: 'nightB',
      ...cron,
      processorInfo: 'com.acme.B',
      processorType: 'SHELL',
      dispatchStrategy: 'SPECIFY',
    })
    const c = await save({
      jobName: 'day',
      ...rate,
      executeType: 'STANDALONE',
      enable: false,
      dispatchStrategy: 'RANDOM',
    })
    const d = await save({
      jobName: 'gone',
      timeExpressionType: 'WORKFLOW',
      executeType: 'MAP',
      processorType: 'EXTERNAL',
    })
    await send('/deleteJob', { jobId: d })
    const e = await rig.job(app, { name: 'native', params: { deep: 'über' } })
    const all = [a, b, c, d, e]
    await database.db.query(sql`update oncejob.job set created_at = '2020-01-01T00:00:00Z' where id = ${a}`)
    await database.db.query(sql`update oncejob.job set updated_at = '2021-01-01T00:00:00Z' where id = ${b}`)
    const at2020 = Date.UTC(2020, 0, 1)
    const cases: [Sent, number[]][] = [
      [{}, all],
      [{ idEq: b }, [b]],
      [{ idLt: c }, [a, b]],
      [{ idGt: c }, [d, e]],
      [{ jobNameEq: 'day' }, [c]],
      [{ jobNameEq: 'da' }, []],
      [{ jobNameLike: 'night' }, [a, b]],
      [{ jobNameLike: 't_A' }, [a]],
      [{ jobNameLike: 'n%A' }, [a]],
      [{ jobNameLike: 'n%t%' }, [a, b, e]],
      [{ jobNameLike: '%B' }, [b]],
      [{ jobNameLike: '\\' }, []],
      [{ jobDescriptionLike: '100%' }, [a]],
      [{ jobParamsLike: 'über "q"' }, [a]],
      [{ jobParamsLike: 'über' }, [a, e]],
      [{ jobParamsLike: '"über' }, [e]],
      [{ timeExpressionTypeIn: [2] }, [b]],
      [{ timeExpressionTypeIn: [1, 5] }, [a, d, e]],
      [{ timeExpressionTypeIn: [5] }, [d]],
      [{ timeExpressionTypeIn: [3, 4, 11] }, [c]],
      [{ executeTypeIn: [4] }, [d]],
      [{ executeTypeIn: [1] }, [a, b, c, e]],
      [{ processorTypeIn: [2] }, [b]],
      [{ processorTypeIn: [4] }, [d]],
      [{ processorTypeIn: [1] }, [a, c, e]],
      [{ statusIn: [1, 2] }, [a, b, c, e]],
      [{ statusIn: [99] }, [d]],
      [{ statusIn: ['2', null] }, [c]],
      [{ statusIn: [] }, []],
      [{ processorInfoEq: 'com.acme.B' }, [b]],
      [{ processorInfoLike: 'acme' }, [a, b, c, d]],
      [{ notifyUserIdsLike: '2,3' }, [a]],
      [{ notifyUserIdsLike: '' }, all],
      [{ nextTriggerTimeGt: 0 }, [b]],
      [{ nextTriggerTimeLt: far }, [b]],
      [{ nextTriggerTimeGt: far }, []],
      [{ gmtCreateLt: at2020 + 1 }, [a]],
      [{ gmtCreateLt: at2020 }, []],
      [{ gmtCreateGt: '2020-01-01T00:00:00.000+00:00' }, [b, c, d, e]],
      [{ gmtModifiedLt: String(Date.UTC(2022, 0, 1)) }, [b]],
      [{ gmtModifiedGt: Date.UTC(2022, 0, 1) }, [a, c, d, e]],
      [{ gmtModifiedGt: '9223372036854775807' }, []],
      [{ dispatchStrategyEq: 11 }, [b]],
      [{ dispatchStrategyEq: 2 }, [c]],
      [{ dispatchStrategyEq: 1 }, [a, d, e]],
      [{ tagEq: 't' }, [a]],
      [{ tagEq: 'T' }, []],
      [{ jobNameLike: 'night', timeExpressionTypeIn: [2], statusIn: [1, 2] }, [b]],
      [{ unknown: 1, jobNameNotEq: 'x' }, all],
    ]
    for (const [query, expected] of cases) expect([query, await found(query)]).toEqual([query, expected])
  })

  it('parameters with escapes that no text of the database can have are found by their JSON', async () => {
    const id = await rig.job(app, { params: 'a\0b\ud800c' })
    expect(await found({ jobParamsLike: 'a' })).toEqual([id])
  })

  it('more than one answer holds is refused, not cut', async () => {
    await database.db.query(sql`
      with j as (
        insert into oncejob.job (app_id, name, origin, processor, processor_type, mode, enabled, priority, overlap, max_concurrent_runs,
          task_concurrency, retry_max, retry_backoff, retry_delay_ms, retry_max_delay_ms, retry_jitter, retry_on, no_retry_on, max_lost,
          task_retry_max, labels, designated, min_free_cpu_cores, min_free_memory_gb, min_free_disk_gb, max_workers, strategy, route_id,
          notify, log_level, log_type, tracker_behavior)
        select ${app}, 'many', 'powerjob', 'p', 'built-in', 'standalone', false, 0, 'allow', 0, 5, 0, 'fixed', 0, 0, 0, '{}', '{}', 1, 0,
          '{}', '{}', 0, 0, 0, 0, 'random', (select route_id from oncejob.job limit 1), '{}', 'info', 'online', 'normal'
        from generate_series(1, 10001) returning id
      )
      insert into oncejob.schedule (job_id, kind, expression, zone, jitter_ms, misfire_policy, misfire_max_runs, dst_gap, dst_overlap)
      select id, 'none', '', 'UTC', 0, 'run-once', 1, 'next', 'first' from j`)
    expect(await no('/fetchAllJob')).toContain('more than 10000 jobs match')
    expect(await no('/queryJob', { appIdEq: app })).toContain('idGt')
    const [first] = await database.db.query<{ id: number }>(
      sql`select min(id) as id from oncejob.job where app_id = ${app}`,
    )
    expect(await found({ idGt: first!.id })).toHaveLength(10_000)
  })
})
