// Promises of rates: a burst passes, then as much as time allows, each address for itself.
import { fakeClock } from '@oncejob/testkit'
import { describe, expect, it } from 'vitest'
import { rateLimit } from './rates.ts'

const passed = (allow: (name: string) => boolean, name: string, tries: number): number =>
  Array.from({ length: tries }, () => allow(name)).filter(Boolean).length

describe('a rate', () => {
  it('lets a burst pass and then so many a second', async () => {
    const clock = fakeClock()
    const allow = rateLimit(clock, { burst: 10, perSecond: 5 })
    expect(passed(allow, 'a', 50)).toBe(10)
    await clock.advance(1_000)
    expect(passed(allow, 'a', 50)).toBe(5)
    await clock.advance(60_000)
    expect(passed(allow, 'a', 50)).toBe(10)
  })
  it('is for each address: a noisy one takes nothing from another', () => {
    const allow = rateLimit(fakeClock(), { burst: 2, perSecond: 1 })
    expect(passed(allow, 'noisy', 100)).toBe(2)
    expect(passed(allow, 'quiet', 2)).toBe(2)
  })
})
