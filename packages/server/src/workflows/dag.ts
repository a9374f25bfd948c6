// The rules of a workflow's graph. Each check answers with the first problem it finds, in the order of the nodes. Pure.
import type { Dag, Edge, WorkflowNode } from './definition.ts'
import type { WorkflowProblem } from './problems.ts'

const duplicateIn = (nodes: readonly number[]): number | undefined => {
  const seen = new Set<number>()
  for (const id of nodes) {
    if (seen.has(id)) return id
    seen.add(id)
  }
  return undefined
}

const incomingOf = ({ nodes, edges }: Dag): Map<number, number> => {
  const incoming = new Map(nodes.map((id) => [id, 0]))
  for (const { to } of edges) incoming.set(to, (incoming.get(to) ?? 0) + 1)
  return incoming
}

const outgoingOf = (edges: readonly Edge[]): Map<number, Edge[]> => Map.groupBy(edges, ({ from }) => from)

/** The nodes that are left when whatever has no edge to it is taken away, again and again: they are on circles or behind them. */
const leftover = (dag: Dag): Set<number> => {
  const incoming = incomingOf(dag)
  const outgoing = outgoingOf(dag.edges)
  const free = dag.nodes.filter((id) => incoming.get(id) === 0)
  const left = new Set(dag.nodes)
  for (let at = free.pop(); at !== undefined; at = free.pop()) {
    left.delete(at)
    for (const { to } of outgoing.get(at) ?? []) {
      const rest = (incoming.get(to) ?? 0) - 1
      incoming.set(to, rest)
      if (rest === 0) free.push(to)
    }
  }
  return left
}

/** A circle among nodes of which each has an edge that leads to it from another of them; its first node is also its last. */
const circleIn = (left: ReadonlySet<number>, edges: readonly Edge[]): number[] => {
  const before = new Map(
    edges.filter(({ from, to }) => left.has(from) && left.has(to)).map(({ from, to }) => [to, from]),
  )
  const path = new Set<number>()
  let [at] = left
  while (at !== undefined && !path.has(at)) {
    path.add(at)
    at = before.get(at)
  }
  const walked = [...path]
  const circle = at === undefined ? walked : walked.slice(walked.indexOf(at))
  return [...circle, ...circle.slice(0, 1)].toReversed()
}

/** What is wrong with the graph itself, whatever its nodes are; undefined: nothing. */
export const shapeProblem = (dag: Dag): WorkflowProblem | undefined => {
  const { nodes, edges } = dag
  if (nodes.length === 0) return { kind: 'no-nodes' }
  const duplicate = duplicateIn(nodes)
  if (duplicate !== undefined) return { kind: 'duplicate-node', nodeId: duplicate }
  const known = new Set(nodes)
  for (const { from, to } of edges) {
    const unknown = [from, to].find((id) => !known.has(id))
    if (unknown !== undefined) return { kind: 'unknown-end', from, to, nodeId: unknown }
  }
  const left = leftover(dag)
  if (left.size === 0) return undefined
  return left.size === nodes.length && ![...incomingOf(dag).values()].includes(0)
    ? { kind: 'no-root' }
    : { kind: 'cycle', nodeIds: circleIn(left, edges) }
}

/** Which way an edge of a decision leads; null when it says neither. */
export const branchOf = ({ property }: Edge): boolean | null => {
  const text = property?.toLowerCase()
  return text === 'true' ? true : text === 'false' ? false : null
}

const decisionProblem = (node: WorkflowNode, leaving: readonly Edge[]): WorkflowProblem | undefined => {
  if (leaving.length !== 2) return { kind: 'decision-edges', nodeName: node.name, edges: leaving.length }
  const branches = new Set(leaving.map(branchOf))
  return branches.has(true) && branches.has(false) ? undefined : { kind: 'decision-branches', nodeName: node.name }
}

/** What a node looks like to the workflow that shall have it. */
export interface Placed {
  readonly node: WorkflowNode
  /** The workflow that it belongs to so far; null: none. */
  readonly workflowId: number | null
}

export interface Surroundings {
  /** The workflow that is being saved; null while it is being made. */
  readonly workflowId: number | null
  /** The nodes of this app among those named, by id. */
  readonly known: ReadonlyMap<number, Placed>
  /** Workflows named by its nodes that themselves have nodes which name workflows. */
  readonly nesting: ReadonlySet<number>
  /** Whether a node of another workflow names this one. */
  readonly isNested: boolean
}

/** What keeps this node out of this workflow; undefined: nothing. */
const nodeProblem = (nodeId: number, leaving: readonly Edge[], around: Surroundings): WorkflowProblem | undefined => {
  const found = around.known.get(nodeId)
  if (found === undefined) return { kind: 'node-missing', nodeId }
  const { node, workflowId } = found
  if (workflowId !== null && workflowId !== around.workflowId) return { kind: 'node-elsewhere', nodeId, workflowId }
  if (node.kind === 'decision') return decisionProblem(node, leaving)
  if (node.kind === 'job') return undefined
  const nodeName = node.name
  if (node.workflowId === around.workflowId) return { kind: 'nested-itself', nodeName }
  // two levels at most: so no chain of workflows can lead back to its beginning
  if (around.isNested || around.nesting.has(node.workflowId)) {
    return { kind: 'nested-nests', nodeName, workflowId: node.workflowId }
  }
  return undefined
}

/** What is wrong with the nodes of a graph whose shape is good; undefined: nothing. */
export const nodesProblem = (dag: Dag, around: Surroundings): WorkflowProblem | undefined => {
  const outgoing = outgoingOf(dag.edges)
  for (const nodeId of dag.nodes) {
    const problem = nodeProblem(nodeId, outgoing.get(nodeId) ?? [], around)
    if (problem !== undefined) return problem
  }
  return undefined
}
