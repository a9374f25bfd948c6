// DAILY_TIME_INTERVAL: a JSON text in which single quotes are allowed, to and from our daily trigger.
import type { Trigger } from '@oncejob/protocol'
import { WireError } from './call.ts'
import { asList, asInt, asLong, asText, field, isFields, type Fields } from './jackson.ts'

type Daily = Extract<Trigger, { readonly kind: 'daily' }>

const illegal = (says: string): never => {
  throw new WireError('IllegalArgumentException', says)
}

/** The text with its single-quoted strings written as JSON has them. */
const withDoubleQuotes = (text: string): string =>
  text.replace(/"(?:[^"\\]|\\.)*"|'((?:[^'\\]|\\.)*)'/gs, (whole: string, single: string | undefined) =>
    single === undefined
      ? whole
      : `"${single.replace(/\\.|"/gs, (part) => (part === "\\'" ? "'" : part === '"' ? '\\"' : part))}"`,
  )

const parsed = (text: string | null): Fields => {
  if (text === null) return illegal('argument "content" is null')
  let value: unknown
  try {
    value = JSON.parse(withDoubleQuotes(text))
  } catch {
    // translated: the reader's own words are those of another language
    throw new WireError('JsonParseException', `the time expression is no JSON: ${text.slice(0, 200)}`)
  }
  return isFields(value) ? value : illegal(`the time expression is no JSON object: ${text.slice(0, 200)}`)
}

const needed = <T>(value: T | null, name: string): T => {
  if (value !== null && value !== '') return value
  throw new WireError('PowerJobException', `${name} can't be null or empty in DailyTimeIntervalExpress`)
}

const twoDigits = (value: number): string => String(value).padStart(2, '0')

/** `H:m:s` as HH:mm:ss. */
const timeOfDay = (text: string): string => {
  const parts = /^\s*(-?\d{1,9}):(-?\d{1,9}):(-?\d{1,9})\s*$/.exec(text)
  if (parts === null) return illegal('invalid TimeOfDay, make pattern like 15:30:10')
  const [hour = 0, minute = 0, second = 0] = parts.slice(1).map(Number)
  if (hour < 0 || hour > 23) return illegal('Hour must be from 0 to 23')
  if (minute < 0 || minute > 59) return illegal('Minute must be from 0 to 59')
  if (second < 0 || second > 59) return illegal('Second must be from 0 to 59')
  return [hour, minute, second].map(twoDigits).join(':')
}

const unitsMs = new Map([
  ['NANOSECONDS', 1e-6],
  ['MICROSECONDS', 1e-3],
  ['MILLISECONDS', 1],
  ['SECONDS', 1000],
  ['MINUTES', 60_000],
  ['HOURS', 3_600_000],
  ['DAYS', 86_400_000],
])

const intervalMs = (interval: number, unit: string): number => {
  const unitMs = unitsMs.get(unit) ?? illegal(`No enum constant java.util.concurrent.TimeUnit.${unit}`)
  const everyMs = Math.trunc(interval * unitMs)
  // beyond a day PowerJob counts on from the last fire, whatever its window; our windows begin anew each day
  if (everyMs < 1000 || everyMs > 86_400_000)
    return illegal(`the interval is ${everyMs} ms; from 1000 ms to one day are possible, use CRON for longer ones`)
  return everyMs
}

/** Reads the expression, by the rules and with the texts of the contract. @throws WireError */
export const readDaily = (text: string | null): Daily => {
  const fields = parsed(text)
  const interval = needed(field(fields, 'interval', asLong), 'interval')
  const start = needed(field(fields, 'startTimeOfDay', asText), 'startTimeOfDay')
  const end = needed(field(fields, 'endTimeOfDay', asText), 'endTimeOfDay')
  const from = timeOfDay(start)
  const to = timeOfDay(end)
  if (to < from) return illegal('endTime should after startTime!')
  const everyMs = intervalMs(interval, field(fields, 'intervalUnit', asText) ?? 'SECONDS')
  const days = (field(fields, 'daysOfWeek', asList(asInt)) ?? []).filter((day) => day !== null)
  const wrong = days.find((day) => day < 1 || day > 7)
  if (wrong !== undefined) return illegal(`daysOfWeek has ${wrong}; days are 1 (Monday) to 7 (Sunday)`)
  return { kind: 'daily', everyMs, from, to, daysOfWeek: [...new Set(days)].toSorted((a, b) => a - b) }
}

/** The expression of a daily trigger that was not written on this wire. */
export const dailyText = ({ everyMs, from, to, daysOfWeek }: Daily): string => {
  const [interval, intervalUnit] = everyMs % 1000 === 0 ? [everyMs / 1000, 'SECONDS'] : [everyMs, 'MILLISECONDS']
  return JSON.stringify({
    interval,
    startTimeOfDay: from,
    endTimeOfDay: to,
    intervalUnit,
    daysOfWeek: daysOfWeek ?? [],
  })
}
