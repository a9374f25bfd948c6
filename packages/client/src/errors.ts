// Everything a call can fail with. What to do next follows from the class, never from the text.
import type { Problem, RunDetail, RunError, RunState } from '@oncejob/protocol'

/** A problem document with the facts of its code, e.g. `issues` or `changes`. */
export type ProblemWithFacts = Problem & { readonly [fact: string]: unknown }
export type RetryAdvice = 'never' | 'same-key' | 'after-auth'

/** The server's own no, from its error table. `retry` says whether the same call can succeed later. */
export class OnceJobError extends Error {
  override readonly name = 'OnceJobError'
  /** A code of the error table, or `HTTP_<status>` when something between here and the server answered. */
  readonly code: string
  readonly status: number
  readonly retry: RetryAdvice
  readonly detail: string
  readonly problem: ProblemWithFacts
  /** Id of the request as in the server's log. */
  readonly requestId: string | undefined

  constructor(problem: ProblemWithFacts, requestId: string | undefined) {
    super(`${problem.code}: ${problem.detail}`)
    this.code = problem.code
    this.status = problem.status
    this.retry = problem.retry === 'same-key' || problem.retry === 'after-auth' ? problem.retry : 'never'
    this.detail = problem.detail
    this.problem = problem
    this.requestId = requestId ?? problem.instance
  }
}

/**
 * A mutating call was sent, more than once where there was time, and no answer came: it took effect once or not at all.
 * Look (`client.requestKey(error.requestKey)`), or make the same call again with this key: it has no second effect.
 * `cause` is what ended the last try, e.g. ServerUnreachable or the reason of the caller's signal.
 */
export class OutcomeUnknown extends Error {
  override readonly name = 'OutcomeUnknown'
  readonly requestKey: string

  constructor(call: string, requestKey: string, cause: unknown) {
    super(`${call} was sent, but whether it took effect is unknown (request key ${requestKey}): ${sayCause(cause)}`, {
      cause,
    })
    this.requestKey = requestKey
  }
}

/** No server could be reached, however often it was tried. A mutating call with this error has not taken effect. */
export class ServerUnreachable extends Error {
  override readonly name = 'ServerUnreachable'
  readonly urls: readonly string[]

  constructor(urls: readonly string[], cause: unknown) {
    super(`no server answers at ${urls.join(', ')}: ${sayCause(cause)}`, { cause })
    this.urls = urls
  }
}

/** A token was made and the answer with its secret was lost: delete the token `id`, and make another. */
export class SecretLost extends Error {
  override readonly name = 'SecretLost'
  readonly app: string
  readonly id: number

  constructor(app: string, id: number) {
    super(`token ${id} of app "${app}" was made, but the only answer with its secret was lost; delete it, make another`)
    this.app = app
    this.id = id
  }
}

/** The run has ended, but not with success. */
export class RunFailed extends Error {
  override readonly name = 'RunFailed'
  readonly state: RunState
  readonly error: RunError | null
  readonly run: RunDetail

  constructor(run: RunDetail) {
    const why = run.error === null ? '' : `: ${run.error.code}: ${run.error.message}`
    super(`run ${run.id} of job "${run.job}" ${run.state === 'failed' ? 'failed' : `was ${run.state}`}${why}`)
    this.state = run.state
    this.error = run.error
    this.run = run
  }
}

/** The time given to `result` is over and the run goes on. */
export class RunNotEnded extends Error {
  override readonly name = 'RunNotEnded'
  readonly run: RunDetail

  constructor(run: RunDetail, timeoutMs: number) {
    super(`run ${run.id} of job "${run.job}" is still ${run.state} after ${timeoutMs} ms`)
    this.run = run
  }
}

const sayCause = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
