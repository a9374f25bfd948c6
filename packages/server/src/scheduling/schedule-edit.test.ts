// Promises of what a schedule does next after an edit.
import { describe, expect, it } from 'vitest'
import type { ScheduleInput } from '@oncejob/protocol'
import { fullSchedule } from '../runs/schedule-codec.ts'
import { firstArming, nextArming, type Armed } from './schedule-edit.ts'

const nowMs = Date.parse('2030-01-01T10:00:00.000Z')
const hourMs = 3_600_000
const view = (trigger: ScheduleInput['trigger'], rest: Partial<ScheduleInput> = {}) =>
  fullSchedule({ trigger, ...rest })
const hourly = view({ kind: 'cron', expression: '30 * * * *' })
const rate = view({ kind: 'fixed-rate', everyMs: hourMs })
const delay = view({ kind: 'fixed-delay', delayMs: hourMs })
const armed = (change: Partial<Armed>): Armed => ({
  view: hourly,
  enabled: true,
  anchorAtMs: nowMs - 10.5 * hourMs,
  nextFireAtMs: nowMs - 1,
  awaits: false,
  ...change,
})

describe('a new schedule', () => {
  it.each([
    ['a cron at its next time', hourly, nowMs + hourMs / 2],
    ['a rate at once', rate, nowMs],
    ['a delay at once', delay, nowMs],
    [
      'a rate with a start at the start',
      view({ kind: 'fixed-rate', everyMs: 50 }, { startAt: '2031-01-01T00:00:00Z' }),
      Date.parse('2031-01-01T00:00:00Z'),
    ],
    [
      'a rate with a start before now on its grid',
      view({ kind: 'fixed-rate', everyMs: hourMs }, { startAt: '2029-12-31T00:20:00Z' }),
      nowMs + hourMs / 3,
    ],
    [
      'a delay with a start before now at once',
      view({ kind: 'fixed-delay', delayMs: 50 }, { startAt: '2029-01-01T00:00:00Z' }),
      nowMs,
    ],
    ['a delay that is over never', view({ kind: 'fixed-delay', delayMs: 50 }, { endAt: '2029-01-01T00:00:00Z' }), null],
    ['one by call only never', view({ kind: 'none' }), null],
  ])('fires %s', (_, wanted, expected) => {
    expect(firstArming({ view: wanted, enabled: true, nowMs })).toEqual({
      anchorAtMs: nowMs,
      nextFireAtMs: expected,
      keepWaiting: false,
    })
  })

  it('does not fire when it is disabled', () => {
    expect(firstArming({ view: rate, enabled: false, nowMs }).nextFireAtMs).toBeNull()
  })
})

describe('an edited schedule', () => {
  it('keeps its next fire, even a due one, when its timing is not touched', () => {
    const wanted = { view: { ...hourly, jitterMs: 9, overlap: 'skip' as const }, enabled: true, nowMs }
    expect(nextArming(armed({}), wanted)).toMatchObject({ nextFireAtMs: nowMs - 1 })
  })

  it('stays spent when it was', () => {
    expect(nextArming(armed({ nextFireAtMs: null }), { view: hourly, enabled: true, nowMs }).nextFireAtMs).toBeNull()
  })

  it('counts from now when zone, window, clock policy or trigger change', () => {
    for (const change of [
      { zone: 'Asia/Kolkata' },
      { endAt: '2999-01-01T00:00:00.000Z' },
      { dst: { gap: 'skip', overlap: 'both' } as const },
    ]) {
      expect(
        nextArming(armed({}), { view: { ...hourly, ...change }, enabled: true, nowMs }).nextFireAtMs,
      ).toBeGreaterThanOrEqual(nowMs)
    }
  })

  it('keeps its anchor until the trigger changes', () => {
    const old = armed({ view: rate })
    const bounded = nextArming(old, { view: { ...rate, endAt: '2999-01-01T00:00:00.000Z' }, enabled: true, nowMs })
    expect(bounded).toEqual({ anchorAtMs: old.anchorAtMs, nextFireAtMs: nowMs + hourMs / 2, keepWaiting: false })
    const faster = nextArming(old, { view: view({ kind: 'fixed-rate', everyMs: 1000 }), enabled: true, nowMs })
    expect(faster).toEqual({ anchorAtMs: nowMs, nextFireAtMs: nowMs, keepWaiting: false })
  })

  it('is silent while disabled, and goes on from now when enabled', () => {
    expect(nextArming(armed({}), { view: hourly, enabled: false, nowMs }).nextFireAtMs).toBeNull()
    const rested = armed({ view: rate, enabled: false, nextFireAtMs: null })
    expect(nextArming(rested, { view: rate, enabled: true, nowMs }).nextFireAtMs).toBe(nowMs + hourMs / 2)
  })

  it('a delay waits on for its run, whatever else changes, and forgets it with its trigger', () => {
    const old = armed({ view: delay, nextFireAtMs: null, awaits: true })
    const waits = { nextFireAtMs: null, keepWaiting: true }
    expect(nextArming(old, { view: delay, enabled: true, nowMs })).toMatchObject(waits)
    expect(nextArming(old, { view: delay, enabled: false, nowMs })).toMatchObject(waits)
    expect(nextArming(old, { view: view({ kind: 'fixed-delay', delayMs: 50 }), enabled: true, nowMs })).toMatchObject(
      waits,
    )
    expect(nextArming(old, { view: rate, enabled: true, nowMs })).toEqual({
      anchorAtMs: nowMs,
      nextFireAtMs: nowMs,
      keepWaiting: false,
    })
  })
})
