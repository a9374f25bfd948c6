// Workflows as people write them; their nodes are in workflow-nodes.ts. A deleted workflow keeps its nodes and edges.
import { invariant } from '../kernel/errors.ts'
import { jsonText } from '../kernel/json.ts'
import { scheduleView, type ScheduleColumns } from '../runs/schedule-codec.ts'
import type { Edge, Origin, WorkflowDefinition, WorkflowNode } from '../workflows/definition.ts'
import type { Queries } from './db.ts'
import { sql } from './sql.ts'
import { nodeIn, type NodeColumns } from './workflow-nodes.ts'

/** A workflow with what belongs to it beside its definition. */
export interface StoredWorkflow {
  readonly id: number
  readonly version: number
  readonly origin: Origin
  readonly definition: WorkflowDefinition
  /** In the order of the definition's nodes. */
  readonly nodes: readonly WorkflowNode[]
  readonly createdAt: Date
  readonly updatedAt: Date
  readonly deletedAt: Date | null
}

interface WorkflowRow extends ScheduleColumns {
  readonly id: number
  readonly version: number
  readonly origin: Origin
  readonly name: string
  readonly description: string | null
  readonly enabled: boolean
  readonly overlap: WorkflowDefinition['schedule']['overlap']
  readonly max_concurrent_runs: number
  readonly notify: string[]
  readonly powerjob: WorkflowDefinition['powerjob']
  readonly nodes: NodeColumns[]
  readonly edges: Edge[]
  readonly created_at: Date
  readonly updated_at: Date
  readonly deleted_at: Date | null
}

const storedWorkflow = (row: WorkflowRow): StoredWorkflow => ({
  id: row.id,
  version: row.version,
  origin: row.origin,
  definition: {
    name: row.name,
    description: row.description,
    enabled: row.enabled,
    schedule: scheduleView(row, row.overlap),
    maxConcurrentRuns: row.max_concurrent_runs,
    notify: row.notify,
    dag: { nodes: row.nodes.map(({ id }) => id), edges: row.edges },
    powerjob: row.powerjob,
  },
  nodes: row.nodes.map(nodeIn),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  deletedAt: row.deleted_at,
})

/** A workflow of the app, also a deleted one: whole, as of one moment. */
export const workflowById = async (
  db: Queries,
  appId: number,
  workflowId: number,
): Promise<StoredWorkflow | undefined> => {
  const rows = await db.query<WorkflowRow>(sql`
    select w.id, w.version, w.origin, w.name, w.description, w.enabled, w.overlap, w.max_concurrent_runs, w.notify,
      w.powerjob, w.created_at, w.updated_at, w.deleted_at,
      s.kind, s.expression, s.zone, s.start_at, s.end_at, s.jitter_ms, s.misfire_policy, s.misfire_max_runs,
      s.misfire_max_lateness_ms, s.dst_gap, s.dst_overlap,
      coalesce((
        select jsonb_agg(jsonb_build_object('id', n.id, 'job_id', n.job_id,
          'nested_workflow_id', n.nested_workflow_id, 'script', n.script, 'name', n.name, 'params', n.params,
          'enabled', n.enabled, 'skip_when_failed', n.skip_when_failed) order by n.position)
        from oncejob.workflow_node n where n.workflow_id = w.id), '[]') as nodes,
      coalesce((
        select jsonb_agg(jsonb_build_object('from', e.from_node, 'to', e.to_node, 'property', e.property) order by e.position)
        from oncejob.workflow_edge e where e.workflow_id = w.id), '[]') as edges
    from oncejob.workflow w join oncejob.schedule s on s.workflow_id = w.id
    where w.id = ${workflowId} and w.app_id = ${appId}`)
  const row = rows[0]
  return row === undefined ? undefined : storedWorkflow(row)
}

/** A workflow, locked against every other change of it and of its nodes until the transaction ends. */
export const lockWorkflow = async (
  tx: Queries,
  appId: number,
  workflowId: number,
): Promise<StoredWorkflow | undefined> => {
  // a statement of its own: the rest is then read after the wait for the lock
  await tx.query(sql`
    select 1 from oncejob.workflow where id = ${workflowId} and app_id = ${appId} for no key update`)
  return workflowById(tx, appId, workflowId)
}

/** Locks several workflows against changes, in one order for all. */
export const lockWorkflows = async (tx: Queries, workflowIds: readonly number[]): Promise<void> => {
  await tx.query(sql`
    select 1 from oncejob.workflow where id = any(${[...workflowIds]}::bigint[]) order by id for no key update`)
}

/** The app of a workflow, whatever app asks; undefined when there is none with this id. */
export const appOfWorkflow = async (db: Queries, workflowId: number): Promise<number | undefined> => {
  const rows = await db.query<{ app_id: number }>(sql`select app_id from oncejob.workflow where id = ${workflowId}`)
  return rows[0]?.app_id
}

/** How a workflow that a node shall name is found. */
export interface NestableWorkflow {
  readonly id: number
  readonly deleted: boolean
  /** Whether a node of it names a workflow in turn. */
  readonly nests: boolean
}

/**
 * Those of the ids that are workflows of the app. They stay as they are until the transaction ends, so that two
 * workflows that are saved at once can not nest each other.
 */
export const lockNestable = async (
  tx: Queries,
  appId: number,
  workflowIds: readonly number[],
): Promise<NestableWorkflow[]> => {
  const ids = [...workflowIds]
  await tx.query(sql`
    select 1 from oncejob.workflow where id = any(${ids}::bigint[]) and app_id = ${appId} order by id for share`)
  return tx.query<NestableWorkflow>(sql`
    select w.id, w.deleted_at is not null as deleted,
      exists (select from oncejob.workflow_node n where n.workflow_id = w.id and n.nested_workflow_id is not null) as nests
    from oncejob.workflow w where w.id = any(${ids}::bigint[]) and w.app_id = ${appId}`)
}

/** Whether a node of another workflow that is not deleted names this one. */
export const isNested = async (tx: Queries, workflowId: number): Promise<boolean> => {
  const rows = await tx.query<{ nested: boolean }>(sql`
    select exists (
      select from oncejob.workflow_node n join oncejob.workflow w on w.id = n.workflow_id
      where n.nested_workflow_id = ${workflowId} and w.id <> ${workflowId} and w.deleted_at is null) as nested`)
  return rows[0]?.nested === true
}

/**
 * Makes a workflow at version 1, without nodes; it waits for whoever is just taking the same name.
 * @returns its id; undefined when the name is taken
 */
export const insertWorkflow = async (
  tx: Queries,
  appId: number,
  origin: Origin,
  { name, description, enabled, schedule, maxConcurrentRuns, notify, powerjob }: WorkflowDefinition,
): Promise<number | undefined> => {
  const rows = await tx.query<{ id: number }>(sql`
    insert into oncejob.workflow (app_id, origin, name, description, enabled, overlap, max_concurrent_runs, notify, powerjob)
    values (${appId}, ${origin}, ${name}, ${description}, ${enabled}, ${schedule.overlap}, ${maxConcurrentRuns},
      ${[...notify]}, ${jsonText(powerjob)}::text::jsonb)
    on conflict (app_id, name) where origin = 'native' and deleted_at is null do nothing
    returning id`)
  return rows[0]?.id
}

/**
 * Writes the definition anew, without nodes and schedule, when the workflow still has this version; counts it up.
 * @returns whether it did
 * @throws DatabaseError 23505 on workflow_name when the name is taken
 */
export const updateWorkflow = async (
  tx: Queries,
  workflowId: number,
  version: number,
  { name, description, enabled, schedule, maxConcurrentRuns, notify, powerjob }: WorkflowDefinition,
): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(sql`
    update oncejob.workflow
    set name = ${name}, description = ${description}, enabled = ${enabled}, overlap = ${schedule.overlap},
      max_concurrent_runs = ${maxConcurrentRuns}, notify = ${[...notify]}, powerjob = ${jsonText(powerjob)}::text::jsonb,
      version = version + 1, updated_at = now()
    where id = ${workflowId} and version = ${version} and deleted_at is null
    returning id`)
  return rows.length === 1
}

/** Counts the versions of workflows up whose nodes were changed. */
export const touchWorkflows = async (tx: Queries, workflowIds: readonly number[]): Promise<void> => {
  await tx.query(sql`
    update oncejob.workflow set version = version + 1, updated_at = now()
    where id = any(${[...workflowIds]}::bigint[])`)
}

/** Marks the workflow as deleted when it still has this version; its name is free again. @returns whether it did */
export const softDeleteWorkflow = async (tx: Queries, workflowId: number, version: number): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(sql`
    update oncejob.workflow set deleted_at = now(), updated_at = now(), version = version + 1, enabled = false
    where id = ${workflowId} and version = ${version} and deleted_at is null
    returning id`)
  return rows.length === 1
}

/** Brings a deleted workflow back, under this name. @throws DatabaseError 23505 on workflow_name when it is taken */
export const undeleteWorkflow = async (tx: Queries, workflowId: number, name: string): Promise<void> => {
  await tx.query(sql`update oncejob.workflow set deleted_at = null, name = ${name} where id = ${workflowId}`)
}

/** Writes the edges of a workflow anew. Both ends must be nodes of it already. */
export const writeEdges = async (tx: Queries, workflowId: number, edges: readonly Edge[]): Promise<void> => {
  await tx.query(sql`delete from oncejob.workflow_edge where workflow_id = ${workflowId}`)
  await tx.query(sql`
    insert into oncejob.workflow_edge (workflow_id, position, from_node, to_node, property)
    select ${workflowId}::bigint, t.position, t.from_node, t.to_node, t.property
    from unnest(${edges.map(({ from }) => from)}::bigint[], ${edges.map(({ to }) => to)}::bigint[],
      ${edges.map(({ property }) => property)}::text[]) with ordinality as t(from_node, to_node, property, position)`)
}

/** A workflow that this transaction has written. */
export const writtenWorkflow = async (tx: Queries, appId: number, workflowId: number): Promise<StoredWorkflow> => {
  const found = await workflowById(tx, appId, workflowId)
  invariant(found !== undefined, 'a workflow that was just written is there')
  return found
}

/** Removes what is left of an app's deleted workflows, and its nodes. */
export const deleteWorkflowRemains = async (tx: Queries, appId: number): Promise<void> => {
  await tx.query(sql`
    delete from oncejob.workflow_edge e using oncejob.workflow w where e.workflow_id = w.id and w.app_id = ${appId}`)
  await tx.query(sql`delete from oncejob.workflow_node where app_id = ${appId}`)
  await tx.query(sql`
    delete from oncejob.schedule s using oncejob.workflow w where s.workflow_id = w.id and w.app_id = ${appId}`)
  await tx.query(sql`delete from oncejob.workflow where app_id = ${appId}`)
}
