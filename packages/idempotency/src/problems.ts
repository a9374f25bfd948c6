// Every way to say no: slug, status and words in one table (RFC 9457 documents).

interface ProblemKind {
  readonly status: number
  readonly title: string
  /** Seconds; never 0, some clients would resend at once. */
  readonly retryAfterSeconds?: number
}

/** The refusals of this package. The slug ends the address in `type`. */
export const problems = {
  'once-token-required': { status: 428, title: 'A one-time token is required' },
  'once-token-invalid': { status: 400, title: 'The one-time token was not issued here' },
  'once-token-mismatch': { status: 403, title: 'The one-time token belongs to another account or operation' },
  'once-token-expired': { status: 410, title: 'The one-time token has expired' },
  'once-token-used': { status: 409, title: 'The one-time token was used before' },
  'once-token-reused': { status: 422, title: 'The one-time token was used for a different request' },
  'once-token-in-progress': { status: 409, title: 'A request with this token is being handled', retryAfterSeconds: 1 },
  'once-token-account-required': { status: 401, title: 'The request names no account' },
  'once-token-operation-unknown': { status: 400, title: 'No tokens are issued for this operation' },
  'once-token-limit': { status: 429, title: 'Too many one-time tokens for this account' },
  'once-token-store-unavailable': {
    status: 503,
    title: 'The store of one-time tokens cannot be reached',
    retryAfterSeconds: 2,
  },
  'idempotency-key-required': { status: 400, title: 'An Idempotency-Key is required' },
  'idempotency-key-invalid': { status: 400, title: 'The Idempotency-Key is not valid' },
  'idempotency-key-expired': {
    status: 422,
    title: 'The Idempotency-Key is too old to tell what became of its request',
  },
  'idempotency-key-reused': { status: 422, title: 'The Idempotency-Key was used for a different request' },
  'idempotency-in-progress': { status: 409, title: 'A request with this key is being handled', retryAfterSeconds: 1 },
  'idempotency-answer-not-kept': { status: 409, title: 'The request was handled, its answer was not kept' },
  'idempotency-scope-required': { status: 401, title: 'The request names no account' },
  'idempotency-store-unavailable': {
    status: 503,
    title: 'The store of request keys cannot be reached',
    retryAfterSeconds: 2,
  },
  'body-too-deep': { status: 400, title: 'The body is nested too deeply' },
  'request-time-required': { status: 400, title: 'The request does not say when it was made' },
  'request-time-invalid': { status: 400, title: 'The time of the request cannot be read' },
  'request-too-old': { status: 400, title: 'The request was made too long ago' },
  'request-too-early': { status: 400, title: 'The request was made too far in the future' },
} as const satisfies Record<string, ProblemKind>

export type ProblemSlug = keyof typeof problems

/** A refusal: which one, and what to add to its document. */
export interface Problem {
  readonly slug: ProblemSlug
  readonly detail?: string
  readonly retryAfterSeconds?: number
  /** Further members of the document. */
  readonly members?: Readonly<Record<string, unknown>>
}

/** A refusal that is thrown, by calls outside a middleware. */
export class IdempotencyRefusal extends Error {
  override readonly name = 'IdempotencyRefusal'
  readonly problem: Problem
  /** Fastify and Express read it when nobody else handles the error. */
  readonly statusCode: number

  constructor(problem: Problem) {
    const { status, title } = problems[problem.slug]
    super(problem.detail ?? title)
    this.problem = problem
    this.statusCode = status
  }
}

export const problemType = 'application/problem+json'

/** An answer as status, headers and text, ready to be sent. */
export interface ProblemAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** The document of a refusal. `instance` is the id of the request. */
export const problemAnswer = (problem: Problem, instance: string | undefined): ProblemAnswer => {
  const kind: ProblemKind = problems[problem.slug]
  const retryAfterSeconds = problem.retryAfterSeconds ?? kind.retryAfterSeconds
  const document = {
    type: `https://oncejob.dev/problems/${problem.slug}`,
    title: kind.title,
    status: kind.status,
    ...(problem.detail === undefined ? {} : { detail: problem.detail }),
    ...(instance === undefined ? {} : { instance }),
    ...problem.members,
  }
  return {
    status: kind.status,
    headers: {
      'content-type': problemType,
      'cache-control': 'no-store',
      ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterSeconds))) }),
    },
    body: JSON.stringify(document),
  }
}
