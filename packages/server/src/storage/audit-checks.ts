// The invariants as questions to a live database: each check is one statement, so one snapshot, and counts what must not be.
import type { Queries } from './db.ts'
import { droppedIds } from './partitions.ts'
import { sql, type Sql } from './sql.ts'

export interface AuditOptions {
  /** Grace after a lease, in ms: the reclaim of I7 may wait so long. */
  readonly graceMs: number
  /** How long a duty may take to do what is due before it counts as stuck, in ms. */
  readonly patienceMs: number
}

export interface Check {
  readonly invariant: string
  /** What must hold, as a sentence. */
  readonly says: string
  /** Selects one row per violation with the column `example`, a text that names it. */
  readonly violations: (options: AuditOptions) => Sql
}

export interface CheckResult {
  readonly violations: number
  readonly examples: string[]
}

/** Counts what a check finds and gives up to five examples. */
export const runCheck = async (queries: Queries, check: Check, options: AuditOptions): Promise<CheckResult> => {
  const [row] = await queries.query<CheckResult>(sql`
    with bad as materialized (${check.violations(options)})
    select (select count(*) from bad) as "violations", array(select example from bad order by example limit 5) as "examples"`)
  return row ?? { violations: 0, examples: [] }
}

// The retention drops runs together with their partition; what names them goes later.
const notDropped = (id: Sql): Sql => sql`
  not exists (select from (${droppedIds}) dropped where ${id} >= dropped."from" and ${id} < dropped."to")`

const places = sql`
  select run_id, 'ready' as place from oncejob.run_ready
  union all select run_id, 'later' from oncejob.run_later
  union all select run_id, 'blocked' from oncejob.run_blocked
  union all select run_id, 'running' from oncejob.attempt
  union all select run_id, 'undecided' from oncejob.run_undecided`

const history = sql`
  select run_id, lease, outcome, started_at, ended_at from oncejob.attempt_log
  union all select run_id, lease, 'running', claimed_at, null from oncejob.attempt`

// After an outage of every server nothing can be on time yet: lateness is judged once a server has been up for long enough.
const serversAreUp = (patienceMs: number): Sql => sql`
  exists (select from oncejob.server
           where started_at < now() - ${patienceMs}::bigint * interval '1 ms' and seen_at > now() - interval '10 s')`

const keys: readonly Check[] = [
  {
    invariant: 'I1',
    says: 'no request key is kept without its answer',
    violations: () => sql`
      select format('key %s of app %s has no answer', key, app_id) as example from oncejob.request_key where status = 0`,
  },
  {
    invariant: 'I1',
    says: 'a request key that asked for one run has made that run and no other',
    violations: () => sql`
      select format('key %s of app %s answers %s, and has run %s', k.key, k.app_id, k.body, run.id) as example
        from oncejob.request_key k
        join oncejob.run on run.app_id = k.app_id and run.request_key = k.key and run.created_at >= k.created_at
       where k.route in ('POST /api/v1/runs', 'POST /api/v1/jobs/:job/runs') and (k.body::jsonb ->> 'id')::bigint <> run.id`,
  },
]

const fires: readonly Check[] = [
  {
    invariant: 'I2',
    says: 'every fire that says fired has its run',
    violations: () => sql`
      select format('schedule %s at %s names run %s, which does not exist', fire.schedule_id, fire.fire_at, fire.run_id) as example
        from oncejob.fire left join oncejob.run on run.id = fire.run_id
       where fire.outcome = 'fired' and run.id is null and ${notDropped(sql`fire.run_id`)}`,
  },
  {
    invariant: 'I2',
    says: 'every run of a schedule has its fire, and the fire names this run',
    violations: () => sql`
      select format('run %s of schedule %s at %s has no fire of its own', run.id, run.schedule_id, run.fire_at) as example
        from oncejob.run
        left join oncejob.fire on fire.schedule_id = run.schedule_id and fire.fire_at = run.fire_at and fire.run_id = run.id
       where run.schedule_id is not null and fire.run_id is null`,
  },
  {
    invariant: 'I2',
    says: 'no two fires name the same run',
    violations: () => sql`
      select format('run %s is named by %s fires', run_id, count(*)) as example
        from oncejob.fire where run_id is not null group by run_id having count(*) > 1`,
  },
]

const leases: readonly Check[] = [
  {
    invariant: 'I3',
    says: 'a run with a live attempt does not also wait',
    violations: () => sql`
      select format('run %s is running and also %s', attempt.run_id, place.place) as example
        from oncejob.attempt join (${places}) place on place.run_id = attempt.run_id and place.place <> 'running'`,
  },
  {
    invariant: 'I3',
    says: 'no lease was given twice',
    violations: () => sql`
      select format('lease %s was given %s times, to runs %s', lease, count(*), string_agg(run_id::text, ', ' order by run_id)) as example
        from (${history}) attempts group by lease having count(*) > 1`,
  },
  {
    invariant: 'I3',
    says: 'no live lease is above the sequence',
    violations: () => sql`
      select format('run %s holds lease %s, and the sequence is at %s', attempt.run_id, attempt.lease, sequence.last_value) as example
        from oncejob.attempt, oncejob.lease_seq sequence
       where attempt.lease > sequence.last_value or (attempt.lease = sequence.last_value and not sequence.is_called)`,
  },
  {
    invariant: 'I3',
    says: 'a live lease is above all earlier leases of its run',
    violations: () => sql`
      select format('run %s holds lease %s after lease %s', live.run_id, live.lease, past.lease) as example
        from oncejob.attempt live join oncejob.attempt_log past on past.run_id = live.run_id and past.lease >= live.lease`,
  },
  {
    invariant: 'I4',
    says: 'attempts of a run do not overlap',
    // both times are starts of transactions, and one may start a little before it sees what the other did: a second is allowed
    violations: () => sql`
      select format('run %s: lease %s ended at %s, after lease %s began at %s', run_id, lease, ended_at, next_lease, next_start) as example
        from (select run_id, lease, ended_at, lead(lease) over by_lease as next_lease, lead(started_at) over by_lease as next_start
                from (${history}) attempts window by_lease as (partition by run_id order by lease)) pair
       where ended_at > next_start + interval '1 s'`,
  },
  {
    invariant: 'I4',
    says: 'every effect was written by a lease of its run',
    // the retention drops runs first, and their effects a moment later
    violations: () => sql`
      select format('effect %s of run %s was written by lease %s, which the run never had', effect.name, effect.run_id, effect.lease) as example
        from oncejob.effect
        left join (${history}) attempts on attempts.run_id = effect.run_id and attempts.lease = effect.lease
       where attempts.run_id is null and ${notDropped(sql`effect.run_id`)}`,
  },
]

const ends: readonly Check[] = [
  {
    invariant: 'I4',
    says: 'a run of unknown outcome names its last attempt, and only such a run was decided by someone',
    violations: () => sql`
      select format('run %s is unknown because of lease %s, and its last attempt is lease %s, %s', undecided.run_id,
                    undecided.lease, coalesce(last.lease::text, 'none'), coalesce(last.outcome, 'missing')) as example
        from oncejob.run_undecided undecided
        left join lateral (select lease, outcome from oncejob.attempt_log past where past.run_id = undecided.run_id
                            order by lease desc limit 1) last on true
       where last.lease is distinct from undecided.lease or last.outcome not in ('lost', 'timed-out', 'failed')
      union all
      select format('run %s is %s and was decided by %s', id, state, decided_by) from oncejob.run
       where decided_by is not null and state not in ('succeeded', 'failed', 'stopped')`,
  },
  {
    invariant: 'I4',
    says: 'the last attempt of a succeeded run is the one that succeeded, unless someone has decided so',
    violations: () => sql`
      select format('run %s succeeded, and its last attempt is %s', run.id, coalesce(last.outcome, 'missing')) as example
        from oncejob.run
        left join (select distinct on (run_id) run_id, outcome from oncejob.attempt_log order by run_id, lease desc) last
          on last.run_id = run.id
       where run.state = 'succeeded' and run.decided_by is null and last.outcome is distinct from 'succeeded'`,
  },
  {
    invariant: 'I5',
    says: 'an ended run neither runs nor waits nor holds a slot',
    violations: () => sql`
      select format('run %s has %s and is still %s', run.id, run.state, place.place) as example
        from (${places} union all select run_id, 'holding a slot' from oncejob.run_slot) place
        join oncejob.run on run.id = place.run_id
       where run.state <> 'open'`,
  },
  {
    invariant: 'I5',
    says: 'an open run is in exactly one place: ready, later, blocked, running or undecided',
    violations: () => sql`
      select format('run %s is open and %s', run.id, coalesce('is ' || string_agg(place.place, ' and ' order by place.place), 'nowhere')) as example
        from oncejob.run left join (${places}) place on place.run_id = run.id
       where run.state = 'open' group by run.id having count(place.place) <> 1`,
  },
  {
    invariant: 'I5',
    says: 'whatever waits, runs or holds a slot is a run',
    violations: () => sql`
      select format('%s of run %s, which does not exist', place.place, place.run_id) as example
        from (${places} union all select run_id, 'slot' from oncejob.run_slot) place
        left join oncejob.run on run.id = place.run_id
       where run.id is null`,
  },
  {
    invariant: 'I5',
    says: 'a run that waits for a slot, or for a decision, has none',
    violations: () => sql`
      select format('run %s waits and holds a slot', slot.run_id) as example
        from oncejob.run_slot slot
       where exists (select from oncejob.run_undecided undecided where undecided.run_id = slot.run_id)
          or exists (select from oncejob.run_blocked blocked where blocked.run_id = slot.run_id)
          or exists (select from oncejob.run_later later where later.run_id = slot.run_id and later.needs_slot)`,
  },
]

const progress: readonly Check[] = [
  {
    invariant: 'I7',
    says: 'no dead worker keeps a run',
    violations: ({ graceMs, patienceMs }) => sql`
      select format('run %s is held by session %s, which %s', attempt.run_id, attempt.session_id,
                    case when session.id is null then 'does not exist'
                         when session.ended_at is not null then 'ended at ' || session.ended_at
                         else 'expired at ' || session.expires_at end) as example
        from oncejob.attempt left join oncejob.worker_session session on session.id = attempt.session_id
       where ${serversAreUp(graceMs + patienceMs)}
         and attempt.claimed_at < now() - ${patienceMs}::bigint * interval '1 ms'
         and (session.id is null
              or session.ended_at < now() - ${patienceMs}::bigint * interval '1 ms'
              or (session.ended_at is null and session.expires_at < now() - ${graceMs + patienceMs}::bigint * interval '1 ms'))`,
  },
  {
    invariant: 'I7',
    says: 'a delayed run is handed on when it is due',
    violations: ({ patienceMs }) => sql`
      select format('run %s was due at %s', run_id, run_at) as example
        from oncejob.run_later
       where ${serversAreUp(patienceMs)} and run_at < now() - ${patienceMs}::bigint * interval '1 ms'`,
  },
  {
    invariant: 'I7',
    says: 'no run waits for a slot while its job has a free one',
    // free for long: nothing of the job ended, and nobody changed it, a moment ago
    violations: ({ patienceMs }) => sql`
      select format('run %s waits since %s for a slot of job %s, which uses %s of %s', blocked.run_id, blocked.run_at, job.id,
                    used.slots, case job.run_limit when 0 then 'unlimited' else job.run_limit::text end) as example
        from oncejob.run_blocked blocked
        join oncejob.job on job.id = blocked.job_id
        join oncejob.run on run.id = blocked.run_id
        cross join lateral (select count(*) as slots from oncejob.run_slot slot where slot.job_id = job.id) used
        cross join lateral (select now() - ${patienceMs}::bigint * interval '1 ms' as at) long_ago
       where ${serversAreUp(patienceMs)}
         and blocked.after_run_id is null
         and (job.run_limit = 0 or used.slots < job.run_limit)
         and greatest(blocked.run_at, run.created_at, job.updated_at) < long_ago.at
         and not exists (select from oncejob.run ended where ended.job_id = job.id and ended.ended_at >= long_ago.at)`,
  },
  {
    invariant: 'I7',
    says: 'no run waits past its queue deadline',
    violations: ({ patienceMs }) => sql`
      select format('run %s should have ended at %s', waiting.run_id, waiting.expires_at) as example
        from (select run_id, expires_at from oncejob.run_ready
              union all select run_id, expires_at from oncejob.run_later
              union all select run_id, expires_at from oncejob.run_blocked) waiting
       where ${serversAreUp(patienceMs)} and waiting.expires_at < now() - ${patienceMs}::bigint * interval '1 ms'`,
  },
]

// open runs with a key; `behind`: the open run that it waits for. Space 0: the key is the app's.
const keyedOpen = sql`
  select run.id, run.app_id, case run.run_key_scope when 'app' then 0 else run.job_id end as space, run.run_key as key, other.id as behind
    from (${places}) place
    join oncejob.run on run.id = place.run_id and run.run_key is not null and run.state = 'open'
    left join oncejob.run_blocked blocked on blocked.run_id = run.id
    left join oncejob.run other on other.id = blocked.after_run_id and other.state = 'open'`

const runKeys: readonly Check[] = [
  {
    invariant: 'I8',
    says: 'no two open runs have the same run key, but for one that waits for the end of the other',
    violations: () => sql`
      select format('key %s of app %s, job %s has the open runs %s', key, app_id, space, string_agg(id::text, ', ' order by id)) as example
        from (${keyedOpen}) open group by app_id, space, key
      having count(*) filter (where behind is null) > 1 or count(*) filter (where behind is not null) > 1`,
  },
  {
    invariant: 'I8',
    says: 'the run key of an open run stands for it, or for the run that waits for it',
    violations: () => sql`
      select format('run %s is open with the key %s, which stands for %s', open.id, open.key, coalesce('run ' || named.run_id, 'nothing')) as example
        from (${keyedOpen}) open
        left join oncejob.run_key named on named.app_id = open.app_id and named.job_id = open.space and named.key = open.key
       where named.run_id is distinct from open.id and named.before_run_id is distinct from open.id`,
  },
  {
    invariant: 'I8',
    says: 'the run of every run key is there, or its end is kept',
    violations: () => sql`
      select format('key %s of app %s, job %s names run %s, of which nothing is known', named.key, named.app_id, named.job_id, named.run_id) as example
        from oncejob.run_key named left join oncejob.run on run.id = named.run_id
       where run.id is null and named.ended_at is null`,
  },
  {
    invariant: 'I8',
    says: 'the end that is kept with a run key is that of its run',
    violations: () => sql`
      select format('key %s keeps that run %s has %s, and it has %s', named.key, run.id, named.state, run.state) as example
        from oncejob.run_key named join oncejob.run on run.id = named.run_id
       where named.state <> run.state`,
  },
  {
    invariant: 'I8',
    says: 'no run waits for the end of a run that has ended',
    violations: ({ patienceMs }) => sql`
      select format('run %s waits for run %s, which ended at %s', blocked.run_id, blocked.after_run_id, coalesce(run.ended_at::text, 'some time')) as example
        from oncejob.run_blocked blocked left join oncejob.run on run.id = blocked.after_run_id
       where ${serversAreUp(patienceMs)} and blocked.after_run_id is not null
         and (run.id is null or run.ended_at < now() - ${patienceMs}::bigint * interval '1 ms')`,
  },
]

/** Every check there is, in the order of the invariants. Those of I9 and I10 come with their tables. */
export const checks: readonly Check[] = [...keys, ...fires, ...leases, ...ends, ...progress, ...runKeys]
