// What a schedule does next after people made or changed it. Pure.
import type { ScheduleView } from '@oncejob/protocol'
import { canonicalJson } from '../runs/job-changes.ts'
import { timingOfView } from '../runs/schedule-codec.ts'
import { nextAfterEnd, nextFire } from '../timing/timing.ts'
import type { Arming } from '../storage/schedules-config.ts'

/** The schedule as it was. */
export interface Armed {
  readonly view: ScheduleView
  readonly enabled: boolean
  readonly anchorAtMs: number
  readonly nextFireAtMs: number | null
  /** A run of it is under way whose end the next fire counts from (fixed delay). */
  readonly awaits: boolean
}

/** The schedule as it shall be. */
export interface Wanted {
  readonly view: ScheduleView
  readonly enabled: boolean
  /** The database's clock. */
  readonly nowMs: number
}

// from now on, now included: a rate or delay that begins now fires now
const firstFireMs = (view: ScheduleView, nowMs: number, anchorAtMs: number): number | null => {
  const timing = timingOfView(view)
  const { trigger } = view
  // a delay has no grid to return to: it begins anew
  if (trigger.kind === 'fixed-delay') return nextAfterEnd(timing, nowMs - trigger.delayMs) ?? null
  return nextFire(timing, nowMs - 1, { anchorMs: anchorAtMs }) ?? null
}

const timingPart = ({ trigger, zone, startAt, endAt, dst }: ScheduleView): string =>
  canonicalJson({ trigger, zone, startAt, endAt, dst })

/** Whether two schedules can fire at different times. */
export const firesDiffer = (one: ScheduleView, other: ScheduleView): boolean => timingPart(one) !== timingPart(other)

/** What a new schedule does first. */
export const firstArming = ({ view, enabled, nowMs }: Wanted): Arming => ({
  anchorAtMs: nowMs,
  nextFireAtMs: enabled ? firstFireMs(view, nowMs, nowMs) : null,
  keepWaiting: false,
})

/**
 * What a changed schedule does next. An edit that does not touch the timing leaves the next fire alone, even one that
 * is due already. Otherwise it is computed from now: what was due while the job was disabled is not made up for.
 */
export const nextArming = (old: Armed, wanted: Wanted): Arming => {
  const { view, enabled, nowMs } = wanted
  const isNewTrigger = canonicalJson(old.view.trigger) !== canonicalJson(view.trigger)
  const anchorAtMs = isNewTrigger ? nowMs : old.anchorAtMs
  const keepWaiting = old.awaits && view.trigger.kind === 'fixed-delay'
  if (!enabled || keepWaiting) return { anchorAtMs, nextFireAtMs: null, keepWaiting }
  const isUntouched = old.enabled && !firesDiffer(old.view, view)
  return {
    anchorAtMs,
    nextFireAtMs: isUntouched ? old.nextFireAtMs : firstFireMs(view, nowMs, anchorAtMs),
    keepWaiting,
  }
}
