// Partitions of run and attempt_log (by id) and of fire (by month): which there are, making more, dropping old ones.
import { invariant } from '../kernel/errors.ts'
import type { Queries } from './db.ts'
import { keepEndsOfRange } from './run-keys.ts'
import { Sql, sql } from './sql.ts'

/** A partition of run, and of attempt_log with the same bounds: ids from `from` up to, not including, `to`. */
export interface IdRange {
  readonly from: number
  readonly to: number
}

/** A month of fires; `from` and `to` are times in PostgreSQL's text form, UTC. */
export interface FireMonth {
  readonly name: string
  readonly from: string
  readonly to: string
}

// One key for whoever makes or drops partitions, so that two servers do not do it at once.
const partitionLock = 7_700_001

const wholeNumber = (value: number): string => {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new Error(`invariant broken: ${value} is no bound of a partition`)
  return String(value)
}
const monthBound = (text: string): string => {
  if (!/^\d{4}-\d\d-01 00:00:00\+00$/.test(text)) throw new Error(`invariant broken: ${text} is no bound of a month`)
  return text
}
const fireName = (name: string): string => {
  if (!/^fire_\d{6}$/.test(name)) throw new Error(`invariant broken: ${name} is no month of fires`)
  return name
}
/** A definition takes no bound values; the parts that vary were checked above. */
const definition = (text: string): Sql => new Sql([text], [])

/**
 * Makes this transaction the only one that changes partitions, and lets nothing in it wait for long:
 * writers queue behind whoever waits for a table's lock.
 * @throws DatabaseError 55P03 from any later statement that would have to wait
 */
export const lockPartitions = async (tx: Queries, waitMs: number): Promise<void> => {
  await tx.query(sql`select set_config('lock_timeout', ${`${waitMs}ms`}::text, true)`)
  await tx.query(sql`select pg_advisory_xact_lock(${partitionLock}::bigint)`)
}

const runPartitions: Sql = sql`
    select bound.parts[1]::bigint as "from", bound.parts[2]::bigint as "to"
      from pg_catalog.pg_inherits link
      join pg_catalog.pg_class part on part.oid = link.inhrelid
      cross join lateral regexp_match(pg_get_expr(part.relpartbound, part.oid),
                                      $re$FROM [(]'?([0-9]+)'?[)] TO [(]'?([0-9]+)'?[)]$re$) as bound (parts)
     where link.inhparent = 'oncejob.run'::regclass and bound.parts is not null`

/** The partitions of run in the order of ids. Those of dropped ones are missing, also between others. */
export const listRunPartitions = (queries: Queries): Promise<IdRange[]> =>
  queries.query<IdRange>(sql`${runPartitions} order by 1`)

/**
 * Which ids were dropped: those below the newest partition that have none. Partitions are made above the newest one only, so
 * what is dropped stays so, and an old answer is a part of the new one.
 */
export const droppedIds: Sql = sql`
    select gap."from", gap."to"
      from (select coalesce(lag(kept."to") over (order by kept."from"), 1) as "from", kept."from" as "to"
              from (${runPartitions}) kept) gap
     where gap."from" < gap."to"`

export const listDroppedIds = (queries: Queries): Promise<IdRange[]> =>
  queries.query<IdRange>(sql`${droppedIds} order by 1`)

/** Whether an id is in one of the ranges, in their order: among all of their bounds it then has an odd place. */
const isIn = (id: Sql, ranges: readonly IdRange[]): Sql =>
  sql`width_bucket(${id}, ${ranges.flatMap(({ from, to }) => [from, to])}::bigint[]) % 2 = 1`

/** The id that the next run gets. */
export const nextRunId = async (queries: Queries): Promise<number> => {
  const [row] = await queries.query<{ id: number }>(sql`
    select case when is_called then last_value + 1 else last_value end as id from oncejob.run_id_seq`)
  return row?.id ?? 1
}

/** How long the ids of a range took to be used, in ms; undefined when fewer than two of its runs are there. */
export const fillTimeMs = async (queries: Queries, range: IdRange): Promise<number | undefined> => {
  const [row] = await queries.query<{ ms: number | null }>(sql`
    select (extract(epoch from newest.created_at - oldest.created_at) * 1000)::float8 as ms
      from (select id, created_at from oncejob.run where id >= ${range.from} and id < ${range.to} order by id limit 1) oldest,
           (select id, created_at from oncejob.run where id >= ${range.from} and id < ${range.to} order by id desc limit 1) newest
     where newest.id > oldest.id`)
  return row?.ms ?? undefined
}

/**
 * Makes the partitions of run and attempt_log for a range of ids. They are made beside the table and attached:
 * unlike CREATE … PARTITION OF this lets reads and writes of the table go on.
 */
export const createRunPartition = async (tx: Queries, range: IdRange): Promise<void> => {
  const [from, to] = [wholeNumber(range.from), wholeNumber(range.to)]
  // room in run for the one update at the end of a run, as in the migration
  const tables = [
    ['run', 'with (fillfactor = 60)'],
    ['attempt_log', ''],
  ] as const
  for (const [table, storage] of tables) {
    await tx.query(definition(`create table oncejob.${table}_${from} (like oncejob.${table} including all) ${storage}`))
    await tx.query(
      definition(
        `alter table oncejob.${table} attach partition oncejob.${table}_${from} for values from (${from}) to (${to})`,
      ),
    )
  }
}

/** A moment, as what has happened until then. */
export interface Moment {
  readonly at: Date
  readonly runId: number
  readonly auditId: number
}

export const momentOf = async (queries: Queries): Promise<Moment> => {
  const rows = await queries.query<Moment>(sql`
    select now() as "at", run_id_seq.last_value as "runId",
           coalesce((select id from oncejob.audit order by id desc limit 1), 0) as "auditId"
      from oncejob.run_id_seq`)
  const [moment] = rows
  invariant(moment !== undefined, 'a sequence has a row')
  return moment
}

// What was under way at a moment may have got its number before it, and is committed after: so far back one looks, too.
// By the order of ids, so that it is the index that is read.
const underWay = { runs: 100_000, entries: 1_000 }

/** Whether a run of the range was retried by hand since then: it may have ended again, but lately. */
const wasRetried = async (tx: Queries, range: IdRange, since: Moment): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(sql`
    select id from oncejob.audit
     where id > ${since.auditId - underWay.entries} and at > ${since.at}::timestamptz - interval '5 min' and action = 'run.retry'
       and case when target ~ '^run/[0-9]{1,18}$' then substr(target, 5)::bigint end between ${range.from} and ${range.to - 1}
     order by id desc limit 1`)
  return rows.length > 0
}

/** Whether a run of the range is open: it is in one of five small tables then. */
export const hasOpenRun = async (queries: Queries, range: IdRange): Promise<boolean> => {
  const rows = await queries.query<{ id: number }>(sql`
    select run_id as id
      from (select run_id from oncejob.run_ready union all select run_id from oncejob.run_later
            union all select run_id from oncejob.run_blocked union all select run_id from oncejob.attempt
            union all select run_id from oncejob.run_undecided) place
     where run_id >= ${range.from} and run_id < ${range.to} limit 1`)
  return rows.length > 0
}

/**
 * Drops the partitions of run and attempt_log of a range in which every run had ended long ago when one began to look, at
 * `since`; false when one was retried by hand meanwhile. The parents are locked first, as every statement does, and only
 * then looked at: nobody is in.
 */
export const dropRunPartition = async (tx: Queries, range: IdRange, since: Moment): Promise<boolean> => {
  const from = wholeNumber(range.from)
  await tx.query(definition('lock table only oncejob.run, only oncejob.attempt_log in access exclusive mode'))
  if ((await hasOpenRun(tx, range)) || (await wasRetried(tx, range, since))) return false
  // run keys outlive their runs
  await keepEndsOfRange(tx, range.from, range.to)
  for (const table of ['run', 'attempt_log']) await tx.query(definition(`drop table oncejob.${table}_${from}`))
  return true
}

/** True when no id below this one can still come, and every run below it was made more than `days` days ago: a later one was. */
export const isPast = async (queries: Queries, id: number, days: number): Promise<boolean> => {
  const [row] = await queries.query<{ past: boolean }>(sql`
    select coalesce((select created_at from oncejob.run where id >= ${id} order by id limit 1)
                    < now() - ${days}::float8 * interval '1 day', false) as past`)
  return row?.past ?? false
}

/** A run of the range that is open or ended in the last `days` days; undefined when there is none. */
export const findLateRun = async (queries: Queries, range: IdRange, days: number): Promise<number | undefined> => {
  const [row] = await queries.query<{ id: number }>(sql`
    select id from oncejob.run
     where id >= ${range.from} and id < ${range.to}
       and (ended_at is null or ended_at >= now() - ${days}::float8 * interval '1 day')
     limit 1`)
  return row?.id
}

/** Months of fires from this one to three ahead that have no partition, and no rows in the default one. */
export const missingFireMonths = (queries: Queries): Promise<FireMonth[]> =>
  queries.query<FireMonth>(sql`
    select 'fire_' || to_char(month.start, 'YYYYMM') as "name",
           to_char(month.start, 'YYYY-MM-DD HH24:MI:SS+00') as "from",
           to_char(month.start + interval '1 month', 'YYYY-MM-DD HH24:MI:SS+00') as "to"
      from generate_series(0, 3) ahead
      cross join lateral (select date_trunc('month', now() at time zone 'UTC') + ahead * interval '1 month' as start) month
     where to_regclass('oncejob.fire_' || to_char(month.start, 'YYYYMM')) is null
       and not exists (
         select from oncejob.fire_default early
          where early.fire_at >= month.start at time zone 'UTC'
            and early.fire_at < (month.start + interval '1 month') at time zone 'UTC')
     order by month.start`)

/** Makes the partition of a month. @throws DatabaseError 23514 when the default partition has got rows of it */
export const createFireMonth = async (tx: Queries, month: FireMonth): Promise<void> => {
  const name = fireName(month.name)
  await tx.query(definition(`create table oncejob.${name} (like oncejob.fire including all)`))
  await tx.query(
    definition(
      `alter table oncejob.fire attach partition oncejob.${name} for values from ('${monthBound(month.from)}') to ('${monthBound(month.to)}')`,
    ),
  )
}

/** Months of fires that lie wholly more than `days` days back. */
export const listOldFireMonths = (queries: Queries, days: number): Promise<FireMonth[]> =>
  queries.query<FireMonth>(sql`
    select part.relname::text as "name",
           to_char(month.start, 'YYYY-MM-DD HH24:MI:SS+00') as "from",
           to_char(month.start + interval '1 month', 'YYYY-MM-DD HH24:MI:SS+00') as "to"
      from pg_catalog.pg_inherits link
      join pg_catalog.pg_class part on part.oid = link.inhrelid
      cross join lateral (select to_timestamp(substr(part.relname, 6), 'YYYYMM')::timestamp as start) month
     where link.inhparent = 'oncejob.fire'::regclass and part.relname ~ '^fire_[0-9]{6}$'
       and (month.start + interval '1 month') at time zone 'UTC' < now() - ${days}::float8 * interval '1 day'
     order by month.start`)

/** How many blocks of the disk the fires of a month take; 0 when they were dropped. */
export const countBlocks = async (queries: Queries, month: FireMonth): Promise<number> => {
  const [row] = await queries.query<{ blocks: number }>(sql`
    select coalesce(pg_relation_size(to_regclass(${`oncejob.${month.name}`})) / current_setting('block_size')::bigint, 0) as blocks`)
  return row?.blocks ?? 0
}

/** A run that a fire in these blocks of a month names and that is kept, as its fire must be then (I2). */
export const findKeptFire = async (
  queries: Queries,
  month: FireMonth,
  blocks: IdRange,
  dropped: readonly IdRange[],
): Promise<number | undefined> => {
  const [row] = await queries.query<{ id: number }>(sql`
    select run_id as id from oncejob.fire
     where fire_at >= ${monthBound(month.from)}::timestamptz and fire_at < ${monthBound(month.to)}::timestamptz
       and ctid >= ${`(${blocks.from},0)`}::tid and ctid < ${`(${blocks.to},0)`}::tid
       and run_id is not null and not ${isIn(sql`run_id`, dropped)}
     limit 1`)
  return row?.id
}

/**
 * Drops a month of fires of which none named a kept run when one began to look, at `since`; false when one was made
 * meanwhile, as for a schedule that catches up. The parent is locked before the look: nobody is in.
 */
export const dropFireMonth = async (tx: Queries, month: FireMonth, since: Moment): Promise<boolean> => {
  const name = fireName(month.name)
  await tx.query(definition('lock table only oncejob.fire in access exclusive mode'))
  const made = await tx.query<{ id: number }>(sql`
    select id from oncejob.run
     where id > ${since.runId - underWay.runs}
       and fire_at >= ${monthBound(month.from)}::timestamptz and fire_at < ${monthBound(month.to)}::timestamptz
     order by id desc limit 1`)
  if (made.length > 0) return false
  await tx.query(definition(`drop table oncejob.${name}`))
  return true
}

/** Deletes up to `limit` old fires of dropped runs, or of none, from the default partition; returns how many. */
export const deleteDefaultFires = async (
  queries: Queries,
  days: number,
  dropped: readonly IdRange[],
  limit: number,
): Promise<number> => {
  const rows = await queries.query<{ id: number }>(sql`
    delete from oncejob.fire_default
     where ctid = any (array(
             select ctid from oncejob.fire_default
              where fire_at < now() - ${days}::float8 * interval '1 day'
                and (run_id is null or ${isIn(sql`run_id`, dropped)})
              limit ${limit} for update skip locked))
    returning schedule_id as id`)
  return rows.length
}

/** Forgets up to `limit` worker sessions that ended long ago and hold no run; returns how many. */
export const deleteEndedSessions = async (queries: Queries, days: number, limit: number): Promise<number> => {
  const rows = await queries.query<{ id: number }>(sql`
    delete from oncejob.worker_session
     where id = any (array(
             select session.id from oncejob.worker_session session
              where session.ended_at < now() - ${days}::float8 * interval '1 day'
                and not exists (select from oncejob.attempt where attempt.session_id = session.id)
              order by session.id limit ${limit} for update of session skip locked))
    returning id`)
  return rows.length
}
