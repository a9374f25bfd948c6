-- Executions that Java workers repeat by themselves are listed with the fires of their job, and forgotten by job.
alter table oncejob.powerjob_sub_run
  -- null: told to a server of the version before, and not listed
  add column job_id bigint,
  -- by our clock, when the worker first told of it
  add column recorded_at timestamptz(3) not null default now();
update oncejob.powerjob_sub_run s set job_id = r.job_id from oncejob.run r where r.id = s.run_id;
create index powerjob_sub_run_job on oncejob.powerjob_sub_run (job_id, started_at, run_id, lease, number);
