// Waiting for work with a bound.
import { describe, expect, it } from 'vitest'
import { fakeClock } from '@oncejob/testkit'
import { within } from './clock.ts'

describe('work that is waited for', () => {
  it('in time is told so, and leaves no timer behind', async () => {
    const clock = fakeClock()
    expect(await within(clock, 1_000, Promise.resolve('done'))).toBe(true)
    expect(clock.pending()).toBe(0)
  })
  it('for longer than the bound is left alone, also when it fails later', async () => {
    const clock = fakeClock()
    const { promise, reject } = Promise.withResolvers<never>()
    const waited = within(clock, 1_000, promise)
    await clock.advance(1_000)
    expect(await waited).toBe(false)
    reject(new Error('too late to matter'))
  })
  it('passes on what fails in time, and leaves no timer behind', async () => {
    const clock = fakeClock()
    await expect(within(clock, 1_000, Promise.reject(new Error('broken')))).rejects.toThrow('broken')
    expect(clock.pending()).toBe(0)
  })
})
