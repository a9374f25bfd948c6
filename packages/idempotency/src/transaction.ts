// PostgreSQL's transactional mode: the token or key and the user's own writes commit together. The only mode that is exactly once.
import { randomUUID } from 'node:crypto'
import { kindOfAnswer, longestBody } from './guard/answers.ts'
import { firstAnswer, type Denied } from './guard/guard.ts'
import type { KeyUse } from './guard/key-guard.ts'
import { keyProblem } from './guard/key-guard.ts'
import type { TokenUse } from './guard/token-guard.ts'
import { tokenProblem } from './guard/token-guard.ts'
import type { Problem } from './problems.ts'
import { IdempotencyRefusal } from './problems.ts'
import type { PgQueryable } from './store/postgres-client.ts'
import * as statements from './store/postgres-statements.ts'
import type { Answer, ClaimOutcome, ClaimRequest } from './store/store.ts'

/** What the work answers: JSON from `body`, or text or bytes as they are. */
export interface WorkAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** The answer to send, the same bytes for the first call and for every repeat. */
export interface TransactionAnswer extends Answer {
  /** To be sent as well; marks a repeat. */
  readonly marks: Readonly<Record<string, string>>
  readonly replayed: boolean
}

export interface TransactionOptions {
  /** How long a repeat waits for the first, which holds the row's lock; default 2 s. */
  readonly lockWaitMs?: number
}

const lockNotAvailable = '55P03'

const hasCode = (error: unknown, code: string): boolean =>
  typeof error === 'object' && error !== null && 'code' in error && error.code === code

const bytesOf = (body: unknown): Uint8Array => {
  if (body === undefined) return new Uint8Array()
  if (body instanceof Uint8Array) return body
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
}

const answerOf = ({ status, headers, body }: WorkAnswer): Answer => {
  const given = Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value] as const)
  const isJson = body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array)
  const type = isJson ? { 'content-type': 'application/json; charset=utf-8' } : {}
  return { status, headers: { ...type, ...Object.fromEntries(given) }, body: bytesOf(body) }
}

/** The work decided not to have done anything: its answer goes out, its writes do not. */
class RolledBack extends Error {
  readonly answer: Answer
  constructor(answer: Answer) {
    super('the work answered with a failure')
    this.answer = answer
  }
}

interface Mode {
  readonly creates: boolean
  /** Whether a repeat gets the first answer. */
  readonly replays: boolean
  readonly problemOf: (outcome: Denied) => Problem
  readonly inProgress: Problem
  readonly lockWaitMs: number
}

const claimInside = async (client: PgQueryable, request: ClaimRequest): Promise<ClaimOutcome> => {
  if (request.createTtlMs !== undefined) {
    const expiresAtMs = await statements.claimCreating(client, request, null)
    if (expiresAtMs !== undefined) return { kind: 'claimed', expiresAtMs, takenOver: false }
  } else {
    const claimed = await statements.claimExisting(client, request, null)
    if (claimed !== undefined) return { kind: 'claimed', ...claimed }
  }
  return statements.explainRefusal(client, request, null)
}

const runInside = async <Client extends PgQueryable>(
  client: Client,
  use: TokenUse | KeyUse,
  mode: Mode,
  work: (client: Client) => Promise<WorkAnswer>,
): Promise<TransactionAnswer> => {
  const owner = randomUUID()
  const outcome = await claimInside(client, {
    key: use.key,
    bind: use.bind,
    owner,
    fingerprint: use.fingerprint,
    leaseMs: 0,
    takeOver: false,
    createTtlMs: mode.creates ? use.ttlMs : undefined,
    // Used up at once: nobody sees it before the commit, and a crash undoes it.
    to: 'done',
    requestId: use.requestId,
  })
  if (outcome.kind !== 'claimed') {
    const first = mode.replays ? firstAnswer(outcome) : undefined
    if (first === undefined) throw new IdempotencyRefusal(mode.problemOf(outcome))
    return { ...first.answer, marks: first.headers, replayed: true }
  }
  const answer = answerOf(await work(client))
  if (kindOfAnswer(answer.status) !== 'outcome') throw new RolledBack(answer)
  const kept = answer.body.byteLength > longestBody ? undefined : answer
  const stored = await statements.completeClaim(
    client,
    { key: use.key, owner, status: answer.status, answer: kept, ttlMs: use.ttlMs },
    'done',
    null,
  )
  if (!stored) throw new Error('the record vanished inside the transaction')
  return { ...answer, marks: {}, replayed: false }
}

const inTransaction = async <Client extends PgQueryable>(
  client: Client,
  use: TokenUse | KeyUse,
  mode: Mode,
  work: (client: Client) => Promise<WorkAnswer>,
): Promise<TransactionAnswer> => {
  await client.query('BEGIN')
  try {
    await client.query(`SET LOCAL lock_timeout = ${Math.max(1, Math.ceil(mode.lockWaitMs))}`)
    const answer = await runInside(client, use, mode, work)
    await client.query('COMMIT')
    return answer
  } catch (error) {
    // On a broken connection there is nothing to roll back; the first error is the one that matters.
    await client.query('ROLLBACK').catch(() => undefined)
    if (error instanceof RolledBack) return { ...error.answer, marks: {}, replayed: false }
    if (hasCode(error, lockNotAvailable)) throw new IdempotencyRefusal(mode.inProgress)
    throw error
  }
}

/**
 * Uses a token up and runs the work in one transaction. The table of the PostgreSQL store must be in the same database.
 * Does BEGIN and COMMIT itself; an error of the work, and an answer of 400, 401, 403, 412, 428, 429 or 5xx, roll back and
 * leave the token usable. A repeat gets the stored answer.
 *
 * @param client a `pg` client that is in no transaction
 * @param token what the middleware put on the request as `onceToken`
 * @param work does the writes through `client` and says what to answer
 * @throws IdempotencyRefusal when the token is used, expired, or in use by somebody else
 */
export const withOnceToken = <Client extends PgQueryable>(
  client: Client,
  token: TokenUse,
  work: (client: Client) => Promise<WorkAnswer>,
  { lockWaitMs = 2_000 }: TransactionOptions = {},
): Promise<TransactionAnswer> =>
  inTransaction(
    client,
    token,
    {
      creates: false,
      replays: token.mode === 'replay',
      problemOf: tokenProblem,
      inProgress: { slug: 'once-token-in-progress' },
      lockWaitMs,
    },
    work,
  )

/**
 * As `withOnceToken`, for a request key.
 *
 * @param key what the middleware put on the request as `requestKey`
 * @throws IdempotencyRefusal when the key belongs to another request, or one that is not finished
 */
export const withRequestKey = <Client extends PgQueryable>(
  client: Client,
  key: KeyUse,
  work: (client: Client) => Promise<WorkAnswer>,
  { lockWaitMs = 2_000 }: TransactionOptions = {},
): Promise<TransactionAnswer> =>
  inTransaction(
    client,
    key,
    {
      creates: true,
      replays: true,
      problemOf: (outcome) => keyProblem(outcome, key.fingerprint),
      inProgress: { slug: 'idempotency-in-progress' },
      lockWaitMs,
    },
    work,
  )
