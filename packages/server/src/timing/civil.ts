// Calendar arithmetic on plain numbers: days, months and local date-times, without zones.

export const secondMs = 1_000
export const minuteMs = 60_000
export const hourMs = 3_600_000
export const dayMs = 86_400_000

/** The last instant that JavaScript and ISO 8601 texts can show, in ms. */
export const lastInstantMs = 8_640_000_000_000_000

/** A calendar date; month 1–12, day 1–31. */
export interface Civil {
  readonly year: number
  readonly month: number
  readonly day: number
}

/** Days from 1970-01-01 to the date (proleptic Gregorian, any year). */
export const daysFromCivil = (year: number, month: number, day: number): number => {
  // years begin in March, so that the leap day is the last of its year
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

/** The date that is `days` after 1970-01-01. */
export const civilFromDays = (days: number): Civil => {
  const z = days + 719_468
  const era = Math.floor(z / 146_097)
  const dayOfEra = z - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shifted = Math.floor((5 * dayOfYear + 2) / 153)
  const month = shifted < 10 ? shifted + 3 : shifted - 9
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1,
  }
}

/** 0 = Sunday … 6 = Saturday. */
export const weekdayOf = (days: number): number => (((days + 4) % 7) + 7) % 7

export const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)

export const daysInMonth = (year: number, month: number): number => {
  if (month === 2) return isLeap(year) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

/** A date and a time of day, as a clock shows them. */
export interface DateTime extends Civil {
  readonly hour: number
  readonly minute: number
  readonly second: number
  /** Digits after the second. */
  readonly fraction: string
}

/** Reads the groups 1 to 7 of a match, from the year to the fraction; what is not there is 0. */
export const dateTimeIn = (groups: readonly (string | undefined)[]): DateTime => {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = groups
    .slice(1, 7)
    .map((text) => Number(text ?? 0))
  return { year, month, day, hour, minute, second, fraction: groups[7] ?? '' }
}

/** Whether there is such a date. */
export const isDate = ({ year, month, day }: Civil): boolean =>
  month >= 1 && month <= 12 && day >= 1 && day <= daysInMonth(year, month)

/** Whether there is such a time of day: a clock shows neither 24:00 nor a leap second. */
export const isTimeOfDay = ({ hour, minute, second }: DateTime): boolean => hour <= 23 && minute <= 59 && second <= 59

/** Milliseconds since the beginning of 1970 on the same clock; what is finer is cut off. */
export const dateTimeMs = ({ year, month, day, hour, minute, second, fraction }: DateTime): number =>
  daysFromCivil(year, month, day) * dayMs +
  hour * hourMs +
  minute * minuteMs +
  second * secondMs +
  Number(fraction.slice(0, 3).padEnd(3, '0'))

const pad = (value: number, width: number): string => String(value).padStart(width, '0')

/** `2026-03-08T07:00:00Z`, with milliseconds only when there are some. */
export const isoOf = (atMs: number): string => {
  const days = Math.floor(atMs / dayMs)
  const { year, month, day } = civilFromDays(days)
  const rest = atMs - days * dayMs
  const time = [hourMs, minuteMs, secondMs]
    .map((unit, i) => pad(Math.floor(rest / unit) % (i === 0 ? 24 : 60), 2))
    .join(':')
  const ms = rest % secondMs
  const yearText = year < 0 || year > 9_999 ? `${year < 0 ? '-' : '+'}${pad(Math.abs(year), 6)}` : pad(year, 4)
  return `${yearText}-${pad(month, 2)}-${pad(day, 2)}T${time}${ms === 0 ? '' : `.${pad(ms, 3)}`}Z`
}
