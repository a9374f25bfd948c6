// Every check is seen red once: a broken row of its kind is found and named, and a sound database is clean.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { checks, runCheck, type Check } from './audit-checks.ts'
import { sql } from './sql.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

const options = { graceMs: 5_000, patienceMs: 60_000 }

/** What the audit finds, as «invariant: example»; and the checks that found it. */
const findings = async (): Promise<{ checks: string[]; examples: string[] }> => {
  const found = { checks: [] as string[], examples: [] as string[] }
  for (const check of checks) {
    const { violations, examples } = await runCheck(database.db, check, options)
    if (violations === 0) continue
    expect(examples.length).toBe(Math.min(5, violations))
    found.checks.push(check.says)
    found.examples.push(...examples)
  }
  return found
}

const checkOf = (says: string): Check => {
  const check = checks.find((one) => one.says === says)
  if (check === undefined) throw new Error(`there is no check "${says}"`)
  return check
}
const script = (text: string): Promise<void> => database.db.script(text)
const tables =
  'run, attempt_log, attempt, run_ready, run_later, run_blocked, run_slot, run_undecided, worker_session, fire, server, request_key, run_key, effect'

/**
 * One run of each kind, all as they should be: 1 ready, 2 later, 3 blocked, 4 running, 5 succeeded at the second try,
 * 6 failed, 7 made by a schedule and succeeded, retried by hand and succeeded again, 8 of unknown outcome, 9 the same until
 * someone decided that it has succeeded.
 */
const sound = `
truncate ${tables
  .split(', ')
  .map((table) => `oncejob.${table}`)
  .join(', ')};
delete from oncejob.schedule; delete from oncejob.job; delete from oncejob.route; delete from oncejob.app;
insert into oncejob.server (name, version, started_at, seen_at) values ('s', '1', now() - interval '1 h', now() + interval '1 h');
insert into oncejob.app (namespace_id, name) select id, 'shop' from oncejob.namespace;
insert into oncejob.route (app_id, processor, labels, designated, min_free_cpu_cores, min_free_memory_gb, min_free_disk_gb,
  max_workers, strategy, digest) select id, 'p', '{}', '{}', 0, 0, 0, 0, 'random', 'd' from oncejob.app;
insert into oncejob.job (app_id, name, processor, processor_type, mode, enabled, priority, overlap, max_concurrent_runs,
  task_concurrency, retry_max, retry_backoff, retry_delay_ms, retry_max_delay_ms, retry_jitter, retry_on, no_retry_on, max_lost,
  task_retry_max, labels, designated, min_free_cpu_cores, min_free_memory_gb, min_free_disk_gb, max_workers, strategy, route_id,
  notify, log_level, log_type, tracker_behavior, updated_at)
select app_id, 'j', 'p', 'built-in', 'standalone', true, 0, 'queue', 1, 5, 0, 'fixed', 0, 0, 0, '{}', '{}', 10, 0, '{}', '{}',
  0, 0, 0, 0, 'random', id, '{}', 'info', 'online', 'normal', now() - interval '1 h' from oncejob.route;
insert into oncejob.worker_session (app_id, name, processors, labels, slots, expires_at) values (1, 'w', '{p}', '{}', 1, now() + interval '1 h');
insert into oncejob.run (id, app_id, job_id, priority, created_at, due_at, state, ended_at, schedule_id, fire_at)
select i, 1, (select id from oncejob.job), 0, now() - interval '1 h', now() - interval '1 h',
  case when i <= 4 or i = 8 then 'open' when i = 6 then 'failed' else 'succeeded' end,
  case when i > 4 and i <> 8 then now() - interval '10 min' end,
  case when i = 7 then 1 end, case when i = 7 then '2026-01-01Z'::timestamptz end
from generate_series(1, 9) i;
update oncejob.run set decided_by = 'ada' where id = 9;
insert into oncejob.run_undecided (run_id, job_id, lease, session_id, reason, follows) values (8, 1, 16, 1, 'lost', false);
insert into oncejob.run_ready values (1, 1, 0, now() - interval '1 h', 1, 0, false, null);
insert into oncejob.run_later values (2, 1, 0, now() + interval '1 h', 1, 0, false, null, true);
insert into oncejob.run_blocked select 3, 1, 0, now() - interval '1 h', id, 0, true, null from oncejob.job;
insert into oncejob.run_slot select 4, id from oncejob.job;
insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows)
  select 4, nextval('oncejob.lease_seq') + 100, (select max(id) from oncejob.worker_session), 1, 1, 1, false;
select setval('oncejob.lease_seq', (select lease from oncejob.attempt));
insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, ended_at, outcome) values
  (5, 1, 11, 1, now() - interval '30 min', now() - interval '25 min', 'lost'),
  (5, 2, 12, 1, now() - interval '24 min', now() - interval '20 min', 'succeeded'),
  (6, 1, 13, 1, now() - interval '30 min', now() - interval '25 min', 'failed'),
  (7, 1, 14, 1, now() - interval '30 min', now() - interval '25 min', 'succeeded'),
  (7, 2, 15, 1, now() - interval '20 min', now() - interval '10 min', 'succeeded'),
  (8, 1, 16, 1, now() - interval '20 min', now() - interval '10 min', 'lost'),
  (9, 1, 18, 1, now() - interval '20 min', now() - interval '10 min', 'timed-out');
insert into oncejob.effect (run_id, name, lease, state, ended_at) values
  (5, 'mail', 11, 'intent', null), (5, 'charge', 12, 'done', now()), (4, 'charge', (select lease from oncejob.attempt), 'intent', null);
insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, run_id, reason) values
  (1, '2026-01-01Z', 1, 'fired', 7, null), (1, '2026-01-02Z', 1, 'skipped', null, 'limit');
insert into oncejob.run (id, app_id, job_id, priority, created_at, due_at, run_key, run_key_scope)
  select 10, 1, id, 0, now() - interval '1 h', now() - interval '1 h', 'pair', 'job' from oncejob.job;
insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows, after_run_id)
  select 10, 1, 0, now() - interval '1 h', id, 0, true, 4 from oncejob.job;
update oncejob.run set run_key = 'pair', run_key_scope = 'job' where id = 4;
update oncejob.run set run_key = 'app-wide', run_key_scope = 'app' where id in (1, 5);
insert into oncejob.run_key (app_id, job_id, key, run_id, input_hash, before_run_id, before_input_hash)
  select 1, id, 'pair', 10, 'h', 4, 'h' from oncejob.job;
insert into oncejob.run_key (app_id, job_id, key, run_id, input_hash) values (1, 0, 'app-wide', 1, 'h');
insert into oncejob.run_key (app_id, job_id, key, run_id, input_hash, state, ended_at) values
  (1, 0, 'ended', 5, 'h', 'succeeded', now()), (1, 0, 'dropped', 9999999, 'h', 'failed', now());`

/** Breaks a sound database, and says which check must find it and what its example contains. */
const broken: readonly [check: string, example: RegExp, breakIt: string][] = [
  [
    'every fire that says fired has its run',
    /schedule 1 at .* names run 77, which does not exist/,
    `insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, run_id) values (1, '2026-01-03Z', 1, 'fired', 77)`,
  ],
  [
    'every run of a schedule has its fire, and the fire names this run',
    /^run 6 of schedule 9/,
    `update oncejob.run set schedule_id = 9, fire_at = '2026-01-01Z' where id = 6`,
  ],
  [
    'no two fires name the same run',
    /run 7 is named by 2 fires/,
    `insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, run_id) values (1, '2026-01-03Z', 1, 'fired', 7)`,
  ],
  [
    'a run with a live attempt does not also wait',
    /run 4 is running and also ready/,
    `insert into oncejob.run_ready values (4, 1, 0, now(), 1, 0, false, null)`,
  ],
  [
    'no lease was given twice',
    /lease 12 was given 2 times, to runs 5, 6/,
    `update oncejob.attempt_log set lease = 12 where run_id = 6`,
  ],
  ['no live lease is above the sequence', /run 4 holds lease/, `update oncejob.attempt set lease = lease + 1`],
  [
    'a live lease is above all earlier leases of its run',
    /run 4 holds lease \d+ after lease \d+/,
    `insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, outcome)
     select 4, 1, lease + 1, 1, now() - interval '1 h', 'lost' from oncejob.attempt`,
  ],
  [
    'attempts of a run do not overlap',
    /run 5: lease 11 ended/,
    `update oncejob.attempt_log set outcome = 'succeeded', ended_at = now() - interval '22 min' where lease = 11`,
  ],
  [
    'attempts of a run do not overlap',
    /run 4: lease 1 ended/,
    `insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, ended_at, outcome)
     values (4, 1, 1, 1, now() - interval '1 h', now() + interval '1 h', 'succeeded')`,
  ],
  [
    'every effect was written by a lease of its run',
    /effect charge of run 4 was written by lease \d+, which the run never had/,
    `update oncejob.effect set lease = lease + 1 where run_id = 4`,
  ],
  [
    'every effect was written by a lease of its run',
    /effect mail of run 6 was written by lease 12, which the run never had/,
    `insert into oncejob.effect (run_id, name, lease) values (6, 'mail', 12)`,
  ],
  [
    'the last attempt of a succeeded run is the one that succeeded, unless someone has decided so',
    /run 5 succeeded, and its last attempt is failed/,
    `update oncejob.attempt_log set outcome = 'failed' where lease = 12`,
  ],
  [
    'the last attempt of a succeeded run is the one that succeeded, unless someone has decided so',
    /run 5 succeeded, and its last attempt is missing/,
    `delete from oncejob.attempt_log where run_id = 5`,
  ],
  [
    'an ended run neither runs nor waits nor holds a slot',
    /run 5 has succeeded and is still later/,
    `insert into oncejob.run_later values (5, 1, 0, now() + interval '1 h', 1, 0, false, null, false)`,
  ],
  [
    'an ended run neither runs nor waits nor holds a slot',
    /run 6 has failed and is still holding a slot/,
    `insert into oncejob.run_slot values (6, 1)`,
  ],
  [
    'an open run is in exactly one place: ready, later, blocked, running or undecided',
    /run 1 is open and nowhere/,
    `delete from oncejob.run_ready`,
  ],
  [
    'an open run is in exactly one place: ready, later, blocked, running or undecided',
    /run 1 is open and is later and ready/,
    `insert into oncejob.run_later values (1, 1, 0, now() + interval '1 h', 1, 0, false, null, false)`,
  ],
  [
    'a run that waits for a slot, or for a decision, has none',
    /run 8 waits and holds a slot/,
    `insert into oncejob.run_slot values (8, 1)`,
  ],
  [
    'an open run is in exactly one place: ready, later, blocked, running or undecided',
    /run 8 is open and is ready and undecided/,
    `insert into oncejob.run_ready values (8, 1, 0, now(), 1, 0, false, null)`,
  ],
  [
    'a run of unknown outcome names its last attempt, and only such a run was decided by someone',
    /run 8 is unknown because of lease 16, and its last attempt is lease 17, lost/,
    `insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, ended_at, outcome)
      values (8, 2, 17, 1, now() - interval '2 min', now() - interval '1 min', 'lost')`,
  ],
  [
    'a run of unknown outcome names its last attempt, and only such a run was decided by someone',
    /run 8 is unknown because of lease 16, and its last attempt is lease 16, succeeded/,
    `update oncejob.attempt_log set outcome = 'succeeded' where lease = 16`,
  ],
  [
    'a run of unknown outcome names its last attempt, and only such a run was decided by someone',
    /run 1 is open and was decided by ada/,
    `update oncejob.run set decided_by = 'ada' where id = 1`,
  ],
  [
    'whatever waits, runs or holds a slot is a run',
    /ready of run 99, which does not exist/,
    `insert into oncejob.run_ready values (99, 1, 0, now(), 1, 0, false, null)`,
  ],
  [
    'a run that waits for a slot, or for a decision, has none',
    /run 3 waits and holds a slot/,
    `insert into oncejob.run_slot values (3, 1)`,
  ],
  [
    'no request key is kept without its answer',
    /key half of app 1 has no answer/,
    `insert into oncejob.request_key (app_id, key, fingerprint, request_id, route, status, headers, expires_at)
      values (1, 'half', 'f', 'r', 'POST /x', 0, '{}', now() + interval '1 h')`,
  ],
  [
    'a request key that asked for one run has made that run and no other',
    /key twice of app 1 answers .*1.*, and has run 2/,
    `insert into oncejob.request_key (app_id, key, fingerprint, request_id, route, status, headers, body, created_at, expires_at)
      values (1, 'twice', 'f', 'r', 'POST /api/v1/runs', 201, '{}', '{"id":1}', now() - interval '2 h', now() + interval '1 h');
      update oncejob.run set request_key = 'twice' where id in (1, 2)`,
  ],
  [
    'no dead worker keeps a run',
    /run 4 is held by session \d+, which expired at/,
    `update oncejob.worker_session set expires_at = now() - interval '70 s'; update oncejob.attempt set claimed_at = now() - interval '2 min'`,
  ],
  [
    'no dead worker keeps a run',
    /run 4 is held by session \d+, which ended at/,
    `update oncejob.worker_session set ended_at = now() - interval '70 s', end_reason = 'left'; update oncejob.attempt set claimed_at = now() - interval '2 min'`,
  ],
  [
    'no dead worker keeps a run',
    /run 4 is held by session \d+, which does not exist/,
    `delete from oncejob.worker_session; update oncejob.attempt set claimed_at = now() - interval '2 min'`,
  ],
  [
    'a delayed run is handed on when it is due',
    /run 2 was due at/,
    `update oncejob.run_later set run_at = now() - interval '70 s'`,
  ],
  [
    'no run waits for a slot while its job has a free one',
    /run 3 waits since .* uses 0 of 1/,
    `delete from oncejob.run_slot`,
  ],
  [
    'no two open runs have the same run key, but for one that waits for the end of the other',
    /key app-wide of app 1, job 0 has the open runs 1, 2/,
    `update oncejob.run set run_key = 'app-wide', run_key_scope = 'app' where id = 2`,
  ],
  [
    'no two open runs have the same run key, but for one that waits for the end of the other',
    /key pair of app 1, job \d+ has the open runs 4, 10/,
    `update oncejob.run_blocked set after_run_id = null where run_id = 10`,
  ],
  [
    'no two open runs have the same run key, but for one that waits for the end of the other',
    /key pair of app 1, job \d+ has the open runs 3, 4, 10/,
    `update oncejob.run set run_key = 'pair', run_key_scope = 'job' where id = 3; update oncejob.run_blocked set after_run_id = 4`,
  ],
  [
    'the run key of an open run stands for it, or for the run that waits for it',
    /run 1 is open with the key app-wide, which stands for run 6/,
    `update oncejob.run_key set run_id = 6 where key = 'app-wide'`,
  ],
  [
    'the run key of an open run stands for it, or for the run that waits for it',
    /run 4 is open with the key pair, which stands for nothing/,
    `delete from oncejob.run_key where key = 'pair'`,
  ],
  [
    'the run of every run key is there, or its end is kept',
    /key dropped of app 1, job 0 names run 9999999, of which nothing is known/,
    `update oncejob.run_key set state = null, ended_at = null where key = 'dropped'`,
  ],
  [
    'the end that is kept with a run key is that of its run',
    /key ended keeps that run 5 has failed, and it has succeeded/,
    `update oncejob.run_key set state = 'failed' where key = 'ended'`,
  ],
  [
    'no run waits for the end of a run that has ended',
    /run 10 waits for run 5, which ended at/,
    `update oncejob.run_blocked set after_run_id = 5 where run_id = 10`,
  ],
  [
    'no run waits for the end of a run that has ended',
    /run 10 waits for run 999, which ended at some time/,
    `update oncejob.run_blocked set after_run_id = 999 where run_id = 10`,
  ],
  [
    'no run waits past its queue deadline',
    /run 1 should have ended at/,
    `update oncejob.run_ready set expires_at = now() - interval '70 s'`,
  ],
]

describe('the audit', () => {
  beforeEach(() => script(sound))

  it('finds nothing in a sound database, whatever its runs went through', async () => {
    expect(await findings()).toEqual({ checks: [], examples: [] })
  })

  it.each(broken)('sees when this does not hold: %s (%s)', async (says, example, breakIt) => {
    await script(breakIt)
    const { violations, examples } = await runCheck(database.db, checkOf(says), options)
    expect(violations).toBeGreaterThan(0)
    expect(examples.some((text) => example.test(text))).toBe(true)
  })

  it('has seen every check red', () => {
    expect(checks.map(({ says }) => says).filter((says) => !broken.some(([check]) => check === says))).toEqual([])
  })

  it('gives five examples of many, and the whole count', async () => {
    await script(`insert into oncejob.run_slot select i, 1 from generate_series(1000, 1019) i`)
    const result = await runCheck(database.db, checkOf('whatever waits, runs or holds a slot is a run'), options)
    expect(result.violations).toBe(20)
    expect(result.examples).toHaveLength(5)
  })

  it('does not call late what no server could do in time', async () => {
    await script(`update oncejob.run_later set run_at = now() - interval '1 d'; delete from oncejob.run_slot;
      update oncejob.run_ready set expires_at = now() - interval '1 d';
      update oncejob.worker_session set expires_at = now() - interval '1 d'; update oncejob.attempt set claimed_at = now() - interval '2 d';
      update oncejob.server set started_at = now()`)
    expect(await findings()).toEqual({ checks: [], examples: [] })
  })

  it('knows that fires may outlive runs that were dropped by age', async () => {
    await script(`drop table oncejob.run_1; drop table oncejob.attempt_log_1;
      truncate oncejob.run_ready, oncejob.run_later, oncejob.run_blocked, oncejob.run_slot, oncejob.run_undecided, oncejob.attempt;
      update oncejob.run_key set state = 'failed', ended_at = now()`)
    expect(await findings()).toEqual({ checks: [], examples: [] })
    await script(
      `insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, run_id) values (1, '2026-01-03Z', 1, 'fired', 1000001)`,
    )
    expect((await findings()).checks).toEqual(['every fire that says fired has its run'])
    await script(`create table oncejob.run_1 partition of oncejob.run for values from (1) to (1000001);
      create table oncejob.attempt_log_1 partition of oncejob.attempt_log for values from (1) to (1000001)`)
  })

  it('is one statement per check, without parameters that change', async () => {
    for (const check of checks) expect(check.violations(options).toQuery().text).not.toContain(';')
    await database.db.query(sql`select 1`)
  })
})
