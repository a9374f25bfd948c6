-- What all migrations together make, for reading. Nothing runs this file.
-- Written by packages/server/scripts/dump-schema.ts, which also checks that it is current.

create sequence oncejob.lease_seq as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1;
create sequence oncejob.legacy_attempt_block_seq as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1;
create sequence oncejob.run_id_seq as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1;

create table oncejob.api_token (
  id bigint generated always as identity not null,
  app_id bigint,
  name text not null,
  scope text not null,
  hash bytea not null,
  created_at timestamp(3) with time zone default now() not null,
  expires_at timestamp(3) with time zone,
  revoked_at timestamp(3) with time zone,
  constraint api_token_pkey PRIMARY KEY (id),
  constraint api_token_hash_key UNIQUE (hash),
  constraint api_token_app_id_fkey FOREIGN KEY (app_id) REFERENCES oncejob.app(id) ON DELETE CASCADE,
  constraint api_token_check CHECK (((scope = 'admin'::text) = (app_id IS NULL))),
  constraint api_token_scope_check CHECK ((scope = ANY (ARRAY['admin'::text, 'app'::text, 'read'::text])))
);

create table oncejob.app (
  id bigint generated always as identity not null,
  namespace_id bigint not null,
  name text not null,
  title text,
  created_at timestamp(3) with time zone default now() not null,
  require_request_keys boolean default false not null,
  password_hash text,
  password_version integer default 0 not null,
  powerjob_tokenless boolean default false not null,
  powerjob_copy_enabled boolean default false not null,
  powerjob_collapse text default 'evidence'::text not null,
  powerjob_tag_substring boolean default false not null,
  powerjob_worker_networks text[] default '{}'::text[] not null,
  constraint app_pkey PRIMARY KEY (id),
  constraint app_name_key UNIQUE (name),
  constraint app_namespace_id_fkey FOREIGN KEY (namespace_id) REFERENCES oncejob.namespace(id),
  constraint app_powerjob_collapse_check CHECK ((powerjob_collapse = ANY (ARRAY['evidence'::text, 'off'::text])))
);

create table oncejob.attempt (
  run_id bigint not null,
  lease bigint not null,
  session_id bigint not null,
  app_id bigint not null,
  job_id bigint not null,
  number integer not null,
  follows boolean not null,
  claimed_at timestamp(3) with time zone default now() not null,
  deadline_at timestamp(3) with time zone,
  stop_requested_at timestamp(3) with time zone,
  progress jsonb,
  constraint attempt_pkey PRIMARY KEY (run_id)
) with (autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=500, fillfactor=80, vacuum_truncate=false);
CREATE INDEX attempt_deadline ON oncejob.attempt USING btree (deadline_at) WHERE (deadline_at IS NOT NULL);

create table oncejob.attempt_log (
  run_id bigint not null,
  number integer not null,
  lease bigint not null,
  session_id bigint not null,
  started_at timestamp(3) with time zone not null,
  ended_at timestamp(3) with time zone default now() not null,
  outcome text not null,
  error text,
  constraint attempt_log_pkey PRIMARY KEY (run_id, lease),
  constraint attempt_log_outcome_check CHECK ((outcome = ANY (ARRAY['succeeded'::text, 'failed'::text, 'timed-out'::text, 'stopped'::text, 'lost'::text, 'handed-back'::text])))
) partition by range (run_id);

create table oncejob.attempt_log_1 partition of oncejob.attempt_log FOR VALUES FROM ('1') TO ('1000001');

create table oncejob.attempt_log_1000001 partition of oncejob.attempt_log FOR VALUES FROM ('1000001') TO ('2000001');

create table oncejob.audit (
  id bigint generated always as identity not null,
  at timestamp(3) with time zone default now() not null,
  actor text not null,
  app_id bigint,
  action text not null,
  target text not null,
  detail jsonb,
  constraint audit_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_app ON oncejob.audit USING btree (app_id, id);

create table oncejob.container (
  id bigint generated always as identity not null,
  app_id bigint not null,
  name text not null,
  version text not null,
  created_at timestamp(3) with time zone default now() not null,
  updated_at timestamp(3) with time zone default now() not null,
  deployed_at timestamp(3) with time zone,
  constraint container_pkey PRIMARY KEY (id),
  constraint container_app_id_name_key UNIQUE (app_id, name),
  constraint container_app_id_fkey FOREIGN KEY (app_id) REFERENCES oncejob.app(id) ON DELETE CASCADE
);

create table oncejob.container_jar (
  id bigint generated always as identity not null,
  container_id bigint,
  version text,
  sha256 text,
  size bigint,
  created_at timestamp(3) with time zone default now() not null,
  constraint container_jar_pkey PRIMARY KEY (id),
  constraint container_jar_container_id_version_key UNIQUE (container_id, version),
  constraint container_jar_container_id_fkey FOREIGN KEY (container_id) REFERENCES oncejob.container(id) ON DELETE CASCADE,
  constraint container_jar_check CHECK (((container_id IS NULL) OR ((version IS NOT NULL) AND (sha256 IS NOT NULL) AND (size IS NOT NULL))))
);
CREATE INDEX container_jar_loose ON oncejob.container_jar USING btree (created_at) WHERE (container_id IS NULL);

create table oncejob.container_part (
  jar_id bigint not null,
  number integer not null,
  bytes bytea not null storage external,
  constraint container_part_pkey PRIMARY KEY (jar_id, number),
  constraint container_part_jar_id_fkey FOREIGN KEY (jar_id) REFERENCES oncejob.container_jar(id) ON DELETE CASCADE
);

create table oncejob.effect (
  run_id bigint not null,
  name text not null,
  lease bigint not null,
  state text default 'intent'::text not null,
  outcome text,
  started_at timestamp(3) with time zone default now() not null,
  ended_at timestamp(3) with time zone,
  decided_by text,
  constraint effect_pkey PRIMARY KEY (run_id, name),
  constraint effect_check CHECK (((state = 'done'::text) = (ended_at IS NOT NULL))),
  constraint effect_check1 CHECK (((state = 'done'::text) OR (outcome IS NULL))),
  constraint effect_state_check CHECK ((state = ANY (ARRAY['intent'::text, 'done'::text])))
);

create table oncejob.fire (
  schedule_id bigint not null,
  fire_at timestamp(3) with time zone not null,
  job_id bigint not null,
  outcome text not null,
  run_id bigint,
  reason text,
  covers integer default 1 not null,
  recorded_at timestamp(3) with time zone default now() not null,
  constraint fire_pkey PRIMARY KEY (schedule_id, fire_at),
  constraint fire_check CHECK (((outcome = 'fired'::text) = (run_id IS NOT NULL))),
  constraint fire_check1 CHECK (((outcome = 'fired'::text) OR (reason IS NOT NULL))),
  constraint fire_covers_check CHECK ((covers > 0)),
  constraint fire_outcome_check CHECK ((outcome = ANY (ARRAY['fired'::text, 'skipped'::text, 'coalesced'::text, 'missed'::text])))
) partition by range (fire_at);
CREATE INDEX fire_job ON ONLY oncejob.fire USING btree (job_id, fire_at);

create table oncejob.fire_default partition of oncejob.fire DEFAULT;

create table oncejob.job (
  id bigint generated always as identity not null,
  app_id bigint not null,
  name text not null,
  origin text default 'native'::text not null,
  version integer default 1 not null,
  description text,
  processor text not null,
  processor_type text not null,
  mode text not null,
  params text,
  enabled boolean not null,
  priority smallint not null,
  overlap text not null,
  max_concurrent_runs integer not null,
  run_limit integer generated always as (
CASE
    WHEN (max_concurrent_runs > 0) THEN max_concurrent_runs
    WHEN (overlap <> 'allow'::text) THEN 1
    ELSE 0
END) stored not null,
  task_concurrency integer not null,
  queue_timeout_ms bigint,
  attempt_timeout_ms bigint,
  run_timeout_ms bigint,
  retry_max integer not null,
  retry_backoff text not null,
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
  route_id integer not null,
  notify text[] not null,
  alarm_threshold integer,
  alarm_window_ms bigint,
  alarm_silence_ms bigint,
  log_level text not null,
  log_type text not null,
  logger_name text,
  tracker_behavior text not null,
  tag text,
  extra text,
  created_at timestamp(3) with time zone default now() not null,
  updated_at timestamp(3) with time zone default now() not null,
  deleted_at timestamp(3) with time zone,
  guarantee text default 'at-least-once'::text not null,
  powerjob jsonb,
  constraint job_pkey PRIMARY KEY (id),
  constraint job_app_id_fkey FOREIGN KEY (app_id) REFERENCES oncejob.app(id),
  constraint job_route_id_fkey FOREIGN KEY (route_id) REFERENCES oncejob.route(id),
  constraint job_guarantee_check CHECK ((guarantee = ANY (ARRAY['at-least-once'::text, 'at-most-once'::text]))),
  constraint job_max_concurrent_runs_check CHECK ((max_concurrent_runs >= 0)),
  constraint job_mode_check CHECK ((mode = ANY (ARRAY['standalone'::text, 'broadcast'::text, 'map'::text, 'map-reduce'::text]))),
  constraint job_name_check CHECK ((name <> ''::text)),
  constraint job_origin_check CHECK ((origin = ANY (ARRAY['native'::text, 'powerjob'::text]))),
  constraint job_overlap_check CHECK ((overlap = ANY (ARRAY['allow'::text, 'queue'::text, 'skip'::text, 'fail'::text, 'replace'::text]))),
  constraint job_processor_type_check CHECK ((processor_type = ANY (ARRAY['built-in'::text, 'external'::text]))),
  constraint job_retry_backoff_check CHECK ((retry_backoff = ANY (ARRAY['fixed'::text, 'exponential'::text]))),
  constraint job_tracker_behavior_check CHECK ((tracker_behavior = ANY (ARRAY['normal'::text, 'paddling'::text])))
);
CREATE INDEX job_app ON oncejob.job USING btree (app_id, id);
CREATE UNIQUE INDEX job_name ON oncejob.job USING btree (app_id, name) WHERE ((origin = 'native'::text) AND (deleted_at IS NULL));

create table oncejob.legacy_attempt (
  id bigint not null,
  app_id bigint not null,
  path_key text,
  fingerprint text not null,
  jti text,
  match text not null,
  server integer not null,
  under bigint not null,
  outcome text not null,
  first_use boolean not null,
  forced boolean default false not null,
  owes boolean default false not null,
  started_at timestamp(3) with time zone default clock_timestamp() not null,
  failed_at timestamp(3) with time zone,
  answered_at timestamp(3) with time zone,
  undelivered_at timestamp(3) with time zone,
  resent_at timestamp(3) with time zone,
  paired_at timestamp(3) with time zone,
  debt_paid_at timestamp(3) with time zone,
  explained_at timestamp(3) with time zone,
  constraint legacy_attempt_pkey PRIMARY KEY (id),
  constraint legacy_attempt_outcome_check CHECK ((outcome = ANY (ARRAY['started'::text, 'refused'::text, 'broken'::text, 'rejected'::text, 'collapsed'::text, 'read'::text])))
) with (autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=500, fillfactor=70);
CREATE INDEX legacy_attempt_age ON oncejob.legacy_attempt USING btree (started_at);
CREATE INDEX legacy_attempt_debt ON oncejob.legacy_attempt USING btree (path_key, fingerprint) WHERE (owes AND (debt_paid_at IS NULL));
CREATE INDEX legacy_attempt_match ON oncejob.legacy_attempt USING btree (match) WHERE (resent_at IS NULL);
CREATE INDEX legacy_attempt_path ON oncejob.legacy_attempt USING btree (path_key, started_at) WHERE (path_key IS NOT NULL);

create table oncejob.legacy_path (
  path_key text not null,
  app_id bigint not null,
  doubled_at timestamp(3) with time zone default clock_timestamp() not null,
  constraint legacy_path_pkey PRIMARY KEY (path_key)
);

create table oncejob.legacy_token (
  jti text not null,
  path_key text not null,
  issued_at timestamp(3) with time zone default clock_timestamp() not null,
  used_at timestamp(3) with time zone,
  on_auth_at timestamp(3) with time zone,
  called_at timestamp(3) with time zone,
  constraint legacy_token_pkey PRIMARY KEY (jti)
) with (autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=500);
CREATE INDEX legacy_token_age ON oncejob.legacy_token USING btree (issued_at);
CREATE INDEX legacy_token_path ON oncejob.legacy_token USING btree (path_key, on_auth_at) WHERE (called_at IS NULL);

create table oncejob.log_chunk (
  run_id bigint not null,
  first_seq integer not null,
  last_seq integer not null,
  attempt integer not null,
  lines jsonb not null,
  worker text,
  constraint log_chunk_pkey PRIMARY KEY (run_id, first_seq)
);

create table oncejob.migration (
  version integer not null,
  name text not null,
  checksum text not null,
  applied_at timestamp with time zone default now() not null,
  constraint migration_pkey PRIMARY KEY (version)
);

create table oncejob.namespace (
  id bigint generated always as identity not null,
  name text not null,
  title text,
  created_at timestamp(3) with time zone default now() not null,
  constraint namespace_pkey PRIMARY KEY (id),
  constraint namespace_name_key UNIQUE (name)
);

create table oncejob.powerjob_attempt (
  run_id bigint not null,
  lease bigint not null,
  start_time bigint not null,
  report_time bigint not null,
  earlier_starts bigint[] default '{}'::bigint[] not null,
  heard_at timestamp(3) with time zone not null,
  total bigint not null,
  succeeded bigint not null,
  failed bigint not null,
  constraint powerjob_attempt_pkey PRIMARY KEY (run_id)
) with (autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=500, fillfactor=70);

create table oncejob.powerjob_sub_run (
  run_id bigint not null,
  lease bigint not null,
  number bigint not null,
  started_at timestamp(3) with time zone not null,
  finished_at timestamp(3) with time zone,
  status smallint not null,
  result text,
  job_id bigint,
  recorded_at timestamp(3) with time zone default now() not null,
  constraint powerjob_sub_run_pkey PRIMARY KEY (run_id, lease, number)
);
CREATE INDEX powerjob_sub_run_job ON oncejob.powerjob_sub_run USING btree (job_id, started_at, run_id, lease, number);

create table oncejob.request_key (
  app_id bigint not null,
  key text not null,
  fingerprint text not null,
  request_id text not null,
  route text not null,
  status smallint not null,
  headers text not null,
  body text,
  created_at timestamp(3) with time zone default now() not null,
  expires_at timestamp(3) with time zone not null,
  constraint request_key_pkey PRIMARY KEY (app_id, key)
) partition by hash (app_id, key);
CREATE INDEX request_key_expiry ON ONLY oncejob.request_key USING btree (expires_at);

create table oncejob.request_key_0 partition of oncejob.request_key FOR VALUES WITH (modulus 4, remainder 0);

create table oncejob.request_key_1 partition of oncejob.request_key FOR VALUES WITH (modulus 4, remainder 1);

create table oncejob.request_key_2 partition of oncejob.request_key FOR VALUES WITH (modulus 4, remainder 2);

create table oncejob.request_key_3 partition of oncejob.request_key FOR VALUES WITH (modulus 4, remainder 3);

create table oncejob.route (
  id integer generated always as identity not null,
  app_id bigint not null,
  processor text not null,
  labels jsonb not null,
  designated text[] not null,
  min_free_cpu_cores double precision not null,
  min_free_memory_gb double precision not null,
  min_free_disk_gb double precision not null,
  max_workers integer not null,
  strategy text not null,
  digest text not null,
  java jsonb,
  constraint route_pkey PRIMARY KEY (id),
  constraint route_app_id_digest_key UNIQUE (app_id, digest),
  constraint route_app_id_fkey FOREIGN KEY (app_id) REFERENCES oncejob.app(id) ON DELETE CASCADE,
  constraint route_strategy_check CHECK ((strategy = ANY (ARRAY['health-first'::text, 'random'::text, 'least-loaded'::text])))
);

create table oncejob.run (
  id bigint not null,
  app_id bigint not null,
  job_id bigint not null,
  schedule_id bigint,
  fire_at timestamp(3) with time zone,
  request_key text,
  params text,
  priority smallint not null,
  created_at timestamp(3) with time zone default now() not null,
  due_at timestamp(3) with time zone not null,
  queue_deadline_at timestamp(3) with time zone,
  state text default 'open'::text not null,
  attempts integer default 0 not null,
  failures integer default 0 not null,
  losses integer default 0 not null,
  stop_requested_at timestamp(3) with time zone,
  started_at timestamp(3) with time zone,
  ended_at timestamp(3) with time zone,
  session_id bigint,
  result text,
  result_truncated boolean default false not null,
  error text,
  run_key text,
  run_key_scope text,
  decided_by text,
  constraint run_pkey PRIMARY KEY (id),
  constraint run_check CHECK (((state = 'open'::text) = (ended_at IS NULL))),
  constraint run_run_key_scope_check CHECK ((run_key_scope = ANY (ARRAY['job'::text, 'app'::text]))),
  constraint run_state_check CHECK ((state = ANY (ARRAY['open'::text, 'succeeded'::text, 'failed'::text, 'canceled'::text, 'stopped'::text])))
) partition by range (id);
CREATE INDEX run_app ON ONLY oncejob.run USING btree (app_id, id);
CREATE INDEX run_by_key ON ONLY oncejob.run USING btree (app_id, run_key, id) WHERE (run_key IS NOT NULL);
CREATE INDEX run_job ON ONLY oncejob.run USING btree (job_id, id);

create table oncejob.run_1 partition of oncejob.run FOR VALUES FROM ('1') TO ('1000001') with (fillfactor=60);

create table oncejob.run_1000001 partition of oncejob.run FOR VALUES FROM ('1000001') TO ('2000001') with (fillfactor=60);

create table oncejob.run_blocked (
  run_id bigint not null,
  route_id integer not null,
  priority smallint not null,
  run_at timestamp(3) with time zone not null,
  job_id bigint not null,
  attempts integer not null,
  follows boolean not null,
  expires_at timestamp(3) with time zone,
  after_run_id bigint,
  constraint run_blocked_pkey PRIMARY KEY (run_id)
) with (autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=500);
CREATE INDEX run_blocked_after ON oncejob.run_blocked USING btree (after_run_id) WHERE (after_run_id IS NOT NULL);
CREATE INDEX run_blocked_expiry ON oncejob.run_blocked USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX run_blocked_order ON oncejob.run_blocked USING btree (job_id, priority, run_at, run_id);

create table oncejob.run_key (
  app_id bigint not null,
  job_id bigint not null,
  key text not null,
  run_id bigint not null,
  input_hash text not null,
  before_run_id bigint,
  before_input_hash text,
  ttl_ms bigint,
  freed boolean default false not null,
  state text,
  ended_at timestamp(3) with time zone,
  expires_at timestamp(3) with time zone,
  constraint run_key_pkey PRIMARY KEY (app_id, job_id, key),
  constraint run_key_check CHECK (((state IS NULL) = (ended_at IS NULL))),
  constraint run_key_check1 CHECK (((expires_at IS NULL) OR (ended_at IS NOT NULL))),
  constraint run_key_state_check CHECK ((state <> 'open'::text))
);
CREATE INDEX run_key_expiry ON oncejob.run_key USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX run_key_not_kept ON oncejob.run_key USING btree (run_id) WHERE (ended_at IS NULL);

create table oncejob.run_later (
  run_id bigint not null,
  route_id integer not null,
  priority smallint not null,
  run_at timestamp(3) with time zone not null,
  job_id bigint not null,
  attempts integer not null,
  follows boolean not null,
  expires_at timestamp(3) with time zone,
  needs_slot boolean not null,
  constraint run_later_pkey PRIMARY KEY (run_id)
) with (autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=500);
CREATE INDEX run_later_due ON oncejob.run_later USING btree (run_at);
CREATE INDEX run_later_expiry ON oncejob.run_later USING btree (expires_at) WHERE (expires_at IS NOT NULL);

create table oncejob.run_log (
  run_id bigint not null,
  lines integer not null,
  bytes integer not null,
  truncated boolean not null,
  rolled integer default 0 not null,
  constraint run_log_pkey PRIMARY KEY (run_id)
);

create table oncejob.run_ready (
  run_id bigint not null,
  route_id integer not null,
  priority smallint not null,
  run_at timestamp(3) with time zone not null,
  job_id bigint not null,
  attempts integer not null,
  follows boolean not null,
  expires_at timestamp(3) with time zone,
  constraint run_ready_pkey PRIMARY KEY (run_id)
) with (autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=500, fillfactor=80, vacuum_truncate=false);
CREATE INDEX run_ready_expiry ON oncejob.run_ready USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX run_ready_order ON oncejob.run_ready USING btree (route_id, priority, run_at, run_id);

create table oncejob.run_slot (
  run_id bigint not null,
  job_id bigint not null,
  constraint run_slot_pkey PRIMARY KEY (run_id)
) with (autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=500);
CREATE INDEX run_slot_job ON oncejob.run_slot USING btree (job_id);

create table oncejob.run_undecided (
  run_id bigint not null,
  job_id bigint not null,
  lease bigint not null,
  session_id bigint not null,
  since timestamp(3) with time zone default now() not null,
  reason text not null,
  effect text,
  follows boolean not null,
  constraint run_undecided_pkey PRIMARY KEY (run_id),
  constraint run_undecided_check CHECK (((effect IS NULL) OR (reason = 'effect'::text))),
  constraint run_undecided_reason_check CHECK ((reason = ANY (ARRAY['lost'::text, 'timed-out'::text, 'effect'::text])))
);

create table oncejob.schedule (
  id bigint generated always as identity not null,
  job_id bigint,
  kind text not null,
  expression text not null,
  zone text not null,
  start_at timestamp(3) with time zone,
  end_at timestamp(3) with time zone,
  jitter_ms integer not null,
  misfire_policy text not null,
  misfire_max_runs integer not null,
  misfire_max_lateness_ms bigint,
  dst_gap text not null,
  dst_overlap text not null,
  anchor_at timestamp(3) with time zone default now() not null,
  next_fire_at timestamp(3) with time zone,
  awaiting_run_id bigint,
  version bigint default 1 not null,
  workflow_id bigint,
  constraint schedule_pkey PRIMARY KEY (id),
  constraint schedule_job_id_key UNIQUE (job_id),
  constraint schedule_workflow_id_key UNIQUE (workflow_id),
  constraint schedule_job_id_fkey FOREIGN KEY (job_id) REFERENCES oncejob.job(id),
  constraint schedule_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES oncejob.workflow(id),
  constraint schedule_dst_gap_check CHECK ((dst_gap = ANY (ARRAY['next'::text, 'skip'::text]))),
  constraint schedule_dst_overlap_check CHECK ((dst_overlap = ANY (ARRAY['first'::text, 'both'::text]))),
  constraint schedule_kind_check CHECK ((kind = ANY (ARRAY['none'::text, 'cron'::text, 'fixed-rate'::text, 'fixed-delay'::text, 'daily'::text, 'once'::text]))),
  constraint schedule_misfire_policy_check CHECK ((misfire_policy = ANY (ARRAY['run-once'::text, 'run-all'::text, 'skip'::text]))),
  constraint schedule_owner CHECK ((num_nonnulls(job_id, workflow_id) = 1)),
  constraint schedule_workflow_waits CHECK (((workflow_id IS NULL) OR (next_fire_at IS NULL)))
);
CREATE INDEX schedule_awaiting ON oncejob.schedule USING btree (awaiting_run_id) WHERE (awaiting_run_id IS NOT NULL);
CREATE INDEX schedule_due ON oncejob.schedule USING btree (next_fire_at) WHERE (next_fire_at IS NOT NULL);

create table oncejob.server (
  id bigint generated always as identity not null,
  name text not null,
  version text not null,
  started_at timestamp(3) with time zone default now() not null,
  seen_at timestamp(3) with time zone default now() not null,
  worker_address text,
  constraint server_pkey PRIMARY KEY (id)
);

create table oncejob.signing_key (
  purpose text not null,
  key bytea not null,
  created_at timestamp(3) with time zone default now() not null,
  constraint signing_key_pkey PRIMARY KEY (purpose),
  constraint signing_key_key_check CHECK ((length(key) >= 32)),
  constraint signing_key_purpose_check CHECK ((purpose = 'powerjob-token'::text))
);

create table oncejob.worker_session (
  id bigint generated always as identity not null,
  app_id bigint not null,
  name text not null,
  address text,
  pid integer,
  version text,
  processors text[] not null,
  labels jsonb not null,
  slots integer not null,
  metrics jsonb,
  draining boolean default false not null,
  started_at timestamp(3) with time zone default now() not null,
  expires_at timestamp(3) with time zone not null,
  ended_at timestamp(3) with time zone,
  end_reason text,
  protocol text default 'native'::text not null,
  server_id bigint,
  powerjob jsonb,
  constraint worker_session_pkey PRIMARY KEY (id),
  constraint worker_session_check CHECK (((ended_at IS NULL) = (end_reason IS NULL))),
  constraint worker_session_end_reason_check CHECK ((end_reason = ANY (ARRAY['left'::text, 'lost'::text]))),
  constraint worker_session_protocol_check CHECK ((protocol = ANY (ARRAY['native'::text, 'powerjob'::text])))
) with (fillfactor=70);
CREATE UNIQUE INDEX worker_session_java ON oncejob.worker_session USING btree (app_id, address) WHERE ((protocol = 'powerjob'::text) AND (ended_at IS NULL));
CREATE INDEX worker_session_live ON oncejob.worker_session USING btree (app_id) WHERE (ended_at IS NULL);

create table oncejob.workflow (
  id bigint generated always as identity not null,
  app_id bigint not null,
  name text not null,
  origin text default 'native'::text not null,
  version integer default 1 not null,
  description text,
  enabled boolean not null,
  overlap text not null,
  max_concurrent_runs integer not null,
  notify text[] not null,
  powerjob jsonb,
  created_at timestamp(3) with time zone default now() not null,
  updated_at timestamp(3) with time zone default now() not null,
  deleted_at timestamp(3) with time zone,
  constraint workflow_pkey PRIMARY KEY (id),
  constraint workflow_app_id_fkey FOREIGN KEY (app_id) REFERENCES oncejob.app(id),
  constraint workflow_max_concurrent_runs_check CHECK ((max_concurrent_runs >= 0)),
  constraint workflow_name_check CHECK ((name <> ''::text)),
  constraint workflow_origin_check CHECK ((origin = ANY (ARRAY['native'::text, 'powerjob'::text]))),
  constraint workflow_overlap_check CHECK ((overlap = ANY (ARRAY['allow'::text, 'queue'::text, 'skip'::text, 'fail'::text, 'replace'::text])))
);
CREATE INDEX workflow_app ON oncejob.workflow USING btree (app_id, id);
CREATE UNIQUE INDEX workflow_name ON oncejob.workflow USING btree (app_id, name) WHERE ((origin = 'native'::text) AND (deleted_at IS NULL));

create table oncejob.workflow_edge (
  workflow_id bigint not null,
  position integer not null,
  from_node bigint not null,
  to_node bigint not null,
  property text,
  branch boolean generated always as (
CASE lower(property)
    WHEN 'true'::text THEN true
    WHEN 'false'::text THEN false
    ELSE NULL::boolean
END) stored,
  constraint workflow_edge_pkey PRIMARY KEY (workflow_id, "position"),
  constraint workflow_edge_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES oncejob.workflow(id),
  constraint workflow_edge_workflow_id_from_node_fkey FOREIGN KEY (workflow_id, from_node) REFERENCES oncejob.workflow_node(workflow_id, id),
  constraint workflow_edge_workflow_id_to_node_fkey FOREIGN KEY (workflow_id, to_node) REFERENCES oncejob.workflow_node(workflow_id, id)
);

create table oncejob.workflow_node (
  id bigint generated always as identity not null,
  app_id bigint not null,
  workflow_id bigint,
  position integer,
  kind text not null,
  job_id bigint,
  nested_workflow_id bigint,
  script text,
  name text,
  params text,
  enabled boolean not null,
  skip_when_failed boolean not null,
  created_at timestamp(3) with time zone default now() not null,
  updated_at timestamp(3) with time zone default now() not null,
  constraint workflow_node_pkey PRIMARY KEY (id),
  constraint workflow_node_workflow_id_id_key UNIQUE (workflow_id, id),
  constraint workflow_node_app_id_fkey FOREIGN KEY (app_id) REFERENCES oncejob.app(id),
  constraint workflow_node_job_id_fkey FOREIGN KEY (job_id) REFERENCES oncejob.job(id),
  constraint workflow_node_nested_workflow_id_fkey FOREIGN KEY (nested_workflow_id) REFERENCES oncejob.workflow(id),
  constraint workflow_node_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES oncejob.workflow(id),
  constraint workflow_node_check CHECK (((workflow_id IS NULL) = ("position" IS NULL))),
  constraint workflow_node_check1 CHECK (((kind = 'job'::text) = (job_id IS NOT NULL))),
  constraint workflow_node_check2 CHECK (((kind = 'workflow'::text) = (nested_workflow_id IS NOT NULL))),
  constraint workflow_node_check3 CHECK (((kind = 'decision'::text) = (script IS NOT NULL))),
  constraint workflow_node_kind_check CHECK ((kind = ANY (ARRAY['job'::text, 'decision'::text, 'workflow'::text])))
);
CREATE INDEX workflow_node_app ON oncejob.workflow_node USING btree (app_id);
CREATE INDEX workflow_node_job ON oncejob.workflow_node USING btree (job_id) WHERE (job_id IS NOT NULL);
CREATE INDEX workflow_node_nested ON oncejob.workflow_node USING btree (nested_workflow_id) WHERE (nested_workflow_id IS NOT NULL);
