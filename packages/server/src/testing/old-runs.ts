// Partitions as a new database has them, and runs of long ago with all that belongs to them, written without the core.

/** Leaves so many partitions of a million ids, and no row of what the retention looks at. */
export const freshPartitions = (count: number): string => `
  do $$ declare name text; begin
    for name in select relname from pg_inherits join pg_class on oid = inhrelid
                 where inhparent in ('oncejob.run'::regclass, 'oncejob.attempt_log'::regclass, 'oncejob.fire'::regclass)
                   and relname <> 'fire_default'
    loop execute 'drop table oncejob.' || name; end loop;
    for i in 0..${count - 1} loop
      execute format('create table oncejob.run_%1$s partition of oncejob.run for values from (%1$s) to (%2$s)', i * 1000000 + 1, (i + 1) * 1000000 + 1);
      execute format('create table oncejob.attempt_log_%1$s partition of oncejob.attempt_log for values from (%1$s) to (%2$s)', i * 1000000 + 1, (i + 1) * 1000000 + 1);
    end loop;
  end $$;
  truncate oncejob.fire, oncejob.run_log, oncejob.log_chunk, oncejob.effect, oncejob.run_ready, oncejob.attempt, oncejob.worker_session,
    oncejob.server, oncejob.powerjob_attempt, oncejob.powerjob_sub_run, oncejob.run_key, oncejob.audit;
  select setval('oncejob.run_id_seq', 1, false);`

/** Runs that succeeded `age` days ago, each of a schedule of its own, with history, log, effects, what a Java worker told, and fire. */
export const oldRuns = (ids: readonly number[], age: number, fireAt = '2020-01-05Z'): string => {
  const id = `unnest('{${ids.join(',')}}'::bigint[]) id`
  const at = `now() - interval '${age} d'`
  return `
  insert into oncejob.run (id, app_id, job_id, priority, created_at, due_at, state, ended_at, schedule_id, fire_at)
    select id, 1, 1, 0, ${at}, ${at}, 'succeeded', ${at}, id, '${fireAt}' from ${id};
  insert into oncejob.attempt_log (run_id, number, lease, session_id, started_at, ended_at, outcome)
    select id, 1, id, 1, ${at}, ${at}, 'succeeded' from ${id};
  insert into oncejob.run_log select id, 1, 1, false from ${id};
  insert into oncejob.log_chunk select id, 1, 1, 1, '[[0, "info", "x"]]' from ${id};
  insert into oncejob.effect (run_id, name, lease) select id, name, id from ${id}, unnest('{a,b}'::text[]) name;
  insert into oncejob.powerjob_attempt (run_id, lease, start_time, report_time, heard_at, total, succeeded, failed)
    select id, id, 1, 1, ${at}, 1, 1, 0 from ${id};
  insert into oncejob.powerjob_sub_run (run_id, lease, number, started_at, status) select id, id, 1, ${at}, 5 from ${id};
  insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, run_id) select id, '${fireAt}', 1, 'fired', id from ${id};`
}
