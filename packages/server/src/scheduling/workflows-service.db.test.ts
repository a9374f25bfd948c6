// Promises about workflows as people write them, on a real database.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { Refusal } from '@oncejob/protocol'
import { fullSchedule } from '../runs/schedule-codec.ts'
import { deleteApp } from '../storage/apps.ts'
import { joinedTo } from '../storage/joined.ts'
import { sql } from '../storage/sql.ts'
import type { Edge, NodeDefinition, WorkflowDefinition } from '../workflows/definition.ts'
import { WorkflowInvalid } from '../workflows/problems.ts'
import { createJobsService, type Caller, type JobsService } from './jobs-service.ts'
import { createWorkflowsService, type NodeInput, type WorkflowsService } from './workflows-service.ts'

let database: TestDatabase
let service: WorkflowsService
let jobs: JobsService
let caller: Caller
let other: Caller
let jobId: number
let jobOfOther: number
let apps = 0

const makeApp = async (name: string): Promise<Caller> => {
  const rows = await database.db.query<{ id: number }>(sql`
    insert into oncejob.app (namespace_id, name) select id, ${name} from oncejob.namespace where name = 'default' returning id`)
  return { appId: rows[0]!.id, actor: 'tester' }
}

beforeAll(async () => {
  database = await openTestDatabase()
  service = createWorkflowsService({ db: database.db })
  jobs = createJobsService({ db: database.db, hints: { jobChanged: () => undefined } })
})
afterAll(() => database.close())
beforeEach(async () => {
  apps += 1
  caller = await makeApp(`app-${apps}`)
  other = await makeApp(`other-${apps}`)
  jobId = (await jobs.create(caller, { name: 'job', processor: 'p' })).id
  jobOfOther = (await jobs.create(other, { name: 'job', processor: 'p' })).id
})

const common = { name: null, params: null, enabled: true, skipWhenFailed: false }
const job = (more: Partial<NodeDefinition> = {}, id: number | null = null): NodeInput =>
  ({ ...common, kind: 'job', jobId, id, ...more }) as NodeInput
const decision = (script = 'return true;', id: number | null = null): NodeInput => ({
  ...common,
  name: 'D',
  kind: 'decision',
  script,
  id,
})
const nested = (workflowId: number, id: number | null = null): NodeInput => ({
  ...common,
  name: 'N',
  kind: 'workflow',
  workflowId,
  id,
})

const makeNodes = async (...inputs: NodeInput[]): Promise<number[]> =>
  (await service.saveNodes(caller, inputs)).map(({ node }) => node.id)

const edge = (from: number, to: number, property: string | null = null): Edge => ({ from, to, property })
const definition = (
  nodes: number[],
  edges: Edge[] = [],
  more: Partial<WorkflowDefinition> = {},
): WorkflowDefinition => ({
  name: 'wf',
  description: null,
  enabled: true,
  schedule: fullSchedule({ trigger: { kind: 'none' }, overlap: 'fail' }),
  maxConcurrentRuns: 1,
  notify: [],
  dag: { nodes, edges },
  powerjob: null,
  ...more,
})
const make = async (nodes: number[], edges: Edge[] = [], more: Partial<WorkflowDefinition> = {}) =>
  service.create(caller, 'powerjob', definition(nodes, edges, more))

const failureOf = async (work: Promise<unknown>): Promise<Refusal> => {
  try {
    await work
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
  throw new Error('it was not refused')
}
const problemOf = async (work: Promise<unknown>): Promise<unknown> => {
  const refusal = await failureOf(work)
  return refusal instanceof WorkflowInvalid ? refusal.problem : refusal.code
}
const auditOf = async (target: string) =>
  (
    await database.db.query<{ action: string; actor: string }>(
      sql`select action, actor from oncejob.audit where target = ${target} order by id`,
    )
  ).map(({ action }) => action)
const nodeRows = async (): Promise<{ id: number; workflow_id: number | null }[]> =>
  database.db.query(sql`select id, workflow_id from oncejob.workflow_node where app_id = ${caller.appId} order by id`)

describe('a workflow', () => {
  it('is read as it was written: nodes and edges in their order, every field', async () => {
    const [a, d, b, c] = await makeNodes(
      job({ name: 'A', params: 'np' }),
      decision(),
      job({ params: { deep: [1] }, enabled: false }),
      job({ skipWhenFailed: true }),
    )
    const wanted = definition([c!, a!, d!, b!], [edge(a!, d!), edge(d!, b!, 'TRUE'), edge(d!, c!, 'false')], {
      name: 'etl',
      description: 'nightly',
      enabled: false,
      maxConcurrentRuns: 3,
      notify: ['7', 'x@y.z'],
      schedule: fullSchedule({
        trigger: { kind: 'cron', expression: '0 0 3 * * ?' },
        zone: 'Europe/Berlin',
        startAt: '2030-01-01T00:00:00Z',
        endAt: '2031-01-01T00:00:00Z',
        overlap: 'fail',
      }),
      powerjob: { timeExpression: '0 0 3 * * ?' },
    })
    const made = await service.create(caller, 'powerjob', wanted)
    expect(made.definition).toEqual(wanted)
    const read = await service.get(caller.appId, made.id)
    expect(read).toEqual(made)
    expect(read.nodes).toEqual([
      { ...common, id: c, kind: 'job', jobId, skipWhenFailed: true },
      { ...common, id: a, kind: 'job', jobId, name: 'A', params: 'np' },
      { ...common, id: d, kind: 'decision', script: 'return true;', name: 'D' },
      { ...common, id: b, kind: 'job', jobId, params: { deep: [1] }, enabled: false },
    ])
    expect(await auditOf(`workflow/${made.id}`)).toEqual(['workflow.create'])
    const branches = await database.db.query(
      sql`select branch from oncejob.workflow_edge where workflow_id = ${made.id} order by position`,
    )
    expect(branches).toEqual([{ branch: null }, { branch: true }, { branch: false }])
  })

  it('waits: its schedule has no next fire, and the database keeps it so', async () => {
    const [a] = await makeNodes(job())
    const trigger = { kind: 'cron', expression: '* * * * * ?' } as const
    const made = await make([a!], [], { schedule: fullSchedule({ trigger, overlap: 'fail' }) })
    const [row] = await database.db.query<{ next_fire_at: unknown }>(
      sql`select next_fire_at from oncejob.schedule where workflow_id = ${made.id}`,
    )
    expect(row).toEqual({ next_fire_at: null })
    await expect(
      database.db.query(sql`update oncejob.schedule set next_fire_at = now() where workflow_id = ${made.id}`),
    ).rejects.toMatchObject({ sqlState: '23514' })
  })

  it('is refused with a schedule that can not be, and nothing is left of it', async () => {
    const [a] = await makeNodes(job())
    const trigger = { kind: 'cron', expression: 'never' } as const
    expect(await problemOf(make([a!], [], { schedule: fullSchedule({ trigger }) }))).toBe('SCHEDULE_INVALID')
    expect(await nodeRows()).toEqual([{ id: a, workflow_id: null }])
  })

  it.each([
    ['no nodes', () => [], () => [], 'no-nodes'],
    ['a circle', ([a, b]: number[]) => [a!, b!], ([a, b]: number[]) => [edge(a!, b!), edge(b!, a!)], 'no-root'],
    ['an edge into nothing', ([a]: number[]) => [a!], ([a]: number[]) => [edge(a!, 999)], 'unknown-end'],
    ['a node twice', ([a]: number[]) => [a!, a!], () => [], 'duplicate-node'],
  ])('is refused with %s, when it is made and when it is changed', async (_name, nodesOf, edgesOf, kind) => {
    const ids = await makeNodes(job(), job())
    const whole = await make(ids)
    expect(await problemOf(make(nodesOf(ids), edgesOf(ids)))).toMatchObject({ kind })
    const changed = service.replace(caller, whole.id, '*', () => definition(nodesOf(ids), edgesOf(ids)))
    expect(await problemOf(changed)).toMatchObject({ kind })
    expect((await service.get(caller.appId, whole.id)).version).toBe(1)
  })

  it('takes over no node that is missing, of another app, or of another workflow', async () => {
    const [mine] = await makeNodes(job())
    const foreign = (await service.saveNodes(other, [{ ...job(), jobId: jobOfOther } as NodeInput]))[0]!.node.id
    expect(await problemOf(make([999_999]))).toEqual({ kind: 'node-missing', nodeId: 999_999 })
    expect(await problemOf(make([foreign]))).toEqual({ kind: 'node-missing', nodeId: foreign })
    const first = await make([mine!])
    expect(await problemOf(make([mine!]))).toEqual({ kind: 'node-elsewhere', nodeId: mine, workflowId: first.id })
    const rows = await database.db.query(
      sql`select count(*)::int as n from oncejob.workflow where app_id = ${caller.appId}`,
    )
    expect(rows).toEqual([{ n: 1 }])
  })

  it('loses the nodes that a save leaves out, for good', async () => {
    const [a, b, free] = await makeNodes(job(), job(), job())
    const made = await make([a!, b!], [edge(a!, b!)])
    const changed = await service.replace(caller, made.id, 1, (current) => ({
      ...current,
      dag: { nodes: [b!], edges: [] },
    }))
    expect(changed.definition.dag).toEqual({ nodes: [b], edges: [] })
    expect(changed.version).toBe(2)
    expect(await nodeRows()).toEqual([
      { id: b, workflow_id: made.id },
      { id: free, workflow_id: null },
    ])
  })

  it('is changed only by whoever has seen its version', async () => {
    const made = await make(await makeNodes(job()))
    const rename = (name: string) => (current: WorkflowDefinition) => ({ ...current, name })
    expect((await service.replace(caller, made.id, 1, rename('b'))).version).toBe(2)
    expect(await problemOf(service.replace(caller, made.id, 1, rename('c')))).toBe('VERSION_CONFLICT')
    expect(await problemOf(service.remove(caller, made.id, 1))).toBe('VERSION_CONFLICT')
    expect((await service.get(caller.appId, made.id)).definition.name).toBe('b')
  })

  it('keeps its version when nothing changes, and the audit trail says nothing', async () => {
    const made = await make(await makeNodes(job()))
    expect((await service.replace(caller, made.id, '*', (current) => ({ ...current }))).version).toBe(1)
    expect((await service.setEnabled(caller, made.id, true)).version).toBe(1)
    expect(await auditOf(`workflow/${made.id}`)).toEqual(['workflow.create'])
  })

  it('is of its app alone: no other app reads, changes, copies, switches or deletes it', async () => {
    const made = await make(await makeNodes(job()))
    const attempts = [
      () => service.get(other.appId, made.id),
      () => service.getOfHistory(other.appId, made.id),
      () => service.replace(other, made.id, '*', (current) => ({ ...current, name: 'stolen' })),
      () => service.setEnabled(other, made.id, false),
      () => service.copy(other, made.id, { name: 'x', enabled: false, origin: 'powerjob' }),
      () => service.remove(other, made.id, '*'),
    ]
    for (const attempt of attempts) expect(await problemOf(attempt())).toBe('WORKFLOW_NOT_FOUND')
    expect(await service.get(caller.appId, made.id)).toEqual(made)
  })

  it('that is deleted stays to be looked at, and takes no change', async () => {
    const ids = await makeNodes(job(), job())
    const made = await make(ids, [edge(ids[0]!, ids[1]!)])
    await service.remove(caller, made.id, '*')
    const read = await service.getOfHistory(caller.appId, made.id)
    expect(read.deletedAt).not.toBeNull()
    expect(read.definition).toEqual({ ...made.definition, enabled: false })
    for (const attempt of [
      () => service.get(caller.appId, made.id),
      () => service.replace(caller, made.id, '*', (current) => ({ ...current, name: 'x' })),
      () => service.setEnabled(caller, made.id, true),
      () => service.copy(caller, made.id, { name: 'x', enabled: false, origin: 'powerjob' }),
      () => service.remove(caller, made.id, '*'),
    ]) {
      expect(await problemOf(attempt())).toBe('WORKFLOW_NOT_FOUND')
    }
    expect(await auditOf(`workflow/${made.id}`)).toEqual(['workflow.create', 'workflow.delete'])
  })

  it('is copied with nodes of its own', async () => {
    const [a, d, b, c] = await makeNodes(job({ name: 'A', params: [1] }), decision(), job(), job())
    const made = await make([a!, d!, b!, c!], [edge(a!, d!), edge(d!, b!, 'true'), edge(d!, c!, 'False')])
    const copy = await service.copy(caller, made.id, { name: 'wf_COPY', enabled: false, origin: 'powerjob' })
    const newId = new Map(made.nodes.map(({ id }, at) => [id, copy.nodes[at]!.id]))
    expect(new Set([...newId.keys(), ...newId.values()]).size).toBe(8)
    expect(copy.nodes).toEqual(made.nodes.map((node) => ({ ...node, id: newId.get(node.id) })))
    expect(copy.definition).toEqual({
      ...made.definition,
      name: 'wf_COPY',
      enabled: false,
      dag: {
        nodes: made.definition.dag.nodes.map((id) => newId.get(id)),
        edges: made.definition.dag.edges.map(({ from, to, property }) => ({
          from: newId.get(from),
          to: newId.get(to),
          property,
        })),
      },
    })
    expect(await service.get(caller.appId, made.id)).toEqual(made)
    expect(await auditOf(`workflow/${copy.id}`)).toEqual(['workflow.copy'])
  })

  it('has a name of its own when it is native, and shares names when it is not', async () => {
    const [a, b, c, d] = await makeNodes(job(), job(), job(), job())
    await service.create(caller, 'native', definition([a!]))
    expect(await problemOf(service.create(caller, 'native', definition([b!])))).toBe('NAME_TAKEN')
    const second = await service.create(caller, 'native', definition([b!], [], { name: 'other' }))
    const rename = service.replace(caller, second.id, '*', (current) => ({ ...current, name: 'wf' }))
    expect(await problemOf(rename)).toBe('NAME_TAKEN')
    await make([c!])
    await make([d!])
  })

  it('is refused without a name', async () => {
    const [a] = await makeNodes(job())
    expect(await problemOf(make([a!], [], { name: '' }))).toEqual({ kind: 'name-empty' })
  })
})

describe('a native workflow that was deleted', () => {
  it('comes back by a change that says so, unless its name was given away', async () => {
    const [a, b] = await makeNodes(job(), job())
    const made = await service.create(caller, 'native', definition([a!]))
    await service.remove(caller, made.id, '*')
    await service.create(caller, 'native', definition([b!]))
    expect(await problemOf(service.setEnabled(caller, made.id, true, 'restored'))).toBe('NAME_TAKEN')
    const named = (current: WorkflowDefinition) => ({ ...current, name: 'free' })
    const back = await service.replace(caller, made.id, '*', named, 'restored')
    expect(back.deletedAt).toBeNull()
    expect(await service.get(caller.appId, made.id)).toEqual(back)
  })
})

describe('nodes', () => {
  it('are made all or none, in their order', async () => {
    const made = await service.saveNodes(caller, [job({ name: 'x' }), decision()])
    expect(made.map(({ node }) => node.kind)).toEqual(['job', 'decision'])
    expect(made.every(({ workflowId }) => workflowId === null)).toBe(true)
    expect(await problemOf(service.saveNodes(caller, [job(), decision('  ')]))).toEqual({
      kind: 'decision-script',
      nodeName: 'D',
    })
    expect(await nodeRows()).toHaveLength(2)
    expect(await service.saveNodes(caller, [])).toEqual([])
    expect(await auditOf(`workflow-node/${made[0]!.node.id}`)).toEqual(['workflow-node.create'])
  })

  it('name only jobs that their app has', async () => {
    const named = (id: number) => service.saveNodes(caller, [job({ name: 'Z', jobId: id })])
    expect(await problemOf(named(999_999))).toEqual({ kind: 'job-missing', nodeName: 'Z', jobId: 999_999 })
    expect(await problemOf(named(jobOfOther))).toMatchObject({ kind: 'job-missing' })
    await jobs.remove(caller, String(jobId), '*')
    expect(await problemOf(named(jobId))).toMatchObject({ kind: 'job-deleted' })
  })

  it('are of their app alone: another app neither changes them nor learns that they are there', async () => {
    const [a] = await makeNodes(job({ name: 'mine' }))
    const attempt = service.saveNodes(other, [{ ...job({ name: 'stolen' }, a), jobId: jobOfOther } as NodeInput])
    expect(await problemOf(attempt)).toBe('WORKFLOW_NODE_NOT_FOUND')
    const unknown = await failureOf(service.saveNodes(other, [{ ...job({}, 999_999), jobId: jobOfOther } as NodeInput]))
    expect(unknown.code).toBe('WORKFLOW_NODE_NOT_FOUND')
    const made = await make([a!])
    expect(made.nodes[0]).toMatchObject({ name: 'mine', jobId })
  })

  it('are changed where they are; their workflow counts its version up', async () => {
    const [a] = await makeNodes(job())
    const made = await make([a!])
    const [changed] = await service.saveNodes(caller, [decision('return false;', a)])
    expect(changed).toMatchObject({ workflowId: made.id, node: { id: a, kind: 'decision', script: 'return false;' } })
    const read = await service.get(caller.appId, made.id)
    expect(read.version).toBe(2)
    expect(read.nodes).toEqual([changed!.node])
    // the graph does not fit any more: the next save must mend it
    const same = service.replace(caller, made.id, '*', (current) => ({
      ...current,
      dag: { nodes: [a!], edges: [] },
      name: 'new',
    }))
    expect((await same).definition.name).toBe('new')
    const [b] = await makeNodes(job())
    const more = service.replace(caller, made.id, '*', (current) => ({
      ...current,
      dag: { nodes: [a!, b!], edges: [] },
    }))
    expect(await problemOf(more)).toMatchObject({ kind: 'decision-edges' })
  })

  it('keep their job when it is deleted', async () => {
    const made = await make(await makeNodes(job()))
    await jobs.remove(caller, String(jobId), '*')
    expect((await service.get(caller.appId, made.id)).nodes[0]).toMatchObject({ kind: 'job', jobId })
  })
})

describe('a nested workflow', () => {
  it('is there, is not deleted, and nests nothing itself', async () => {
    const inner = await make(await makeNodes(job()))
    const outer = await make(await makeNodes(nested(inner.id)))
    const naming = (id: number) => service.saveNodes(caller, [nested(id)])
    expect(await problemOf(naming(999_999))).toEqual({ kind: 'nested-missing', nodeName: 'N', workflowId: 999_999 })
    expect(await problemOf(naming(outer.id))).toEqual({ kind: 'nested-nests', nodeName: 'N', workflowId: outer.id })
    await service.remove(caller, inner.id, '*')
    expect(await problemOf(naming(inner.id))).toMatchObject({ kind: 'nested-deleted' })
    const ofOther = await service.create(
      other,
      'powerjob',
      definition(
        (await service.saveNodes(other, [{ ...job(), jobId: jobOfOther } as NodeInput])).map(({ node }) => node.id),
      ),
    )
    expect(await problemOf(naming(ofOther.id))).toMatchObject({ kind: 'nested-missing' })
  })

  it('never names, over one step or two, the workflow that names it', async () => {
    const [a, b] = await makeNodes(job(), job())
    const one = await make([a!])
    const two = await make([b!])
    // made while both are simple
    const [itself, toOne, toTwo] = await makeNodes(nested(one.id), nested(one.id), nested(two.id))
    const within = (id: number, node: number) =>
      service.replace(caller, id, '*', (current) => ({ ...current, dag: { nodes: [node], edges: [] } }))
    expect(await problemOf(within(one.id, itself!))).toEqual({ kind: 'nested-itself', nodeName: 'N' })
    await within(one.id, toTwo!)
    expect(await problemOf(within(two.id, toOne!))).toMatchObject({ kind: 'nested-nests' })
    // nor by changing a node that has its place already
    expect(await problemOf(service.saveNodes(caller, [nested(one.id, b)]))).toMatchObject({ kind: 'nested-nests' })
    expect(await problemOf(service.saveNodes(caller, [nested(one.id, toTwo)]))).toMatchObject({
      kind: 'nested-itself',
    })
  })

  it('can not come about by two saves at once: the later one waits, and sees what the earlier one did', async () => {
    const [a, b] = await makeNodes(job(), job())
    const one = await make([a!])
    const two = await make([b!])
    const [toOne, toTwo] = await makeNodes(nested(one.id), nested(two.id))
    const within = (on: WorkflowsService, id: number, node: number) =>
      on.replace(caller, id, '*', (current) => ({ ...current, dag: { nodes: [node], edges: [] } }))
    let later: Promise<unknown> = Promise.resolve()
    const settled = new Set<'later'>()
    const waits = async () =>
      (
        await database.db.query(
          sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
      ).length > 0
    await database.db.transaction(async (tx) => {
      await within(createWorkflowsService({ db: joinedTo(database.db, tx) }), one.id, toTwo!)
      later = problemOf(within(service, two.id, toOne!)).finally(() => settled.add('later'))
      later.catch(() => undefined)
      // the embedded database has one connection: there it can not even begin
      while (database.kind === 'postgres' && settled.size === 0 && !(await waits()));
    })
    expect(await later).toMatchObject({ kind: 'nested-nests' })
  })
})

describe('beside others', () => {
  it('two saves that take the same node give it to one workflow', async () => {
    const [a] = await makeNodes(job())
    const outcomes = await Promise.allSettled([make([a!]), make([a!]), make([a!])])
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    const rows = await database.db.query(
      sql`select count(*)::int as n from oncejob.workflow where app_id = ${caller.appId}`,
    )
    expect(rows).toEqual([{ n: 1 }])
  })

  it('changes at once are made one after the other', async () => {
    const [a, b] = await makeNodes(job(), job())
    const made = await make([a!, b!])
    const changes = Array.from({ length: 8 }, (_, at) =>
      at % 2 === 0
        ? service.saveNodes(caller, [job({ name: `n${at}` }, a)])
        : service.replace(caller, made.id, '*', (current) => ({ ...current, description: `d${at}` })),
    )
    await Promise.all(changes)
    expect((await service.get(caller.appId, made.id)).version).toBe(9)
  })

  it('all of a call is undone with the transaction that it takes part in', async () => {
    await database.db
      .transaction(async (tx) => {
        const inside = createWorkflowsService({ db: joinedTo(database.db, tx) })
        const [saved] = await inside.saveNodes(caller, [job()])
        await inside.create(caller, 'powerjob', definition([saved!.node.id]))
        throw new Error('taken back')
      })
      .catch(() => undefined)
    expect(await nodeRows()).toEqual([])
  })

  it('an app with a workflow stays; with the remains of deleted ones it goes', async () => {
    const ids = await makeNodes(job(), decision(), job(), job())
    const made = await make(ids, [
      edge(ids[0]!, ids[1]!),
      edge(ids[1]!, ids[2]!, 'true'),
      edge(ids[1]!, ids[3]!, 'false'),
    ])
    await jobs.remove(caller, String(jobId), '*')
    const drop = () => database.db.transaction((tx) => deleteApp(tx, `app-${apps}`))
    expect(await drop()).toBe('not-empty')
    await service.remove(caller, made.id, '*')
    expect(await drop()).toBe('deleted')
    const left = await database.db.query(
      sql`select count(*)::int as n from oncejob.schedule where workflow_id = ${made.id}`,
    )
    expect(left).toEqual([{ n: 0 }])
  })
})
