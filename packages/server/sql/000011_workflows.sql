-- Workflows as people write them: nodes and edges are rows, the schedule stands in the table that jobs use.
create table oncejob.workflow (
  id bigint generated always as identity primary key,
  app_id bigint not null references oncejob.app,
  name text not null check (name <> ''),
  origin text not null default 'native' check (origin in ('native', 'powerjob')),
  version integer not null default 1,
  description text,
  enabled boolean not null,
  overlap text not null check (overlap in ('allow', 'queue', 'skip', 'fail', 'replace')),
  -- 0 = unlimited
  max_concurrent_runs integer not null check (max_concurrent_runs >= 0),
  notify text[] not null,
  -- what a PowerJob client wrote and no column says
  powerjob jsonb,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now(),
  deleted_at timestamptz(3)
);
create unique index workflow_name on oncejob.workflow (app_id, name) where origin = 'native' and deleted_at is null;
create index workflow_app on oncejob.workflow (app_id, id);

-- a node is made before the workflow that it becomes a part of
create table oncejob.workflow_node (
  id bigint generated always as identity primary key,
  app_id bigint not null references oncejob.app,
  workflow_id bigint references oncejob.workflow,
  -- its place in the list of the workflow's nodes
  position integer,
  kind text not null check (kind in ('job', 'decision', 'workflow')),
  job_id bigint references oncejob.job,
  nested_workflow_id bigint references oncejob.workflow,
  -- decides which of two edges is taken
  script text,
  name text,
  -- JSON; null: the job's own
  params text,
  enabled boolean not null,
  skip_when_failed boolean not null,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now(),
  unique (workflow_id, id),
  check ((workflow_id is null) = (position is null)),
  check ((kind = 'job') = (job_id is not null)),
  check ((kind = 'workflow') = (nested_workflow_id is not null)),
  check ((kind = 'decision') = (script is not null))
);
create index workflow_node_app on oncejob.workflow_node (app_id);
create index workflow_node_job on oncejob.workflow_node (job_id) where job_id is not null;
create index workflow_node_nested on oncejob.workflow_node (nested_workflow_id) where nested_workflow_id is not null;

create table oncejob.workflow_edge (
  workflow_id bigint not null references oncejob.workflow,
  position integer not null,
  from_node bigint not null,
  to_node bigint not null,
  -- as it was written; of an edge that leaves a decision: true or false, in any case
  property text,
  branch boolean generated always as (
    case lower(property) when 'true' then true when 'false' then false end) stored,
  primary key (workflow_id, position),
  -- both ends are nodes of this workflow
  foreign key (workflow_id, from_node) references oncejob.workflow_node (workflow_id, id),
  foreign key (workflow_id, to_node) references oncejob.workflow_node (workflow_id, id)
);

-- a schedule belongs to a job or to a workflow; nothing fires for workflows yet, so theirs must not be due
alter table oncejob.schedule alter column job_id drop not null;
alter table oncejob.schedule add column workflow_id bigint unique references oncejob.workflow;
alter table oncejob.schedule add constraint schedule_owner check (num_nonnulls(job_id, workflow_id) = 1);
alter table oncejob.schedule add constraint schedule_workflow_waits check (workflow_id is null or next_fire_at is null);
