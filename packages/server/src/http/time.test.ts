// Times from outside: what is taken, and what is not.
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parseTime } from './time.ts'

it('reads what JavaScript writes, for every instant of four-digit years', () => {
  const instants = fc.integer({ min: Date.UTC(0, 0, 1) - 59_958_230_400_000, max: Date.UTC(9999, 11, 31) })
  fc.assert(
    fc.property(instants, (atMs) => {
      const text = new Date(atMs).toISOString()
      if (text.startsWith('+') || text.startsWith('-')) return
      expect(parseTime(text)).toBe(atMs)
    }),
  )
})

it('agrees with JavaScript about offsets', () => {
  for (const text of [
    '2026-11-25T10:30:00+01:00',
    '2026-11-25t10:30:00.5-03:30',
    '2024-02-29T23:59:59.999z',
    '2026-01-01T00:00:00.123456789+14:00',
  ]) {
    expect(parseTime(text)).toBe(Date.parse(text.toUpperCase()))
  }
})

it('takes no time without offset, no date that does not exist, nothing around it', () => {
  const wrong = [
    '2026-11-25T10:30:00',
    '2026-11-25',
    '2026-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-00-10T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T00:60:00Z',
    '2026-01-01T00:00:60Z',
    '2026-01-01T00:00:00+24:00',
    ' 2026-01-01T00:00:00Z',
    '2026-01-01T00:00:00Z ',
    '2026-01-01 00:00:00.Z',
    '٢٠٢٦-01-01T00:00:00Z',
    'now',
    '',
  ]
  for (const text of wrong) expect(parseTime(text), text).toBeUndefined()
})
