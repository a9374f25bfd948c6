// What becomes of occurrences that are due, late or far too many (rules 12–17).
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { planFires, type MisfireSpec, type Plan, type PlannedFire } from './plan.ts'
import type { TriggerSpec } from './spec.ts'
import { nextFire, parseTiming, type Timing } from './timing.ts'

const seed = process.env['ONCEJOB_SEED']
const settings = {
  numRuns: Number(process.env['ONCEJOB_RUNS'] ?? 400),
  ...(seed === undefined ? {} : { seed: Number(seed) }),
}

const now = Date.parse('2026-06-01T12:00:00Z')
const second = 1_000

const timingOf = (trigger: TriggerSpec, endAtMs?: number): Timing =>
  parseTiming({ trigger, zone: 'Europe/Berlin', dst: { gap: 'next', overlap: 'first' }, endAtMs })
const every = (everyMs: number, endAtMs?: number) => timingOf({ kind: 'fixed-rate', everyMs }, endAtMs)
const cron = (expression: string) => timingOf({ kind: 'cron', expression })

const plan = (timing: Timing, dueAtMs: number, misfire: Partial<MisfireSpec> = {}, nowMs = now): Plan =>
  planFires({
    timing,
    anchorMs: dueAtMs,
    dueAtMs,
    nowMs,
    misfire: { policy: 'run-once', graceMs: 5 * second, maxRuns: 10, ...misfire },
  })

/** "-3 fired" for a fire three seconds before now. */
const brief = (fires: readonly PlannedFire[]): string[] =>
  fires.map((fire) => `${(fire.fireAtMs - now) / second} ${fire.outcome}${fire.covers === 1 ? '' : ` x${fire.covers}`}`)

const covered = (fires: readonly PlannedFire[]): number => fires.reduce((sum, fire) => sum + fire.covers, 0)

test('nothing is planned before its time', () => {
  expect(plan(every(1_000), now + 1)).toEqual({ fires: [], nextFireAtMs: now + 1 })
})

test('a fire that is due now fires, and the next one follows it', () => {
  expect(plan(every(1_000), now)).toEqual({
    fires: [{ fireAtMs: now, outcome: 'fired', reason: undefined, covers: 1 }],
    nextFireAtMs: now + 1_000,
  })
})

test.each(['run-once', 'run-all', 'skip'] as const)(
  'rule 13: on-time fires all fire, however short the period (%s)',
  (policy) => {
    const { fires, nextFireAtMs } = plan(every(50), now - 5 * second, { policy, maxRuns: 1, maxLatenessMs: 1 })
    expect(fires).toHaveLength(101)
    expect(fires.every((fire) => fire.outcome === 'fired' && fire.covers === 1)).toBe(true)
    expect(nextFireAtMs).toBe(now + 50)
  },
)

test('rule 14: run-once fires the latest late one, and the others name it', () => {
  const { fires, nextFireAtMs } = plan(every(2 * second), now - 10 * second)
  expect(brief(fires)).toEqual(['-10 coalesced', '-8 coalesced', '-6 fired', '-4 fired', '-2 fired', '0 fired'])
  expect(fires[0]?.reason).toContain('2026-06-01T11:59:54Z')
  expect(fires[0]?.reason).toContain('run-once')
  expect(nextFireAtMs).toBe(now + 2 * second)
})

test('rule 14: run-all fires the latest up to the bound, and the older ones are missed', () => {
  const { fires } = plan(every(2 * second), now - 14 * second, { policy: 'run-all', maxRuns: 2 })
  expect(brief(fires)).toEqual([
    '-14 missed',
    '-12 missed',
    '-10 missed',
    '-8 fired',
    '-6 fired',
    '-4 fired',
    '-2 fired',
    '0 fired',
  ])
  expect(fires[0]?.reason).toContain('more than 2 late fires')
})

test('rule 14: skip misses what is late', () => {
  const { fires } = plan(every(2 * second), now - 8 * second, { policy: 'skip' })
  expect(brief(fires)).toEqual(['-8 missed', '-6 missed', '-4 fired', '-2 fired', '0 fired'])
  expect(fires[0]?.reason).toContain('skips late fires')
})

test('rule 14: what is later than the maximum lateness is missed before the policy looks', () => {
  const once = plan(every(2 * second), now - 12 * second, { maxLatenessMs: 9 * second })
  expect(brief(once.fires)).toEqual([
    '-12 missed',
    '-10 missed',
    '-8 coalesced',
    '-6 fired',
    '-4 fired',
    '-2 fired',
    '0 fired',
  ])
  expect(once.fires[0]?.reason).toContain('maximum lateness of 9000 ms')
  const all = plan(every(4 * second), now - 16 * second, { policy: 'run-all', maxLatenessMs: 8 * second })
  expect(brief(all.fires)).toEqual(['-16 missed', '-12 missed', '-8 fired', '-4 fired', '0 fired'])
  const none = plan(every(100 * second), now - 70 * second, { maxLatenessMs: 60 * second })
  expect(brief(none.fires)).toEqual(['-70 missed'])
  expect(none.nextFireAtMs).toBe(now + 30 * second)
})

test('a single late fire of a slow cron runs once and leaves the next one alone', () => {
  const { fires, nextFireAtMs } = plan(cron('0 3 * * *'), Date.parse('2026-06-01T01:00:00Z'))
  expect(fires.map((fire) => fire.outcome)).toEqual(['fired'])
  expect(nextFireAtMs).toBe(Date.parse('2026-06-02T01:00:00Z'))
})

test('a stored fire that the expression no longer knows is still one occurrence', () => {
  const { fires, nextFireAtMs } = plan(cron('0 * * * * *'), now - 30.5 * second)
  expect(brief(fires)).toEqual(['-30.5 fired', '0 fired'])
  expect(nextFireAtMs).toBe(now + 60 * second)
  const rate = planFires({
    timing: every(10 * second),
    anchorMs: now - 100 * second,
    dueAtMs: now - 33 * second,
    nowMs: now,
    misfire: { policy: 'skip', graceMs: 0, maxRuns: 0 },
  })
  expect(brief(rate.fires)).toEqual(['-33 missed', '-30 missed', '-20 missed', '-10 missed', '0 fired'])
})

test('rule 11: a fixed delay fires once and then waits for the end of its run; a date fires once', () => {
  for (const dueAtMs of [now - 60 * second, now]) {
    expect(plan(timingOf({ kind: 'fixed-delay', delayMs: 50 }), dueAtMs)).toEqual({
      fires: [{ fireAtMs: dueAtMs, outcome: 'fired', reason: undefined, covers: 1 }],
      nextFireAtMs: undefined,
    })
    const once = plan(timingOf({ kind: 'once', at: new Date(dueAtMs).toISOString() }), dueAtMs)
    expect([brief(once.fires), once.nextFireAtMs]).toEqual([[`${(dueAtMs - now) / second} fired`], undefined])
  }
})

test('rule 11: a fixed delay whose fire is missed goes on after its delay, for no run will end', () => {
  const delay = timingOf({ kind: 'fixed-delay', delayMs: 700 })
  const skipped = plan(delay, now - 60 * second, { policy: 'skip' })
  expect([brief(skipped.fires), skipped.nextFireAtMs]).toEqual([['-60 missed'], now + 700])
  const tooLate = plan(delay, now - 60 * second, { maxLatenessMs: 59 * second }, now + 0.5)
  expect([brief(tooLate.fires), tooLate.nextFireAtMs]).toEqual([['-60 missed'], now + 700])
})

test('a schedule that ended while nobody looked is planned up to its end and never again', () => {
  const { fires, nextFireAtMs } = plan(every(2 * second, now - 7 * second), now - 10 * second, { policy: 'run-all' })
  expect(brief(fires)).toEqual(['-10 fired', '-8 fired'])
  expect(nextFireAtMs).toBeUndefined()
})

test('rules 15 and 17: a month of 50 ms fires is 1,000 rows that cover every one of them', () => {
  const dueAtMs = now - 30 * 86_400 * second
  const { fires, nextFireAtMs } = plan(every(50), dueAtMs)
  expect(fires).toHaveLength(1_000)
  expect(covered(fires)).toBe((30 * 86_400 * second) / 50 + 1)
  expect(fires.filter((fire) => fire.covers > 1)).toEqual([fires[0]])
  expect(fires[0]).toMatchObject({ fireAtMs: dueAtMs, outcome: 'coalesced' })
  expect(fires[0]?.reason).toContain(`${fires[0]?.covers} occurrences up to`)
  expect(nextFireAtMs).toBe(now + 50)
})

test('rule 15: rows fold per outcome, so that each keeps its own reason', () => {
  const { fires } = plan(every(50), now - 3_600 * second, { maxLatenessMs: 600 * second })
  expect(fires).toHaveLength(1_000)
  expect(covered(fires)).toBe(3_600 * 20 + 1)
  const folded = fires.filter((fire) => fire.covers > 1)
  expect(folded.map((fire) => [fire.outcome, fire.covers > 10_000])).toEqual([
    ['missed', true],
    ['coalesced', true],
  ])
  expect(folded[0]?.reason).toContain('maximum lateness')
})

test('rule 16: more than 1,000 that must fire all fire, over several calls', () => {
  const timing = every(50)
  const anchorMs = now - 150 * second
  let dueAtMs = anchorMs
  let firedCount = 0
  let rows = 0
  for (let calls = 0; dueAtMs <= now && calls < 10; calls += 1) {
    const misfire = { policy: 'skip', graceMs: 140 * second, maxRuns: 0 } as const
    const { fires, nextFireAtMs } = planFires({ timing, anchorMs, dueAtMs, nowMs: now, misfire })
    expect(fires.length).toBeLessThanOrEqual(1_000)
    firedCount += fires.filter((fire) => fire.outcome === 'fired').length
    rows += covered(fires)
    dueAtMs = nextFireAtMs!
  }
  expect(firedCount).toBe(140 * 20 + 1)
  expect(rows).toBe(150 * 20 + 1)
  expect(dueAtMs).toBe(now + 50)
})

test('rule 17: of a cron with too many late fires the latest are planned, and the reason names what was not counted', () => {
  const { fires, nextFireAtMs } = plan(cron('* * * * * *'), now - 30 * 86_400 * second, {
    policy: 'run-all',
    maxRuns: 7,
  })
  expect(fires).toHaveLength(1_000)
  expect(fires[0]?.covers).toBeGreaterThanOrEqual(200_000)
  expect(fires[0]?.reason).toContain('too many to count')
  expect(fires.slice(1).every((fire, i, rest) => i === 0 || second === fire.fireAtMs - rest[i - 1]!.fireAtMs)).toBe(
    true,
  )
  expect(brief(fires.filter((fire) => fire.outcome === 'fired'))).toEqual(
    Array.from({ length: 13 }, (_, i) => `${i - 12} fired`),
  )
  expect(nextFireAtMs).toBe(now + second)
})

test('rule 17: the latest are found behind a long pause, too', () => {
  // a second-by-second burst in the first ten days of January, looked at in June
  const { fires, nextFireAtMs } = plan(cron('* * * 1-10 1 *'), Date.parse('2026-01-01T00:00:00Z'), {
    policy: 'run-once',
  })
  const last = fires.at(-1)!
  expect(last).toMatchObject({ fireAtMs: Date.parse('2026-01-10T22:59:59Z'), outcome: 'fired' })
  expect(fires).toHaveLength(1_000)
  expect(fires[0]?.reason).toContain('too many to count')
  expect(nextFireAtMs).toBe(Date.parse('2026-12-31T23:00:00Z'))
})

// --- against a plain model: list all occurrences, judge each on its own ---

const outcomesOf = (times: readonly number[], misfire: MisfireSpec): PlannedFire['outcome'][] => {
  const late = (atMs: number) => now - atMs > misfire.graceMs
  const tooLate = (atMs: number) =>
    late(atMs) && misfire.maxLatenessMs !== undefined && now - atMs > misfire.maxLatenessMs
  const candidates = times.filter((atMs) => late(atMs) && !tooLate(atMs))
  const runs = { 'run-once': 1, 'run-all': misfire.maxRuns, skip: 0 }[misfire.policy]
  const chosen = new Set(runs === 0 ? [] : candidates.slice(-runs))
  return times.map((atMs) => {
    if (!late(atMs) || chosen.has(atMs)) return 'fired'
    return tooLate(atMs) || misfire.policy !== 'run-once' ? 'missed' : 'coalesced'
  })
}

test('rules 12–16: every occurrence is covered exactly once, with the outcome that the policy gives it', () => {
  const trigger = fc.oneof(
    fc.integer({ min: 50, max: 20_000 }).map((everyMs) => every(everyMs)),
    fc.constantFrom('* * * * * *', '*/5 * * * * *', '7,8,9 * * * *', '0 */20 11-13 * * *').map(cron),
    fc.constant(timingOf({ kind: 'daily', everyMs: 1_700, from: '13:55:00', to: '14:10:00', daysOfWeek: [] })),
  )
  const misfires = fc.record({
    policy: fc.constantFrom('run-once' as const, 'run-all' as const, 'skip' as const),
    graceMs: fc.integer({ min: 0, max: 20_000 }),
    maxRuns: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 900, max: 1_200 })),
    maxLatenessMs: fc.option(fc.integer({ min: 0, max: 400_000 }), { nil: undefined }),
  })
  fc.assert(
    fc.property(trigger, misfires, fc.oneof(fc.nat(30_000), fc.nat(600_000)), (timing, misfire, backMs) => {
      const anchorMs = now - backMs - 17
      const dueAtMs = nextFire(timing, now - backMs, { anchorMs })!
      const { fires, nextFireAtMs } = planFires({ timing, anchorMs, dueAtMs, nowMs: now, misfire })
      const times: number[] = []
      for (
        let atMs: number | undefined = dueAtMs;
        atMs !== undefined && atMs <= now;
        atMs = nextFire(timing, atMs, { anchorMs })
      ) {
        times.push(atMs)
      }
      const outcomes = outcomesOf(times, misfire)

      let index = 0
      for (const fire of fires) {
        expect(fire.fireAtMs).toBe(times[index])
        expect(fire.reason === undefined).toBe(fire.outcome === 'fired')
        if (fire.outcome === 'fired') expect(fire.covers).toBe(1)
        expect(new Set(outcomes.slice(index, index + fire.covers))).toEqual(new Set([fire.outcome]))
        index += fire.covers
      }
      expect(fires.length).toBeLessThanOrEqual(1_000)
      // only when too many must fire may a plan end before now
      if (index < times.length) {
        expect(outcomes.slice(index).every((outcome) => outcome === 'fired')).toBe(true)
        expect(fires.length).toBeGreaterThan(990)
      }
      expect(nextFireAtMs).toBe(times[index] ?? nextFire(timing, times.at(-1) ?? now, { anchorMs }))
    }),
    settings,
  )
})

test('a clock that answers in fractions of a millisecond changes nothing', () => {
  const { fires, nextFireAtMs } = plan(every(1_000), now - 6_000, {}, now + 0.7)
  expect(brief(fires)).toEqual(['-6 coalesced', '-5 fired', '-4 fired', '-3 fired', '-2 fired', '-1 fired', '0 fired'])
  expect(nextFireAtMs).toBe(now + 1_000)
  expect(nextFire(cron('* * * * * *'), now + 0.7)).toBe(now + 1_000)
  expect(nextFire(cron('* * * * * *'), now - 0.3)).toBe(now)
})
