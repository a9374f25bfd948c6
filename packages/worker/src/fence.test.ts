// A lease is believed in from the sending of the last answered poll, never longer.
import { expect, test } from 'vitest'
import { Fence } from './fence.ts'
import { FakeClock } from './testing/fake-clock.ts'

const setUp = () => {
  const clock = new FakeClock()
  const seen = { lapses: 0 }
  return { clock, seen, fence: new Fence(clock, () => (seen.lapses += 1)) }
}

test('the lease counts from the sending of what was answered, not from the answer', () => {
  const { clock, seen, fence } = setUp()
  const sentAtMs = clock.monotonic()
  clock.advance(4000)
  expect(fence.renew(sentAtMs, 10_000)).toBe(true)
  clock.advance(5999)
  expect(seen.lapses).toBe(0)
  clock.advance(1)
  expect(seen.lapses).toBe(1)
})

test('renewals move the end, and one timer is enough for all of them', () => {
  const { clock, seen, fence } = setUp()
  fence.renew(clock.monotonic(), 10_000)
  for (let i = 0; i < 50; i += 1) {
    clock.advance(3000)
    expect(fence.renew(clock.monotonic())).toBe(true)
    expect(clock.timers).toBe(1)
  }
  expect(seen.lapses).toBe(0)
  clock.advance(10_000)
  expect(seen.lapses).toBe(1)
})

test('an answer that comes after the lease renews nothing', () => {
  const { clock, seen, fence } = setUp()
  fence.renew(0, 10_000)
  clock.advance(12_000)
  expect(seen.lapses).toBe(1)
  expect(fence.renew(1000)).toBe(false)
  expect(fence.renew(clock.monotonic())).toBe(true)
})

test('nothing lapses after the session is over', () => {
  const { clock, seen, fence } = setUp()
  fence.renew(0, 10_000)
  fence.drop()
  clock.advance(60_000)
  expect(seen.lapses).toBe(0)
  expect(clock.timers).toBe(0)
})
