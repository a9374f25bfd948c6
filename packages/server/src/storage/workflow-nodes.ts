// Nodes of workflows: made on their own, then given a place in a workflow, and gone when the workflow leaves them out.
import { invariant } from '../kernel/errors.ts'
import { jsonText, jsonValue } from '../kernel/json.ts'
import type { NodeDefinition, WorkflowNode } from '../workflows/definition.ts'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** What a node says, as columns. */
export interface NodeColumns {
  readonly id: number
  readonly job_id: number | null
  readonly nested_workflow_id: number | null
  readonly script: string | null
  readonly name: string | null
  readonly params: string | null
  readonly enabled: boolean
  readonly skip_when_failed: boolean
}

export interface StoredNode {
  readonly node: WorkflowNode
  /** The workflow that it is a part of; null: none yet. */
  readonly workflowId: number | null
  readonly createdAt: Date
  readonly updatedAt: Date
}

interface NodeRow extends NodeColumns {
  readonly workflow_id: number | null
  readonly created_at: Date
  readonly updated_at: Date
}

/** The node in a row. */
export const nodeIn = (row: NodeColumns): WorkflowNode => {
  const common = {
    id: row.id,
    name: row.name,
    params: jsonValue(row.params),
    enabled: row.enabled,
    skipWhenFailed: row.skip_when_failed,
  }
  if (row.job_id !== null) return { ...common, kind: 'job', jobId: row.job_id }
  if (row.nested_workflow_id !== null) return { ...common, kind: 'workflow', workflowId: row.nested_workflow_id }
  invariant(row.script !== null, 'a node that names nothing decides')
  return { ...common, kind: 'decision', script: row.script }
}

const storedNode = (row: NodeRow): StoredNode => ({
  node: nodeIn(row),
  workflowId: row.workflow_id,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const shown: Sql = sql`
  id, job_id, nested_workflow_id, script, name, params, enabled, skip_when_failed, workflow_id, created_at, updated_at`

/** Those of the ids that are nodes of the app, locked against every other change until the transaction ends. */
export const lockNodes = async (tx: Queries, appId: number, nodeIds: readonly number[]): Promise<StoredNode[]> => {
  const rows = await tx.query<NodeRow>(sql`
    select ${shown} from oncejob.workflow_node
    where id = any(${[...nodeIds]}::bigint[]) and app_id = ${appId}
    order by id for update`)
  return rows.map(storedNode)
}

/** The workflows that these nodes of the app are parts of. */
export const workflowsOfNodes = async (tx: Queries, appId: number, nodeIds: readonly number[]): Promise<number[]> => {
  const rows = await tx.query<{ id: number }>(sql`
    select distinct workflow_id as id from oncejob.workflow_node
    where id = any(${[...nodeIds]}::bigint[]) and app_id = ${appId} and workflow_id is not null`)
  return rows.map(({ id }) => id)
}

const columns: Sql = sql`kind, job_id, nested_workflow_id, script, name, params, enabled, skip_when_failed`

// in the order of `columns`
const valuesOf = (node: NodeDefinition): Sql => sql`
  ${node.kind}, ${node.kind === 'job' ? node.jobId : null}, ${node.kind === 'workflow' ? node.workflowId : null},
  ${node.kind === 'decision' ? node.script : null}, ${node.name},
  ${jsonText(node.params)}, ${node.enabled}, ${node.skipWhenFailed}`

const written = (rows: readonly NodeRow[]): StoredNode => {
  const row = rows[0]
  invariant(row !== undefined, 'a node that is written is there')
  return storedNode(row)
}

/** Makes a node that belongs to no workflow yet. */
export const insertNode = async (tx: Queries, appId: number, node: NodeDefinition): Promise<StoredNode> =>
  written(
    await tx.query<NodeRow>(sql`
      insert into oncejob.workflow_node (app_id, ${columns}) values (${appId}, ${valuesOf(node)}) returning ${shown}`),
  )

/** Writes a locked node anew; it stays where it is. */
export const updateNode = async (tx: Queries, nodeId: number, node: NodeDefinition): Promise<StoredNode> =>
  written(
    await tx.query<NodeRow>(sql`
      update oncejob.workflow_node set (${columns}) = row (${valuesOf(node)}), updated_at = now()
      where id = ${nodeId} returning ${shown}`),
  )

/** Makes exactly these the nodes of a workflow, in this order; those that it had and that are not named are removed. */
export const placeNodes = async (tx: Queries, workflowId: number, nodeIds: readonly number[]): Promise<void> => {
  const ids = [...nodeIds]
  // edges hold on to nodes: whoever places nodes writes the edges anew afterwards
  await tx.query(sql`delete from oncejob.workflow_edge where workflow_id = ${workflowId}`)
  await tx.query(sql`
    delete from oncejob.workflow_node where workflow_id = ${workflowId} and not id = any(${ids}::bigint[])`)
  await tx.query(sql`
    update oncejob.workflow_node n set workflow_id = ${workflowId}, position = t.position
    from unnest(${ids}::bigint[]) with ordinality as t(id, position) where n.id = t.id`)
}

/** Copies nodes, without their workflow. @returns the new ids in the order of the given ones */
export const copyNodes = async (tx: Queries, nodeIds: readonly number[]): Promise<number[]> => {
  const rows = await tx.query<{ id: number }>(sql`
    with source as materialized (
      select n.*, t.place, nextval(pg_get_serial_sequence('oncejob.workflow_node', 'id')) as new_id
      from (select * from unnest(${[...nodeIds]}::bigint[]) with ordinality as t(id, place) order by place) t
      join oncejob.workflow_node n on n.id = t.id
    ), made as (
      insert into oncejob.workflow_node (id, app_id, ${columns}) overriding system value
      select new_id, app_id, ${columns} from source
    )
    select new_id as id from source order by place`)
  invariant(rows.length === nodeIds.length, 'every node that was named is copied')
  return rows.map(({ id }) => id)
}

/** The job that a node names, if the app has or had it. */
export const jobOfNode = async (
  tx: Queries,
  appId: number,
  jobId: number,
): Promise<{ readonly deleted: boolean } | undefined> => {
  const rows = await tx.query<{ deleted: boolean }>(sql`
    select deleted_at is not null as deleted from oncejob.job where id = ${jobId} and app_id = ${appId}`)
  return rows[0]
}
