// Tables legacy_path, legacy_token, legacy_attempt: evidence of calls that PowerJob clients send again (contract 3b).
// Times are the database's; tokens and attempts are compared in milliseconds, rounded the same way.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

/** Space of the advisory locks by which living servers are known; see `hold` of the database. */
export const serverLockSpace = 7_312_010

/** Text of the request key of an attempt. No caller's key has a blank, so they never meet. */
export const attemptKey = (id: number): string => `powerjob attempt ${id}`

/** Takes the next thousand numbers for attempts; returns the first of them. */
export const takeAttemptIds = async (queries: Queries): Promise<number> => {
  const [row] = await queries.query<{ block: number }>(sql`select nextval('oncejob.legacy_attempt_block_seq') as block`)
  return (row?.block ?? 0) * 1_000
}

/** What is known after a token was issued. */
export interface IssuedToken {
  /** Answers are thrown away on the path. */
  readonly doubled: boolean
  /** It was seen now, by the tokens of a constructor that did not recognise the answer to its own. */
  readonly seenNow: boolean
}

/**
 * Notes a new token, and that the presented one was used on /authApp. A constructor that recognises our header asks for one
 * token and uses it on /authApp; one that does not begins anew, so a second token is used there whose predecessor was used for nothing else.
 */
export const issueToken = async (
  queries: Queries,
  token: {
    readonly jti: string
    readonly pathKey: string
    readonly appId: number
    readonly presented: string | null
    readonly withinMs: number
  },
): Promise<IssuedToken> => {
  const { jti, pathKey, appId, presented, withinMs } = token
  const [row] = await queries.query<IssuedToken>(
    sql`
with presented as (
  update oncejob.legacy_token set used_at = coalesce(used_at, clock_timestamp()), on_auth_at = coalesce(on_auth_at, clock_timestamp())
  where jti = ${presented}::text returning jti, issued_at
), issued as (
  insert into oncejob.legacy_token (jti, path_key) values (${jti}, ${pathKey}) on conflict do nothing
), seen as (
  select from presented p where exists (
    select from oncejob.legacy_token t
    where t.path_key = ${pathKey} and t.called_at is null and t.jti <> p.jti
      and t.on_auth_at <= p.issued_at and t.on_auth_at > p.issued_at - ${withinMs}::bigint * interval '1 ms')
), noted as (
  insert into oncejob.legacy_path (path_key, app_id) select ${pathKey}, ${appId}::bigint from seen
  on conflict (path_key) do update set doubled_at = excluded.doubled_at
  where legacy_path.doubled_at < excluded.doubled_at - interval '1 hour'
)
select exists (select from seen) as "seenNow",
  exists (select from seen) or exists (select from oncejob.legacy_path where path_key = ${pathKey}) as "doubled"`,
    { name: 'legacy_issue_token' },
  )
  return row ?? { doubled: false, seenNow: false }
}

/** `first`: this is the first use of the token. A token that is not known (any more) counts as used. */
export interface TouchedToken {
  readonly first: boolean
  readonly issuedAtMs: number
  readonly doubled: boolean
}

/** Notes that a token is used on a call, and tells whether it is the first use; of two at once one is. */
export const touchToken = async (queries: Queries, jti: string, pathKey: string): Promise<TouchedToken> => {
  const [row] = await queries.query<TouchedToken>(
    sql`
with token as (
  select jti, used_at is null as unused from oncejob.legacy_token where jti = ${jti} for update
), touched as (
  update oncejob.legacy_token t
  set used_at = coalesce(t.used_at, clock_timestamp()), called_at = coalesce(t.called_at, clock_timestamp())
  from token where t.jti = token.jti returning token.unused, t.issued_at
)
select coalesce(bool_or(unused), false) as "first",
  coalesce(max(extract(epoch from issued_at) * 1000), 0)::float8 as "issuedAtMs",
  exists (select from oncejob.legacy_path where path_key = ${pathKey}) as "doubled"
from touched`,
    { name: 'legacy_touch_token' },
  )
  return row ?? { first: false, issuedAtMs: 0, doubled: false }
}

/** The paths on which answers are thrown away, the latest first. */
export const listDoubledPaths = async (queries: Queries, limit: number): Promise<string[]> => {
  const rows = await queries.query<{ path_key: string }>(
    sql`select path_key from oncejob.legacy_path order by doubled_at desc limit ${limit}`,
    { name: 'legacy_paths' },
  )
  return rows.map((row) => row.path_key)
}

/** An execution that begins, or evidence. */
export interface NewAttempt {
  readonly id: number
  readonly appId: number
  readonly pathKey: string | null
  readonly fingerprint: string
  readonly jti: string | null
  readonly match: string
  readonly server: number
  readonly under: number
  readonly outcome: 'started' | 'rejected' | 'collapsed' | 'read'
  readonly firstUse: boolean
  readonly forced: boolean
  readonly owes: boolean
}

/** An earlier attempt of another server that a new one may repeat. */
export interface Earlier {
  /** Place of the new one in the input. */
  readonly ord: number
  readonly id: number
}

/** Notes attempts before they are executed; returns what is like them on other servers and may not have been answered. */
export const openAttempts = (queries: Queries, attempts: readonly NewAttempt[]): Promise<Earlier[]> =>
  queries.query<Earlier>(
    sql`
with i as (
  select * from unnest(
    ${attempts.map((_, ord) => ord)}::int[], ${attempts.map((a) => a.id)}::bigint[], ${attempts.map((a) => a.appId)}::bigint[],
    ${attempts.map((a) => a.pathKey)}::text[], ${attempts.map((a) => a.fingerprint)}::text[], ${attempts.map((a) => a.jti)}::text[],
    ${attempts.map((a) => a.match)}::text[], ${attempts.map((a) => a.server)}::int[], ${attempts.map((a) => a.under)}::bigint[],
    ${attempts.map((a) => a.outcome)}::text[], ${attempts.map((a) => a.firstUse)}::boolean[],
    ${attempts.map((a) => a.forced)}::boolean[], ${attempts.map((a) => a.owes)}::boolean[]
  ) as t(ord, id, app_id, path_key, fingerprint, jti, match, server, under, outcome, first_use, forced, owes)
), opened as (
  insert into oncejob.legacy_attempt
    (id, app_id, path_key, fingerprint, jti, match, server, under, outcome, first_use, forced, owes)
  select id, app_id, path_key, fingerprint, jti, match, server, under, outcome, first_use, forced, owes from i
)
select i.ord, a.id from i
join oncejob.legacy_attempt a on a.match = i.match and a.server <> i.server and a.resent_at is null
  and (a.undelivered_at > clock_timestamp() - interval '5 s'
    or a.undelivered_at is null and a.answered_at is null and a.started_at > clock_timestamp() - interval '10 s')
where i.outcome = 'started' and a.outcome in ('started', 'broken', 'collapsed')`,
    { name: 'legacy_open_attempts' },
  )

/** How an attempt of another server stands. */
export interface Standing {
  readonly id: number
  /** Its answer did not get out: the connection was lost before, or the server died before. */
  readonly undelivered: boolean
  readonly ageMs: number
}

/** How these attempts stand; those that were answered or repeated already are left out. */
export const standingOf = (queries: Queries, ids: readonly number[]): Promise<Standing[]> =>
  queries.query<Standing>(
    sql`
select a.id, a.undelivered_at is not null or a.server <> 0 and not exists (
    select from pg_locks l
    where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
      and l.classid = ${serverLockSpace}::bigint::oid and l.objid = a.server::bigint::oid and l.objsubid = 2 and l.granted
  ) as "undelivered", (extract(epoch from clock_timestamp() - a.started_at) * 1000)::float8 as "ageMs"
from oncejob.legacy_attempt a
where a.id = any(${ids}::bigint[]) and a.resent_at is null and (a.answered_at is null or a.undelivered_at is not null)
order by a.id`,
    { name: 'legacy_standing' },
  )

/** Makes `id` the one that repeats `earlier`; returns under whose key it runs. Undefined: another one repeats it already. */
export const repeatAttempt = async (queries: Queries, earlier: number, id: number): Promise<number | undefined> => {
  const [row] = await queries.query<{ under: number }>(
    sql`
with taken as (
  update oncejob.legacy_attempt set resent_at = clock_timestamp() where id = ${earlier} and resent_at is null returning under
)
update oncejob.legacy_attempt a set under = taken.under from taken where a.id = ${id} returning a.under`,
    { name: 'legacy_repeat' },
  )
  return row?.under
}

/**
 * Notes that the answers of these attempts are about to be sent. It does not wait for the disk: it is needed when a server
 * dies, and when the database goes down with it everything that was under way does too.
 */
export const markAnswered = async (queries: Queries, ids: readonly number[]): Promise<void> => {
  await queries.query(
    sql`
with quick as (select set_config('synchronous_commit', 'off', true))
update oncejob.legacy_attempt set answered_at = clock_timestamp() from quick where id = any(${ids}::bigint[])`,
    { name: 'legacy_answered' },
  )
}

/** Notes that the answers of these attempts did not get out. */
export const markUndelivered = async (queries: Queries, ids: readonly number[]): Promise<void> => {
  await queries.query(
    sql`update oncejob.legacy_attempt set undelivered_at = clock_timestamp() where id = any(${ids}::bigint[])`,
    { name: 'legacy_undelivered' },
  )
}

/** Notes that an attempt came to nothing, unless it did take effect: then a later look finds its key. */
export const markFailed = async (
  queries: Queries,
  attempt: { readonly id: number; readonly how: 'refused' | 'broken'; readonly owes: boolean },
): Promise<void> => {
  const { id, how, owes } = attempt
  await queries.query(
    sql`
update oncejob.legacy_attempt a set outcome = ${how}, failed_at = clock_timestamp(), owes = ${owes}::boolean and not exists (
  select from oncejob.request_key k where k.app_id = a.app_id and k.key = 'powerjob attempt ' || a.under)
where id = ${id}`,
    { name: 'legacy_failed' },
  )
}

/** One decision at a time per path, until the end of the transaction. */
export const lockPath = async (tx: Queries, pathKey: string): Promise<void> => {
  await tx.query(sql`select pg_advisory_xact_lock(hashtextextended(${pathKey}, 7312010))`, { name: 'legacy_lock_path' })
}

/** How long evidence counts, in ms; see powerjob/resend/first-use.ts. */
export interface Lifetimes {
  readonly candidateMs: number
  readonly firstUseMs: number
  readonly rejectionMs: number
  readonly rejectionDebtMs: number
  readonly failureDebtMs: number
}

export interface Weight {
  readonly budget: number
  readonly debt: number
}

/** Budget of a path and debt of a body. */
export const weighPath = async (
  tx: Queries,
  pathKey: string,
  fingerprint: string,
  lifetimes: Lifetimes,
): Promise<Weight> => {
  const { firstUseMs, rejectionMs, rejectionDebtMs, failureDebtMs } = lifetimes
  const [row] = await tx.query<Weight>(
    sql`
select (
  select count(*) filter (where first_use and started_at > clock_timestamp() - ${firstUseMs}::bigint * interval '1 ms')
    - count(*) filter (where outcome = 'rejected' and explained_at is null)
  from oncejob.legacy_attempt
  where path_key = ${pathKey} and started_at > clock_timestamp() - ${rejectionMs}::bigint * interval '1 ms'
) as "budget", (
  select count(*) from oncejob.legacy_attempt
  where path_key = ${pathKey} and fingerprint = ${fingerprint} and owes and debt_paid_at is null
    and (outcome = 'rejected' and started_at > clock_timestamp() - ${rejectionDebtMs}::bigint * interval '1 ms'
      or failed_at > clock_timestamp() - ${failureDebtMs}::bigint * interval '1 ms')
) as "debt"`,
    { name: 'legacy_weigh' },
  )
  return row ?? { budget: 0, debt: 0 }
}

/** Takes the oldest rejection of a path to explain a first use. False: there is none. */
export const explainFirst = async (tx: Queries, pathKey: string, { rejectionMs }: Lifetimes): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(
    sql`
update oncejob.legacy_attempt set explained_at = clock_timestamp() where id = (
  select id from oncejob.legacy_attempt
  where path_key = ${pathKey} and outcome = 'rejected' and explained_at is null
    and started_at > clock_timestamp() - ${rejectionMs}::bigint * interval '1 ms'
  order by started_at, id limit 1)
returning id`,
    { name: 'legacy_explain' },
  )
  return rows.length > 0
}

/** Spends the newest first use of a path that counts as evidence. */
export const spendFirst = async (tx: Queries, pathKey: string, { firstUseMs }: Lifetimes): Promise<void> => {
  await tx.query(
    sql`
update oncejob.legacy_attempt set first_use = false where id = (
  select id from oncejob.legacy_attempt
  where path_key = ${pathKey} and first_use and started_at > clock_timestamp() - ${firstUseMs}::bigint * interval '1 ms'
  order by started_at desc, id desc limit 1)`,
    { name: 'legacy_spend' },
  )
}

export interface CandidateRow {
  readonly id: number
  readonly fingerprint: string
  readonly jti: string
  readonly doneAtMs: number
}

/** Executions of a body on a path that took effect lately and were not handed out. */
export const candidatesOf = (
  tx: Queries,
  pathKey: string,
  fingerprint: string,
  lifetimes: Lifetimes,
): Promise<CandidateRow[]> =>
  tx.query<CandidateRow>(
    sql`
select a.id, a.fingerprint, a.jti, (extract(epoch from k.created_at) * 1000)::float8 as "doneAtMs"
from oncejob.legacy_attempt a
join oncejob.request_key k on k.app_id = a.app_id and k.key = 'powerjob attempt ' || a.id
where a.path_key = ${pathKey} and a.fingerprint = ${fingerprint} and a.paired_at is null and not a.forced
  and a.jti is not null and a.outcome in ('started', 'broken')
  and a.started_at > clock_timestamp() - interval '1 min'
  and k.created_at > clock_timestamp() - ${lifetimes.candidateMs}::bigint * interval '1 ms'`,
    { name: 'legacy_candidates' },
  )

/** Notes what was decided about an attempt. */
export const decideAttempt = async (
  tx: Queries,
  id: number,
  decided: { readonly outcome: 'started' | 'collapsed'; readonly under: number; readonly forced: boolean },
): Promise<void> => {
  const { outcome, under, forced } = decided
  await tx.query(
    sql`update oncejob.legacy_attempt set outcome = ${outcome}, under = ${under}, forced = ${forced} where id = ${id}`,
    { name: 'legacy_decide' },
  )
}

/** Notes that the answer of an attempt is handed out to a call that repeats it. */
export const pairAttempt = async (tx: Queries, id: number): Promise<void> => {
  await tx.query(sql`update oncejob.legacy_attempt set paired_at = clock_timestamp() where id = ${id}`, {
    name: 'legacy_pair',
  })
}

/** Notes that the oldest debt of a body is paid. */
export const payDebt = async (
  tx: Queries,
  pathKey: string,
  fingerprint: string,
  lifetimes: Lifetimes,
): Promise<void> => {
  const { rejectionDebtMs, failureDebtMs } = lifetimes
  await tx.query(
    sql`
update oncejob.legacy_attempt set debt_paid_at = clock_timestamp() where id = (
  select id from oncejob.legacy_attempt
  where path_key = ${pathKey} and fingerprint = ${fingerprint} and owes and debt_paid_at is null
    and (outcome = 'rejected' and started_at > clock_timestamp() - ${rejectionDebtMs}::bigint * interval '1 ms'
      or failed_at > clock_timestamp() - ${failureDebtMs}::bigint * interval '1 ms')
  order by coalesce(failed_at, started_at), id limit 1)`,
    { name: 'legacy_pay_debt' },
  )
}

/** A path stays known for as long as repeats come over it. */
export const keepPath = async (tx: Queries, pathKey: string): Promise<void> => {
  await tx.query(
    sql`update oncejob.legacy_path set doubled_at = clock_timestamp()
      where path_key = ${pathKey} and doubled_at < clock_timestamp() - interval '1 hour'`,
    { name: 'legacy_keep_path' },
  )
}
