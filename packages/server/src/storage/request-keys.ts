// Table request_key: one row per (app, key), committed together with the effect of the call and its answer (I1).
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

/** Identity of a call. `appId` is 0 for calls that concern no app. */
export interface RequestKey {
  readonly appId: number
  readonly key: string
  /** What the call asks for; see requests/fingerprint.ts. */
  readonly fingerprint: string
  readonly requestId: string
  /** Method and pattern of the route, e.g. `POST /api/v1/jobs`. */
  readonly route: string
}

/** What was answered to the first call. `headers` is JSON text. */
export interface StoredAnswer {
  readonly status: number
  readonly headers: string
  readonly body: string | null
}

/** True for the one transaction at a time that may go on with this key; the others should wait without a connection. */
export const lockKey = async (tx: Queries, key: RequestKey): Promise<boolean> => {
  const rows = await tx.query<{ mine: boolean }>(
    sql`select pg_try_advisory_xact_lock(hashtextextended(${key.key}, ${key.appId})) as mine`,
    { name: 'lock_key' },
  )
  return rows[0]?.mine === true
}

/** Takes the key for this call. False: there is a row already. The primary key is the arbiter. */
export const insertKey = async (tx: Queries, key: RequestKey, windowMs: number): Promise<boolean> => {
  const rows = await tx.query<{ app_id: number }>(
    sql`
insert into oncejob.request_key (app_id, key, fingerprint, request_id, route, status, headers, expires_at)
values (${key.appId}, ${key.key}, ${key.fingerprint}, ${key.requestId}, ${key.route}, 0, '{}',
  now() + ${windowMs}::bigint * interval '1 ms')
on conflict do nothing returning app_id`,
    { name: 'insert_key' },
  )
  return rows.length === 1
}

/** Stores the answer of the call that took the key, in the same transaction. */
export const storeAnswer = async (tx: Queries, key: RequestKey, answer: StoredAnswer): Promise<void> => {
  await tx.query(
    sql`
update oncejob.request_key set status = ${answer.status}, headers = ${answer.headers}, body = ${answer.body}
where app_id = ${key.appId} and key = ${key.key}`,
    { name: 'store_answer' },
  )
}

export interface KnownKey extends StoredAnswer {
  readonly key: string
  readonly app_id: number
  readonly fingerprint: string
  readonly request_id: string
  readonly route: string
  readonly created_at: Date
  readonly expires_at: Date
}

/** The rows of these keys that are there. */
export const findKeys = (
  queries: Queries,
  keys: readonly { readonly appId: number; readonly key: string }[],
): Promise<KnownKey[]> =>
  queries.query<KnownKey>(
    sql`
select k.key, k.app_id, k.fingerprint, k.request_id, k.route, k.status::int as status, k.headers, k.body, k.created_at, k.expires_at
from unnest(${keys.map((k) => k.appId)}::bigint[], ${keys.map((k) => k.key)}::text[]) as i(app_id, key)
join oncejob.request_key k on k.app_id = i.app_id and k.key = i.key`,
    { name: 'find_keys' },
  )

/** Removes keys whose window is over, at most `limit`; returns how many. Every server does it, no leader is needed. */
export const sweepKeys = async (queries: Queries, limit: number): Promise<number> => {
  const rows = await queries.query<{ key: string }>(sql`
delete from oncejob.request_key k using (
  select app_id, key from oncejob.request_key where expires_at < now() order by expires_at limit ${limit} for update skip locked
) old where k.app_id = old.app_id and k.key = old.key returning k.key`)
  return rows.length
}
