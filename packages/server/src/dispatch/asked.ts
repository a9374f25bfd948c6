// What calls about one run have in common: who asks, how the run stands, and the note in the audit trail.
import { Refusal, type EndedRunState, type RunState } from '@oncejob/protocol'
import type { AuditNote } from '../storage/audit-log.ts'

/** Who asks, and of which run. */
export interface Asked {
  readonly appId: number
  readonly runId: number
  readonly actor: string
}

export const noSuchRun = (runId: number): Refusal => new Refusal('RUN_NOT_FOUND', `This app has no run ${runId}.`)

/** Where a run is, by what its rows say. */
export const stateOf = (row: {
  readonly state: 'open' | EndedRunState
  readonly running: boolean
  readonly unknown: boolean
}): RunState => {
  if (row.state !== 'open') return row.state
  if (row.running) return 'running'
  return row.unknown ? 'unknown' : 'waiting'
}

/** What the audit trail keeps of it. */
export const auditOf = ({ appId, runId, actor }: Asked, action: string, detail: unknown): AuditNote => ({
  actor,
  appId,
  action,
  target: `run/${runId}`,
  detail,
})
