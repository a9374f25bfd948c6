// What a workflow is as people write it: nodes, edges between them, and when it starts. Pure.
import type { ScheduleView } from '@oncejob/protocol'

interface NodeCommon {
  readonly name: string | null
  /** Instead of the job's own; null: those of the job. */
  readonly params: unknown
  /** A disabled node is passed over. */
  readonly enabled: boolean
  /** Its failure does not end the workflow's run. */
  readonly skipWhenFailed: boolean
}

/** A job, a decision between two edges, or another workflow. It exists before the workflow that it becomes a part of. */
export type NodeDefinition = NodeCommon &
  (
    | { readonly kind: 'job'; readonly jobId: number }
    | { readonly kind: 'decision'; readonly script: string }
    | { readonly kind: 'workflow'; readonly workflowId: number }
  )

export type WorkflowNode = NodeDefinition & { readonly id: number }

export interface Edge {
  readonly from: number
  readonly to: number
  /** As it was written. Of an edge that leaves a decision: `true` or `false`, in any case. */
  readonly property: string | null
}

/** Ids of nodes, and the edges between them. */
export interface Dag {
  readonly nodes: readonly number[]
  readonly edges: readonly Edge[]
}

export interface WorkflowDefinition {
  readonly name: string
  readonly description: string | null
  readonly enabled: boolean
  /** Its `overlap` is what happens to a start when as many runs as allowed are under way. */
  readonly schedule: ScheduleView
  /** 0: no limit. */
  readonly maxConcurrentRuns: number
  readonly notify: readonly string[]
  readonly dag: Dag
  /** What a PowerJob client wrote and no other member says; null when there is nothing. */
  readonly powerjob: Readonly<Record<string, unknown>> | null
}

/** How a workflow came to be: names are unique among native ones only. */
export type Origin = 'native' | 'powerjob'
