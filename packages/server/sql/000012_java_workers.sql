-- Java workers on the PowerJob wire: sessions kept alive by heartbeats, and what their reports say of an attempt.
alter table oncejob.worker_session
  add column protocol text not null default 'native' check (protocol in ('native', 'powerjob')),
  -- of a Java worker: the server that hears its heartbeats and acts for it
  add column server_id bigint,
  -- of a Java worker: what the last heartbeat said beside its metrics
  add column powerjob jsonb;
-- a Java worker is its address; every heartbeat, whichever server hears it, finds the one session
create unique index worker_session_java on oncejob.worker_session (app_id, address)
  where protocol = 'powerjob' and ended_at is null;

-- what a job of that wire asks beyond the rest; null: a native job, which Java workers do not execute
alter table oncejob.route add column java jsonb;
with fresh as (
  insert into oncejob.route (app_id, processor, labels, designated, min_free_cpu_cores, min_free_memory_gb, min_free_disk_gb,
    max_workers, strategy, digest, java)
  select j.app_id, j.processor, j.labels, j.designated, j.min_free_cpu_cores, j.min_free_memory_gb, j.min_free_disk_gb,
    j.max_workers, j.strategy, 'migration-12-job-' || j.id,
    jsonb_build_object(
      'only', j.mode <> 'standalone' or j.processor_type = 'external',
      'frequent', s.kind in ('fixed-rate', 'fixed-delay'),
      'specify', case when j.powerjob ->> 'dispatchStrategy' = 'SPECIFY' then j.powerjob ->> 'dispatchStrategyConfig' end)
  from oncejob.job j join oncejob.schedule s on s.job_id = j.id where j.origin = 'powerjob'
  returning id, digest
)
update oncejob.job j set route_id = fresh.id from fresh where fresh.digest = 'migration-12-job-' || j.id;
update oncejob.run_ready r set route_id = j.route_id from oncejob.job j where j.id = r.job_id and j.origin = 'powerjob';
update oncejob.run_later r set route_id = j.route_id from oncejob.job j where j.id = r.job_id and j.origin = 'powerjob';
update oncejob.run_blocked r set route_id = j.route_id from oncejob.job j where j.id = r.job_id and j.origin = 'powerjob';

alter table oncejob.app add column powerjob_tag_substring boolean not null default false;

-- What the worker of an attempt has told of it. Short runs have no row: a success is all that is told of them.
create table oncejob.powerjob_attempt (
  run_id bigint primary key,
  -- of the attempt that the other columns speak of
  lease bigint not null,
  -- when the worker began and last reported, by its own clock, in ms: they order its reports
  start_time bigint not null,
  report_time bigint not null,
  -- beginnings that earlier attempts of the run had: who names one of them is late
  earlier_starts bigint[] not null default '{}',
  heard_at timestamptz(3) not null,
  -- tasks of the run; of a job on a short interval, how often it was executed
  total bigint not null,
  succeeded bigint not null,
  failed bigint not null
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- Single executions within the one long run of a job on a short interval, as far as its worker told them.
create table oncejob.powerjob_sub_run (
  run_id bigint not null,
  lease bigint not null,
  number bigint not null,
  -- by the worker's clock
  started_at timestamptz(3) not null,
  finished_at timestamptz(3),
  -- of the wire: 2 running, 4 failed, 5 succeeded
  status smallint not null,
  result text,
  primary key (run_id, lease, number)
);
