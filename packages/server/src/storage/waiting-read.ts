// Where a waiting run is, and what is before it: the facts behind the question why it has not started.
import { aheadMax, type Waiting } from '../runs/why.ts'
import type { Queries } from './db.ts'
import { routeById } from './routes.ts'
import { sql } from './sql.ts'
import { undecidedOf } from './undecided.ts'
import { sessionsInTime } from './workers-read.ts'

interface PlaceRow {
  readonly at: 'later' | 'blocked' | 'ready'
  readonly route_id: number
  /** As in the queue: smaller starts first. */
  readonly priority: number
  readonly run_at: Date
  readonly is_due: boolean
  readonly attempts: number
  readonly run_limit: number
  readonly after_run_id: number | null
  /** How many runs hold a slot of the job. */
  readonly held: number
}

const placeOf = async (db: Queries, runId: number): Promise<PlaceRow | undefined> => {
  const rows = await db.query<PlaceRow>(sql`
    select p.at, p.route_id, p.priority, p.run_at, p.run_at <= now() as is_due, p.attempts, j.run_limit, p.after_run_id,
      case when p.at = 'blocked' then (select count(*) from oncejob.run_slot s where s.job_id = j.id) else 0 end::int as held
    from (
      select 'ready' as at, route_id, priority, run_at, attempts, job_id, null::bigint as after_run_id from oncejob.run_ready where run_id = ${runId}
      union all select 'later', route_id, priority, run_at, attempts, job_id, null from oncejob.run_later where run_id = ${runId}
      union all select 'blocked', route_id, priority, run_at, attempts, job_id, after_run_id from oncejob.run_blocked where run_id = ${runId}
    ) p
    join oncejob.job j on j.id = p.job_id`)
  return rows[0]
}

// more would help nobody, and a limit may be a million
const holdersMax = 100

const holdersOf = async (db: Queries, runId: number, limit: number): Promise<number[]> => {
  const rows = await db.query<{ run_id: number }>(sql`
    select s.run_id from oncejob.run_slot s
    where s.job_id = (select job_id from oncejob.run_blocked where run_id = ${runId})
    order by s.run_id
    limit ${Math.min(limit, holdersMax)}`)
  return rows.map((row) => row.run_id)
}

// the run's place in the queue comes as values: a range of the index, not a join
const countAhead = async (db: Queries, runId: number, { route_id, priority, run_at }: PlaceRow): Promise<number> => {
  const rows = await db.query<{ n: number }>(sql`
    select count(*)::int as n from (
      select 1 from oncejob.run_ready
      where route_id = ${route_id} and (priority, run_at, run_id) < (${priority}::smallint, ${run_at}::timestamptz, ${runId}::bigint)
      limit ${aheadMax}
    ) ahead`)
  return rows[0]?.n ?? 0
}

const waitingForDecision = async (db: Queries, runId: number): Promise<Waiting | undefined> => {
  const facts = await undecidedOf(db, runId)
  if (facts === undefined) return undefined
  return { at: 'undecided', since: facts.since.toISOString(), cause: facts.reason, effect: facts.effect }
}

/** Where the run waits, with what the reasons need; undefined when it does not wait (any more). */
export const waitingOf = async (db: Queries, appId: number, runId: number): Promise<Waiting | undefined> => {
  const place = await placeOf(db, runId)
  if (place === undefined) return waitingForDecision(db, runId)
  switch (place.at) {
    case 'later':
      return { at: 'later', dueAt: place.run_at.toISOString(), isDue: place.is_due, attempts: place.attempts }
    case 'blocked': {
      if (place.after_run_id !== null) return { at: 'after', runId: place.after_run_id }
      const limit = place.run_limit
      return {
        at: 'blocked',
        limit,
        hasRoom: limit === 0 || place.held < limit,
        heldBy: await holdersOf(db, runId, limit),
      }
    }
    case 'ready': {
      const route = await routeById(db, place.route_id)
      if (route === undefined) return undefined
      const [candidates, ahead] = [await sessionsInTime(db, appId), await countAhead(db, runId, place)]
      return { at: 'ready', route, candidates, ahead }
    }
  }
}
