-- Guarantee of a job, and runs of which nobody knows whether they were executed to the end.
alter table oncejob.job add column guarantee text not null default 'at-least-once'
  check (guarantee in ('at-least-once', 'at-most-once'));

-- who decided how a run of unknown outcome ended; null when an attempt ended it
alter table oncejob.run add column decided_by text;

-- who said that an effect was done, when no attempt did
alter table oncejob.effect add column decided_by text;

-- The fifth place of an open run: its attempt is gone, and a person or a call says what is to become of it.
create table oncejob.run_undecided (
  run_id bigint primary key,
  job_id bigint not null,
  -- the attempt whose outcome is unknown
  lease bigint not null,
  session_id bigint not null,
  since timestamptz(3) not null default now(),
  reason text not null check (reason in ('lost', 'timed-out', 'effect')),
  -- name of the effect that an attempt found unknown
  effect text check (effect is null or reason = 'effect'),
  follows boolean not null
);
