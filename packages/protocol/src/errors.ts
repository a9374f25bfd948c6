// Every refusal OnceJob can give: code, HTTP status, whether to try again, and a sentence.

export interface ErrorSpec {
  /** HTTP status of the answer. */
  readonly status: number
  /**
   * May the caller send the call again? `never`: it will be refused again. `same-key`: yes, with the same
   * request key, after Retry-After. `after-auth`: yes, with a valid token; nothing was executed.
   */
  readonly retry: 'never' | 'same-key' | 'after-auth'
  readonly title: string
}

export const errors = {
  REQUEST_INVALID: { status: 400, retry: 'never', title: 'The request does not fit its schema' },
  BODY_UNREADABLE: { status: 400, retry: 'never', title: 'The body is not valid JSON in UTF-8' },
  IDEMPOTENCY_KEY_INVALID: { status: 400, retry: 'never', title: 'The Idempotency-Key header is malformed' },
  IDEMPOTENCY_KEY_REQUIRED: {
    status: 400,
    retry: 'never',
    title: 'This app takes no change without an Idempotency-Key',
  },
  IDEMPOTENCY_KEY_REUSED: {
    status: 422,
    retry: 'never',
    title: 'The Idempotency-Key was used for a different request',
  },
  IDEMPOTENCY_KEY_EXPIRED: { status: 422, retry: 'never', title: 'The Idempotency-Key is older than its window' },
  IDEMPOTENCY_IN_PROGRESS: {
    status: 409,
    retry: 'same-key',
    title: 'The first request with this key is still under way',
  },
  IDEMPOTENCY_KEY_NOT_FOUND: { status: 404, retry: 'never', title: 'No request with this key is remembered' },
  CURSOR_INVALID: { status: 400, retry: 'never', title: 'The cursor does not belong to this list' },
  SCHEDULE_INVALID: { status: 422, retry: 'never', title: 'The schedule can not be used' },
  JOB_INVALID: { status: 422, retry: 'never', title: 'The job definition contradicts itself' },
  WORKFLOW_INVALID: { status: 422, retry: 'never', title: 'The workflow can not be run like this' },
  TOKEN_MISSING: { status: 401, retry: 'after-auth', title: 'A token is needed' },
  TOKEN_INVALID: { status: 401, retry: 'after-auth', title: 'The token is unknown or was revoked' },
  TOKEN_EXPIRED: { status: 401, retry: 'after-auth', title: 'The token has expired' },
  ADMIN_ONLY: { status: 403, retry: 'never', title: 'Only an admin token may do this' },
  READ_ONLY: { status: 403, retry: 'never', title: 'This token may only read' },
  APP_REQUIRED: { status: 400, retry: 'never', title: 'An admin token must say which app it means' },
  ROUTE_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such route' },
  METHOD_NOT_ALLOWED: { status: 405, retry: 'never', title: 'The route exists, but not with this method' },
  NAMESPACE_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such namespace' },
  APP_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such app' },
  TOKEN_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such token' },
  JOB_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such job' },
  WORKFLOW_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such workflow' },
  WORKFLOW_NODE_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such node of a workflow' },
  RUN_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such run' },
  WORKER_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such worker' },
  CONTAINER_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such container' },
  CONTAINER_IN_USE: { status: 409, retry: 'never', title: 'Jobs load their processor from the container' },
  NAME_TAKEN: { status: 409, retry: 'never', title: 'The name is taken' },
  NAME_AMBIGUOUS: { status: 409, retry: 'never', title: 'Several jobs have this name; use the id' },
  NOT_EMPTY: { status: 409, retry: 'never', title: 'It still contains something' },
  RUN_ENDED: { status: 409, retry: 'never', title: 'The run has already ended' },
  RUN_NOT_ENDED: { status: 409, retry: 'never', title: 'The run has not ended' },
  RUN_RUNNING: { status: 409, retry: 'never', title: 'The run is already running; stop it instead' },
  RUN_NOT_UNKNOWN: { status: 409, retry: 'never', title: 'The outcome of the run is not unknown' },
  RUN_KEY_CONFLICT: { status: 409, retry: 'never', title: 'The run key has a run already' },
  RUN_KEY_INPUT_MISMATCH: { status: 422, retry: 'never', title: 'The run of the key has other params' },
  RUN_KEY_NOT_FOUND: { status: 404, retry: 'never', title: 'The run key is free' },
  RUN_LIMIT: { status: 409, retry: 'never', title: 'The job has as many runs as it allows' },
  VERSION_CONFLICT: { status: 412, retry: 'never', title: 'It was changed by someone else' },
  VERSION_REQUIRED: { status: 428, retry: 'never', title: 'An If-Match header is needed' },
  SESSION_ENDED: { status: 410, retry: 'never', title: 'The worker session has ended; open a new one' },
  LEASE_LOST: { status: 409, retry: 'never', title: 'The lease is not the current one' },
  EFFECT_NOT_BEGUN: { status: 409, retry: 'never', title: 'The run has begun no effect of this name' },
  EFFECT_NOT_FOUND: { status: 404, retry: 'never', title: 'The run has no effect of this name' },
  EFFECT_DONE: { status: 409, retry: 'never', title: 'The effect is recorded as done, and that does not change' },
  EFFECT_OUTCOME_TOO_LARGE: { status: 413, retry: 'never', title: 'The outcome of the effect is too large to be kept' },
  BODY_TOO_LARGE: { status: 413, retry: 'never', title: 'The body is too large' },
  MEDIA_TYPE_UNSUPPORTED: { status: 415, retry: 'never', title: 'Only application/json is understood' },
  SHUTTING_DOWN: { status: 503, retry: 'same-key', title: 'This server is shutting down' },
  DATABASE_UNAVAILABLE: { status: 503, retry: 'same-key', title: 'The database can not be reached' },
  BUG: { status: 500, retry: 'same-key', title: 'Something broke inside the server' },
} as const satisfies Record<string, ErrorSpec>

export type ErrorCode = keyof typeof errors

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errors, code)

/** An expected no. `detail` says what is wrong and what to do; `facts` are further members of the problem document. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: ErrorCode
  readonly facts: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, detail: string, facts: Readonly<Record<string, unknown>> = {}) {
    super(detail)
    this.code = code
    this.facts = facts
  }
}
