// How nodes are made and changed, and how a workflow takes them over. Each takes part in its caller's transaction.
import { Refusal } from '../kernel/errors.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Queries } from '../storage/db.ts'
import * as nodes from '../storage/workflow-nodes.ts'
import * as workflows from '../storage/workflows.ts'
import { nodesProblem, shapeProblem, type Placed } from '../workflows/dag.ts'
import type { Dag, NodeDefinition } from '../workflows/definition.ts'
import { WorkflowInvalid } from '../workflows/problems.ts'
import type { Caller } from './job-writes.ts'

export type SavedNode = nodes.StoredNode

/** @throws WorkflowInvalid when it is no graph without circles */
export const checkShape = (dag: Dag): void => {
  const problem = shapeProblem(dag)
  if (problem !== undefined) throw new WorkflowInvalid(problem)
}

/** Gives a workflow its nodes and edges. @throws WorkflowInvalid when a node can not be a part of it */
export const placeDag = async (tx: Queries, appId: number, workflowId: number, dag: Dag): Promise<void> => {
  const found = await nodes.lockNodes(tx, appId, dag.nodes)
  const nested = found.flatMap(({ node }) => (node.kind === 'workflow' ? [node.workflowId] : []))
  const nestable = nested.length === 0 ? [] : await workflows.lockNestable(tx, appId, nested)
  const problem = nodesProblem(dag, {
    workflowId,
    known: new Map(found.map(({ node, workflowId: of }): [number, Placed] => [node.id, { node, workflowId: of }])),
    nesting: new Set(nestable.flatMap(({ id, nests }) => (nests ? [id] : []))),
    isNested: nested.length > 0 && (await workflows.isNested(tx, workflowId)),
  })
  if (problem !== undefined) throw new WorkflowInvalid(problem)
  await nodes.placeNodes(tx, workflowId, dag.nodes)
  await workflows.writeEdges(tx, workflowId, dag.edges)
}

/** A node as it shall be; `workflowId` is the workflow that it is a part of. */
interface Wanted {
  readonly definition: NodeDefinition
  readonly workflowId: number | null
}

const checkJob = async (tx: Queries, appId: number, nodeName: string | null, jobId: number): Promise<void> => {
  const job = await nodes.jobOfNode(tx, appId, jobId)
  if (job === undefined) throw new WorkflowInvalid({ kind: 'job-missing', nodeName, jobId })
  if (job.deleted) throw new WorkflowInvalid({ kind: 'job-deleted', nodeName, jobId })
}

const checkNested = async (
  tx: Queries,
  appId: number,
  { nodeName, target, within }: { nodeName: string | null; target: number; within: number | null },
): Promise<void> => {
  const [nested] = await workflows.lockNestable(tx, appId, [target])
  if (nested === undefined) throw new WorkflowInvalid({ kind: 'nested-missing', nodeName, workflowId: target })
  if (nested.deleted) throw new WorkflowInvalid({ kind: 'nested-deleted', nodeName, workflowId: target })
  if (target === within) throw new WorkflowInvalid({ kind: 'nested-itself', nodeName })
  if (nested.nests || (within !== null && (await workflows.isNested(tx, within)))) {
    throw new WorkflowInvalid({ kind: 'nested-nests', nodeName, workflowId: target })
  }
}

const checkNode = async (tx: Queries, appId: number, { definition, workflowId }: Wanted): Promise<void> => {
  const { name: nodeName } = definition
  switch (definition.kind) {
    case 'job':
      return checkJob(tx, appId, nodeName, definition.jobId)
    case 'decision':
      if (definition.script.trim() === '') throw new WorkflowInvalid({ kind: 'decision-script', nodeName })
      return undefined
    case 'workflow':
      return checkNested(tx, appId, { nodeName, target: definition.workflowId, within: workflowId })
  }
}

/** Makes and changes nodes in their order. @throws WorkflowInvalid; Refusal WORKFLOW_NODE_NOT_FOUND */
export const saveNodes = async (
  tx: Queries,
  caller: Caller,
  inputs: readonly (NodeDefinition & { readonly id: number | null })[],
): Promise<SavedNode[]> => {
  const { appId, actor } = caller
  const named = inputs.flatMap(({ id }) => (id === null ? [] : [id]))
  const changed = named.length === 0 ? [] : await nodes.workflowsOfNodes(tx, appId, named)
  if (changed.length > 0) await workflows.lockWorkflows(tx, changed)
  const there = named.length === 0 ? [] : await nodes.lockNodes(tx, appId, named)
  const known = new Map(there.map((one) => [one.node.id, one]))
  const saved: SavedNode[] = []
  for (const { id, ...definition } of inputs) {
    const old = id === null ? undefined : known.get(id)
    if (id !== null && old === undefined) {
      throw new Refusal('WORKFLOW_NODE_NOT_FOUND', `No node of this app has the id ${id}.`, { nodeId: id })
    }
    await checkNode(tx, appId, { definition, workflowId: old?.workflowId ?? null })
    const written =
      old === undefined
        ? await nodes.insertNode(tx, appId, definition)
        : await nodes.updateNode(tx, old.node.id, definition)
    saved.push(written)
    const action = old === undefined ? 'workflow-node.create' : 'workflow-node.update'
    const { node, workflowId } = written
    const detail = { name: node.name, kind: node.kind, ...(workflowId === null ? {} : { workflowId }) }
    await appendAudit(tx, { actor, appId, action, target: `workflow-node/${node.id}`, detail })
  }
  if (changed.length > 0) await workflows.touchWorkflows(tx, changed)
  return saved
}
