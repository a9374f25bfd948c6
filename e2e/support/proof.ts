// What must be true when the dust has settled: the database, the workers' own ledgers and the callers agree.
import { sql } from '@oncejob/server/testing'
import { expect } from 'vitest'
import type { Called } from './calls.ts'
import type { Fleet } from './fleet.ts'
import { ofKind, type Entry } from './ledger.ts'
import { rowsOf } from './places.ts'
import { until } from './until.ts'

export interface Facts {
  readonly fires: { schedule_id: number; fire_at: Date; outcome: string; run_id: number | null }[]
  readonly runs: {
    id: number
    state: string
    request_key: string | null
    schedule_id: number | null
    result: string | null
  }[]
  readonly attempts: { run_id: number; lease: number; outcome: string; ended_at: Date }[]
}

export const readFacts = (fleet: Fleet): Promise<Facts> =>
  fleet.place.look(async (queries) => ({
    fires: await queries.query(sql`select schedule_id, fire_at, outcome, run_id from oncejob.fire`),
    runs: await queries.query(sql`select id, state, request_key, schedule_id, result from oncejob.run`),
    attempts: await queries.query(sql`select run_id, lease, outcome, ended_at from oncejob.attempt_log`),
  }))

const openStates = ['waiting', 'running'] as const

/** Waits until no run is open, asking as a user would. */
export const untilQuiet = (fleet: Fleet, limitMs = 180_000): Promise<unknown> =>
  until(
    'the end of every run',
    async () => (await fleet.client.runs.list({ state: openStates, limit: 1 }).page()).items.length === 0,
    limitMs,
  )

/** Every one of these runs has succeeded, as the list of runs tells it. */
export const expectSucceeded = async (fleet: Fleet, ids: readonly number[]): Promise<void> => {
  const succeeded = new Set<number>()
  for await (const run of fleet.client.runs.list({ state: 'succeeded', limit: 500 })) succeeded.add(run.id)
  expect(ids.filter((id) => !succeeded.has(id))).toEqual([])
}

/** The audit as an operator asks for it, answered by a server that lives. */
export const expectCleanAudit = async (fleet: Fleet): Promise<void> => {
  const report = await fleet.admin.audit()
  expect(report.findings.filter((finding) => finding.violations > 0)).toEqual([])
  expect(report.clean).toBe(true)
  expect(report.findings.length).toBeGreaterThan(5)
}

const repeated = <T>(values: readonly T[]): T[] => {
  const seen = new Set<T>()
  return values.filter((value) => seen.size === seen.add(value).size)
}

/** Every acknowledged call has its run, a call without an answer has at most one, and there are no others. */
const expectCallsKept = (facts: Facts, called: Called): { unknownDone: number } => {
  const ids = new Set(facts.runs.map((run) => run.id))
  expect(repeated(called.acknowledged)).toEqual([])
  expect(called.acknowledged.filter((id) => !ids.has(id))).toEqual([])
  const keys = facts.runs.flatMap((run) => (run.request_key === null ? [] : [run.request_key]))
  expect(repeated(keys)).toEqual([])
  const unknown = new Set(called.unknown)
  const unknownDone = keys.filter((key) => unknown.has(key)).length
  expect(facts.runs.filter((run) => run.schedule_id === null)).toHaveLength(called.acknowledged.length + unknownDone)
  return { unknownDone }
}

/** Every due second of every schedule has exactly one row, which fired exactly one run of its own. */
export const expectFiresWhole = (facts: Facts, scheduleCount: number, dueAt: readonly string[]): void => {
  const bySchedule = Map.groupBy(facts.fires, (fire) => fire.schedule_id)
  expect(bySchedule.size).toBe(scheduleCount)
  for (const fires of bySchedule.values())
    expect(fires.map((fire) => fire.fire_at.toISOString()).toSorted()).toEqual(dueAt)
  expect(facts.fires.filter((fire) => fire.outcome !== 'fired')).toEqual([])
  const runIds = facts.fires.flatMap((fire) => (fire.run_id === null ? [] : [fire.run_id]))
  expect(repeated(runIds)).toEqual([])
  const scheduled = facts.runs.filter((run) => run.schedule_id !== null).map((run) => run.id)
  expect(new Set(scheduled)).toEqual(new Set(runIds))
  expect(scheduled).toHaveLength(scheduleCount * dueAt.length)
}

/** Each run succeeded once, with the result of the attempt that was accepted and that a worker really executed. */
export const expectFinishedOnce = (facts: Facts, entries: readonly Entry[]): void => {
  expect(facts.runs.filter((run) => run.state !== 'succeeded')).toEqual([])
  const succeeded = facts.attempts.filter((attempt) => attempt.outcome === 'succeeded')
  expect(repeated(succeeded.map((attempt) => attempt.run_id))).toEqual([])
  const leaseOf = new Map(succeeded.map((attempt) => [attempt.run_id, attempt.lease]))
  const executed = new Set(ofKind(entries, 'end').map((entry) => entry.lease))
  const wrong = facts.runs.filter((run) => {
    const lease = leaseOf.get(run.id)
    const result = JSON.parse(run.result ?? '{}') as { runId?: number; lease?: number }
    return lease === undefined || result.runId !== run.id || result.lease !== lease || !executed.has(lease)
  })
  expect(wrong).toEqual([])
  // What a worker was told agrees: one acceptance per run (a duplicate repeats one whose answer was lost).
  const told = ofKind(entries, 'finished').filter(
    (entry) => entry.outcome === 'succeeded' && entry.answer === 'accepted',
  )
  expect(repeated(told.map((entry) => entry.runId))).toEqual([])
  const toldWrong = ofKind(entries, 'finished').filter(
    (entry) =>
      entry.outcome === 'succeeded' &&
      (entry.answer === 'accepted' || entry.answer === 'duplicate') !== (leaseOf.get(entry.runId) === entry.lease),
  )
  expect(toldWrong).toEqual([])
}

/** A moment is read in JavaScript and in the database, in milliseconds that are rounded differently. */
const roundingMs = 2

/** No lease was started twice, leases of a run grow, and an attempt begins only after the one before was recorded as over. */
export const expectOneLiveAttempt = (facts: Facts, entries: readonly Entry[]): void => {
  const starts = ofKind(entries, 'start')
  expect(repeated(starts.map((entry) => `run ${entry.runId} lease ${entry.lease}`))).toEqual([])
  const endedAt = new Map(facts.attempts.map((attempt) => [attempt.lease, attempt.ended_at.getTime()]))
  expect(starts.filter((entry) => !endedAt.has(entry.lease))).toEqual([])
  const overlapping = [...Map.groupBy(starts, (entry) => entry.runId).values()].flatMap((ofRun) => {
    const inTime = ofRun.toSorted((left, right) => left.at - right.at || left.lease - right.lease)
    return inTime.slice(1).flatMap((later, index) => {
      const earlier = inTime[index]!
      const isOver = later.lease > earlier.lease && (endedAt.get(earlier.lease) ?? Infinity) <= later.at + roundingMs
      return isOver ? [] : [{ earlier, later, earlierEndedAt: endedAt.get(earlier.lease) }]
    })
  })
  expect(overlapping).toEqual([])
}

/** Nothing waits or runs, and every schedule is through. */
export const expectNothingStuck = async (fleet: Fleet): Promise<void> => {
  const rows = await rowsOf<{ place: string; rows: number }>(
    fleet.place,
    sql`
      select 'ready' as place, count(*)::int as rows from oncejob.run_ready
      union all select 'later', count(*)::int from oncejob.run_later
      union all select 'blocked', count(*)::int from oncejob.run_blocked
      union all select 'running', count(*)::int from oncejob.attempt
      union all select 'undecided', count(*)::int from oncejob.run_undecided
      union all select 'holding a slot', count(*)::int from oncejob.run_slot
      union all select 'still to fire', count(*)::int from oncejob.schedule where next_fire_at is not null`,
  )
  expect(rows.filter((row) => row.rows > 0)).toEqual([])
}

/** Waits until it is quiet. Then every call was kept, every run was finished once by one attempt at a time, and nothing is left. */
export const proveCalls = async (
  fleet: Fleet,
  called: Called,
): Promise<{ readonly facts: Facts; readonly entries: Entry[]; readonly unknownDone: number }> => {
  await untilQuiet(fleet)
  await expectCleanAudit(fleet)
  // the embedded database has one owner at a time
  if (fleet.place.kind === 'embedded') await Promise.all(fleet.servers.map((server) => server.child().kill()))
  await expectNothingStuck(fleet)
  const facts = await readFacts(fleet)
  const entries = fleet.ledger()
  const { unknownDone } = expectCallsKept(facts, called)
  expectFinishedOnce(facts, entries)
  expectOneLiveAttempt(facts, entries)
  return { facts, entries, unknownDone }
}
