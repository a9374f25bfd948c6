// Tables run_log and log_chunk: the lines that runs write, in order and bounded per run.
import type { Queries } from './db.ts'
import type { IdRange } from './partitions.ts'
import { sql } from './sql.ts'

/** Bounds of one run's log: `maxBytes` counts the UTF-8 bytes of the texts. */
export interface LogLimits {
  readonly maxLines: number
  readonly maxBytes: number
}

/** One line as a worker sent it; `atMs` is the worker's clock. */
export interface NewLine {
  readonly appId: number
  readonly runId: number
  readonly lease: number
  readonly atMs: number
  readonly level: string
  readonly text: string
  /** Who wrote it, where several workers write for one attempt. */
  readonly worker?: string | null
}

/** A lease that belongs to a run of the app; lines under any other are not stored. */
export interface KnownLease {
  readonly appId: number
  readonly runId: number
  readonly lease: number
}

/**
 * Appends lines of many runs in one statement and returns which leases were known; lines of others are ignored.
 * A lease that is not the current one keeps its attempt number, so late lines of a lost worker can be told apart.
 * The line that does not fit any more and all later ones are dropped, and one last line says so.
 *
 * The upsert of run_log gives each writer its range of numbers while it holds the row, so numbers are committed
 * in their order and a reader that has seen n never misses one below n.
 */
export const appendLines = (queries: Queries, lines: readonly NewLine[], limits: LogLimits): Promise<KnownLease[]> => {
  const cut = `log cut: more than ${limits.maxLines} lines or ${limits.maxBytes} bytes`
  return queries.query<KnownLease>(
    sql`
    with entry as materialized (
      select e.*, octet_length(e.text) as size
        from unnest(${lines.map((line) => line.appId)}::bigint[], ${lines.map((line) => line.runId)}::bigint[],
                    ${lines.map((line) => line.lease)}::bigint[], ${lines.map((line) => line.atMs)}::bigint[],
                    ${lines.map((line) => line.level)}::text[], ${lines.map((line) => line.text)}::text[],
                    ${lines.map((line) => line.worker ?? null)}::text[])
             with ordinality as e (app_id, run_id, lease, at_ms, level, text, worker, pos)
    ), known as materialized (
      select named.app_id, named.run_id, named.lease, coalesce(live.number, past.number) as attempt
        from (select distinct app_id, run_id, lease from entry) named
        join oncejob.run on run.id = named.run_id and run.app_id = named.app_id
        left join oncejob.attempt live on live.run_id = named.run_id and live.lease = named.lease
        left join oncejob.attempt_log past on past.run_id = named.run_id and past.lease = named.lease
       where live.run_id is not null or past.run_id is not null
    ), line as materialized (
      -- by attempt and worker first: a chunk has one of each, and its numbers have no gaps
      select known.run_id, known.attempt, entry.worker, entry.at_ms, entry.level, entry.text,
             row_number() over so_far as n, sum(entry.size) over so_far as bytes
        from entry join known using (app_id, run_id, lease)
      window so_far as (partition by known.run_id order by known.attempt, entry.worker, entry.pos)
    ), total as materialized (
      select run_id, max(n)::integer as lines, max(bytes)::integer as bytes from line group by run_id
    ), counted as (
      -- in the order of ids: two servers that append to the same runs must not wait for each other
      insert into oncejob.run_log as log (run_id, lines, bytes, truncated)
      select run_id, lines, bytes, lines > ${limits.maxLines}::integer or bytes > ${limits.maxBytes}::integer
        from total order by run_id
      on conflict (run_id) do update
         set lines = log.lines + excluded.lines,
             bytes = log.bytes + excluded.bytes,
             truncated = log.lines - log.rolled + excluded.lines > ${limits.maxLines} or log.bytes + excluded.bytes > ${limits.maxBytes}
       where not log.truncated
      returning run_id, lines, rolled, bytes, truncated
    ), before as materialized (
      select run_id, counted.lines - total.lines as lines, counted.rolled, counted.bytes - total.bytes as bytes, counted.truncated
        from counted join total using (run_id)
    ), placed as materialized (
      select line.run_id, line.attempt, line.worker, before.lines + line.n as seq, line.at_ms, line.level, line.text,
             before.lines - before.rolled + line.n <= ${limits.maxLines} and before.bytes + line.bytes <= ${limits.maxBytes} as fits
        from line join before using (run_id)
    ), stored as (
      insert into oncejob.log_chunk (run_id, first_seq, last_seq, attempt, worker, lines)
      select run_id, min(seq), max(seq), attempt, worker, jsonb_agg(jsonb_build_array(at_ms, level, text) order by seq)
        from placed where fits group by run_id, attempt, worker
      union all
      select run_id, min(seq), min(seq), min(attempt), null,
             jsonb_build_array(jsonb_build_array(floor(extract(epoch from now()) * 1000), 'warn', ${cut}::text))
        from placed where not fits group by run_id
    )
    select app_id as "appId", run_id as "runId", lease as "lease" from known`,
    { name: 'append_lines' },
  )
}

/** An attempt of a run for whose log a Java worker sends lines. */
export interface LoggedAttempt {
  readonly address: string
  readonly runId: number
  readonly appId: number
  readonly lease: number
  readonly startedMs: number
  /** It is that worker's own; otherwise the worker does a part of it. */
  readonly own: boolean
}

/**
 * The attempts of runs to which Java workers may write, oldest first: runs that they had themselves, and runs of apps in which
 * they live. For each pair of an address and a run.
 */
export const loggedAttempts = (
  queries: Queries,
  pairs: readonly { readonly address: string; readonly runId: number }[],
): Promise<LoggedAttempt[]> =>
  queries.query<LoggedAttempt>(
    sql`
    select named.address as "address", run.id as "runId", run.app_id as "appId", a.lease as "lease",
           (extract(epoch from a.started_at) * 1000)::float8 as "startedMs", coalesce(s.address = named.address, false) as "own"
      from unnest(${pairs.map((pair) => pair.address)}::text[], ${pairs.map((pair) => pair.runId)}::bigint[]) as named (address, run_id)
      join oncejob.run on run.id = named.run_id
      join lateral (
        select lease, session_id, claimed_at as started_at from oncejob.attempt where run_id = named.run_id
        union all
        select lease, session_id, started_at from oncejob.attempt_log where run_id = named.run_id
      ) a on true
      join oncejob.worker_session s on s.id = a.session_id and s.protocol = 'powerjob'
     where s.address = named.address
        or exists (select from oncejob.worker_session w
                    where w.app_id = run.app_id and w.address = named.address and w.protocol = 'powerjob' and w.ended_at is null)
     order by a.lease`,
    { name: 'logged_attempts' },
  )

/**
 * Drops the oldest lines of the long runs of Java workers (jobs on short intervals) once their logs are half full, so that the
 * newest always find room. Returns of how many runs.
 */
export const rollLongLogs = async (queries: Queries, limits: LogLimits): Promise<number> => {
  const [lines, bytes] = [Math.floor(limits.maxLines / 4), Math.floor(limits.maxBytes / 4)]
  const rows = await queries.query<{ runId: number }>(sql`
    with long as (
      select l.run_id, l.lines from oncejob.attempt a
        join oncejob.worker_session s on s.id = a.session_id and s.protocol = 'powerjob'
        join oncejob.schedule c on c.job_id = a.job_id and c.kind in ('fixed-rate', 'fixed-delay')
        join oncejob.run_log l on l.run_id = a.run_id
       where l.truncated or l.lines - l.rolled > ${limits.maxLines}::int / 2 or l.bytes > ${limits.maxBytes}::int / 2
       order by l.run_id for update of l skip locked
    ), sized as (
      select c.run_id, c.first_seq, c.last_seq, long.lines,
             sum(octet_length(c.lines::text)) over (partition by c.run_id order by c.first_seq desc) as bytes
        from long join oncejob.log_chunk c on c.run_id = long.run_id
    ), kept as (
      -- the newest chunk stays, however long it is
      select run_id, min(first_seq) as first_seq, max(bytes) as bytes from sized
       where last_seq = lines or (last_seq > lines - ${lines}::int and bytes <= ${bytes}::int) group by run_id
    ), gone as (
      delete from oncejob.log_chunk c using kept where c.run_id = kept.run_id and c.first_seq < kept.first_seq
    )
    update oncejob.run_log l set rolled = kept.first_seq - 1, bytes = kept.bytes, truncated = false
      from kept where l.run_id = kept.run_id returning l.run_id as "runId"`)
  return rows.length
}

/** What a reader must know before the lines: `endedAgoMs` is by the database's clock, null while the run is open. */
export interface LogHead {
  readonly state: string
  readonly endedAgoMs: number | null
  readonly truncated: boolean
}

/** Undefined when the app has no such run. Read it before the lines: then an ended run's lines are all there. */
export const readLogHead = async (queries: Queries, appId: number, runId: number): Promise<LogHead | undefined> => {
  const [row] = await queries.query<LogHead>(
    sql`
    select run.state as "state",
           (extract(epoch from now() - run.ended_at) * 1000)::float8 as "endedAgoMs",
           coalesce(log.truncated, false) as "truncated"
      from oncejob.run left join oncejob.run_log log on log.run_id = run.id
     where run.id = ${runId} and run.app_id = ${appId}`,
    { name: 'read_log_head' },
  )
  return row
}

export interface StoredLine {
  readonly seq: number
  readonly at: Date
  readonly level: string
  readonly text: string
  readonly attempt: number
  readonly worker: string | null
}

/** The lines of a run with a number above `after`, in order, at most `limit`. */
export const readLines = (queries: Queries, runId: number, after: number, limit: number): Promise<StoredLine[]> =>
  queries.query<StoredLine>(
    sql`
    select (chunk.first_seq + line.pos - 1)::integer as "seq",
           timestamptz 'epoch' + (line.content ->> 0)::float8 * interval '1 millisecond' as "at",
           line.content ->> 1 as "level",
           line.content ->> 2 as "text",
           chunk.attempt as "attempt",
           chunk.worker as "worker"
      from oncejob.log_chunk chunk,
           jsonb_array_elements(chunk.lines) with ordinality as line (content, pos)
     where chunk.run_id = ${runId} and chunk.last_seq > ${after} and chunk.first_seq + line.pos - 1 > ${after}
     order by chunk.first_seq, line.pos
     limit ${limit}`,
    { name: 'read_log_lines' },
  )

/** Deletes the logs of up to `limit` runs of a range of ids; returns of how many. */
export const deleteLogs = async (queries: Queries, { from, to }: IdRange, limit: number): Promise<number> => {
  const rows = await queries.query<{ runId: number }>(sql`
    with old as (
      select run_id from oncejob.run_log where run_id >= ${from} and run_id < ${to} order by run_id limit ${limit} for update skip locked
    ), chunks as (
      delete from oncejob.log_chunk where run_id in (select run_id from old)
    )
    delete from oncejob.run_log where run_id in (select run_id from old) returning run_id as "runId"`)
  return rows.length
}
