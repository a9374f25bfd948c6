// The next local time that a cron expression matches, on a calendar without zones.
import { civilFromDays, dayMs, daysFromCivil, minuteMs, secondMs, hourMs } from './civil.ts'
import { matchingDays, type DayBits } from './cron-days.ts'
import { firstYear } from './cron-fields.ts'
import type { Cron } from './cron-parse.ts'

/** The smallest matching local time that is not below `localMs`; undefined when there is none up to 2099. */
export type NextLocal = (localMs: number) => number | undefined

/** The first matching second of the day that is not below `from`; -1 when the day has none left. */
const nextSecondOfDay = (cron: Cron, from: number): number => {
  let hour = Math.floor(from / 3_600)
  let minute = Math.floor(from / 60) % 60
  let second = cron.second.atLeast(from % 60)
  if (second < 0) {
    second = cron.second.first
    minute += 1
  }
  const wantedMinute = minute
  minute = cron.minute.atLeast(minute)
  if (minute < 0) {
    minute = cron.minute.first
    second = cron.second.first
    hour += 1
  } else if (minute !== wantedMinute) second = cron.second.first
  const wantedHour = hour
  hour = cron.hour.atLeast(hour)
  if (hour < 0) return -1
  if (hour !== wantedHour) {
    minute = cron.minute.first
    second = cron.second.first
  }
  return hour * 3_600 + minute * 60 + second
}

/** The lowest set bit that is not below `from`, or 0. */
const nextBit = (bits: DayBits, from: number): number => {
  if (from > 31) return 0
  const left = bits & ~(2 ** from - 1)
  return left === 0 ? 0 : 31 - Math.clz32(left & -left)
}

/** Prepares the search; the returned function remembers the month it was in last. */
export const cronNextLocal = (cron: Cron): NextLocal => {
  const firstOfDayMs = cron.hour.first * hourMs + cron.minute.first * minuteMs + cron.second.first * secondMs
  let knownMonth = -1
  let knownBits: DayBits = 0
  const bitsOf = (year: number, month: number): DayBits => {
    if (!cron.month.has(month)) return 0
    const key = year * 12 + month
    if (key !== knownMonth) {
      knownBits = matchingDays(cron, year, month)
      knownMonth = key
    }
    return knownBits
  }
  /** First matching day (days since 1970) that is not before the date. */
  const nextDay = (year: number, month: number, day: number): number | undefined => {
    let fromDay = day
    let fromMonth = month
    for (let y = cron.year.atLeast(year); y >= 0; y = cron.year.atLeast(y + 1)) {
      if (y !== year) fromMonth = fromDay = 1
      for (let m = cron.month.atLeast(fromMonth); m >= 0; m = cron.month.atLeast(m + 1)) {
        const found = nextBit(bitsOf(y, m), m === fromMonth ? fromDay : 1)
        if (found > 0) return daysFromCivil(y, m, found)
      }
    }
    return undefined
  }
  return (localMs) => {
    const days = Math.floor(localMs / dayMs)
    const second = Math.ceil((localMs - days * dayMs) / secondMs)
    const { year, month, day } = civilFromDays(days)
    if (year >= firstYear && cron.year.has(year) && nextBit(bitsOf(year, month), day) === day) {
      const found = second > 86_399 ? -1 : nextSecondOfDay(cron, second)
      if (found >= 0) return days * dayMs + found * secondMs
    }
    const next = nextDay(year, month, day + 1)
    return next === undefined ? undefined : next * dayMs + firstOfDayMs
  }
}
