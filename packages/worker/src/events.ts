// What a worker tells whoever listens through `onEvent`.
import type { Report, RunError } from '@oncejob/protocol'
import type { DeliveryAnswer } from './reporter.ts'

export type WorkerEvent =
  | { readonly type: 'session-opened'; readonly sessionId: number; readonly server: string }
  | { readonly type: 'session-lost'; readonly sessionId: number }
  /** No server has answered for a whole lease: the signals of all runs were aborted. */
  | { readonly type: 'leases-lapsed'; readonly runs: number }
  | { readonly type: 'server-unreachable'; readonly server: string; readonly error: string }
  | { readonly type: 'server-reachable'; readonly server: string }
  | RunStarted
  | RunFinished

export interface RunStarted {
  readonly type: 'run-started'
  readonly runId: number
  readonly lease: number
  readonly job: string
  readonly processor: string
  readonly attempt: number
}

export interface RunFinished {
  readonly type: 'run-finished'
  readonly runId: number
  readonly lease: number
  readonly job: string
  readonly processor: string
  readonly attempt: number
  /** What was reported; null when the lease was lost and nothing was. */
  readonly outcome: Report['outcome'] | null
  /** What the processor returned, uncut; undefined unless the outcome is `succeeded`. */
  readonly result: unknown
  readonly error: RunError | null
  /** What the server made of the report: only `accepted` and `duplicate` count. null when nothing was reported. */
  readonly answer: DeliveryAnswer | null
  /** From the start of the processor to its result; 0 when it was not begun. */
  readonly durationMs: number
}
