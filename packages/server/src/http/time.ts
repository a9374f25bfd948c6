// RFC 3339 times from outside, read strictly: no local zones, no dates that do not exist.
import { dateTimeIn, dateTimeMs, hourMs, isDate, isTimeOfDay, minuteMs } from '../timing/civil.ts'

const shape = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/
/**
 * Reads a time with an offset or Z.
 * @returns ms since the epoch (what is finer is cut off), or undefined when it is no such time
 */
export const parseTime = (text: string): number | undefined => {
  const match = shape.exec(text)
  if (match === null) return undefined
  const read = dateTimeIn(match)
  if (!isDate(read) || !isTimeOfDay(read)) return undefined
  const [hours, minutes] = [Number(match[9] ?? 0), Number(match[10] ?? 0)]
  if (hours > 23 || minutes > 59) return undefined
  const offsetMs = (match[8] === '-' ? -1 : 1) * (hours * hourMs + minutes * minuteMs)
  return dateTimeMs(read) - offsetMs
}
