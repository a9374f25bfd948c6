-- One-time tokens and request keys: a row is claimed once; the primary key and the guarded updates decide, not code.
CREATE TABLE IF NOT EXISTS oncejob_idempotency (
  scope       text        NOT NULL,
  id          text        NOT NULL,
  issued      boolean     NOT NULL,
  bind        text        NOT NULL,
  state       text        NOT NULL CHECK (state IN ('new', 'claimed', 'done')),
  owner       text,
  lease_until timestamptz,
  fingerprint text,
  request_id  text,
  status      integer,
  headers     jsonb,
  body        bytea,
  created_at  timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  PRIMARY KEY (scope, id),
  -- a request key is made by its first use
  CHECK (issued OR state <> 'new'),
  CHECK (state = 'new' OR fingerprint IS NOT NULL),
  CHECK (state <> 'claimed' OR (owner IS NOT NULL AND lease_until IS NOT NULL)),
  CHECK ((headers IS NULL) = (body IS NULL))
);

-- for the sweeper
CREATE INDEX IF NOT EXISTS oncejob_idempotency_expires_at ON oncejob_idempotency (expires_at);

-- for the limits per account
CREATE INDEX IF NOT EXISTS oncejob_idempotency_issued ON oncejob_idempotency (scope, created_at) WHERE issued;
