// Decides what becomes of every occurrence of a due schedule: rows for the fire ledger (DESIGN.md rules 12–17).
import { isoOf } from './civil.ts'
import { mostLateRuns, occurrencesOf, type Occurrences } from './misfires.ts'
import { nextAfterEnd, nextFire, type Timing } from './timing.ts'

export interface MisfireSpec {
  readonly policy: 'run-once' | 'run-all' | 'skip'
  /** Occurrences not later than this are on time and all fire, in ms. */
  readonly graceMs: number
  /** For run-all: how many of the late ones fire at most; up to 100,000. */
  readonly maxRuns: number
  /** Late ones that are later than this are missed, in ms. */
  readonly maxLatenessMs?: number | undefined
}

/** A row of the ledger: one occurrence, or `covers` of them folded into their first. */
export interface PlannedFire {
  readonly fireAtMs: number
  readonly outcome: 'fired' | 'coalesced' | 'missed'
  /** Why it did not fire; undefined for those that do. */
  readonly reason: string | undefined
  readonly covers: number
}

export interface PlanInput {
  readonly timing: Timing
  readonly anchorMs: number
  /** The stored next fire: an occurrence, whatever the expression says today. */
  readonly dueAtMs: number
  readonly nowMs: number
  readonly misfire: MisfireSpec
}

export interface Plan {
  /** In order of time, times unique, at most 1,000. */
  readonly fires: PlannedFire[]
  /** May be due already: then more than 1,000 had to fire, and the rest is for the next call. */
  readonly nextFireAtMs: number | undefined
}

export const mostRows = 1_000

/** Neighbouring occurrences that do not fire, for one reason. */
interface Silent {
  readonly outcome: 'coalesced' | 'missed'
  readonly from: number
  readonly to: number
  readonly reason: string
}

/** The first index in [low, high) whose time is not below `atMs`. */
const firstNotBefore = (late: Occurrences, atMs: number): number => {
  let low = 0
  let high = late.count
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (late.at(middle) < atMs) low = middle + 1
    else high = middle
  }
  return low
}

/** Splits the late occurrences into those that stay silent (a prefix, in one or two parts) and the rest, which fires. */
const judge = (late: Occurrences, input: PlanInput): { silent: Silent[]; firing: number } => {
  const { policy, maxRuns, maxLatenessMs } = input.misfire
  const tooLate = maxLatenessMs === undefined ? 0 : firstNotBefore(late, input.nowMs - maxLatenessMs)
  const candidates = late.count - tooLate
  const fires =
    policy === 'skip'
      ? 0
      : Math.min(candidates, policy === 'run-once' ? 1 : Math.min(Math.max(0, maxRuns), mostLateRuns))
  const firing = late.count - fires
  const seenAt = isoOf(Math.floor(input.nowMs))
  const silent: Silent[] = [
    {
      outcome: 'missed',
      from: 0,
      to: tooLate,
      reason: `later than the maximum lateness of ${maxLatenessMs} ms at ${seenAt}`,
    },
  ]
  if (policy === 'run-once') {
    const standIn = fires === 0 ? '' : isoOf(late.at(firing))
    silent.push({
      outcome: 'coalesced',
      from: tooLate,
      to: firing,
      reason: `the fire of ${standIn} stands for it (run-once)`,
    })
  } else {
    const reason =
      policy === 'skip'
        ? `late at ${seenAt}, and the schedule skips late fires`
        : `more than ${maxRuns} late fires at ${seenAt} (run-all)`
    silent.push({ outcome: 'missed', from: tooLate, to: firing, reason })
  }
  return { silent: silent.filter((part) => part.to > part.from), firing }
}

const foldedReason = (part: Silent, upTo: number, late: Occurrences): string => {
  const lastMs = late.at(upTo - 1)
  const base = `${part.reason}; ${upTo - part.from} occurrences up to ${isoOf(lastMs)} in one row`
  const { skipped } = late
  const holds = skipped !== undefined && late.at(part.from) <= skipped.afterMs && lastMs >= skipped.afterMs
  if (!holds) return base
  return `${base}; those between ${isoOf(skipped.afterMs)} and ${isoOf(skipped.beforeMs)} were too many to count`
}

/** Rows of a silent part: its oldest occurrences fold into one row so that at most `room` rows are needed. */
const rowsOf = (part: Silent, room: number, late: Occurrences): PlannedFire[] => {
  const { outcome, from, to, reason } = part
  const rows: PlannedFire[] = []
  let index = from
  if (to - from > room) {
    const upTo = to - Math.max(0, room - 1)
    rows.push({ fireAtMs: late.at(from), outcome, reason: foldedReason(part, upTo, late), covers: upTo - from })
    index = upTo
  }
  for (; index < to; index += 1) rows.push({ fireAtMs: late.at(index), outcome, reason, covers: 1 })
  return rows
}

const fired = (fireAtMs: number): PlannedFire => ({ fireAtMs, outcome: 'fired', reason: undefined, covers: 1 })

/** Times that fire, oldest first, until `most`: the late ones from index `firing`, then all on time. */
const firingTimes = (late: Occurrences, firing: number, input: PlanInput, most: number): number[] => {
  const times: number[] = []
  for (let index = firing; index < late.count && times.length < most; index += 1) times.push(late.at(index))
  if (times.length >= most) return times
  const { timing, anchorMs, dueAtMs, nowMs } = input
  let next = late.count === 0 ? dueAtMs : nextFire(timing, late.at(late.count - 1), { anchorMs })
  // after a first run a fixed delay waits for the end of that run
  if (late.count > 0 && timing.rule.kind === 'fixed-delay') next = undefined
  while (next !== undefined && next <= nowMs && times.length < most) {
    times.push(next)
    next = nextFire(timing, next, { anchorMs })
  }
  return times
}

/**
 * Plans all occurrences from `dueAtMs` to `nowMs`. Those not later than `graceMs` fire, each on its
 * own; older ones follow the misfire policy. Rows that do not fire are folded, oldest first, to keep
 * at most 1,000; when more than that must fire, the plan ends early and `nextFireAtMs` is the first one left.
 */
export const planFires = (input: PlanInput): Plan => {
  const { timing, anchorMs, dueAtMs, nowMs, misfire } = input
  if (dueAtMs > nowMs) return { fires: [], nextFireAtMs: dueAtMs }
  const latest = Math.max(mostRows, Math.min(misfire.maxRuns, mostLateRuns))
  // an occurrence exactly graceMs late is on time
  const late = occurrencesOf({ timing, anchorMs, dueAtMs, untilMs: Math.ceil(nowMs - misfire.graceMs) - 1, latest })
  const { silent, firing } = judge(late, input)
  const times = firingTimes(late, firing, input, mostRows - silent.length)

  const fires: PlannedFire[] = []
  // the newest part gets the room first: the oldest rows are the ones to fold
  let room = mostRows - times.length
  for (const [index, part] of [...silent.entries()].toReversed()) {
    const rows = rowsOf(part, room - index, late)
    room -= rows.length
    fires.unshift(...rows)
  }
  for (const atMs of times) fires.push(fired(atMs))

  // no run comes of it whose end could set the next one: the delay counts from now
  if (timing.rule.kind === 'fixed-delay' && times.length === 0) {
    return { fires, nextFireAtMs: nextAfterEnd(timing, Math.floor(nowMs)) }
  }
  const lastMs = times.at(-1) ?? late.at(late.count - 1)
  return { fires, nextFireAtMs: nextFire(timing, lastMs, { anchorMs }) }
}
