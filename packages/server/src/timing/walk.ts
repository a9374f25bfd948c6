// From local times to instants: walks a zone's stretches and applies the DST policy (DESIGN.md rules 5–9).
import { dayMs } from './civil.ts'
import type { NextLocal } from './cron-next.ts'
import type { Zone } from './zone.ts'

/** Local times that match, and what happens to those that are missing or come twice. */
export interface Calendar {
  readonly nextLocal: NextLocal
  readonly gap: 'next' | 'skip'
  readonly overlap: 'first' | 'both'
}

/** Calendars begin in 1970; two days earlier no zone has reached it. */
const earliestMs = -2 * dayMs
/** The year 10,000, beyond which a date has no four-digit year. */
const latestMs = 253_402_300_800_000
/** After so long the local time is past every local time before it, whatever the clocks did. */
const settledMs = 2 * dayMs

/** The first instant after `afterMs` (ms) at which the calendar fires in the zone. */
export const nextInZone = (zone: Zone, calendar: Calendar, afterMs: number): number | undefined => {
  let at = Math.max(Math.floor(afterMs) + 1, earliestMs)
  while (at < latestMs) {
    const { offsetMs, toMs, seenUntilLocalMs } = zone.stretchAt(at)
    const hereMs = at + offsetMs
    const localMs = calendar.nextLocal(calendar.overlap === 'first' ? Math.max(hereMs, seenUntilLocalMs) : hereMs)
    const settled = toMs - at >= settledMs
    if (localMs === undefined) {
      if (settled) return undefined
      at = toMs
      continue
    }
    const hit = localMs - offsetMs
    if (hit < toMs) return hit
    if (calendar.gap === 'next' && localMs < toMs + zone.offsetAt(toMs)) return toMs
    // nothing matches up to localMs, so a long wait is skipped up to shortly before it
    at = settled ? Math.max(toMs, hit - settledMs) : toMs
  }
  return undefined
}
