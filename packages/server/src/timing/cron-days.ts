// The two day fields of a cron expression: which days of a given month match.
import { daysFromCivil, daysInMonth, weekdayOf } from './civil.ts'
import type { CronDays } from './spec.ts'
import { listOf, readRange, readValue, refuse, shapes, valuesOf, type FieldShape } from './cron-fields.ts'

/** Days of a month as bits: bit n is day n, 1–31. */
export type DayBits = number

/** What a part of a list asks of a month whose length and first weekday (0 = Sunday) are given. */
type DayRule = (length: number, firstWeekday: number) => DayBits

export interface DayField {
  /** False for `*` and `?`: then the other day field decides alone. */
  readonly restricted: boolean
  bits(length: number, firstWeekday: number): DayBits
}

const bit = (day: number): DayBits => (2 ** day) | 0

const weekdayIn = (day: number, firstWeekday: number): number => (firstWeekday + day - 1) % 7

/** The weekday (Monday to Friday) nearest to the day, without leaving the month. */
const nearestWeekday = (day: number, length: number, firstWeekday: number): number => {
  const weekday = weekdayIn(day, firstWeekday)
  if (weekday === 6) return day === 1 ? 3 : day - 1
  if (weekday === 0) return day === length ? day - 2 : day + 1
  return day
}

const dayOfMonthRule = (part: string): DayRule => {
  const upper = part.toUpperCase()
  if (upper === 'L') return (length) => bit(length)
  if (upper === 'LW') return (length, firstWeekday) => bit(nearestWeekday(length, length, firstWeekday))
  const fromEnd = /^L-(\d{1,2})$/.exec(upper)
  if (fromEnd !== null) {
    const back = Number(fromEnd[1])
    if (back < 1 || back > 30)
      return refuse(`the day of month field has "${part}"; L-n counts n days back from the last day, 1–30`)
    return (length) => (back < length ? bit(length - back) : 0)
  }
  const nearest = /^(\w+)W$/.exec(upper)
  if (nearest !== null) {
    const day = readValue(nearest[1] ?? '', shapes.dayOfMonth)
    return (length, firstWeekday) => (day <= length ? bit(nearestWeekday(day, length, firstWeekday)) : 0)
  }
  if (/[LW]/.test(upper)) {
    return refuse(`the day of month field has "${part}"; its special forms are L, L-3, LW and 15W`)
  }
  if (upper.includes('#')) return refuse(`the day of month field has "${part}"; "#" is for the day of week field`)
  const days = valuesOf(readRange(part, shapes.dayOfMonth), shapes.dayOfMonth)
  const all = days.reduce((bits, day) => bits | bit(day), 0)
  return (length) => all & (bit(length + 1) - 1)
}

const weekdayRule =
  (weekday: number): DayRule =>
  (length, firstWeekday) => {
    let bits = 0
    for (let day = ((weekday - firstWeekday + 7) % 7) + 1; day <= length; day += 7) bits |= bit(day)
    return bits
  }

const dayOfWeekRule = (part: string, shape: FieldShape): DayRule => {
  const quartz = shape === shapes.dayOfWeekQuartz
  // 0 = Sunday from here on
  const normal = (value: number): number => (quartz ? value - 1 : value % 7)
  const nth = /^(\w+)#(.*)$/.exec(part)
  if (nth !== null) {
    const weekday = normal(readValue(nth[1] ?? '', shape))
    const count = /^[1-5]$/.test(nth[2] ?? '') ? Number(nth[2]) : 0
    if (count === 0) return refuse(`the day of week field has "${part}"; after "#" stands which one of the month, 1–5`)
    return (length, firstWeekday) => {
      const day = ((weekday - firstWeekday + 7) % 7) + 1 + (count - 1) * 7
      return day <= length ? bit(day) : 0
    }
  }
  if (/^l$/i.test(part)) {
    return refuse(
      'the day of week field has a lone "L"; write the day before it, as in FRIL for the last Friday of the month',
    )
  }
  const last = /^(\w+)L$/i.exec(part)
  if (last !== null) {
    const weekday = normal(readValue(last[1] ?? '', shape))
    return (length, firstWeekday) => bit(length - ((weekdayIn(length, firstWeekday) - weekday + 7) % 7))
  }
  const rules = valuesOf(readRange(part, shape), shape).map((value) => weekdayRule(normal(value)))
  return (length, firstWeekday) => rules.reduce((bits, rule) => bits | rule(length, firstWeekday), 0)
}

const readDayField = (text: string, shape: FieldShape, rule: (part: string) => DayRule): DayField => {
  const everyDay = text === '*' || text === '?' || text === '*/1'
  if (everyDay) return { restricted: false, bits: (length) => (bit(length + 1) - 2) | 0 }
  if (text.includes('?')) refuse(`the ${shape.name} field has "${text}"; "?" stands alone`)
  const rules = listOf(text, shape).map(rule)
  return {
    restricted: true,
    bits: (length, firstWeekday) => rules.reduce((bits, each) => bits | each(length, firstWeekday), 0),
  }
}

export const readDayOfMonth = (text: string): DayField => readDayField(text, shapes.dayOfMonth, dayOfMonthRule)

/** `quartz`: 1–7 with 1 = Sunday; otherwise 0–7 with 0 and 7 = Sunday. */
export const readDayOfWeek = (text: string, quartz: boolean): DayField => {
  const shape = quartz ? shapes.dayOfWeekQuartz : shapes.dayOfWeekUnix
  return readDayField(text, shape, (part) => dayOfWeekRule(part, shape))
}

/** The two day fields of an expression. */
export interface DayFields {
  readonly dayOfMonth: DayField
  readonly dayOfWeek: DayField
  /** How they go together when both are restricted. */
  readonly days: CronDays
}

/** The days of a month that match; when one of the fields is not restricted, the other decides. */
export const matchingDays = ({ dayOfMonth, dayOfWeek, days }: DayFields, year: number, month: number): DayBits => {
  const length = daysInMonth(year, month)
  const firstWeekday = weekdayOf(daysFromCivil(year, month, 1))
  if (dayOfMonth.restricted && dayOfWeek.restricted) {
    const inMonth = dayOfMonth.bits(length, firstWeekday)
    const inWeek = dayOfWeek.bits(length, firstWeekday)
    return days === 'both' ? inMonth & inWeek : inMonth | inWeek
  }
  return (dayOfMonth.restricted ? dayOfMonth : dayOfWeek).bits(length, firstWeekday)
}
