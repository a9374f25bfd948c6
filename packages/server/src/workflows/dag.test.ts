// Promises about the graph of a workflow: what is refused, and that nothing else is.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { branchOf, nodesProblem, shapeProblem, type Placed, type Surroundings } from './dag.ts'
import type { Edge, WorkflowNode } from './definition.ts'
import { describeProblem, type WorkflowProblem } from './problems.ts'

const edge = (from: number, to: number, property: string | null = null): Edge => ({ from, to, property })
const shape = (nodes: number[], edges: Edge[]): WorkflowProblem | undefined => shapeProblem({ nodes, edges })

describe('the shape of a graph', () => {
  it('is good for a single node, for several beginnings, and for edges that meet again', () => {
    expect(shape([7], [])).toBeUndefined()
    expect(shape([1, 2, 3], [])).toBeUndefined()
    expect(shape([1, 2, 3, 4], [edge(1, 2), edge(1, 3), edge(2, 4), edge(3, 4)])).toBeUndefined()
  })

  it('may have both edges of a decision lead to the same node', () => {
    expect(shape([1, 2], [edge(1, 2, 'true'), edge(1, 2, 'false')])).toBeUndefined()
  })

  it('is refused without nodes', () => {
    expect(shape([], [])).toEqual({ kind: 'no-nodes' })
  })

  it('is refused when a node is named twice', () => {
    expect(shape([1, 2, 1], [])).toEqual({ kind: 'duplicate-node', nodeId: 1 })
  })

  it('is refused when either end of an edge is no node', () => {
    expect(shape([1], [edge(1, 9)])).toEqual({ kind: 'unknown-end', from: 1, to: 9, nodeId: 9 })
    expect(shape([1], [edge(9, 1)])).toEqual({ kind: 'unknown-end', from: 9, to: 1, nodeId: 9 })
  })

  it('is refused when nothing begins it', () => {
    expect(shape([1, 2], [edge(1, 2), edge(2, 1)])).toEqual({ kind: 'no-root' })
    expect(shape([1], [edge(1, 1)])).toEqual({ kind: 'no-root' })
  })

  it('is refused for a circle behind a beginning, and the circle is named', () => {
    const problem = shape([1, 2, 3, 4, 5], [edge(1, 2), edge(2, 3), edge(3, 4), edge(4, 2), edge(4, 5)])
    expect(problem?.kind).toBe('cycle')
    const circle = problem?.kind === 'cycle' ? problem.nodeIds : []
    expect(circle.at(0)).toBe(circle.at(-1))
    expect(new Set(circle)).toEqual(new Set([2, 3, 4]))
    expect(
      circle.slice(1).every((to, at) =>
        [
          [2, 3],
          [3, 4],
          [4, 2],
        ].some(([a, b]) => a === circle[at] && b === to),
      ),
    ).toBe(true)
  })

  it('is refused for a circle that no beginning leads to', () => {
    expect(shape([1, 2, 3], [edge(2, 3), edge(3, 2)])?.kind).toBe('cycle')
  })

  it('is refused for a node that leads to itself', () => {
    expect(shape([1, 2], [edge(1, 2), edge(2, 2)])).toEqual({ kind: 'cycle', nodeIds: [2, 2] })
  })

  it('stays quick with a hundred thousand nodes in a row', () => {
    const nodes = Array.from({ length: 100_000 }, (_, id) => id + 1)
    const edges = nodes.slice(1).map((id) => edge(id - 1, id))
    expect(shape(nodes, edges)).toBeUndefined()
    expect(shape(nodes, [...edges, edge(100_000, 2)])?.kind).toBe('cycle')
  })

  // an independent judge: depth-first search with colours
  const hasCircle = (nodes: readonly number[], edges: readonly Edge[]): boolean => {
    const colour = new Map<number, 'open' | 'done'>()
    const visit = (id: number): boolean => {
      if (colour.get(id) === 'done') return false
      if (colour.get(id) === 'open') return true
      colour.set(id, 'open')
      const found = edges.some(({ from, to }) => from === id && visit(to))
      colour.set(id, 'done')
      return found
    }
    return nodes.some(visit)
  }

  it('is refused exactly when a search finds a circle', () => {
    const graphs = fc.integer({ min: 1, max: 7 }).chain((count) => {
      const node = fc.integer({ min: 1, max: count })
      const edges = fc.array(fc.tuple(node, node), { maxLength: 10 })
      return fc.tuple(fc.constant(Array.from({ length: count }, (_, i) => i + 1)), edges)
    })
    fc.assert(
      fc.property(graphs, ([nodes, pairs]) => {
        const edges = pairs.map(([from, to]) => edge(from, to))
        expect(shape(nodes, edges) !== undefined).toBe(hasCircle(nodes, edges))
      }),
      { numRuns: 2_000 },
    )
  })

  it('names a real circle, whatever the graph is', () => {
    const node = fc.integer({ min: 1, max: 8 })
    fc.assert(
      fc.property(fc.array(fc.tuple(node, node), { maxLength: 20 }), (pairs) => {
        // node 0 begins, so that a circle is the only thing that can be wrong
        const problem = shape(
          [0, 1, 2, 3, 4, 5, 6, 7, 8],
          pairs.map(([from, to]) => edge(from, to)),
        )
        if (problem === undefined) return
        expect(problem.kind).toBe('cycle')
        const circle = problem.kind === 'cycle' ? problem.nodeIds : []
        expect(circle.length).toBeGreaterThan(1)
        expect(circle.at(0)).toBe(circle.at(-1))
        for (const [at, to] of circle.slice(1).entries()) {
          expect(pairs.some(([a, b]) => a === circle[at] && b === to)).toBe(true)
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

const common = { params: null, enabled: true, skipWhenFailed: false }
const job = (id: number): WorkflowNode => ({ ...common, id, name: `n${id}`, kind: 'job', jobId: 1 })
const decision = (id: number): WorkflowNode => ({ ...common, id, name: `n${id}`, kind: 'decision', script: 'true' })
const nested = (id: number, workflowId: number): WorkflowNode => ({
  ...common,
  id,
  name: null,
  kind: 'workflow',
  workflowId,
})

const around = (
  nodes: WorkflowNode[],
  more: Partial<Surroundings> & { placed?: Record<number, number> } = {},
): Surroundings => ({
  workflowId: 1,
  known: new Map(
    nodes.map((node): [number, Placed] => [node.id, { node, workflowId: more.placed?.[node.id] ?? null }]),
  ),
  nesting: new Set(),
  isNested: false,
  ...more,
})

const nodes = (
  list: WorkflowNode[],
  edges: Edge[],
  more: Parameters<typeof around>[1] = {},
): WorkflowProblem | undefined => nodesProblem({ nodes: list.map(({ id }) => id), edges }, around(list, more))

describe('the nodes of a graph', () => {
  it('are good when they belong to nobody or to this workflow', () => {
    expect(nodes([job(1), job(2)], [edge(1, 2)], { placed: { 1: 1 } })).toBeUndefined()
  })

  it('are refused when one is not there', () => {
    expect(nodesProblem({ nodes: [1, 2], edges: [] }, around([job(1)]))).toEqual({ kind: 'node-missing', nodeId: 2 })
  })

  it('are refused when one belongs to another workflow, also while the workflow is being made', () => {
    const elsewhere = { kind: 'node-elsewhere', nodeId: 1, workflowId: 2 }
    expect(nodes([job(1)], [], { placed: { 1: 2 } })).toEqual(elsewhere)
    expect(nodes([job(1)], [], { placed: { 1: 2 }, workflowId: null })).toEqual(elsewhere)
  })

  it('of a decision have exactly two edges, one for each answer, in any case', () => {
    const list = [decision(1), job(2), job(3)]
    expect(nodes(list, [edge(1, 2, 'TRUE'), edge(1, 3, 'False')])).toBeUndefined()
    expect(nodes(list, [edge(1, 2, 'true')])).toEqual({ kind: 'decision-edges', nodeName: 'n1', edges: 1 })
    expect(nodes(list, [])).toEqual({ kind: 'decision-edges', nodeName: 'n1', edges: 0 })
    const three = [edge(1, 2, 'true'), edge(1, 3, 'false'), edge(1, 2, 'true')]
    expect(nodes(list, three)).toEqual({ kind: 'decision-edges', nodeName: 'n1', edges: 3 })
    const wrong = { kind: 'decision-branches', nodeName: 'n1' }
    expect(nodes(list, [edge(1, 2, 'true'), edge(1, 3, 'true')])).toEqual(wrong)
    expect(nodes(list, [edge(1, 2, 'true'), edge(1, 3)])).toEqual(wrong)
    expect(nodes(list, [edge(1, 2, 'true'), edge(1, 3, 'no')])).toEqual(wrong)
  })

  it('of other kinds may have as many edges as they like, with any property', () => {
    expect(nodes([job(1), job(2), job(3)], [edge(1, 2, 'x'), edge(1, 3), edge(2, 3)])).toBeUndefined()
  })

  it('name no workflow that names them, by whatever way', () => {
    expect(nodes([nested(1, 5)], [])).toBeUndefined()
    expect(nodes([nested(1, 1)], [])).toEqual({ kind: 'nested-itself', nodeName: null })
    const nests = { kind: 'nested-nests', nodeName: null, workflowId: 5 }
    expect(nodes([nested(1, 5)], [], { nesting: new Set([5]) })).toEqual(nests)
    expect(nodes([nested(1, 5)], [], { isNested: true })).toEqual(nests)
    expect(nodes([job(1)], [], { isNested: true })).toBeUndefined()
  })

  it('are judged in their order: the first problem is the answer', () => {
    const list = [nested(1, 1), decision(2)]
    expect(nodes(list, [])?.kind).toBe('nested-itself')
    expect(nodes(list.toReversed(), [])?.kind).toBe('decision-edges')
  })
})

describe('a problem', () => {
  it('is told in a sentence that names what it is about', () => {
    expect(describeProblem({ kind: 'cycle', nodeIds: [1, 2, 1] })).toContain('1 → 2 → 1')
    expect(describeProblem({ kind: 'decision-script', nodeName: 'D' })).toContain('"D"')
    expect(describeProblem({ kind: 'decision-script', nodeName: null })).toContain('A node')
  })
})

it('an edge leads one way or the other only when it says so', () => {
  expect([edge(1, 2, 'True'), edge(1, 2, 'FALSE'), edge(1, 2, 'yes'), edge(1, 2)].map(branchOf)).toEqual([
    true,
    false,
    null,
    null,
  ])
})
