// The trigger that fires at one date: an instant, or a local date-time read in the zone.
import { dateTimeIn, dateTimeMs, hourMs, isDate, isTimeOfDay, minuteMs } from './civil.ts'
import { refuse } from './cron-fields.ts'
import type { DstPolicy } from './spec.ts'
import { instantsOf, type Zone } from './zone.ts'

const shape =
  /^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s?([Zz]|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?$/

const offsetOf = (text: string): number => {
  if (/^z$/i.test(text)) return 0
  const digits = text.replace(/\D/g, '')
  const sizeMs = Number(digits.slice(0, 2)) * hourMs + Number(digits.slice(2)) * minuteMs
  return text.startsWith('-') ? -sizeMs : sizeMs
}

/**
 * Reads the date of a once trigger, in ms since the epoch. A local time that comes twice means the
 * earlier one: once is once. Throws SCHEDULE_INVALID.
 */
export const parseOnce = (at: string, zone: Zone, dst: DstPolicy): number => {
  const parts = shape.exec(at)
  if (parts === null) {
    return refuse(
      `at is "${at}"; write an ISO 8601 date-time such as 2030-01-31T09:30:00Z, or without Z to read it in ${zone.name}`,
    )
  }
  const read = dateTimeIn(parts)
  if (!isDate(read)) return refuse(`at is "${at}"; there is no such date`)
  if (!isTimeOfDay(read)) return refuse(`at is "${at}"; there is no such time of day`)
  const localMs = dateTimeMs(read)
  if (read.year < 1970) return refuse(`at is "${at}"; dates begin in 1970`)
  const offset = parts[8]
  if (offset !== undefined) return localMs - offsetOf(offset)
  const meaning = instantsOf(zone, localMs)
  switch (meaning.kind) {
    case 'one':
      return meaning.atMs
    case 'two':
      return meaning.firstMs
    case 'gap':
      if (dst.gap === 'next') return meaning.nextMs
      return refuse(
        `at is "${at}", which the clocks of ${zone.name} skip; choose another time, or the gap policy "next"`,
      )
  }
}
