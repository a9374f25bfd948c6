// The fields of a cron expression that are plain sets of numbers: lists, ranges, steps and names.
import { Refusal } from '../kernel/errors.ts'

/** What a field may hold, and what it is called in messages. */
export interface FieldShape {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly names?: readonly string[]
  /** Whether a range may run past the end and go on at the beginning, as in 22-4. */
  readonly wraps: boolean
}

/** A part of a list: from, to (may be below from: it wraps) and step. */
export interface Range {
  readonly from: number
  readonly to: number
  readonly step: number
}

const months = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC']
export const weekdays: readonly string[] = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT']

export const firstYear = 1970
export const lastYear = 2099

export const shapes = {
  second: { name: 'second', min: 0, max: 59, wraps: true },
  minute: { name: 'minute', min: 0, max: 59, wraps: true },
  hour: { name: 'hour', min: 0, max: 23, wraps: true },
  dayOfMonth: { name: 'day of month', min: 1, max: 31, wraps: true },
  month: { name: 'month', min: 1, max: 12, names: months, wraps: true },
  // Unix counts Sunday as 0 and as 7, Quartz counts from 1 = Sunday
  dayOfWeekUnix: { name: 'day of week', min: 0, max: 7, names: weekdays, wraps: true },
  dayOfWeekQuartz: { name: 'day of week', min: 1, max: 7, names: weekdays, wraps: true },
  year: { name: 'year', min: firstYear, max: lastYear, wraps: false },
} as const satisfies Record<string, FieldShape>

export const refuse = (detail: string): never => {
  throw new Refusal('SCHEDULE_INVALID', detail)
}

const rangeText = (shape: FieldShape): string => {
  const names = shape.names === undefined ? '' : ` or ${shape.names[0]}–${shape.names.at(-1)}`
  return `${shape.min}–${shape.max}${names}`
}

/** Reads a number or a name of the field. Throws SCHEDULE_INVALID, naming the field and its range. */
export const readValue = (text: string, shape: FieldShape): number => {
  const named = shape.names?.indexOf(text.toUpperCase()) ?? -1
  if (named >= 0) return named + shape.min
  if (!/^\d{1,9}$/.test(text)) {
    return refuse(`the ${shape.name} field has "${text}", which is not a value of it; write ${rangeText(shape)}`)
  }
  const value = Number(text)
  if (value >= shape.min && value <= shape.max) return value
  const hint =
    shape === shapes.dayOfWeekQuartz && value === 0
      ? '; with 6 or 7 fields 1 is Sunday and 7 is Saturday: write a name such as SUN to be sure'
      : ''
  return refuse(`the ${shape.name} field has ${value}, outside its range ${rangeText(shape)}${hint}`)
}

const readStep = (text: string, shape: FieldShape): number => {
  const most = shape.max - shape.min + 1
  const step = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (step >= 1 && step <= most) return step
  return refuse(
    `the ${shape.name} field has the step "${text}"; a step is a whole number of 1–${most}` +
      (step > most ? ', for it begins anew whenever the field does: use a fixed rate for longer intervals' : ''),
  )
}

/** Reads `*`, `a`, `a-b`, each also with `/step`; `a/step` means from a to the end of the field. */
export const readRange = (text: string, shape: FieldShape): Range => {
  const [base = '', stepText, ...more] = text.split('/')
  if (more.length > 0) return refuse(`the ${shape.name} field has "${text}" with more than one "/"`)
  const step = stepText === undefined ? 1 : readStep(stepText, shape)
  if (base === '*') return { from: shape.min, to: shape.max, step }
  const [first = '', last, ...rest] = base.split('-')
  if (rest.length > 0)
    return refuse(`the ${shape.name} field has "${text}", which is not a range like ${shape.min}-${shape.max}`)
  const from = readValue(first, shape)
  // in a/step of Unix weekdays 7 is Sunday again, not one day more
  const end = shape === shapes.dayOfWeekUnix ? 6 : shape.max
  const to = last === undefined ? (stepText === undefined || from > end ? from : end) : readValue(last, shape)
  if (to < from && !shape.wraps) {
    return refuse(`the ${shape.name} field has the range "${base}", which ends before it begins`)
  }
  return { from, to, step }
}

/** The values of a range in the order they come, wrapped into the field. */
export const valuesOf = (range: Range, shape: FieldShape): number[] => {
  const size = shape === shapes.dayOfWeekUnix ? 7 : shape.max - shape.min + 1
  const to = range.to < range.from ? range.to + size : range.to
  const values: number[] = []
  for (let value = range.from; value <= to; value += range.step) {
    values.push(((value - shape.min) % size) + shape.min)
  }
  return values
}

/** Splits a list at its commas. Throws SCHEDULE_INVALID for an empty part. */
export const listOf = (text: string, shape: FieldShape): string[] => {
  const parts = text.split(',')
  if (parts.includes('')) refuse(`the ${shape.name} field has an empty part in "${text}"`)
  return parts
}

/** A set of small numbers that answers "the first one that is not below x". */
export interface NumberSet {
  readonly first: number
  readonly size: number
  has(value: number): boolean
  /** -1 when there is none; `value` may be one above the field's range. */
  atLeast(value: number): number
}

export const numberSet = (values: readonly number[], min: number, max: number): NumberSet => {
  // following[i] is the first member that is not below min + i
  const following = new Int16Array(max - min + 2).fill(-1)
  for (const value of values) following[value - min] = value
  let next = -1
  let size = 0
  for (let index = max - min; index >= 0; index -= 1) {
    if (following[index] === -1) following[index] = next
    else {
      next = following[index] ?? -1
      size += 1
    }
  }
  return {
    first: next,
    size,
    has: (value) => following[value - min] === value,
    atLeast: (value) => following[Math.max(0, value - min)] ?? -1,
  }
}

const wholeFields = new Map<FieldShape, NumberSet>()

const wholeField = (shape: FieldShape): NumberSet => {
  const known = wholeFields.get(shape)
  if (known !== undefined) return known
  const all = numberSet(valuesOf({ from: shape.min, to: shape.max, step: 1 }, shape), shape.min, shape.max)
  wholeFields.set(shape, all)
  return all
}

/** Reads a whole field of plain numbers. */
export const readField = (text: string, shape: FieldShape): NumberSet => {
  if (text === '*') return wholeField(shape)
  if (text.includes('?')) refuse(`the ${shape.name} field has "?", which is for the two day fields only; write "*"`)
  const values = listOf(text, shape).flatMap((part) => valuesOf(readRange(part, shape), shape))
  return numberSet(values, shape.min, shape.max)
}
