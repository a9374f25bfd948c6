// What must hold all the time during a soak, and at its end beside the effects of the calls.
import assert from 'node:assert/strict'
import { sql, type Queries } from '@oncejob/server/testing'
import type { Called } from './calls.ts'
import type { Fleet } from './fleet.ts'
import { ofKind } from './ledger.ts'
import { until } from './until.ts'

export interface Sizes {
  /** Rows and bytes of each of the small tables. */
  readonly tables: readonly { readonly name: string; readonly rows: number; readonly bytes: number }[]
  readonly databaseBytes: number
}

/** Tables that hold what is under way. They may not grow with what is through. */
const small = ['run_ready', 'run_later', 'run_blocked', 'run_slot', 'attempt', 'worker_session', 'server'] as const

const sizesOf = async (queries: Queries): Promise<Sizes> => {
  const tables = await queries.query<{ name: string; rows: number; bytes: number }>(sql`
    select 'run_ready' as name, (select count(*)::int from oncejob.run_ready) as rows, pg_total_relation_size('oncejob.run_ready') as bytes
    union all select 'run_later', (select count(*)::int from oncejob.run_later), pg_total_relation_size('oncejob.run_later')
    union all select 'run_blocked', (select count(*)::int from oncejob.run_blocked), pg_total_relation_size('oncejob.run_blocked')
    union all select 'run_slot', (select count(*)::int from oncejob.run_slot), pg_total_relation_size('oncejob.run_slot')
    union all select 'attempt', (select count(*)::int from oncejob.attempt), pg_total_relation_size('oncejob.attempt')
    union all select 'worker_session', (select count(*)::int from oncejob.worker_session), pg_total_relation_size('oncejob.worker_session')
    union all select 'server', (select count(*)::int from oncejob.server), pg_total_relation_size('oncejob.server')`)
  const [whole] = await queries.query<{ bytes: number }>(sql`select pg_database_size(current_database()) as bytes`)
  assert.deepEqual(
    tables.map(({ name }) => name),
    [...small],
  )
  return { tables, databaseBytes: whole?.bytes ?? 0 }
}

const bytesPerRow = 2_000
const bytesOfChurn = 128 * 1024 * 1024

/** Something is under way for longer than anything may take; as words, none when all is well. */
const stale = async (queries: Queries): Promise<string[]> => {
  const rows = await queries.query<{ says: string }>(sql`
    select 'key without its answer: ' || key as says from oncejob.request_key
      where status = 0 and created_at < now() - interval '60 s'
    union all select 'transaction of ' || application_name || ' since ' || xact_start from pg_stat_activity
      where datname = current_database() and xact_start < now() - interval '60 s'
    union all select 'attempt of a session that ended long ago: run ' || a.run_id
      from oncejob.attempt a left join oncejob.worker_session s on s.id = a.session_id
      where coalesce(s.ended_at, s.expires_at, a.claimed_at) < now() - interval '60 s'
        and a.claimed_at < now() - interval '60 s'`)
  return rows.map(({ says }) => says)
}

/** Looks at a database in the middle of trouble: it is asked until it answers. */
export const checkUnderWay = async (fleet: Fleet): Promise<Sizes> => {
  const { old, sizes } = await until('a look into the database', () =>
    fleet.place.look(async (queries) => ({ old: await stale(queries), sizes: await sizesOf(queries) })),
  )
  assert.deepEqual(old, [], 'something is under way for more than 60 s')
  for (const { name, rows, bytes } of sizes.tables) {
    const most = bytesOfChurn + rows * bytesPerRow
    assert.ok(bytes < most, `table ${name} has ${bytes} bytes for ${rows} rows`)
  }
  const report = await until('an audit', () => fleet.admin.audit())
  assert.deepEqual(
    report.findings.filter(({ violations }) => violations > 0),
    [],
    'the audit',
  )
  return sizes
}

/** Every run of the processor `work` ended once, and there is one for each call that was acknowledged. */
export const proveWork = async (fleet: Fleet, called: Called): Promise<Record<string, number>> => {
  const open = sql`select count(*)::int as n from oncejob.run r join oncejob.job j on j.id = r.job_id
    where j.processor = 'work' and r.state = 'open'`
  await until(
    'the end of all work',
    async () => {
      const [row] = await fleet.place.look((queries) => queries.query<{ n: number }>(open))
      return row?.n === 0
    },
    600_000,
  )
  const { runs, doubled } = await fleet.place.look(async (queries) => ({
    runs: await queries.query<{ id: number; state: string; request_key: string | null; called: boolean }>(sql`
      select r.id, r.state, r.request_key, r.schedule_id is null as called from oncejob.run r
      join oncejob.job j on j.id = r.job_id where j.processor = 'work'`),
    doubled: await queries.query<{ run_id: number }>(sql`
      select run_id from oncejob.attempt_log where outcome = 'succeeded' group by 1 having count(*) > 1`),
  }))
  assert.deepEqual(doubled, [], 'runs that succeeded twice')
  assert.deepEqual(runs.filter(({ state }) => state !== 'succeeded').slice(0, 5), [], 'runs that did not succeed')
  const ids = new Set(runs.map(({ id }) => id))
  assert.deepEqual(called.acknowledged.filter((id) => !ids.has(id)).slice(0, 5), [], 'acknowledged calls without a run')
  const unknown = new Set(called.unknown)
  const ofCalls = runs.filter((run) => run.called)
  const keys = new Set(ofCalls.map(({ request_key: key }) => key))
  assert.equal(keys.size, ofCalls.length, 'a key of two runs')
  const unknownDone = ofCalls.filter(({ request_key: key }) => key !== null && unknown.has(key)).length
  assert.equal(ofCalls.length, called.acknowledged.length + unknownDone, 'runs that nobody asked for')
  const starts = ofKind(fleet.ledger(), 'start')
  assert.equal(new Set(starts.map(({ lease }) => lease)).size, starts.length, 'a lease that was started twice')
  return {
    'runs of calls': ofCalls.length,
    'runs of schedules': runs.length - ofCalls.length,
    'calls without an answer': called.unknown.length,
    '  of these with a run': unknownDone,
    'executions begun': starts.length,
    'runs that succeeded twice': 0,
  }
}
