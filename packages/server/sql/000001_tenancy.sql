-- Who owns what and who did what: namespaces, apps, tokens, the audit trail, the servers of the cluster.
create table oncejob.namespace (
  id bigint generated always as identity primary key,
  name text not null unique,
  title text,
  created_at timestamptz(3) not null default now()
);
insert into oncejob.namespace (name, title) values ('default', 'Default');

create table oncejob.app (
  id bigint generated always as identity primary key,
  namespace_id bigint not null references oncejob.namespace,
  name text not null unique,
  title text,
  created_at timestamptz(3) not null default now()
);

create table oncejob.api_token (
  id bigint generated always as identity primary key,
  app_id bigint references oncejob.app on delete cascade,
  name text not null,
  scope text not null check (scope in ('admin', 'app', 'read')),
  hash bytea not null unique,
  created_at timestamptz(3) not null default now(),
  expires_at timestamptz(3),
  revoked_at timestamptz(3),
  check ((scope = 'admin') = (app_id is null))
);

-- append-only: no statement updates or deletes its rows
create table oncejob.audit (
  id bigint generated always as identity primary key,
  at timestamptz(3) not null default now(),
  actor text not null,
  app_id bigint,
  action text not null,
  target text not null,
  detail jsonb
);
create index audit_app on oncejob.audit (app_id, id);

create table oncejob.server (
  id bigint generated always as identity primary key,
  name text not null,
  version text not null,
  started_at timestamptz(3) not null default now(),
  seen_at timestamptz(3) not null default now()
);
