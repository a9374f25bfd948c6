-- The effect ledger behind ctx.once: what an attempt was about to do, and what came of it. Written by the current lease only (I4).
create table oncejob.effect (
  run_id bigint not null,
  name text not null,
  -- the attempt that wrote the state: of an intent the one that announced it, else the one that recorded the outcome
  lease bigint not null,
  -- intent: begun, and nobody has said how it ended
  state text not null default 'intent' check (state in ('intent', 'done')),
  -- JSON text; null also for a done effect that returned nothing
  outcome text,
  started_at timestamptz(3) not null default now(),
  ended_at timestamptz(3),
  primary key (run_id, name),
  check ((state = 'done') = (ended_at is not null)),
  check (state = 'done' or outcome is null)
);
