// From the text of a cron expression to its fields: 5 fields (Unix), 6 or 7 (Quartz), or an alias.
import { readDayOfMonth, readDayOfWeek, type DayFields } from './cron-days.ts'
import { readField, refuse, shapes, type NumberSet } from './cron-fields.ts'
import type { CronDays } from './spec.ts'

export interface Cron extends DayFields {
  readonly expression: string
  readonly second: NumberSet
  readonly minute: NumberSet
  readonly hour: NumberSet
  readonly month: NumberSet
  readonly year: NumberSet
}

const aliases = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
} as const satisfies Record<string, string>

const isAlias = (text: string): text is keyof typeof aliases => Object.hasOwn(aliases, text)

const longest = 500

const unalias = (expression: string): string => {
  const name = expression.toLowerCase()
  if (!name.startsWith('@')) return expression
  if (isAlias(name)) return aliases[name]
  return refuse(`"${expression}" is not known here; the aliases are ${Object.keys(aliases).join(', ')}`)
}

const wrongCount = (count: number): never =>
  refuse(
    `the cron expression has ${count} field${count === 1 ? '' : 's'}; write 5 (minute hour day-of-month month day-of-week), ` +
      '6 (a second before them) or 7 (a year after them)',
  )

/**
 * Reads a cron expression. Throws SCHEDULE_INVALID with what is wrong and what to write instead.
 * With 5 fields weekdays are 0–7 (0 and 7 = Sunday), with 6 or 7 they are 1–7 (1 = Sunday).
 * `days`: how the day fields go together when both are restricted.
 */
export const parseCron = (expression: string, days: CronDays = 'either'): Cron => {
  const text = expression.trim()
  if (text === '') return refuse('the cron expression is empty; write 5, 6 or 7 fields, as in "0 3 * * *"')
  if (text.length > longest)
    return refuse(`the cron expression has ${text.length} characters; at most ${longest} are read`)
  const fields = unalias(text).split(/\s+/)
  if (fields.length < 5 || fields.length > 7) return wrongCount(fields.length)
  const quartz = fields.length > 5
  const [second = '', minute = '', hour = '', dayOfMonth = '', month = '', dayOfWeek = '', year = '*'] = quartz
    ? fields
    : ['0', ...fields]
  return {
    expression: text,
    second: readField(second, shapes.second),
    minute: readField(minute, shapes.minute),
    hour: readField(hour, shapes.hour),
    dayOfMonth: readDayOfMonth(dayOfMonth),
    month: readField(month, shapes.month),
    dayOfWeek: readDayOfWeek(dayOfWeek, quartz),
    days,
    year: readField(year, shapes.year),
  }
}
