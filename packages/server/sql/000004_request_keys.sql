-- Every call takes effect once (I1): the key of a mutating call, what it asked for, and what was answered.
-- Hash partitions: uniqueness must span all of them, so they can not go by time; never tied to the retention of runs.
create table oncejob.request_key (
  app_id bigint not null,
  key text not null,
  -- what the call asked for: method, path, query, precondition, and a hash of the body; see requests/fingerprint.ts
  fingerprint text not null,
  request_id text not null,
  route text not null,
  status smallint not null,
  headers text not null,
  body text,
  created_at timestamptz(3) not null default now(),
  expires_at timestamptz(3) not null,
  primary key (app_id, key)
) partition by hash (app_id, key);
create table oncejob.request_key_0 partition of oncejob.request_key for values with (modulus 4, remainder 0);
create table oncejob.request_key_1 partition of oncejob.request_key for values with (modulus 4, remainder 1);
create table oncejob.request_key_2 partition of oncejob.request_key for values with (modulus 4, remainder 2);
create table oncejob.request_key_3 partition of oncejob.request_key for values with (modulus 4, remainder 3);
create index request_key_expiry on oncejob.request_key (expires_at);

-- the switch of an app that accepts no mutating call without a key
alter table oncejob.app add column require_request_keys boolean not null default false;
