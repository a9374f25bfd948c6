// Every command, in the order of the help.
import type { Command } from '../command.ts'
import { appCommands } from './apps.ts'
import { containerCommands } from './containers.ts'
import { effectCommands } from './effects.ts'
import { fires } from './fires.ts'
import { jobCommands } from './jobs.ts'
import { applyJobs, exportJobs } from './jobs-file.ts'
import { previewJob } from './jobs-preview.ts'
import { showKey } from './key.ts'
import { logs } from './logs.ts'
import { audit, doctor, me, showVersion } from './operations.ts'
import { runJob } from './run.ts'
import { runActions } from './run-actions.ts'
import { showRun } from './run-show.ts'
import { runKeyCommands } from './run-key.ts'
import { runs } from './runs.ts'
import { start } from './start.ts'
import { resends } from './suspected.ts'
import { tokenCommands } from './tokens.ts'
import { workers } from './workers.ts'

export const commands: readonly Command[] = [
  start,
  ...jobCommands,
  applyJobs,
  exportJobs,
  previewJob,
  runJob,
  runs,
  showRun,
  ...runActions,
  ...effectCommands,
  ...runKeyCommands,
  showKey,
  logs,
  workers,
  ...containerCommands,
  fires,
  resends,
  audit,
  doctor,
  ...appCommands,
  ...tokenCommands,
  me,
  showVersion,
]
