// The daily interval: every so often between two local times, on chosen weekdays.
import { dayMs, hourMs, minuteMs, secondMs, weekdayOf } from './civil.ts'
import { refuse } from './cron-fields.ts'
import type { NextLocal } from './cron-next.ts'

const shortestMs = 1_000

const readTimeOfDay = (text: string, name: 'from' | 'to'): number => {
  const parts = /^([01]\d|2[0-3]):([0-5]\d):([0-5]\d)$/.exec(text)
  if (parts === null) return refuse(`${name} is "${text}"; write a time of day as HH:mm:ss, 00:00:00–23:59:59`)
  return Number(parts[1]) * hourMs + Number(parts[2]) * minuteMs + Number(parts[3]) * secondMs
}

export interface Daily {
  readonly nextLocal: NextLocal
  /** Fires at least hourly and more than once a day: it goes on through a repeated hour. */
  readonly followsTheClock: boolean
}

/**
 * Reads a daily interval: local times from, from + everyMs, … up to `to`, counted anew each day.
 * `daysOfWeek`: 1 = Monday … 7 = Sunday, empty = every day. Throws SCHEDULE_INVALID.
 */
export const parseDaily = (spec: { everyMs: number; from: string; to: string; daysOfWeek: number[] }): Daily => {
  const { everyMs } = spec
  if (!Number.isSafeInteger(everyMs) || everyMs < shortestMs) {
    return refuse(`everyMs is ${everyMs}; a daily interval takes whole milliseconds, at least ${shortestMs}`)
  }
  const fromMs = readTimeOfDay(spec.from, 'from')
  const toMs = readTimeOfDay(spec.to, 'to')
  if (toMs < fromMs) {
    return refuse(
      `to (${spec.to}) is before from (${spec.from}); a daily interval ends on the day it begins: use two schedules across midnight`,
    )
  }
  const wrong = spec.daysOfWeek.find((day) => !Number.isInteger(day) || day < 1 || day > 7)
  if (wrong !== undefined) return refuse(`daysOfWeek has ${wrong}; days are 1 (Monday) to 7 (Sunday)`)
  const weekdays = new Set(
    (spec.daysOfWeek.length === 0 ? [1, 2, 3, 4, 5, 6, 7] : spec.daysOfWeek).map((day) => day % 7),
  )

  const nextLocal: NextLocal = (localMs) => {
    const today = Math.floor(localMs / dayMs)
    if (weekdays.has(weekdayOf(today))) {
      const steps = Math.max(0, Math.ceil((localMs - today * dayMs - fromMs) / everyMs))
      const timeMs = fromMs + steps * everyMs
      if (timeMs <= toMs) return today * dayMs + timeMs
    }
    let day = today + 1
    while (!weekdays.has(weekdayOf(day))) day += 1
    return day * dayMs + fromMs
  }
  return { nextLocal, followsTheClock: everyMs <= hourMs && fromMs + everyMs <= toMs }
}
