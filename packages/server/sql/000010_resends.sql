-- What tells a call that a PowerJob client has sent again from one that is meant: see powerjob/resend/. Kept for minutes.
-- Numbers of attempts: each server takes a thousand at a time.
create sequence oncejob.legacy_attempt_block_seq;

-- network paths on which clients were seen to throw answers away
create table oncejob.legacy_path (
  path_key text primary key,
  app_id bigint not null,
  doubled_at timestamptz(3) not null default clock_timestamp()
);

-- tokens of /authApp
create table oncejob.legacy_token (
  jti text primary key,
  path_key text not null,
  issued_at timestamptz(3) not null default clock_timestamp(),
  used_at timestamptz(3),
  -- first use on /authApp, as constructors do, and on any other call
  on_auth_at timestamptz(3),
  called_at timestamptz(3)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
create index legacy_token_path on oncejob.legacy_token (path_key, on_auth_at) where called_at is null;
create index legacy_token_age on oncejob.legacy_token (issued_at);

-- Executions of calls, and rejections and first uses that are evidence. Whether one took effect is told by its request key.
create table oncejob.legacy_attempt (
  id bigint primary key,
  app_id bigint not null,
  -- null: nobody throws answers away on its path, it is kept only until its answer is gone
  path_key text,
  fingerprint text not null,
  jti text,
  -- app, peer, token and body in one: what a call that is sent again has in common with the first
  match text not null,
  -- the server at work, by the lock it holds; 0: it held none
  server integer not null,
  -- the attempt whose request key it runs under: its own, or that of the attempt it repeats
  under bigint not null,
  outcome text not null check (outcome in ('started', 'refused', 'broken', 'rejected', 'collapsed', 'read')),
  -- the first use of its token, which no rejection explains and no collapse has spent
  first_use boolean not null,
  forced boolean not null default false,
  owes boolean not null default false,
  started_at timestamptz(3) not null default clock_timestamp(),
  failed_at timestamptz(3),
  -- right before the answer was handed to the kernel; the connection was lost before that
  answered_at timestamptz(3),
  undelivered_at timestamptz(3),
  resent_at timestamptz(3),
  paired_at timestamptz(3),
  debt_paid_at timestamptz(3),
  -- of a rejection: a first use is explained by it
  explained_at timestamptz(3)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
create index legacy_attempt_path on oncejob.legacy_attempt (path_key, started_at) where path_key is not null;
create index legacy_attempt_match on oncejob.legacy_attempt (match) where resent_at is null;
create index legacy_attempt_debt on oncejob.legacy_attempt (path_key, fingerprint) where owes and debt_paid_at is null;
create index legacy_attempt_age on oncejob.legacy_attempt (started_at);
