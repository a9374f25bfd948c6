-- Run keys (I8): which run a key stands for. Never tied to the retention of runs: before a run is dropped, its end is kept here.
create table oncejob.run_key (
  app_id bigint not null,
  -- 0: the key is the app's, whatever the job
  job_id bigint not null,
  key text not null,
  -- the newest run of the key
  run_id bigint not null,
  input_hash text not null,
  -- the run that the newest one waits for (policies after and replace)
  before_run_id bigint,
  before_input_hash text,
  -- how long after the end of its run the key lives; 0: until that end, null: for ever
  ttl_ms bigint,
  -- the earlier run was stopping when the key was freed by force: it is waited for, and the key never goes back to it;
  -- as long as nothing was asked for since, run_id names it, too
  freed boolean not null default false,
  -- the end of the run: read from run while it is there, kept here by the sweeper and before the run is dropped
  state text check (state <> 'open'),
  ended_at timestamptz(3),
  expires_at timestamptz(3),
  primary key (app_id, job_id, key),
  check ((state is null) = (ended_at is null)),
  check (expires_at is null or ended_at is not null)
);
create index run_key_expiry on oncejob.run_key (expires_at) where expires_at is not null;
create index run_key_not_kept on oncejob.run_key (run_id) where ended_at is null;

-- the key and what it belongs to: the job or the whole app
alter table oncejob.run add column run_key text;
alter table oncejob.run add column run_key_scope text check (run_key_scope in ('job', 'app'));
create index run_by_key on oncejob.run (app_id, run_key, id) where run_key is not null;

-- waits for the end of that run, and only then for a slot
alter table oncejob.run_blocked add column after_run_id bigint;
create index run_blocked_after on oncejob.run_blocked (after_run_id) where after_run_id is not null;
