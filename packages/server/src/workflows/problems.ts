// Everything that can be wrong with a workflow or a node, as data; the native API and the PowerJob wire put it in words.
import { Refusal } from '../kernel/errors.ts'

export type WorkflowProblem =
  | { readonly kind: 'no-nodes' }
  | { readonly kind: 'duplicate-node'; readonly nodeId: number }
  | { readonly kind: 'unknown-end'; readonly from: number; readonly to: number; readonly nodeId: number }
  | { readonly kind: 'no-root' }
  | { readonly kind: 'cycle'; readonly nodeIds: readonly number[] }
  | { readonly kind: 'node-missing'; readonly nodeId: number }
  | { readonly kind: 'node-elsewhere'; readonly nodeId: number; readonly workflowId: number }
  | { readonly kind: 'decision-edges'; readonly nodeName: string | null; readonly edges: number }
  | { readonly kind: 'decision-branches'; readonly nodeName: string | null }
  | { readonly kind: 'decision-script'; readonly nodeName: string | null }
  | { readonly kind: 'job-missing'; readonly nodeName: string | null; readonly jobId: number }
  | { readonly kind: 'job-deleted'; readonly nodeName: string | null; readonly jobId: number }
  | { readonly kind: 'nested-missing'; readonly nodeName: string | null; readonly workflowId: number }
  | { readonly kind: 'nested-deleted'; readonly nodeName: string | null; readonly workflowId: number }
  | { readonly kind: 'nested-itself'; readonly nodeName: string | null }
  | { readonly kind: 'nested-nests'; readonly nodeName: string | null; readonly workflowId: number }
  | { readonly kind: 'name-empty' }

const called = (nodeName: string | null): string => (nodeName === null ? 'A node' : `The node "${nodeName}"`)

/** The problem in a sentence for the caller. */
export const describeProblem = (problem: WorkflowProblem): string => {
  switch (problem.kind) {
    case 'no-nodes':
      return 'The workflow has no nodes; give it at least one.'
    case 'duplicate-node':
      return `The node ${problem.nodeId} is named twice; name each node once.`
    case 'unknown-end':
      return `The edge ${problem.from} → ${problem.to} leads to ${problem.nodeId}, which is not among the nodes.`
    case 'no-root':
      return 'Every node has an edge that leads to it; leave one without, where the workflow begins.'
    case 'cycle':
      return `The edges go in a circle: ${problem.nodeIds.join(' → ')}; remove one of them.`
    case 'node-missing':
      return `There is no node ${problem.nodeId} in this app.`
    case 'node-elsewhere':
      return `The node ${problem.nodeId} belongs to workflow ${problem.workflowId}; make a node of its own.`
    case 'decision-edges':
      return `${called(problem.nodeName)} is a decision and has ${problem.edges} edges; it needs two, one for true and one for false.`
    case 'decision-branches':
      return `${called(problem.nodeName)} is a decision: one of its edges must say "true" and the other "false".`
    case 'decision-script':
      return `${called(problem.nodeName)} is a decision and needs a script.`
    case 'job-missing':
      return `${called(problem.nodeName)} names job ${problem.jobId}, and this app has none with this id.`
    case 'job-deleted':
      return `${called(problem.nodeName)} names job ${problem.jobId}, which is deleted.`
    case 'nested-missing':
      return `${called(problem.nodeName)} names workflow ${problem.workflowId}, and this app has none with this id.`
    case 'nested-deleted':
      return `${called(problem.nodeName)} names workflow ${problem.workflowId}, which is deleted.`
    case 'nested-itself':
      return `${called(problem.nodeName)} names the workflow that it belongs to.`
    case 'nested-nests':
      return `${called(problem.nodeName)} would nest workflow ${problem.workflowId} deeper than one level.`
    case 'name-empty':
      return 'The workflow needs a name.'
  }
}

/** A workflow or node that can not be; `problem` says it to programs. */
export class WorkflowInvalid extends Refusal {
  readonly problem: WorkflowProblem

  constructor(problem: WorkflowProblem) {
    super('WORKFLOW_INVALID', describeProblem(problem), { problem: problem.kind })
    this.problem = problem
  }
}
