// Cron expressions of the native API as this wire writes them: six or seven fields, weekdays by name.
import { civilFromDays, dayMs, hourMs, minuteMs, secondMs } from '../timing/civil.ts'
import type { Zone } from '../timing/zone.ts'

const weekdays = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT', 'SUN']

const aliases = new Map([
  ['@yearly', '0 0 1 1 *'],
  ['@annually', '0 0 1 1 *'],
  ['@monthly', '0 0 1 * *'],
  ['@weekly', '0 0 * * SUN'],
  ['@daily', '0 0 * * *'],
  ['@midnight', '0 0 * * *'],
  ['@hourly', '0 * * * *'],
])

/** A part of a list in the weekday field of Unix, 0–7 from Sunday, with names for numbers. */
const namedDays = (part: string): string => {
  const [base = '', ...step] = part.split('/')
  // from Sunday to Sunday is the whole week, and 7 begins no new one
  if (base === '0-7') return ['SUN-SAT', ...step].join('/')
  if (base === '7') return 'SUN'
  const named = base.replace(/(?<=^|-)[0-7](?=$|-|#|L)/gi, (digit) => weekdays[Number(digit)] ?? digit)
  return [named, ...step].join('/')
}

/**
 * The expression with seconds. Both day fields given mean "either" in five fields natively, and "both" once the job is
 * saved through this wire.
 */
export const quartzText = (expression: string): string => {
  const text = aliases.get(expression.trim().toLowerCase()) ?? expression
  const fields = text.trim().split(/\s+/)
  const [minute, hour, dayOfMonth, month, dayOfWeek = '*'] = fields
  if (fields.length !== 5) return expression
  const days = dayOfWeek.split(',').map(namedDays).join(',')
  return ['0', minute, hour, dayOfMonth, month, days].join(' ')
}

/** A date as an expression of seven fields that fires then, to the second. */
export const onceText = (atMs: number, zone: Zone): string => {
  const localMs = atMs + zone.offsetAt(atMs)
  const days = Math.floor(localMs / dayMs)
  const { year, month, day } = civilFromDays(days)
  const timeMs = localMs - days * dayMs
  const [hour, minute, second] = [timeMs / hourMs, (timeMs % hourMs) / minuteMs, (timeMs % minuteMs) / secondMs]
  return [second, minute, hour].map(Math.floor).join(' ') + ` ${day} ${month} ? ${year}`
}
