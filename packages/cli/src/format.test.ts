// Times and values in words.
import { describe, expect, it } from 'vitest'
import { sayDuration, sayTime, sayTrigger, sayValue } from './format.ts'

describe('words', () => {
  it.each([
    [0, '0 ms'],
    [999, '999 ms'],
    [1000, '1 s'],
    [1550, '1.5 s'],
    [59_999, '59 s'],
    [90_000, '1.5 min'],
    [86_400_000, '1 d'],
  ])('for %i ms are %s', (ms, says) => {
    expect(sayDuration(ms)).toBe(says)
  })

  it('for a time tell the date and how far it is', () => {
    const nowMs = Date.parse('2026-11-25T09:30:00.000Z')
    expect(sayTime('2026-11-25T09:29:57.000Z', nowMs)).toBe('2026-11-25 09:29:57Z, 3 s ago')
    expect(sayTime('2026-11-25T11:30:00.000Z', nowMs)).toBe('2026-11-25 11:30:00Z, in 2 h')
    expect(sayTime('2026-11-25T09:30:00.500Z', nowMs)).toBe('2026-11-25 09:30:00Z, now')
    expect(sayTime(null, nowMs)).toBe('–')
  })

  it('exist for every kind of trigger', () => {
    expect(sayTrigger({ kind: 'none' })).toBe('by call')
    expect(sayTrigger({ kind: 'cron', expression: '0 9 * * 1' })).toBe('cron 0 9 * * 1')
    expect(sayTrigger({ kind: 'fixed-rate', everyMs: 5000 })).toBe('every 5 s')
    expect(sayTrigger({ kind: 'fixed-delay', delayMs: 50 })).toBe('50 ms after each end')
    expect(sayTrigger({ kind: 'daily', everyMs: 60_000, from: '09:00:00', to: '17:00:00' })).toBe(
      '09:00:00–17:00:00 every 1 min',
    )
    expect(sayTrigger({ kind: 'once', at: '2027-01-01T00:00:00Z' })).toBe('once at 2027-01-01T00:00:00Z')
  })

  it('show text as it is and everything else as JSON', () => {
    expect(sayValue('done')).toBe('done')
    expect(sayValue({ sum: 3 })).toBe('{"sum":3}')
    expect(sayValue(0)).toBe('0')
    expect(sayValue(null)).toBe('–')
  })
})
