-- Java workers of the PowerJob wire: where servers take their messages, from which networks, and the containers they load.
alter table oncejob.server
  -- host:port for messages of Java workers; null: this server takes none
  add column worker_address text;

alter table oncejob.app
  -- CIDRs and host names at which workers may be, beside the address that they are seen at
  add column powerjob_worker_networks text[] not null default '{}';

-- who wrote the lines, where several workers write for one attempt
alter table oncejob.log_chunk add column worker text;
-- a run that lasts as long as its job keeps the newest lines: so many of the oldest are gone
alter table oncejob.run_log add column rolled integer not null default 0;

create table oncejob.container (
  id bigint generated always as identity primary key,
  app_id bigint not null references oncejob.app on delete cascade,
  name text not null,
  -- lower-case hex MD5 of the jar, as the wire has it
  version text not null,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now(),
  deployed_at timestamptz(3),
  unique (app_id, name)
);

-- a jar while it arrives has no container; uploads that came to nothing are swept
create table oncejob.container_jar (
  id bigint generated always as identity primary key,
  container_id bigint references oncejob.container on delete cascade,
  version text,
  sha256 text,
  size bigint,
  created_at timestamptz(3) not null default now(),
  unique (container_id, version),
  check (container_id is null or (version is not null and sha256 is not null and size is not null))
);
create index container_jar_loose on oncejob.container_jar (created_at) where container_id is null;

create table oncejob.container_part (
  jar_id bigint not null references oncejob.container_jar on delete cascade,
  number integer not null,
  bytes bytea not null,
  primary key (jar_id, number)
);
-- a jar is compressed already
alter table oncejob.container_part alter column bytes set storage external;
