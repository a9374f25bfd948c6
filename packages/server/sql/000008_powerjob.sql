-- The wire of PowerJob's clients: how an app authenticates and behaves there, and the key that signs tokens.
alter table oncejob.app
  -- slow hash over the lower-case hex MD5 of the password; null: no password, nobody gets a token
  add column password_hash text,
  -- counts up with every change of the password; tokens of another version are void
  add column password_version integer not null default 0,
  add column powerjob_tokenless boolean not null default false,
  add column powerjob_copy_enabled boolean not null default false,
  add column powerjob_collapse text not null default 'evidence' check (powerjob_collapse in ('evidence', 'off'));

-- one row, made by the server that needs it first
create table oncejob.signing_key (
  purpose text primary key check (purpose = 'powerjob-token'),
  key bytea not null check (length(key) >= 32),
  created_at timestamptz(3) not null default now()
);
