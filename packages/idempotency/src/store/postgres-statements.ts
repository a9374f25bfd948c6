// The statements of the PostgreSQL store, shared by the store and by the transactional mode. One function each.
import type { PgQueryable } from './postgres-client.ts'
import { bytesOf, firstRow, numberOf, textOf, textsOf } from './postgres-client.ts'
import type {
  Answer,
  ClaimOutcome,
  ClaimRequest,
  CompleteRequest,
  IssueRequest,
  RecordKey,
  RecordState,
} from './store.ts'

/** Milliseconds since 1970 instead of the database's clock; null in production. */
export type NowMs = number | null

// clock_timestamp(), not now(): a statement that waited for a lock must judge by the time at which it goes on.
const now = (parameter: string): string => `coalesce(to_timestamp(${parameter}::float8 / 1000), clock_timestamp())`

const ms = (column: string): string => `(extract(epoch FROM ${column}) * 1000)::float8`

/** Makes an unused token where the limits allow it. No row: it exists. */
export const insertToken = async (db: PgQueryable, { key, bind, ttlMs }: IssueRequest, nowMs: NowMs) => {
  const { rows } = await db.query(
    `INSERT INTO oncejob_idempotency AS r (scope, id, issued, bind, state, created_at, expires_at)
     SELECT $1, $2, true, $3, 'new', at, at + $4::float8 * interval '1 ms' FROM (SELECT ${now('$5')} AS at) AS clock
     ON CONFLICT (scope, id) DO NOTHING
     RETURNING ${ms('r.expires_at')} AS expires_at_ms`,
    [key.scope, key.id, bind, ttlMs, nowMs],
  )
  return numberOf(firstRow(rows)?.['expires_at_ms'])
}

/** How much of its limits an account has used, and when the next token is free. */
export const countTokens = async (db: PgQueryable, scope: string, rateWindowMs: number, nowMs: NowMs) => {
  const { rows } = await db.query(
    `SELECT count(*) FILTER (WHERE created_at > at - $2::float8 * interval '1 ms') AS recent,
            count(*) FILTER (WHERE state = 'new' AND expires_at > at) AS unused,
            ${ms(`min(created_at) FILTER (WHERE created_at > at - $2::float8 * interval '1 ms') - min(at)`)} + $2::float8 AS rate_wait_ms,
            ${ms(`min(expires_at) FILTER (WHERE state = 'new' AND expires_at > at) - min(at)`)} AS unused_wait_ms
       FROM oncejob_idempotency, (SELECT ${now('$3')} AS at) AS clock
      WHERE scope = $1 AND issued`,
    [scope, rateWindowMs, nowMs],
  )
  const row = firstRow(rows)
  return {
    recent: numberOf(row?.['recent']) ?? 0,
    unused: numberOf(row?.['unused']) ?? 0,
    rateWaitMs: numberOf(row?.['rate_wait_ms']) ?? 0,
    unusedWaitMs: numberOf(row?.['unused_wait_ms']) ?? 0,
  }
}

/** Claims a record that is new, or whose owner has not been heard of. The WHERE decides under the row's lock. */
export const claimExisting = async (db: PgQueryable, request: ClaimRequest, nowMs: NowMs) => {
  const { rows } = await db.query(
    `UPDATE oncejob_idempotency AS r
        SET state = $5, owner = $4, fingerprint = $6, request_id = $7,
            lease_until = ${now('$10')} + $8::float8 * interval '1 ms'
       FROM (SELECT scope, id, state FROM oncejob_idempotency WHERE scope = $1 AND id = $2 FOR UPDATE) AS before
      WHERE r.scope = before.scope AND r.id = before.id AND r.bind = $3 AND r.expires_at > ${now('$10')}
        AND (r.state = 'new'
             OR (r.state = 'claimed' AND $9::boolean AND r.fingerprint = $6 AND r.lease_until <= ${now('$10')}))
     RETURNING before.state AS before_state, ${ms('r.expires_at')} AS expires_at_ms`,
    [
      request.key.scope,
      request.key.id,
      request.bind,
      request.owner,
      request.to,
      request.fingerprint,
      request.requestId ?? null,
      request.leaseMs,
      request.takeOver,
      nowMs,
    ],
  )
  const row = firstRow(rows)
  if (row === undefined) return undefined
  return { expiresAtMs: numberOf(row['expires_at_ms']) ?? 0, takenOver: row['before_state'] === 'claimed' }
}

/** Makes a request key as claimed, over an expired one too. No row: somebody was first. */
export const claimCreating = async (db: PgQueryable, request: ClaimRequest, nowMs: NowMs) => {
  const { rows } = await db.query(
    `INSERT INTO oncejob_idempotency AS r
            (scope, id, issued, bind, state, owner, fingerprint, request_id, lease_until, created_at, expires_at)
     SELECT $1, $2, false, $3, $5, $4, $6, $7, at + $8::float8 * interval '1 ms', at, at + $9::float8 * interval '1 ms'
       FROM (SELECT ${now('$10')} AS at) AS clock
     ON CONFLICT (scope, id) DO UPDATE
        SET issued = false, bind = excluded.bind, state = excluded.state, owner = excluded.owner,
            fingerprint = excluded.fingerprint, request_id = excluded.request_id, lease_until = excluded.lease_until,
            status = NULL, headers = NULL, body = NULL, created_at = excluded.created_at, expires_at = excluded.expires_at
      WHERE r.expires_at <= ${now('$10')}
     RETURNING ${ms('r.expires_at')} AS expires_at_ms`,
    [
      request.key.scope,
      request.key.id,
      request.bind,
      request.owner,
      request.to,
      request.fingerprint,
      request.requestId ?? null,
      request.leaseMs,
      request.createTtlMs,
      nowMs,
    ],
  )
  return numberOf(firstRow(rows)?.['expires_at_ms'])
}

const answerOf = (row: Readonly<Record<string, unknown>>): Answer | undefined => {
  const body = bytesOf(row['body'])
  return body === undefined ? undefined : { status: Number(row['status']), headers: textsOf(row['headers']), body }
}

const selectRecord = async (db: PgQueryable, key: RecordKey, nowMs: NowMs) => {
  const { rows } = await db.query(
    `SELECT bind, state, fingerprint, request_id, status, headers, body, ${ms('expires_at')} AS expires_at_ms,
            expires_at <= ${now('$3')} AS expired
       FROM oncejob_idempotency WHERE scope = $1 AND id = $2`,
    [key.scope, key.id, nowMs],
  )
  return firstRow(rows)
}

/** Why a claim got no row. A statement of its own: the snapshot of the claim is older than the winner. */
export const explainRefusal = async (db: PgQueryable, request: ClaimRequest, nowMs: NowMs): Promise<ClaimOutcome> => {
  const row = await selectRecord(db, request.key, nowMs)
  if (row === undefined) return { kind: 'absent' }
  if (row['bind'] !== request.bind) return { kind: 'mismatch' }
  if (row['expired'] === true) return { kind: 'expired' }
  const first = {
    requestId: textOf(row['request_id']),
    fingerprint: textOf(row['fingerprint']) ?? '',
    expiresAtMs: numberOf(row['expires_at_ms']) ?? 0,
  }
  // Given back between the two statements: as good as busy, the caller may try again.
  if (row['state'] === 'new') return { kind: 'busy', ...first }
  if (first.fingerprint !== request.fingerprint) return { kind: 'reused', ...first }
  if (row['state'] === 'claimed') return { kind: 'busy', ...first }
  return { kind: 'done', status: numberOf(row['status']), answer: answerOf(row), ...first }
}

/** Finishes a claim; guarded by its owner. */
export const completeClaim = async (
  db: PgQueryable,
  request: CompleteRequest,
  from: 'claimed' | 'done',
  nowMs: NowMs,
) => {
  const { key, owner, status, answer, ttlMs } = request
  const { rowCount } = await db.query(
    `UPDATE oncejob_idempotency
        SET state = 'done', status = $4, headers = $5::jsonb, body = $6,
            expires_at = greatest(expires_at, ${now('$8')} + $7::float8 * interval '1 ms')
      WHERE scope = $1 AND id = $2 AND owner = $3 AND state = $9`,
    [
      key.scope,
      key.id,
      owner,
      status,
      answer === undefined ? null : JSON.stringify(answer.headers),
      answer === undefined ? null : Buffer.from(answer.body),
      ttlMs,
      nowMs,
      from,
    ],
  )
  return rowCount === 1
}

/** Makes a claimed token new again. */
export const releaseToken = async (db: PgQueryable, key: RecordKey, owner: string) => {
  const { rowCount } = await db.query(
    `UPDATE oncejob_idempotency SET state = 'new', owner = NULL, lease_until = NULL, fingerprint = NULL, request_id = NULL
      WHERE scope = $1 AND id = $2 AND owner = $3 AND state = 'claimed' AND issued`,
    [key.scope, key.id, owner],
  )
  return rowCount === 1
}

/** Removes a claimed request key. */
export const deleteRequestKey = async (db: PgQueryable, key: RecordKey, owner: string) => {
  const { rowCount } = await db.query(
    `DELETE FROM oncejob_idempotency WHERE scope = $1 AND id = $2 AND owner = $3 AND state = 'claimed' AND NOT issued`,
    [key.scope, key.id, owner],
  )
  return rowCount === 1
}

export const extendLease = async (db: PgQueryable, key: RecordKey, owner: string, leaseMs: number, nowMs: NowMs) => {
  const { rowCount } = await db.query(
    `UPDATE oncejob_idempotency SET lease_until = ${now('$5')} + $4::float8 * interval '1 ms'
      WHERE scope = $1 AND id = $2 AND owner = $3 AND state = 'claimed'`,
    [key.scope, key.id, owner, leaseMs, nowMs],
  )
  return rowCount === 1
}

export const readRecord = async (db: PgQueryable, key: RecordKey, nowMs: NowMs): Promise<RecordState | undefined> => {
  const row = await selectRecord(db, key, nowMs)
  const state = row?.['state']
  if (row === undefined || row['expired'] === true) return undefined
  if (state !== 'new' && state !== 'claimed' && state !== 'done') return undefined
  return {
    state,
    status: numberOf(row['status']),
    answer: answerOf(row),
    requestId: textOf(row['request_id']),
    expiresAtMs: numberOf(row['expires_at_ms']) ?? 0,
  }
}

/**
 * Removes up to `batch` expired rows that nobody else is removing. What somebody is working on stays, and tokens stay as long
 * as the limit per minute counts them.
 */
export const deleteExpired = async (db: PgQueryable, batch: number, nowMs: NowMs): Promise<number> => {
  const { rowCount } = await db.query(
    `DELETE FROM oncejob_idempotency AS r
      USING (SELECT scope, id
               FROM oncejob_idempotency, (SELECT coalesce(to_timestamp($2::float8 / 1000), now()) AS at) AS clock
              WHERE expires_at <= at AND (NOT issued OR created_at <= at - interval '1 minute')
                AND (state <> 'claimed' OR lease_until <= at)
              ORDER BY expires_at LIMIT $1
                FOR UPDATE OF oncejob_idempotency SKIP LOCKED) AS old
      WHERE r.scope = old.scope AND r.id = old.id`,
    [batch, nowMs],
  )
  return rowCount ?? 0
}
