-- The life of a run: cold facts partitioned by id, and the small hot tables that say where an open run is.
create sequence oncejob.run_id_seq;
-- cache 1: leases must grow over all sessions, users compare them with < (I3)
create sequence oncejob.lease_seq cache 1;

create table oncejob.run (
  id bigint primary key,
  app_id bigint not null,
  job_id bigint not null,
  schedule_id bigint,
  fire_at timestamptz(3),
  request_key text,
  params text,
  priority smallint not null,
  created_at timestamptz(3) not null default now(),
  due_at timestamptz(3) not null,
  queue_deadline_at timestamptz(3),
  state text not null default 'open' check (state in ('open', 'succeeded', 'failed', 'canceled', 'stopped')),
  attempts integer not null default 0,
  failures integer not null default 0,
  losses integer not null default 0,
  stop_requested_at timestamptz(3),
  started_at timestamptz(3),
  ended_at timestamptz(3),
  session_id bigint,
  result text,
  result_truncated boolean not null default false,
  error text,
  -- I5: the end is written exactly once, with the state
  check ((state = 'open') = (ended_at is null))
) partition by range (id);
create index run_job on oncejob.run (job_id, id);
create index run_app on oncejob.run (app_id, id);

create table oncejob.attempt_log (
  run_id bigint not null,
  number integer not null,
  lease bigint not null,
  session_id bigint not null,
  started_at timestamptz(3) not null,
  ended_at timestamptz(3) not null default now(),
  outcome text not null check (outcome in ('succeeded', 'failed', 'timed-out', 'stopped', 'lost', 'handed-back')),
  error text,
  primary key (run_id, lease)
) partition by range (run_id);

-- room for the one update at the end of a run: it then touches no index
create table oncejob.run_1 partition of oncejob.run for values from (1) to (1000001) with (fillfactor = 60);
create table oncejob.attempt_log_1 partition of oncejob.attempt_log for values from (1) to (1000001);
create table oncejob.run_1000001 partition of oncejob.run for values from (1000001) to (2000001) with (fillfactor = 60);
create table oncejob.attempt_log_1000001 partition of oncejob.attempt_log for values from (1000001) to (2000001);

-- An open run is in exactly one of ready, later, blocked, attempt. `priority` is negated here: smaller starts first.
-- `follows`: its end has consequences (a slot to give back, a fixed delay to arm).
create table oncejob.run_ready (
  run_id bigint primary key,
  route_id integer not null,
  priority smallint not null,
  run_at timestamptz(3) not null,
  job_id bigint not null,
  attempts integer not null,
  follows boolean not null,
  expires_at timestamptz(3)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
create index run_ready_order on oncejob.run_ready (route_id, priority, run_at, run_id);
create index run_ready_expiry on oncejob.run_ready (expires_at) where expires_at is not null;

create table oncejob.run_later (
  run_id bigint primary key,
  route_id integer not null,
  priority smallint not null,
  run_at timestamptz(3) not null,
  job_id bigint not null,
  attempts integer not null,
  follows boolean not null,
  expires_at timestamptz(3),
  -- of a job with a limit, and without a slot yet
  needs_slot boolean not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
create index run_later_due on oncejob.run_later (run_at);
create index run_later_expiry on oncejob.run_later (expires_at) where expires_at is not null;

create table oncejob.run_blocked (
  run_id bigint primary key,
  route_id integer not null,
  priority smallint not null,
  run_at timestamptz(3) not null,
  job_id bigint not null,
  attempts integer not null,
  follows boolean not null,
  expires_at timestamptz(3)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
create index run_blocked_order on oncejob.run_blocked (job_id, priority, run_at, run_id);
create index run_blocked_expiry on oncejob.run_blocked (expires_at) where expires_at is not null;

-- who holds a slot of a job with a limit, from ready to the end
create table oncejob.run_slot (
  run_id bigint primary key,
  job_id bigint not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
create index run_slot_job on oncejob.run_slot (job_id);

create table oncejob.worker_session (
  id bigint generated always as identity primary key,
  app_id bigint not null,
  name text not null,
  address text,
  pid integer,
  version text,
  processors text[] not null,
  labels jsonb not null,
  slots integer not null,
  metrics jsonb,
  draining boolean not null default false,
  started_at timestamptz(3) not null default now(),
  expires_at timestamptz(3) not null,
  ended_at timestamptz(3),
  end_reason text check (end_reason in ('left', 'lost')),
  check ((ended_at is null) = (end_reason is null))
) with (fillfactor = 70);
create index worker_session_live on oncejob.worker_session (app_id) where ended_at is null;

create table oncejob.attempt (
  run_id bigint primary key,
  lease bigint not null,
  session_id bigint not null,
  app_id bigint not null,
  job_id bigint not null,
  number integer not null,
  follows boolean not null,
  claimed_at timestamptz(3) not null default now(),
  deadline_at timestamptz(3),
  stop_requested_at timestamptz(3),
  progress jsonb
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
create index attempt_deadline on oncejob.attempt (deadline_at) where deadline_at is not null;

create table oncejob.run_log (
  run_id bigint primary key,
  lines integer not null,
  bytes integer not null,
  truncated boolean not null
);
create table oncejob.log_chunk (
  run_id bigint not null,
  first_seq integer not null,
  last_seq integer not null,
  attempt integer not null,
  lines jsonb not null,
  primary key (run_id, first_seq)
);
