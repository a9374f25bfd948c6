// What the exit code of a command says. Shown by `oncejob help`, so that scripts can rely on it.
import { OnceJobError, OutcomeUnknown, ServerUnreachable } from '@oncejob/client'
import type { RunState } from '@oncejob/protocol'

export const exitCodes = {
  ok: { code: 0, says: 'done; with --wait: the run succeeded' },
  failed: { code: 1, says: 'failed, or the server refused the request' },
  usage: { code: 2, says: 'wrong usage: unknown word or option, bad value' },
  unreachable: { code: 3, says: 'no server answers' },
  auth: { code: 4, says: 'the token is missing, not valid, or may not do this' },
  notFound: { code: 5, says: 'there is no such thing' },
  conflict: { code: 6, says: 'the state of things does not allow it, e.g. the run has ended' },
  unknown: { code: 7, says: 'no answer came: it took effect once or not at all; oncejob key KEY tells' },
  runFailed: { code: 10, says: 'run --wait: the run failed' },
  runCanceled: { code: 11, says: 'run --wait: the run was canceled' },
  runStopped: { code: 12, says: 'run --wait: the run was stopped' },
  runGoesOn: { code: 13, says: 'run --wait: the run goes on after --timeout' },
  runUnknown: { code: 14, says: 'run --wait: nobody knows what became of the run; oncejob run resolve decides' },
  notClean: { code: 20, says: 'audit: a promise is broken' },
  bad: { code: 21, says: 'doctor: something is bad' },
} as const satisfies Record<string, { code: number; says: string }>

const runCodes: Record<RunState, number> = {
  waiting: exitCodes.runGoesOn.code,
  running: exitCodes.runGoesOn.code,
  unknown: exitCodes.runUnknown.code,
  succeeded: exitCodes.ok.code,
  failed: exitCodes.runFailed.code,
  canceled: exitCodes.runCanceled.code,
  stopped: exitCodes.runStopped.code,
}

/** The exit code for a run that was waited for. */
export const codeOfRun = (state: RunState): number => runCodes[state]

/** Someone typed what this command does not know. `about` is the command whose help explains it. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly about: string | undefined

  constructor(message: string, about?: string) {
    super(message)
    this.about = about
  }
}

const codeOfStatus = (status: number): number => {
  if (status === 401 || status === 403) return exitCodes.auth.code
  if (status === 404) return exitCodes.notFound.code
  if (status === 409 || status === 412) return exitCodes.conflict.code
  return exitCodes.failed.code
}

/** The exit code for an error, whichever it is. */
export const codeOfError = (error: unknown): number => {
  if (error instanceof UsageError) return exitCodes.usage.code
  if (error instanceof ServerUnreachable) return exitCodes.unreachable.code
  if (error instanceof OutcomeUnknown) return exitCodes.unknown.code
  return error instanceof OnceJobError ? codeOfStatus(error.status) : exitCodes.failed.code
}
