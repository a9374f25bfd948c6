// Promises about the workflow calls of the wire (contract 6.8–6.11), on a real database.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import type { RunsApi } from '../../dispatch/api.ts'
import { createJobsService } from '../../scheduling/jobs-service.ts'
import { createWorkflowsService } from '../../scheduling/workflows-service.ts'
import type { Db } from '../../storage/db.ts'
import { joinedTo } from '../../storage/joined.ts'
import { sql } from '../../storage/sql.ts'
import { WireError, type WireServices } from '../call.ts'
import { workflowEndpoints } from './workflows.ts'

let database: TestDatabase
let app: number
let other: number
let job: number
let failing: number
let jobOfOther: number

const runs = {} as RunsApi
const servicesOn = (db: Db): WireServices => ({
  db,
  runs,
  jobs: createJobsService({ db, hints: { jobChanged: () => undefined } }),
  workflows: createWorkflowsService({ db }),
})

const makeApp = async (): Promise<number> => {
  const rows = await database.db.query<{ id: number }>(sql`
    insert into oncejob.app (namespace_id, name) values (1, ${`app-${Math.random()}`}) returning id`)
  return rows[0]!.id
}
const makeJob = async (appId: number, name: string): Promise<number> =>
  (await servicesOn(database.db).jobs.create({ appId, actor: 't' }, { name, processor: 'p' })).id

beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())
beforeEach(async () => {
  app = await makeApp()
  other = await makeApp()
  job = await makeJob(app, 'ok')
  failing = await makeJob(app, 'fail')
  jobOfOther = await makeJob(other, 'theirs')
})

interface Told {
  readonly app?: number
  readonly copyEnabled?: boolean
}

/** Calls an endpoint as the transport does: in one transaction when it changes something. */
const send = async (path: string, sent: Record<string, unknown> | unknown[], told: Told = {}): Promise<unknown> => {
  const endpoint = workflowEndpoints.find((one) => one.path === path)!
  const isForm = endpoint.accepts === 'form'
  const call = {
    path,
    appId: told.app ?? app,
    actor: 'powerjob client',
    settings: { tokenless: false, copyEnabled: told.copyEnabled ?? false, collapse: 'evidence' },
    zone: 'Europe/Berlin',
    fields: new Map(isForm ? Object.entries(sent).map(([name, value]) => [name, String(value)]) : []),
    body: isForm ? undefined : JSON.parse(JSON.stringify(sent)),
    keyed: null,
  } as const
  const { db } = database
  const answer = endpoint.mutates
    ? await db.transaction((tx) => endpoint.handle(call, servicesOn(joinedTo(db, tx))))
    : await endpoint.handle(call, servicesOn(db))
  return JSON.parse(JSON.stringify(answer ?? null))
}

/** The message of the answer when the call is refused. */
const no = async (path: string, sent: Record<string, unknown> | unknown[], told: Told = {}): Promise<string> => {
  try {
    await send(path, sent, told)
  } catch (error) {
    if (error instanceof WireError) return `${error.javaClass}: ${error.message}`
    throw error
  }
  throw new Error(`${path} was not refused`)
}

const addNodes = async (...nodes: Record<string, unknown>[]): Promise<number[]> => {
  const saved = (await send(
    '/addWorkflowNode',
    nodes.map((node) => ({ appId: app, ...node })),
  )) as { id: number }[]
  return saved.map(({ id }) => id)
}
const four = () =>
  addNodes(
    { type: 1, jobId: job, nodeName: 'A', nodeParams: 'np', enable: true, skipWhenFailed: false },
    { type: 2, nodeName: 'D', nodeParams: 'return true;', enable: true, skipWhenFailed: false },
    { type: 1, jobId: failing, nodeName: 'B', enable: true, skipWhenFailed: true },
    { type: 1, jobId: job, nodeName: 'C', enable: false, skipWhenFailed: false },
  )
const dagOf = ([a, d, b, c]: number[]) => ({
  nodes: [a, d, b, c].map((nodeId) => ({ nodeId, nodeType: 1 })),
  edges: [
    { from: a, to: d },
    { from: d, to: b, property: 'true' },
    { from: d, to: c, property: 'false' },
  ],
})
const request = (dag: unknown, more: Record<string, unknown> = {}) => ({
  wfName: 'wf',
  wfDescription: 'd',
  appId: app,
  timeExpressionType: 'API',
  maxWfInstanceNum: 1,
  enable: true,
  notifyUserIds: [],
  dag,
  ...more,
})
const save = async (dag: unknown, more: Record<string, unknown> = {}): Promise<number> =>
  (await send('/saveWorkflow', request(dag, more))) as number
const refuseSave = (dag: unknown, more: Record<string, unknown> = {}): Promise<string> =>
  no('/saveWorkflow', request(dag, more))
const fetched = async (workflowId: number): Promise<Record<string, unknown>> =>
  (await send('/fetchWorkflow', { workflowId, appId: app })) as Record<string, unknown>
const single = async () => {
  const [id] = await addNodes({ type: 1, jobId: job })
  return { nodes: [{ nodeId: id }], edges: [] }
}
const tables = async (): Promise<unknown> =>
  (
    await database.db.query(sql`
      select (select jsonb_agg(w order by id) from oncejob.workflow w) as workflows,
        (select jsonb_agg(n order by id) from oncejob.workflow_node n) as nodes,
        (select jsonb_agg(e order by workflow_id, position) from oncejob.workflow_edge e) as edges`)
  )[0]

describe('addWorkflowNode', () => {
  it('answers each node whole, in the order of the array', async () => {
    const saved = (await send('/addWorkflowNode', [
      { appId: app, type: 1, jobId: job, nodeName: 'A', nodeParams: 'np', enable: true, skipWhenFailed: false },
      { appId: app, type: 2, nodeName: 'D', nodeParams: 'return true;', enable: false, skipWhenFailed: true },
    ])) as Record<string, unknown>[]
    const time: unknown = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/)
    const times = { gmtCreate: time, gmtModified: time }
    const rest = { appId: app, workflowId: null, extra: null, ...times }
    expect(saved).toEqual([
      {
        id: saved[0]!['id'],
        type: 1,
        jobId: job,
        nodeName: 'A',
        nodeParams: 'np',
        enable: true,
        skipWhenFailed: false,
        ...rest,
      },
      {
        id: saved[1]!['id'],
        type: 2,
        jobId: null,
        nodeName: 'D',
        nodeParams: 'return true;',
        enable: false,
        skipWhenFailed: true,
        ...rest,
      },
    ])
    expect(Object.keys(saved[0]!)).toEqual([
      'id',
      'appId',
      'workflowId',
      'type',
      'jobId',
      'nodeName',
      'nodeParams',
      'enable',
      'skipWhenFailed',
      'extra',
      'gmtCreate',
      'gmtModified',
    ])
    expect(await send('/addWorkflowNode', [])).toEqual([])
  })

  it('takes an absent and an explicit null for the default', async () => {
    const saved = (await send('/addWorkflowNode', [
      { appId: app, type: 1, jobId: job },
      {
        appId: app,
        type: 1,
        jobId: job,
        enable: null,
        skipWhenFailed: null,
        nodeName: null,
        nodeParams: null,
        id: null,
      },
    ])) as Record<string, unknown>[]
    for (const node of saved) {
      expect(node).toMatchObject({ enable: true, skipWhenFailed: false, nodeName: null, nodeParams: null })
    }
  })

  it('says what is missing, in the order of the contract, and keeps nothing', async () => {
    const before = await tables()
    const told = (...nodes: unknown[]) => no('/addWorkflowNode', nodes)
    expect(await told({})).toBe("PowerJobException: appId can't be empty")
    expect(await told({ appId: app })).toBe("PowerJobException: type can't be empty")
    expect(await told({ appId: app, type: 4 })).toBe('IllegalArgumentException: unknown WorkflowNodeType of 4')
    expect(await told({ appId: app, type: 1 })).toBe("PowerJobException: jobId can't be empty")
    expect(await told({ appId: app, type: 3 })).toBe("PowerJobException: jobId can't be empty")
    expect(await told({ appId: app, type: 1, jobId: 999_999, nodeName: 'Z' })).toBe(
      'PowerJobException: Illegal job node,specified job is not exist,node name : Z',
    )
    expect(await told({ appId: app, type: 2 })).toBe(
      'PowerJobException: DecisionNode‘s param must be not null,node name : null',
    )
    expect(await told({ appId: app, type: 2, nodeParams: ' \n' })).toContain('param must be not null')
    expect(await told({ appId: app, type: 3, jobId: 999_999, nodeName: 'N' })).toBe(
      'PowerJobException: Illegal nested workflow node,specified workflow is not exist,node name : N',
    )
    expect(await told({ appId: app, type: 1, jobId: job, id: 999_999 })).toBe(
      "IllegalArgumentException: can't find workflow Node by id: 999999",
    )
    expect(await told({ appId: app, type: 1, jobId: job }, { appId: app, type: 2 })).toContain('param must be')
    expect(await told('x')).toContain('HttpMessageNotReadableException: JSON parse error')
    expect(await told({ appId: app, type: 'one' })).toContain('HttpMessageNotReadableException: JSON parse error')
    expect(await tables()).toEqual(before)
  })

  it('refuses deleted jobs and workflows, and workflows that nest', async () => {
    const told = (node: Record<string, unknown>) => no('/addWorkflowNode', [{ appId: app, nodeName: 'N', ...node }])
    const inner = await save(await single())
    const [nested] = await addNodes({ type: 3, jobId: inner })
    const outer = await save({ nodes: [{ nodeId: nested }], edges: [] })
    expect(await told({ type: 3, jobId: outer })).toBe(
      'PowerJobException: Illegal nested workflow node,specified workflow must be a simple workflow,node name : N',
    )
    await send('/deleteWorkflow', { workflowId: inner, appId: app })
    expect(await told({ type: 3, jobId: inner })).toBe(
      'PowerJobException: Illegal nested workflow node,specified workflow has been deleted,node name : N',
    )
    await servicesOn(database.db).jobs.remove({ appId: app, actor: 't' }, String(job), '*')
    expect(await told({ type: 1, jobId: job })).toBe(
      'PowerJobException: Illegal job node,specified job has been deleted,node name : N',
    )
  })

  it('overwrites a node of the app where it is', async () => {
    const ids = await four()
    const workflowId = await save(dagOf(ids))
    const [changed] = (await send('/addWorkflowNode', [{ id: ids[0], appId: app, type: 1, jobId: failing }])) as Record<
      string,
      unknown
    >[]
    expect(changed).toMatchObject({ id: ids[0], workflowId, jobId: failing, nodeName: null, nodeParams: null })
  })

  it('names neither nodes nor jobs of another app', async () => {
    const [mine] = await addNodes({ type: 1, jobId: job, nodeName: 'mine' })
    const before = await tables()
    const theirs = { appId: other, type: 1, jobId: jobOfOther }
    expect(await no('/addWorkflowNode', [{ ...theirs, id: mine, nodeName: 'stolen' }], { app: other })).toBe(
      `IllegalArgumentException: can't find workflow Node by id: ${mine}`,
    )
    expect(await no('/addWorkflowNode', [{ ...theirs, jobId: job, nodeName: 'Z' }], { app: other })).toBe(
      'PowerJobException: Illegal job node,specified job is not exist,node name : Z',
    )
    expect(await tables()).toEqual(before)
  })
})

describe('saveWorkflow', () => {
  it('is read as it was written, the graph under the name that clients expect', async () => {
    const ids = await four()
    const [a, d, b, c] = ids
    const id = await save(dagOf(ids), { notifyUserIds: [3, 4], lifeCycle: { start: 1, end: null } })
    const time: unknown = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/)
    const run = {
      instanceId: null,
      status: null,
      result: null,
      disableByControlNode: null,
      startTime: null,
      finishedTime: null,
    }
    const info = await fetched(id)
    expect(info).toEqual({
      id,
      wfName: 'wf',
      wfDescription: 'd',
      appId: app,
      timeExpressionType: 'API',
      timeExpression: null,
      maxWfInstanceNum: 1,
      enable: true,
      notifyUserIds: [3, 4],
      lifeCycle: { start: 1, end: null },
      gmtCreate: time,
      gmtModified: time,
      peworkflowDAG: {
        nodes: [
          {
            nodeId: a,
            nodeType: 1,
            jobId: job,
            nodeName: 'A',
            nodeParams: 'np',
            enable: true,
            skipWhenFailed: false,
            ...run,
          },
          {
            nodeId: d,
            nodeType: 2,
            jobId: null,
            nodeName: 'D',
            nodeParams: 'return true;',
            enable: true,
            skipWhenFailed: false,
            ...run,
          },
          {
            nodeId: b,
            nodeType: 1,
            jobId: failing,
            nodeName: 'B',
            nodeParams: null,
            enable: true,
            skipWhenFailed: true,
            ...run,
          },
          {
            nodeId: c,
            nodeType: 1,
            jobId: job,
            nodeName: 'C',
            nodeParams: null,
            enable: false,
            skipWhenFailed: false,
            ...run,
          },
        ],
        edges: [
          { from: a, to: d, property: null, enable: null },
          { from: d, to: b, property: 'true', enable: null },
          { from: d, to: c, property: 'false', enable: null },
        ],
      },
    })
  })

  it.each([
    ['API', null],
    ['WORKFLOW', null],
    ['CRON', '0 0 3 ? * MON-FRI'],
    ['CRON', '0 0 0 13 * FRI'],
    [
      'DAILY_TIME_INTERVAL',
      "{'interval':30,'startTimeOfDay':'9:0:0','endTimeOfDay':'18:00:00','intervalUnit':'MINUTES'}",
    ],
  ])('gives the time expression back as it was written: %s %s', async (timeExpressionType, timeExpression) => {
    const id = await save(await single(), { timeExpressionType, timeExpression })
    expect(await fetched(id)).toMatchObject({ timeExpressionType, timeExpression })
    const [row] = await database.db.query<{ zone: string; next_fire_at: unknown }>(
      sql`select zone, next_fire_at from oncejob.schedule where workflow_id = ${id}`,
    )
    expect(row).toEqual({ zone: timeExpression === null ? 'UTC' : 'Europe/Berlin', next_fire_at: null })
  })

  it.each(['FIXED_RATE', 'FIXED_DELAY'])(
    'takes %s and forgets its expression, as PowerJob does',
    async (timeExpressionType) => {
      const id = await save(await single(), { timeExpressionType, timeExpression: 'whatever' })
      expect(await fetched(id)).toMatchObject({ timeExpressionType, timeExpression: null })
    },
  )

  it('shows the schedule as it is once someone else has changed it', async () => {
    const id = await save(await single(), { timeExpressionType: 'CRON', timeExpression: '0 0 3 ? * MON' })
    const { workflows } = servicesOn(database.db)
    const edit = (trigger: { kind: 'cron'; expression: string } | { kind: 'none' }) =>
      workflows.replace({ appId: app, actor: 't' }, id, '*', (current) => ({
        ...current,
        schedule: { ...current.schedule, trigger },
        maxConcurrentRuns: 7,
      }))
    await edit({ kind: 'cron', expression: '0 0 4 ? * MON' })
    expect(await fetched(id)).toMatchObject({
      timeExpressionType: 'CRON',
      timeExpression: '0 0 4 ? * MON',
      maxWfInstanceNum: 7,
    })
    await edit({ kind: 'none' })
    expect(await fetched(id)).toMatchObject({ timeExpressionType: 'API', timeExpression: null })
  })

  it('checks in the order of the contract: fields, id, time, graph', async () => {
    const dag = await single()
    expect(await refuseSave(null, { wfName: '', timeExpressionType: null })).toBe(
      "PowerJobException: workflow name can't be empty",
    )
    expect(await refuseSave(null, { appId: null })).toBe("PowerJobException: appId can't be empty")
    expect(await refuseSave(null, { timeExpressionType: null })).toBe(
      "PowerJobException: timeExpressionType can't be empty",
    )
    const cron = { timeExpressionType: 'CRON', timeExpression: '0 0 3 * *' }
    expect(await refuseSave(null, { id: 999_999, ...cron })).toBe(
      "IllegalArgumentException: can't find workflow by id:999999",
    )
    expect(await refuseSave(null, cron)).toBe(
      'IllegalArgumentException: Cron expression contains 5 parts but we expect one of [6, 7]',
    )
    expect(await refuseSave(dag, { ...cron, timeExpression: '0 0 0 1 1 ? 2001' })).toBe(
      'PowerJobException: time expression is out of date: 0 0 0 1 1 ? 2001',
    )
    const over = { ...cron, timeExpression: '0 0 3 * * ?', lifeCycle: { start: null, end: 1_000 } }
    expect(await refuseSave(dag, over)).toBe('PowerJobException: time expression is out of date: 0 0 3 * * ?')
    expect(await refuseSave(null, { ...cron, timeExpression: '0 0 3 * * ?' })).toBe('PowerJobException: illegal DAG')
    expect(await refuseSave(dag, { timeExpressionType: 'SOMETIMES' })).toContain('HttpMessageNotReadableException')
  })

  it('refuses what is no graph, and keeps nothing', async () => {
    const [a, b] = await addNodes({ type: 1, jobId: job }, { type: 1, jobId: job })
    const before = await tables()
    for (const dag of [
      null,
      {},
      { nodes: [], edges: [] },
      { nodes: [{ nodeId: a }] },
      { nodes: null, edges: [] },
      { nodes: [{ nodeId: a }], edges: null },
      { nodes: [{ nodeId: a }, { nodeId: a }], edges: [] },
      { nodes: [{ nodeId: a }], edges: [{ from: a, to: b }] },
      {
        nodes: [{ nodeId: a }, { nodeId: b }],
        edges: [
          { from: a, to: b },
          { from: b, to: a },
        ],
      },
      { nodes: [{ nodeId: null }], edges: [] },
      { nodes: [null], edges: [] },
      { nodes: [{ nodeId: a }], edges: [{ from: a }] },
    ]) {
      expect(await refuseSave(dag), JSON.stringify(dag)).toBe('PowerJobException: illegal DAG')
    }
    expect(await refuseSave({ nodes: [{ nodeId: 999_999 }], edges: [] })).toBe(
      "PowerJobException: can't find node info by id :999999",
    )
    expect(await tables()).toEqual(before)
  })

  it('refuses decisions without two answers, nodes of another workflow, and itself within itself', async () => {
    const ids = await four()
    const [a, d, b, c] = ids
    const whole = dagOf(ids)
    expect(await refuseSave({ ...whole, edges: whole.edges.slice(0, 2) })).toBe(
      'PowerJobException: DecisionNode‘s out-degree must be 2,node name : D',
    )
    const edges = [
      { from: a, to: d },
      { from: d, to: b, property: 'yes' },
      { from: d, to: c, property: 'no' },
    ]
    expect(await refuseSave({ ...whole, edges })).toBe(
      'PowerJobException: Illegal property of DecisionNode‘s out-degree edge,node name : D',
    )
    const id = await save(whole)
    expect(await refuseSave({ nodes: [{ nodeId: a }], edges: [] })).toBe(
      "PowerJobException: can't use another workflow's node",
    )
    const [nested] = await addNodes({ type: 3, jobId: id, nodeName: 'N' })
    expect(await refuseSave({ nodes: [{ nodeId: nested }], edges: [] }, { id })).toBe(
      'PowerJobException: Illegal nested workflow node,Prohibit circular references!N',
    )
  })

  it('is a full overwrite, except for what null leaves as it is', async () => {
    const dag = await single()
    const id = await save(dag, {
      notifyUserIds: [1, 2],
      lifeCycle: { start: 5, end: 9_999_999_999_999 },
      maxWfInstanceNum: 4,
    })
    const { maxWfInstanceNum: _max, wfDescription: _description, ...rest } = request(dag, { id })
    await send('/saveWorkflow', { ...rest, notifyUserIds: null, lifeCycle: null, enable: null })
    expect(await fetched(id)).toMatchObject({
      wfDescription: null,
      maxWfInstanceNum: 1,
      enable: false,
      notifyUserIds: [1, 2],
      lifeCycle: { start: 5, end: 9_999_999_999_999 },
    })
    await save(dag, { id, notifyUserIds: [], lifeCycle: { start: null, end: null }, maxWfInstanceNum: null })
    expect(await fetched(id)).toMatchObject({ notifyUserIds: null, lifeCycle: null, maxWfInstanceNum: 1, enable: true })
    const { notifyUserIds: _users, ...without } = request(dag, { id, notifyUserIds: [1] })
    await save(dag, { id, notifyUserIds: [7] })
    await send('/saveWorkflow', without)
    expect(await fetched(id)).toMatchObject({ notifyUserIds: null })
  })

  it('keeps a limit below one as it was written: there is none', async () => {
    const id = await save(await single(), { maxWfInstanceNum: -3 })
    expect(await fetched(id)).toMatchObject({ maxWfInstanceNum: -3 })
    const [row] = await database.db.query(sql`select max_concurrent_runs from oncejob.workflow where id = ${id}`)
    expect(row).toEqual({ max_concurrent_runs: 0 })
  })

  it('removes the nodes that the new graph leaves out', async () => {
    const ids = await four()
    const id = await save(dagOf(ids))
    await save({ nodes: [{ nodeId: ids[3] }], edges: [] }, { id })
    const rows = await database.db.query(sql`select id, workflow_id from oncejob.workflow_node where app_id = ${app}`)
    expect(rows).toEqual([{ id: ids[3], workflow_id: id }])
  })

  it('takes names as often as they come', async () => {
    const [one, two] = [await save(await single()), await save(await single())]
    expect(one).not.toBe(two)
  })

  it('refuses to change the workflow of another app', async () => {
    const dag = await single()
    const id = await save(dag)
    const [theirs] = (await send('/addWorkflowNode', [{ appId: other, type: 1, jobId: jobOfOther }], {
      app: other,
    })) as { id: number }[]
    const stolen = request({ nodes: [{ nodeId: theirs!.id }], edges: [] }, { id, appId: other })
    const before = await tables()
    expect(await no('/saveWorkflow', stolen, { app: other })).toBe(
      "PowerJobException: Permission Denied! can't operate other app's workflow!",
    )
    expect(await no('/saveWorkflow', request(dag, { appId: other }), { app: other })).toBe(
      `PowerJobException: can't find node info by id :${dag.nodes[0]!.nodeId}`,
    )
    expect(await tables()).toEqual(before)
  })
})

describe('the other workflow calls', () => {
  it('copies a workflow with nodes of its own, disabled unless the app says otherwise', async () => {
    const ids = await four()
    const id = await save(dagOf(ids))
    const copied = (await send('/copyWorkflow', { workflowId: id, appId: app })) as number
    const copy = await fetched(copied)
    expect(copy).toMatchObject({ wfName: 'wf_COPY', enable: false, wfDescription: 'd' })
    const dag = copy['peworkflowDAG'] as {
      nodes: { nodeId: number; nodeName: string }[]
      edges: { from: number; to: number }[]
    }
    expect(dag.nodes.map(({ nodeName }) => nodeName)).toEqual(['A', 'D', 'B', 'C'])
    const [a, d, b, c] = dag.nodes.map(({ nodeId }) => nodeId)
    expect([a, d, b, c].some((node) => ids.includes(node!))).toBe(false)
    expect(dag.edges.map(({ from, to }) => [from, to])).toEqual([
      [a, d],
      [d, b],
      [d, c],
    ])
    const enabled = (await send('/copyWorkflow', { workflowId: id, appId: app }, { copyEnabled: true })) as number
    expect(await fetched(enabled)).toMatchObject({ enable: true })
    await send('/disableWorkflow', { workflowId: id, appId: app })
    const disabled = (await send('/copyWorkflow', { workflowId: id, appId: app }, { copyEnabled: true })) as number
    expect(await fetched(disabled)).toMatchObject({ enable: false })
  })

  it('switches on and off and deletes, each as often as one likes', async () => {
    const id = await save(await single())
    for (const [path, enable] of [
      ['/disableWorkflow', false],
      ['/enableWorkflow', true],
      ['/deleteWorkflow', false],
    ] as const) {
      expect(await send(path, { workflowId: id, appId: app })).toBeNull()
      expect(await send(path, { workflowId: id, appId: app })).toBeNull()
      expect(await fetched(id)).toMatchObject({ enable })
    }
    const actions = await database.db.query(
      sql`select action from oncejob.audit where target = ${`workflow/${id}`} order by id`,
    )
    expect(actions.map((row) => (row as { action: string }).action)).toEqual([
      'workflow.create',
      'workflow.disable',
      'workflow.enable',
      'workflow.delete',
    ])
  })

  it('shows a deleted workflow, and does not run, copy or disable it', async () => {
    const ids = await four()
    const id = await save(dagOf(ids))
    await send('/deleteWorkflow', { workflowId: id, appId: app })
    const gone = `IllegalArgumentException: can't find workflow by id: ${id}`
    expect(await no('/runWorkflow', { workflowId: id, appId: app })).toBe(gone)
    expect(await send('/disableWorkflow', { workflowId: id, appId: app })).toBeNull()
    expect(await no('/copyWorkflow', { workflowId: id, appId: app })).toBe(
      "IllegalStateException: can't copy the workflow which has been deleted!",
    )
    const dag = (await fetched(id))['peworkflowDAG'] as { nodes: unknown[]; edges: unknown[] }
    expect([dag.nodes.length, dag.edges.length]).toEqual([4, 3])
  })

  it('brings a deleted workflow back when it is enabled or saved, and says so in the audit trail', async () => {
    const dag = await single()
    const id = await save(dag)
    const isDeleted = async () =>
      (
        await database.db.query<{ gone: boolean }>(
          sql`select deleted_at is not null as gone from oncejob.workflow where id = ${id}`,
        )
      )[0]
    for (const bring of [
      () => send('/enableWorkflow', { workflowId: id, appId: app }),
      () => save(dag, { id, wfName: 'again' }),
    ]) {
      await send('/deleteWorkflow', { workflowId: id, appId: app })
      expect(await isDeleted()).toEqual({ gone: true })
      await bring()
      expect(await isDeleted()).toEqual({ gone: false })
      expect(await fetched(id)).toMatchObject({ enable: true })
    }
    const actions = await database.db.query<{ action: string }>(
      sql`select action from oncejob.audit where target = ${`workflow/${id}`} order by id`,
    )
    expect(actions.map(({ action }) => action)).toEqual([
      'workflow.create',
      'workflow.delete',
      'workflow.restore',
      'workflow.delete',
      'workflow.restore',
    ])
  })

  it('does not bring a workflow back whose nested one has come to nest meanwhile', async () => {
    const inner = await save(await single())
    const [nested] = await addNodes({ type: 3, jobId: inner, nodeName: 'N' })
    const outer = await save({ nodes: [{ nodeId: nested }], edges: [] })
    await send('/deleteWorkflow', { workflowId: outer, appId: app })
    const innermost = await save(await single())
    const [deeper] = await addNodes({ type: 3, jobId: innermost })
    await save({ nodes: [{ nodeId: deeper }], edges: [] }, { id: inner })
    expect(await no('/enableWorkflow', { workflowId: outer, appId: app })).toBe(
      'PowerJobException: Illegal nested workflow node,specified workflow must be a simple workflow,node name : N',
    )
  })

  it('belong to the app alone: every call on the workflow of another app is refused and changes nothing', async () => {
    const id = await save(await single())
    const before = await tables()
    for (const path of [
      '/fetchWorkflow',
      '/copyWorkflow',
      '/deleteWorkflow',
      '/disableWorkflow',
      '/enableWorkflow',
      '/runWorkflow',
    ]) {
      expect(await no(path, { workflowId: id, appId: other }, { app: other })).toBe(
        "PowerJobException: Permission Denied! can't operate other app's workflow!",
      )
      expect(await no(path, { workflowId: 999_999, appId: app })).toBe(
        "IllegalArgumentException: can't find workflow by id: 999999",
      )
      expect(await no(path, { appId: app })).toBe("IllegalArgumentException: can't find workflow by id: null")
      expect(await no(path, { appId: app, workflowId: 'abc' })).toContain('MethodArgumentTypeMismatchException')
    }
    expect(await tables()).toEqual(before)
  })

  it('say clearly that workflows can not be run yet, and start nothing', async () => {
    const id = await save(await single())
    const before = await tables()
    const clear = /^PowerJobException: workflow runs are not supported yet: /
    expect(await no('/runWorkflow', { workflowId: id, appId: app, delay: 0, initParams: 'x' })).toMatch(clear)
    for (const path of ['/stopWfInstance', '/retryWfInstance', '/fetchWfInstanceInfo', '/markWorkflowNodeAsSuccess']) {
      expect(await no(path, { wfInstanceId: 5, nodeId: 1, appId: app })).toMatch(clear)
    }
    expect(await tables()).toEqual(before)
    expect(await database.db.query(sql`select id from oncejob.run`)).toEqual([])
  })
})
