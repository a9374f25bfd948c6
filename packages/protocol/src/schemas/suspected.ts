// Runs that look like one call sent twice.
import { Type, type Static } from 'typebox'
import { Id, Time } from './common.ts'

export const SuspectedRepeat = Type.Object({
  jobId: Id,
  jobName: Type.String(),
  runId: Type.Integer({ description: 'The earlier run' }),
  repeatRunId: Type.Integer({ description: 'The later one, of an equal call' }),
  createdAt: Time,
  gapMs: Type.Integer({ description: 'Between the two, in ms' }),
})
export type SuspectedRepeat = Static<typeof SuspectedRepeat>

export const SuspectedRepeats = Type.Object({
  items: Type.Array(SuspectedRepeat, { description: 'Newest first' }),
  examined: Type.Integer({ description: 'How many runs made by calls were looked at' }),
})
export type SuspectedRepeats = Static<typeof SuspectedRepeats>
