// RFC 3339 times from outside, read strictly: no local zones, no dates that do not exist.
import { dayMs, daysFromCivil, daysInMonth } from '../timing/civil.ts'

const shape = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/
/**
 * Reads a time with an offset or Z.
 * @returns ms since the epoch (what is finer is cut off), or undefined when it is no such time
 */
export const parseTime = (text: string): number | undefined => {
  const match = shape.exec(text)
  if (match === null) return undefined
  const at = (index: number): number => Number(match[index] ?? 0)
  const [year, month, day, hour, minute, second] = [at(1), at(2), at(3), at(4), at(5), at(6)]
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) return undefined
  if (hour > 23 || minute > 59 || second > 59 || at(9) > 23 || at(10) > 59) return undefined
  const millis = Number((match[7] ?? '').slice(0, 3).padEnd(3, '0'))
  const offsetMinutes = (match[8] === '-' ? -1 : 1) * (at(9) * 60 + at(10))
  return daysFromCivil(year, month, day) * dayMs + ((hour * 60 + minute - offsetMinutes) * 60 + second) * 1000 + millis
}
