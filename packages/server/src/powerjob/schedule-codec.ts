// Time expressions of the PowerJob wire to and from our triggers, and what the contract's 6.2 checks about them.
import type { ScheduleView, Trigger } from '@oncejob/protocol'
import { Refusal, invariant } from '../kernel/errors.ts'
import { timeText, timingOfView } from '../runs/schedule-codec.ts'
import { parseCron } from '../timing/cron-parse.ts'
import { parseOnce } from '../timing/once.ts'
import { nextFire } from '../timing/timing.ts'
import { zoneOf } from '../timing/zone.ts'
import { WireError } from './call.ts'
import type { TimeExpressionType } from './codes.ts'
import { onceText, quartzText } from './cron-text.ts'
import { dailyText, readDaily } from './daily-text.ts'
import { isoMs } from './jackson.ts'

/** When a job or workflow of this wire runs. */
export interface TimeExpression {
  readonly type: TimeExpressionType
  readonly expression: string | null
}

/** Bounds of a schedule, in ms since the epoch. */
export interface LifeCycle {
  readonly start: number | null
  readonly end: number | null
}

const illegal = (says: string): never => {
  throw new WireError('IllegalArgumentException', says)
}
const refuse = (says: string): never => {
  throw new WireError('PowerJobException', says)
}

const longestIntervalMs = 120_000
const shortestIntervalMs = 50
const longestCron = 255

const readCron = (text: string | null): Trigger => {
  if (text === null) throw new WireError('NullPointerException', 'Expression must not be null')
  const expression = text.trim()
  if (expression === '') return illegal('Empty expression!')
  if (expression.startsWith('@')) return illegal('Nicknames not supported!')
  if (expression.length > longestCron) return illegal(`Cron expression is longer than ${longestCron} characters`)
  const count = expression.split(/\s+/).length
  if (count !== 6 && count !== 7) return illegal(`Cron expression contains ${count} parts but we expect one of [6, 7]`)
  try {
    const { dayOfMonth, dayOfWeek } = parseCron(expression)
    // on this wire both must match; a flag that changes nothing is left out
    const restricts = dayOfMonth.restricted && dayOfWeek.restricted
    return restricts ? { kind: 'cron', expression, days: 'both' } : { kind: 'cron', expression }
  } catch (error) {
    // translated: our words about the field, under the class of this wire
    if (error instanceof Refusal) return illegal(error.message)
    throw error
  }
}

const readInterval = (text: string | null, word: 'rate' | 'delay'): number => {
  const ms = text !== null && /^[+-]?\d{1,19}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isNaN(ms)) return refuse('invalid timeExpression!')
  if (ms > longestIntervalMs) return refuse(`the ${word} must be less than ${longestIntervalMs}ms`)
  if (ms <= 0) return refuse(`the ${word} must be greater than 0 ms`)
  if (ms < shortestIntervalMs) return refuse(`the ${word} must be at least ${shortestIntervalMs} ms`)
  return ms
}

/**
 * Reads a time expression.
 * @throws WireError with the texts of the contract's 6.2
 */
export const readTime = ({ type, expression }: TimeExpression): Trigger => {
  switch (type) {
    case 'API':
    case 'WORKFLOW':
      return { kind: 'none' }
    case 'CRON':
      return readCron(expression)
    case 'FIXED_RATE':
      return { kind: 'fixed-rate', everyMs: readInterval(expression, 'rate') }
    case 'FIXED_DELAY':
      return { kind: 'fixed-delay', delayMs: readInterval(expression, 'delay') }
    case 'DAILY_TIME_INTERVAL':
      return readDaily(expression)
  }
}

/** A trigger as this wire says it. What was written here comes back from the text that is kept beside the job. */
export const timeOf = ({ trigger, zone, dst }: ScheduleView): TimeExpression => {
  switch (trigger.kind) {
    case 'none':
      return { type: 'API', expression: null }
    case 'cron':
      return { type: 'CRON', expression: quartzText(trigger.expression) }
    case 'fixed-rate':
      return { type: 'FIXED_RATE', expression: String(trigger.everyMs) }
    case 'fixed-delay':
      return { type: 'FIXED_DELAY', expression: String(trigger.delayMs) }
    case 'daily':
      return { type: 'DAILY_TIME_INTERVAL', expression: dailyText(trigger) }
    case 'once': {
      const place = zoneOf(zone)
      invariant(place !== undefined, 'the zone of a stored schedule is known')
      return { type: 'CRON', expression: onceText(parseOnce(trigger.at, place, dst), place) }
    }
  }
}

/** Whether the fires of a trigger lie on the clock of a zone. */
export const isByTheClock = ({ kind }: Trigger): boolean => kind === 'cron' || kind === 'daily'

/** @throws WireError when it is over, or ends before it starts */
export const checkLifeCycle = ({ start, end }: LifeCycle, nowMs: number): void => {
  if (end !== null && end <= nowMs) refuse('lifecycle is out of date!')
  if (start !== null && end !== null && start > end)
    refuse('lifecycle is invalid! start time must earlier then end time.')
}

/** A schedule on a clock must have a fire left. @throws WireError */
export const checkNextTrigger = (view: ScheduleView, expression: string | null, nowMs: number): void => {
  const { kind } = view.trigger
  if (kind === 'none' || kind === 'fixed-rate' || kind === 'fixed-delay') return
  let nextMs: number | undefined
  try {
    nextMs = nextFire(timingOfView(view), nowMs)
  } catch (error) {
    // translated: fields that were read and still can never match
    if (!(error instanceof Refusal)) throw error
  }
  if (nextMs === undefined) refuse(`time expression is out of date: ${expression ?? ''}`)
}

// 9999-12-31: what every part of us can write
const lastMs = 253_402_300_799_999

/** The bounds as a schedule has them; what lies before 1970 or beyond 9999 is no bound for what can be. */
export const boundsOf = ({ start, end }: LifeCycle): Pick<ScheduleView, 'startAt' | 'endAt'> => ({
  startAt: start === null || start < 0 ? null : timeText(Math.min(start, lastMs)),
  endAt: end === null || end > lastMs ? null : timeText(Math.max(end, 0)),
})

/** The inverse of boundsOf. */
export const lifeCycleOf = ({ startAt, endAt }: ScheduleView): LifeCycle => ({
  start: startAt === null ? null : (isoMs(startAt) ?? null),
  end: endAt === null ? null : (isoMs(endAt) ?? null),
})
