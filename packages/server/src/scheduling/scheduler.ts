// Makes fires when they are due: reads due schedules, plans every occurrence, writes ledger and runs in one statement.
import { dateOf, type Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import { limitError, makeWay } from '../dispatch/overlap.ts'
import type { Following } from '../dispatch/following.ts'
import type { Hub } from '../dispatch/hub.ts'
import type { Metrics } from '../dispatch/metrics.ts'
import { timingOf } from '../runs/schedule-codec.ts'
import type { Db, Queries } from '../storage/db.ts'
import {
  dueSchedules,
  makeFires,
  nextFireIn,
  type DueSchedule,
  type MadeFire,
  type Move,
  type NewFire,
} from '../storage/fires.ts'
import { limitOf, lockJobs, promoteBlocked } from '../storage/limits.ts'
import { jitterOf } from '../timing/jitter.ts'
import { planFires } from '../timing/plan.ts'
import { nextAfterEnd, type Timing } from '../timing/timing.ts'

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly hub: Hub
  readonly metrics: Metrics
  readonly following: Following
  /** Place of this server among the living ones, 0 first. Later ones wait a little, so that they do not all do the same work. */
  readonly rank: () => number
  /** Whether a Java worker would execute runs of this route. */
  readonly hasJavaWorker: (appId: number, routeId: number) => Promise<boolean>
}

/** Occurrences that are late by no more than this are on time: they all fire, whatever the misfire policy. */
export const onTimeMs = 10_000
const batch = 1000
const rankDelayMs = 40

interface Planned {
  readonly schedule: DueSchedule
  readonly move: Move
  readonly fires: NewFire[]
}

/** Timings by what they are made of: parsing an expression costs more than asking it for a fire. */
const createTimings = (): ((schedule: DueSchedule) => Timing) => {
  const known = new Map<string, Timing>()
  return (schedule) => {
    const { kind, expression, zone, start_at, end_at, dst_gap, dst_overlap } = schedule
    const key = JSON.stringify([kind, expression, zone, start_at, end_at, dst_gap, dst_overlap])
    const timing = known.get(key) ?? timingOf(schedule)
    if (known.size > 20_000) known.clear()
    known.set(key, timing)
    return timing
  }
}

const plan = (schedule: DueSchedule, timing: Timing): Planned => {
  const nowMs = schedule.now_at.getTime()
  const { fires, nextFireAtMs } = planFires({
    timing,
    anchorMs: schedule.anchor_at.getTime(),
    dueAtMs: schedule.next_fire_at.getTime(),
    nowMs,
    misfire: {
      policy: schedule.misfire_policy,
      graceMs: onTimeMs,
      maxRuns: schedule.misfire_max_runs,
      maxLatenessMs: schedule.misfire_max_lateness_ms ?? undefined,
    },
  })
  const fires2 = fires.map((fire): NewFire => ({
    scheduleId: schedule.id,
    fireAt: dateOf(fire.fireAtMs),
    outcome: fire.outcome,
    reason: fire.reason ?? null,
    covers: fire.covers,
    runAt: dateOf(fire.fireAtMs + jitterOf(schedule.id, fire.fireAtMs, schedule.jitter_ms)),
    error: null,
  }))
  // a fixed delay goes on when its run ends; without a run it goes on from now
  const restMs = fires2.some((fire) => fire.outcome === 'fired') ? undefined : nextAfterEnd(timing, nowMs)
  const nextMs = nextFireAtMs ?? restMs
  const nextFireAt = nextMs === undefined ? null : dateOf(nextMs)
  return {
    schedule,
    move: { scheduleId: schedule.id, version: schedule.version, dueAt: schedule.next_fire_at, nextFireAt },
    fires: fires2,
  }
}

/** The move of a schedule whose job a worker repeats by itself: it rests until powerjob/worker/frequent.ts wakes it. */
const rest = (schedule: DueSchedule): Move => ({
  scheduleId: schedule.id,
  version: schedule.version,
  dueAt: schedule.next_fire_at,
  nextFireAt: null,
})

/** Overlap policies that decide at the moment of the fire; allow and queue only ever wait. */
const isDeciding = (schedule: DueSchedule): boolean =>
  schedule.run_limit > 0 && schedule.overlap !== 'allow' && schedule.overlap !== 'queue'

/** Applies skip, fail or replace to planned fires, given how many of the job's runs are open. */
export const applyOverlap = (
  overlap: DueSchedule['overlap'],
  limit: number,
  open: number,
  fires: readonly NewFire[],
): NewFire[] => {
  let room = limit - open
  const firing = fires.filter((fire) => fire.outcome === 'fired')
  const newest = new Set(firing.slice(-limit))
  return fires.map((fire) => {
    if (fire.outcome !== 'fired') return fire
    if (overlap === 'replace') {
      if (newest.has(fire)) return fire
      return { ...fire, outcome: 'skipped', reason: 'replaced at once by a newer fire (overlap policy replace)' }
    }
    room -= 1
    if (room >= 0) return fire
    if (overlap === 'fail') return { ...fire, error: limitError(limit) }
    return { ...fire, outcome: 'skipped', reason: `${limit} of ${limit} runs were open (overlap policy skip)` }
  })
}

/** Thrown to roll back when another server moved the schedule first. */
class MovedByOther extends Error {}

/** Fires of a job whose policy decides at the moment of the fire, under the job's lock. Returns what to tell after the commit. */
const decide = async (
  tx: Queries,
  planned: Planned,
  timing: Timing,
  hub: Hub,
): Promise<{ made: MadeFire[]; tell: () => void }> => {
  const { schedule, move, fires } = planned
  await lockJobs(tx, [schedule.job_id])
  const limit = await limitOf(tx, schedule.app_id, schedule.job_id)
  const open = limit?.open ?? 0
  const decided = applyOverlap(schedule.overlap, schedule.run_limit, open, fires)
  const starting = decided.filter((fire) => fire.outcome === 'fired' && fire.error === null).length
  const replaces = schedule.overlap === 'replace' && open + starting > schedule.run_limit && starting > 0
  const way = replaces ? await makeWay(tx, schedule.job_id) : { sessions: [], ended: [] }
  const restMs = starting === 0 ? nextAfterEnd(timing, schedule.now_at.getTime()) : undefined
  const nextFireAt = move.nextFireAt ?? (restMs === undefined ? null : dateOf(restMs))
  const made = await makeFires(tx, [{ ...move, nextFireAt }], decided)
  if (made.length === 0) throw new MovedByOther()
  const ready = await promoteBlocked(tx, [schedule.job_id])
  return {
    made,
    tell: () => hub.tell({ sessions: way.sessions, ended: way.ended, ready: ready.map((row) => row.app_id) }),
  }
}

/** Creates the scheduler duty; `runOnce` is one round and returns how long until the next fire, in ms. */
export const createScheduler = (needs: Needs): { duty: Duty; runOnce: () => Promise<number> } => {
  const { db, clock, log, hub, metrics, following } = needs
  const timingFor = createTimings()
  // schedules that can not be planned: a bug or a damaged row must not stop the others
  const broken = new Map<number, number>()

  const planAll = (due: readonly DueSchedule[]): Planned[] =>
    due.flatMap((schedule) => {
      if (broken.get(schedule.id) === schedule.version) return []
      try {
        return [plan(schedule, timingFor(schedule))]
      } catch (error) {
        // one schedule's failure stays its own
        broken.set(schedule.id, schedule.version)
        log.error({ schedule: schedule.id, job: schedule.job_id, err: error }, 'schedule could not be planned')
        return []
      }
    })
  const announce = (made: readonly MadeFire[], nowMs: number): void => {
    for (const [outcome, group] of Map.groupBy(made, (fire) => fire.outcome)) metrics.fires(outcome, group.length)
    for (const fire of made) if (fire.outcome === 'fired') metrics.fireLateness(nowMs - fire.fire_at.getTime())
    const apps = new Set(made.filter((fire) => fire.at === 'ready').map((fire) => fire.app_id))
    if (apps.size > 0) hub.tell({ ready: [...apps] })
    if (made.some((fire) => fire.at === 'later')) hub.tell({ later: true })
  }
  const fireTogether = async (planned: readonly Planned[]): Promise<void> => {
    if (planned.length === 0) return
    const made = await makeFires(
      db,
      planned.map((one) => one.move),
      planned.flatMap((one) => one.fires),
    )
    announce(made, planned[0]?.schedule.now_at.getTime() ?? 0)
    const blocked = new Set(made.filter((fire) => fire.at === 'blocked').map((fire) => fire.job_id))
    if (blocked.size > 0) await following.handOn([...blocked])
  }
  const fireAlone = async (planned: Planned): Promise<void> => {
    try {
      const { made, tell } = await db.transaction((tx) => decide(tx, planned, timingFor(planned.schedule), hub))
      announce(made, planned.schedule.now_at.getTime())
      tell()
    } catch (error) {
      // translated: another server was first, which is fine
      if (!(error instanceof MovedByOther)) throw error
      // or all of it had fired before: then it is still as it was read, and only moves on
      await makeFires(db, [planned.move], [])
    }
  }
  const runOnce = async (): Promise<number> => {
    const rank = needs.rank()
    if (rank > 0) await clock.sleep(Math.min(rank * rankDelayMs, 200))
    for (;;) {
      const due = await dueSchedules(db, batch)
      const repeated: DueSchedule[] = []
      for (const one of due)
        if (one.repeatable && (await needs.hasJavaWorker(one.app_id, one.route_id))) repeated.push(one)
      if (repeated.length > 0) await makeFires(db, repeated.map(rest), [])
      const planned = planAll(repeated.length === 0 ? due : due.filter((one) => !repeated.includes(one)))
      await fireTogether(planned.filter((one) => !isDeciding(one.schedule)))
      for (const one of planned.filter((other) => isDeciding(other.schedule))) await fireAlone(one)
      if (due.length < batch || planned.length + repeated.length === 0) break
    }
    const waitMs = (await nextFireIn(db)) ?? Infinity
    return broken.size > 0 ? Math.max(waitMs, 100) : waitMs
  }
  const watch = duty({ name: 'scheduler', clock, log, everyMs: 1000, runOnce })
  hub.on((hint) => {
    if (hint === 'everything' || hint.jobs !== undefined) watch.wake()
  })
  return { duty: watch, runOnce }
}
