-- What to run and when: jobs, the routes that match them with workers, schedules and their ledger of fires (I2).
create table oncejob.route (
  id integer generated always as identity primary key,
  app_id bigint not null references oncejob.app on delete cascade,
  processor text not null,
  labels jsonb not null,
  designated text[] not null,
  min_free_cpu_cores double precision not null,
  min_free_memory_gb double precision not null,
  min_free_disk_gb double precision not null,
  max_workers integer not null,
  strategy text not null check (strategy in ('health-first', 'random', 'least-loaded')),
  digest text not null,
  unique (app_id, digest)
);

create table oncejob.job (
  id bigint generated always as identity primary key,
  app_id bigint not null references oncejob.app,
  name text not null check (name <> ''),
  origin text not null default 'native' check (origin in ('native', 'powerjob')),
  version integer not null default 1,
  description text,
  processor text not null,
  processor_type text not null check (processor_type in ('built-in', 'external')),
  mode text not null check (mode in ('standalone', 'broadcast', 'map', 'map-reduce')),
  params text,
  enabled boolean not null,
  priority smallint not null,
  overlap text not null check (overlap in ('allow', 'queue', 'skip', 'fail', 'replace')),
  max_concurrent_runs integer not null check (max_concurrent_runs >= 0),
  -- 0 = unlimited; a policy other than allow needs a limit to act at, and that is one run
  run_limit integer not null generated always as (
    case when max_concurrent_runs > 0 then max_concurrent_runs when overlap <> 'allow' then 1 else 0 end) stored,
  task_concurrency integer not null,
  queue_timeout_ms bigint,
  attempt_timeout_ms bigint,
  run_timeout_ms bigint,
  retry_max integer not null,
  retry_backoff text not null check (retry_backoff in ('fixed', 'exponential')),
  retry_delay_ms bigint not null,
  retry_max_delay_ms bigint not null,
  retry_jitter double precision not null,
  retry_on text[] not null,
  no_retry_on text[] not null,
  max_lost integer not null,
  task_retry_max integer not null,
  labels jsonb not null,
  designated text[] not null,
  min_free_cpu_cores double precision not null,
  min_free_memory_gb double precision not null,
  min_free_disk_gb double precision not null,
  max_workers integer not null,
  strategy text not null,
  route_id integer not null references oncejob.route,
  notify text[] not null,
  alarm_threshold integer,
  alarm_window_ms bigint,
  alarm_silence_ms bigint,
  log_level text not null,
  log_type text not null,
  logger_name text,
  tracker_behavior text not null check (tracker_behavior in ('normal', 'paddling')),
  tag text,
  extra text,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now(),
  deleted_at timestamptz(3)
);
create unique index job_name on oncejob.job (app_id, name) where origin = 'native' and deleted_at is null;
create index job_app on oncejob.job (app_id, id) where deleted_at is null;

-- people write the job, the scheduler writes next_fire_at: neither can overwrite the other
create table oncejob.schedule (
  id bigint generated always as identity primary key,
  job_id bigint not null unique references oncejob.job,
  kind text not null check (kind in ('none', 'cron', 'fixed-rate', 'fixed-delay', 'daily', 'once')),
  expression text not null,
  zone text not null,
  start_at timestamptz(3),
  end_at timestamptz(3),
  jitter_ms integer not null,
  misfire_policy text not null check (misfire_policy in ('run-once', 'run-all', 'skip')),
  misfire_max_runs integer not null,
  misfire_max_lateness_ms bigint,
  dst_gap text not null check (dst_gap in ('next', 'skip')),
  dst_overlap text not null check (dst_overlap in ('first', 'both')),
  anchor_at timestamptz(3) not null default now(),
  next_fire_at timestamptz(3),
  -- fixed delay: the run whose end the next fire waits for
  awaiting_run_id bigint,
  version bigint not null default 1
);
create index schedule_due on oncejob.schedule (next_fire_at) where next_fire_at is not null;
create index schedule_awaiting on oncejob.schedule (awaiting_run_id) where awaiting_run_id is not null;

create table oncejob.fire (
  schedule_id bigint not null,
  fire_at timestamptz(3) not null,
  job_id bigint not null,
  outcome text not null check (outcome in ('fired', 'skipped', 'coalesced', 'missed')),
  run_id bigint,
  reason text,
  covers integer not null default 1 check (covers > 0),
  recorded_at timestamptz(3) not null default now(),
  primary key (schedule_id, fire_at),
  -- I2: a row that says fired has its run, every other row has its reason
  check ((outcome = 'fired') = (run_id is not null)),
  check (outcome = 'fired' or reason is not null)
) partition by range (fire_at);
create table oncejob.fire_default partition of oncejob.fire default;
create index fire_job on oncejob.fire (job_id, fire_at);
