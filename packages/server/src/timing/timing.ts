// When a schedule fires: reads its specification once, then answers "what comes next" (rules in DESIGN.md).
import { invariant } from '../kernel/errors.ts'
import { isoOf, lastInstantMs } from './civil.ts'
import { refuse } from './cron-fields.ts'
import { cronNextLocal } from './cron-next.ts'
import { parseCron, type Cron } from './cron-parse.ts'
import { parseDaily } from './daily.ts'
import { parseOnce } from './once.ts'
import type { DstPolicy, TimingSpec } from './spec.ts'
import { nextInZone, type Calendar } from './walk.ts'
import { zoneOf, type Zone } from './zone.ts'

const shortestMs = 50

type Rule =
  | { readonly kind: 'none' }
  | { readonly kind: 'once'; readonly atMs: number }
  | { readonly kind: 'fixed-rate'; readonly everyMs: number }
  | { readonly kind: 'fixed-delay'; readonly delayMs: number }
  | { readonly kind: 'calendar'; readonly calendar: Calendar }

/** A specification that has been read and found good. */
export interface Timing {
  readonly spec: TimingSpec
  readonly zone: Zone
  readonly rule: Rule
}

export interface NextOptions {
  /** When the schedule was made, in ms: fixed rates and delays without a start count from it. */
  readonly anchorMs?: number | undefined
}

const readInterval = (name: 'everyMs' | 'delayMs', value: number): number => {
  if (!Number.isSafeInteger(value)) return refuse(`${name} is ${value}; write whole milliseconds`)
  if (value < shortestMs) return refuse(`${name} is ${value}; the shortest interval is ${shortestMs} ms`)
  return value
}

// Rule 8: with a wildcard in the hour field the expression is an interval and follows real time.
const cronCalendar = (cron: Cron, dst: DstPolicy): Calendar => {
  const everyHour = cron.hour.size === 24
  return {
    nextLocal: cronNextLocal(cron),
    gap: everyHour ? 'skip' : dst.gap,
    overlap: everyHour ? 'both' : dst.overlap,
  }
}

const readRule = (spec: TimingSpec, zone: Zone): Rule => {
  const { trigger, dst } = spec
  switch (trigger.kind) {
    case 'none':
      return { kind: 'none' }
    case 'cron': {
      const calendar = cronCalendar(parseCron(trigger.expression, trigger.days), dst)
      if (calendar.nextLocal(0) === undefined) {
        return refuse(
          `the cron expression "${trigger.expression.trim()}" can never fire: ` +
            'no date from 1970 to 2099 fits its day, month and year fields together',
        )
      }
      return { kind: 'calendar', calendar }
    }
    case 'fixed-rate':
      return { kind: 'fixed-rate', everyMs: readInterval('everyMs', trigger.everyMs) }
    case 'fixed-delay':
      return { kind: 'fixed-delay', delayMs: readInterval('delayMs', trigger.delayMs) }
    case 'daily': {
      const { nextLocal, followsTheClock } = parseDaily(trigger)
      return {
        kind: 'calendar',
        calendar: { nextLocal, gap: dst.gap, overlap: followsTheClock ? 'both' : dst.overlap },
      }
    }
    case 'once':
      return { kind: 'once', atMs: parseOnce(trigger.at, zone, dst) }
  }
}

const checkBound = (name: 'startAtMs' | 'endAtMs', value: number | undefined): void => {
  if (value === undefined || (Number.isSafeInteger(value) && Math.abs(value) <= lastInstantMs)) return
  refuse(`${name} is ${value}; write whole milliseconds since 1970-01-01T00:00:00Z`)
}

/** Says why a schedule has no fire from `fromMs` on, in words for its author. */
const describeNever = (timing: Timing, fromMs: number, nowMs: number | undefined): string => {
  const { rule, spec } = timing
  const start = spec.startAtMs === undefined ? '' : ` its start ${isoOf(spec.startAtMs)}`
  const end = spec.endAtMs === undefined ? '' : ` its end ${isoOf(spec.endAtMs)}`
  const window =
    start !== '' && end !== '' ? `between${start} and${end}` : start === '' ? `up to${end}` : `from${start} on`
  if (rule.kind === 'once') {
    const outside =
      (spec.startAtMs !== undefined && rule.atMs < spec.startAtMs) ||
      (spec.endAtMs !== undefined && rule.atMs > spec.endAtMs)
    return `the schedule can never fire: its date ${isoOf(rule.atMs)} ${outside ? `lies outside its window, ${window}` : 'is in the past'}`
  }
  const unbounded: Timing = { ...timing, spec: { ...spec, startAtMs: undefined, endAtMs: undefined } }
  const next = rule.kind === 'calendar' ? nextFire(unbounded, fromMs - 1) : undefined
  if (rule.kind === 'calendar' && next === undefined) {
    return `the schedule can never fire: every date that fits is before ${isoOf(fromMs)}`
  }
  const instead = next === undefined ? '' : `; the next fitting time is ${isoOf(next)}`
  const now = nowMs === undefined ? '' : `, now being ${isoOf(nowMs)}`
  return `the schedule can never fire: it has no fire ${window}${now}${instead}`
}

/**
 * Reads a specification. With `nowMs` (for a schedule that is being made or changed) one that has
 * no fire left from that moment on is refused as well. Throws SCHEDULE_INVALID with what is wrong.
 */
export const parseTiming = (spec: TimingSpec, options: { nowMs?: number } = {}): Timing => {
  const zone = zoneOf(spec.zone)
  if (zone === undefined)
    return refuse(`the zone "${spec.zone}" is not known; write an IANA name such as Europe/Berlin or UTC`)
  checkBound('startAtMs', spec.startAtMs)
  checkBound('endAtMs', spec.endAtMs)
  const { startAtMs, endAtMs } = spec
  if (startAtMs !== undefined && endAtMs !== undefined && startAtMs > endAtMs) {
    return refuse(`the start ${isoOf(startAtMs)} is after the end ${isoOf(endAtMs)}; swap or move them`)
  }
  const timing: Timing = { spec, zone, rule: readRule(spec, zone) }
  if (timing.rule.kind === 'none') return timing
  if (options.nowMs === undefined && startAtMs === undefined && endAtMs === undefined) return timing
  // without a present, the whole of the window counts; a rate without a start may have begun any time before its end
  const fromMs = options.nowMs ?? startAtMs ?? -1
  const isPeriodic = timing.rule.kind === 'fixed-rate' || timing.rule.kind === 'fixed-delay'
  if (isPeriodic && startAtMs === undefined && options.nowMs === undefined) return timing
  // a delay is due at its start only once, then after each run: only an end can be too early for it
  const fires =
    timing.rule.kind === 'fixed-delay'
      ? endAtMs === undefined || fromMs <= endAtMs
      : nextFire(timing, fromMs - 1, { anchorMs: fromMs }) !== undefined
  return fires ? timing : refuse(describeNever(timing, fromMs, options.nowMs))
}

const nextOf = (timing: Timing, afterMs: number, anchorMs: number | undefined): number | undefined => {
  const { rule, zone, spec } = timing
  switch (rule.kind) {
    case 'none':
      return undefined
    case 'once':
      return rule.atMs > afterMs ? rule.atMs : undefined
    case 'calendar':
      return nextInZone(zone, rule.calendar, afterMs)
    case 'fixed-rate':
    case 'fixed-delay': {
      const firstMs = spec.startAtMs ?? anchorMs
      invariant(firstMs !== undefined, 'a fixed rate or delay has a start or an anchor')
      if (afterMs < firstMs) return firstMs
      if (rule.kind === 'fixed-delay') return undefined
      return firstMs + (Math.floor((afterMs - firstMs) / rule.everyMs) + 1) * rule.everyMs
    }
  }
}

/**
 * The first fire strictly after `afterMs` and inside start and end (both inclusive), in ms;
 * undefined when there is none. A fixed delay knows only its first one; see nextAfterEnd.
 */
export const nextFire = (timing: Timing, afterMs: number, options: NextOptions = {}): number | undefined => {
  const { startAtMs, endAtMs } = timing.spec
  const next = nextOf(timing, startAtMs === undefined ? afterMs : Math.max(afterMs, startAtMs - 1), options.anchorMs)
  return next === undefined || next > (endAtMs ?? lastInstantMs) || next > lastInstantMs ? undefined : next
}

/** For a fixed delay: when to fire after a run that ended at `endedAtMs`. Undefined past the end, and for other triggers. */
export const nextAfterEnd = (timing: Timing, endedAtMs: number): number | undefined => {
  const { rule, spec } = timing
  if (rule.kind !== 'fixed-delay') return undefined
  const next = Math.max(endedAtMs + rule.delayMs, spec.startAtMs ?? endedAtMs)
  return next > (spec.endAtMs ?? lastInstantMs) || next > lastInstantMs ? undefined : next
}

/** The next `count` fires strictly after `fromMs`, in ms, in order; fewer when the schedule ends. */
export const preview = (timing: Timing, fromMs: number, count: number, anchorMs?: number): number[] => {
  const fires: number[] = []
  let next = nextFire(timing, fromMs, { anchorMs })
  while (next !== undefined && fires.length < count) {
    fires.push(next)
    if (fires.length < count) next = nextFire(timing, next, { anchorMs })
  }
  return fires
}
