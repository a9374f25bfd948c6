// Save a job by its name and start one run of it, in one transaction.
import { Type, type Static } from 'typebox'
import { Id } from './common.ts'
import { JobInput } from './job.ts'
import { JobRunInput, RunCreated } from './run.ts'

export const SaveAndRunInput = Type.Object(
  { job: JobInput, run: Type.Optional(JobRunInput) },
  { additionalProperties: false },
)
export type SaveAndRunInput = Static<typeof SaveAndRunInput>

/** What became of a job that was saved by its name. */
export const SavedJob = Type.Object({
  id: Id,
  name: Type.String(),
  version: Type.Integer(),
  outcome: Type.Enum(['created', 'updated', 'unchanged']),
})
export type SavedJob = Static<typeof SavedJob>
export const SavedAndRun = Type.Object({ job: SavedJob, run: RunCreated })
export type SavedAndRun = Static<typeof SavedAndRun>
