// The fake clock fires in due order, at the due time, and never by itself.
import { expect, test } from 'vitest'
import { fakeClock } from './clock.ts'

test('timers fire in due order, each at its own time, equal ones as they were set', async () => {
  const clock = fakeClock(1_000)
  const fired: string[] = []
  const note = (name: string) => () => void fired.push(`${name}@${clock.now()}`)
  clock.after(30, note('c'))
  clock.after(10, note('a'))
  clock.after(30, note('d'))
  clock.after(20, note('b'))
  await clock.advance(29)
  expect(fired).toEqual(['a@1010', 'b@1020'])
  await clock.advance(1)
  expect(fired).toEqual(['a@1010', 'b@1020', 'c@1030', 'd@1030'])
  expect(clock.pending()).toBe(0)
})

test('a loop of sleeps runs as often as time allows', async () => {
  const clock = fakeClock()
  const startMs = clock.now()
  const rounds: number[] = []
  const loop = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      await clock.sleep(100, signal)
      rounds.push(clock.now() - startMs)
    }
  }
  const stopping = new AbortController()
  const running = loop(stopping.signal)
  await clock.advance(350)
  expect(rounds).toEqual([100, 200, 300])
  stopping.abort()
  await running
  expect(rounds).toEqual([100, 200, 300, 350])
  expect(clock.pending()).toBe(0)
})

test('a timer that is called off does not fire', async () => {
  const clock = fakeClock()
  let fired = false
  const callOff = clock.after(5, () => {
    fired = true
  })
  callOff()
  callOff()
  await clock.advance(10)
  expect(fired).toBe(false)
})

test('a sleep whose signal is aborted already ends at once', async () => {
  const clock = fakeClock()
  await clock.sleep(1_000, AbortSignal.abort())
  expect(clock.pending()).toBe(0)
})

test('both times move together, monotonic from zero', async () => {
  const clock = fakeClock(5_000)
  expect([clock.now(), clock.monotonic()]).toEqual([5_000, 0])
  await clock.advance(250)
  expect([clock.now(), clock.monotonic()]).toEqual([5_250, 250])
})
