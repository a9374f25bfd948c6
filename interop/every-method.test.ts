// Real PowerJob clients of every version, every method once: one request each, and the answer that the contract promises.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../e2e/support/until.ts'
import { openScene, type Scene } from './support/bench-app.ts'
import { clientVersions, type ResultDto } from './support/java.ts'
import { apiJob, fullJob } from './support/jobs.ts'

type Fields = Record<string, unknown>
const fine = (data: unknown) => ({ success: true, data, message: null })
const anId = expect.any(Number) as number

describe.for(clientVersions)('client %s', (version) => {
  const is4 = version.startsWith('4')
  const has511 = version === '5.1.1'
  const strategy = version === '4.3.6' ? 2 : 11
  let scene: Scene

  /** One call; the client must have asked the server exactly once. */
  const once = async <T = unknown>(path: string, method: string, ...args: unknown[]): Promise<ResultDto<T>> => {
    scene.proxy.take()
    const result = await scene.java.call<T>('c', method, ...args)
    expect(scene.proxy.take(), method).toEqual({ [`/${path}`]: 1 })
    return result
  }
  const id = async (path: string, method: string, ...args: unknown[]): Promise<number> => {
    const result = await once<number>(path, method, ...args)
    expect(result).toEqual(fine(anId))
    return Number(result.data)
  }
  const statusOf = async (instanceId: number): Promise<unknown> =>
    (await scene.java.call('c', 'fetchInstanceStatus', instanceId)).data
  const untilStatus = (instanceId: number, status: number): Promise<unknown> =>
    until(`instance ${instanceId} has status ${status}`, async () => (await statusOf(instanceId)) === status)

  beforeAll(async () => {
    scene = await openScene(version)
    await scene.java.open('c', scene.opening)
  })
  afterAll(() => scene.close())

  it(`9.1 is made with ${is4 ? 'one request' : 'exactly two requests'}`, async () => {
    scene.proxy.take()
    await scene.java.open('another', scene.opening)
    expect(scene.proxy.take()).toEqual(is4 ? { '/assert': 1 } : { '/authApp': 2 })
  })

  it('9.2 saves, looks at, switches, copies, exports and deletes a job with one request each', async () => {
    const jobId = await id('saveJob', 'saveJob', apiJob('once each'))
    expect((await once<Fields>('fetchJob', 'fetchJob', jobId)).data).toMatchObject({
      id: jobId,
      jobName: 'once each',
      status: 1,
      timeExpressionType: 1,
      executeType: 1,
      processorType: 1,
      concurrency: 5,
    })
    expect(await once('disableJob', 'disableJob', jobId)).toEqual(fine(null))
    expect((await once<Fields>('fetchJob', 'fetchJob', jobId)).data).toMatchObject({ status: 2 })
    expect(await once('disableJob', 'disableJob', jobId)).toEqual(fine(null))
    expect(await once('enableJob', 'enableJob', jobId)).toEqual(fine(null))
    const copyId = await id('copyJob', 'copyJob', jobId)
    expect((await once<Fields>('fetchJob', 'fetchJob', copyId)).data).toMatchObject({
      jobName: 'once each_COPY',
      status: 2,
    })
    expect((await once<Fields>('exportJob', 'exportJob', jobId)).data).toMatchObject({ id: null, enable: true })
    const all = await once<Fields[]>('fetchAllJob', 'fetchAllJob')
    expect(all.data?.map((job) => job['id'])).toEqual(expect.arrayContaining([jobId, copyId]))
    expect(await once('deleteJob', 'deleteJob', jobId)).toEqual(fine(null))
    expect((await once<Fields>('fetchJob', 'fetchJob', jobId)).data).toMatchObject({ status: 99 })
  })

  it('9.2 runs, watches, stops, cancels and retries with one request each', async () => {
    const jobId = await id('saveJob', 'saveJob', apiJob('runs'))
    const ran = await id('runJob', 'runJob', jobId, 'order 4711 «ü»', 0)
    await untilStatus(ran, 5)
    expect(await once('fetchInstanceStatus', 'fetchInstanceStatus', ran)).toEqual(fine(5))
    expect((await once<Fields>('fetchInstanceInfo', 'fetchInstanceInfo', ran)).data).toMatchObject({
      instanceId: ran,
      jobId,
      status: 5,
      type: 1,
      result: 'did order 4711 «ü»',
      instanceParams: 'order 4711 «ü»',
      wfInstanceId: null,
      runningTimes: 1,
      actualTriggerTime: anId,
      expectedTriggerTime: anId,
      finishedTime: anId,
    })
    const later = await id('runJob', 'runJob', jobId, null, 3_600_000)
    expect(await once('cancelInstance', 'cancelInstance', later)).toEqual(fine(null))
    expect(await statusOf(later)).toBe(9)
    const hangs = await id('saveJob', 'saveJob', apiJob('hangs', { jobParams: 'hang' }))
    const hung = await id('runJob', 'runJob', hangs)
    await untilStatus(hung, 3)
    expect((await scene.java.call('c', 'cancelInstance', hung)).message).toContain('instance already up and running')
    expect(await once('stopInstance', 'stopInstance', hung)).toEqual(fine(null))
    await untilStatus(hung, 10)
    const fails = await id('saveJob', 'saveJob', apiJob('fails', { jobParams: 'fail' }))
    const failed = await id('runJob', 'runJob', fails)
    await untilStatus(failed, 4)
    expect((await scene.java.call<Fields>('c', 'fetchInstanceInfo', failed)).data).toMatchObject({
      result: 'the job says fail',
    })
    expect(await once('retryInstance', 'retryInstance', failed)).toEqual(fine(null))
    await until('it failed again', async () => {
      const { data } = await scene.java.call<Fields>('c', 'fetchInstanceInfo', failed)
      return data?.['runningTimes'] === 2 && data['status'] === 4
    })
    expect((await scene.java.call('c', 'retryInstance', hung)).success).toBe(true)
  })

  it('9.8 keeps every field of a job, and 9.7 an export can be saved unchanged', async () => {
    const wanted = fullJob('full', version)
    const jobId = await id('saveJob', 'saveJob', wanted)
    const { data: job } = await once<Fields>('fetchJob', 'fetchJob', jobId)
    const { enable: _, lifeCycle, notifyUserIds: __, ...same } = wanted
    const codes = { timeExpressionType: 2, executeType: 3, processorType: 4, dispatchStrategy: strategy }
    expect(job).toMatchObject({ ...same, ...codes, id: jobId, status: 2, notifyUserIds: '3,4' })
    expect(JSON.parse(String(job?.['lifecycle']))).toEqual(lifeCycle)
    const { data: exported } = await once<Fields>('exportJob', 'exportJob', jobId)
    expect(exported).toMatchObject({
      ...wanted,
      id: null,
      jobName: expect.stringMatching(/^full_EXPORT_\d+$/) as string,
      enable: true,
    })
    const againId = await id('saveJob', 'saveJob', { ...exported, enable: false })
    const { data: again } = await once<Fields>('fetchJob', 'fetchJob', againId)
    const times = ['id', 'jobName', 'gmtCreate', 'gmtModified']
    const without = (fields: Fields | null | undefined): Fields =>
      Object.fromEntries(Object.entries(fields ?? {}).filter(([name]) => !times.includes(name)))
    expect(without(again)).toEqual(without(job))
  })

  it('9.8 a null alarm keeps the old one on update, a null tag clears it', async () => {
    const jobId = await id('saveJob', 'saveJob', fullJob('keeps', version))
    const { alarmConfig: _, tag: __, ...less } = fullJob('keeps', version)
    expect(await id('saveJob', 'saveJob', { ...less, id: jobId })).toBe(jobId)
    const { data } = await once<Fields>('fetchJob', 'fetchJob', jobId)
    expect(data).toMatchObject({
      tag: null,
      alarmConfig: { alertThreshold: 3, statisticWindowLen: 60, silenceWindowLen: 120 },
    })
  })

  it('finds jobs by every operator of a query', async () => {
    const before = Date.now() - 60_000
    const jobId = await id('saveJob', 'saveJob', {
      ...fullJob('needle-α', version),
      lifeCycle: null,
      timeExpression: '0 0 3 * * ?',
      enable: true,
    })
    const finds = async (query: Fields): Promise<boolean> => {
      const { data } = await once<Fields[]>('queryJob', 'queryJob', query)
      return (data ?? []).some((job) => job['id'] === jobId)
    }
    const after = Date.now() + 60_000
    const far = after + 40 * 86_400_000
    const pairs: readonly (readonly [Fields, Fields])[] = [
      [{ idEq: jobId }, { idEq: jobId + 1 }],
      [{ idLt: jobId + 1 }, { idLt: jobId }],
      [{ idGt: jobId - 1 }, { idGt: jobId }],
      [{ jobNameEq: 'needle-α' }, { jobNameEq: 'needle' }],
      [{ jobNameLike: 'needle' }, { jobNameLike: 'noodle' }],
      [{ jobDescriptionLike: '«ünïcode»' }, { jobDescriptionLike: 'nothing like it' }],
      [{ jobParamsLike: '[1, 2]' }, { jobParamsLike: '[2, 1]' }],
      [{ timeExpressionTypeIn: [1, 2] }, { timeExpressionTypeIn: [1] }],
      [{ executeTypeIn: [3] }, { executeTypeIn: [1, 2, 4] }],
      [{ processorTypeIn: [4] }, { processorTypeIn: [1] }],
      [{ processorInfoEq: '17#com.example.Other' }, { processorInfoEq: '17' }],
      [{ processorInfoLike: 'example.Other' }, { processorInfoLike: 'example.Echo' }],
      [{ statusIn: [1, 99] }, { statusIn: [2] }],
      [{ notifyUserIdsLike: '3,4' }, { notifyUserIdsLike: '5' }],
      [{ nextTriggerTimeGt: before, nextTriggerTimeLt: far }, { nextTriggerTimeGt: far }],
      [{ gmtCreateGt: before, gmtCreateLt: after }, { gmtCreateGt: after }],
      [{ gmtModifiedGt: before, gmtModifiedLt: after }, { gmtModifiedLt: before }],
      [{ dispatchStrategyEq: strategy }, { dispatchStrategyEq: 1 }],
      [{ tagEq: 'finance' }, { tagEq: 'other' }],
    ]
    for (const [finding, missing] of pairs) {
      expect(await finds(finding), JSON.stringify(finding)).toBe(true)
      expect(await finds({ ...finding, ...missing }), JSON.stringify(missing)).toBe(false)
    }
  })

  it.runIf(has511)('pages through instances', async () => {
    const jobId = await id('saveJob', 'saveJob', apiJob('paged'))
    const ids: number[] = []
    for (let n = 0; n < 5; n += 1) ids.push(await id('runJob', 'runJob', jobId, null, 3_600_000))
    const page = async (index: number) =>
      (
        await once<{ data: Fields[]; totalItems: number; totalPages: number }>('queryInstance', 'queryInstanceInfo', {
          jobIdEq: jobId,
          index,
          pageSize: 2,
          sortBy: 'instanceId',
          asc: true,
          statusIn: [1],
        })
      ).data
    const pages = [await page(0), await page(1), await page(2), await page(3)]
    expect(pages.flatMap((one) => one?.data.map((row) => row['instanceId']))).toEqual(ids)
    expect(pages[0]).toMatchObject({ totalItems: 5, totalPages: 3 })
  })

  it('9.6 saves, looks at, switches, copies and deletes a workflow with one request each', async () => {
    const jobId = await id('saveJob', 'saveJob', apiJob('node job'))
    const nodes = await once<Fields[]>('addWorkflowNode', 'saveWorkflowNode', [
      { type: 1, jobId, nodeName: 'first', nodeParams: 'a' },
      { type: 1, jobId, nodeName: 'second', skipWhenFailed: true },
    ])
    const [first, second] = (nodes.data ?? []).map((node) => Number(node['id']))
    const workflowId = await id('saveWorkflow', 'saveWorkflow', {
      wfName: 'flow',
      wfDescription: 'two in a row',
      timeExpressionType: 'CRON',
      timeExpression: '0 0 4 * * ?',
      maxWfInstanceNum: 2,
      notifyUserIds: [3, 4],
      dag: { nodes: [{ nodeId: first }, { nodeId: second }], edges: [{ from: first, to: second }] },
    })
    const fetched = (await once<Fields>('fetchWorkflow', 'fetchWorkflow', workflowId)).data
    expect(fetched).toMatchObject({
      id: workflowId,
      wfName: 'flow',
      timeExpressionType: 'CRON',
      maxWfInstanceNum: 2,
      enable: true,
    })
    expect(fetched?.['pEWorkflowDAG']).toMatchObject({
      nodes: [
        { nodeId: first, nodeName: 'first', nodeParams: 'a', jobId, nodeType: 1 },
        { nodeId: second, nodeName: 'second', skipWhenFailed: true },
      ],
      edges: [{ from: first, to: second }],
    })
    expect(await once('disableWorkflow', 'disableWorkflow', workflowId)).toEqual(fine(null))
    expect((await once<Fields>('fetchWorkflow', 'fetchWorkflow', workflowId)).data).toMatchObject({ enable: false })
    expect(await once('enableWorkflow', 'enableWorkflow', workflowId)).toEqual(fine(null))
    await id('copyWorkflow', 'copyWorkflow', workflowId)
    // until the engine is there these are refused, and still asked for only once
    for (const [path, method, ...args] of [
      ['runWorkflow', 'runWorkflow', workflowId],
      ['stopWfInstance', 'stopWorkflowInstance', 1],
      ['retryWfInstance', 'retryWorkflowInstance', 1],
      ['markWorkflowNodeAsSuccess', 'markWorkflowNodeAsSuccess', 1, first],
      ['fetchWfInstanceInfo', 'fetchWorkflowInstanceInfo', 1],
    ] as const)
      expect(await once(path, method, ...args), path).toMatchObject({
        success: false,
        message: expect.any(String) as string,
      })
    expect(await once('deleteWorkflow', 'deleteWorkflow', workflowId)).toEqual(fine(null))
  })

  it('9.2 a refused call is asked for once as well, and says why', async () => {
    const refused = async (path: string, method: string, args: unknown[], says: string): Promise<void> => {
      const result = await once(path, method, ...args)
      expect(result, method).toMatchObject({ success: false, data: null })
      expect(result.message, method).toContain(says)
    }
    const nobody = 999_999
    await refused('fetchJob', 'fetchJob', [nobody], `can't find job by jobId: ${nobody}`)
    await refused('runJob', 'runJob', [nobody], `can't find job by jobId: ${nobody}`)
    await refused('deleteJob', 'deleteJob', [nobody], `can't find job by jobId: ${nobody}`)
    await refused('stopInstance', 'stopInstance', [nobody], `can't find instance by instanceId: ${nobody}`)
    // 4.x names no app here: where tokens are checked, nobody without one learns which instances there are
    const unknown = is4 ? 'INVALID_REQUEST:lack_of_appId_in_header' : `invalid instanceId: ${nobody}`
    await refused('fetchInstanceStatus', 'fetchInstanceStatus', [nobody], unknown)
    await refused('fetchWorkflow', 'fetchWorkflow', [nobody], `can't find workflow by id: ${nobody}`)
    await refused('saveJob', 'saveJob', [apiJob('')], "jobName can't be empty")
    const cron = { timeExpressionType: 'CRON', timeExpression: '0 0 0 1 1 ? 2000' }
    await refused('saveJob', 'saveJob', [apiJob('past', cron)], 'time expression is out of date')
    const rate = { timeExpressionType: 'FIXED_RATE', timeExpression: '120001' }
    await refused('saveJob', 'saveJob', [apiJob('rare', rate)], 'the rate must be less than 120000ms')
    await refused(
      'saveWorkflow',
      'saveWorkflow',
      [{ wfName: 'x', timeExpressionType: 'API', dag: { nodes: [], edges: [] } }],
      'illegal DAG',
    )
  })

  it('a wrong password and an unknown app are told apart', async () => {
    const tries = async (more: object): Promise<string> => {
      const told = await scene.java.open('wrong', { ...scene.opening, ...more }).then(
        () => 'it opened',
        (error: unknown) => String(error),
      )
      return told
    }
    expect(await tries({ password: 'wrong' })).toContain('INCORRECT_PASSWORD')
    expect(await tries({ app: 'nobody' })).toContain('INVALID_APP:nobody')
  })
})
