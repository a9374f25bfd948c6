// Promises of services and duties: start and stop in any order, loops that survive failures, hints that are heard.
import { describe, expect, test } from 'vitest'
import { fakeClock } from '@oncejob/testkit'
import { silentLog } from './log.ts'
import { duty, together, type Service } from './service.ts'

const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i += 1) await Promise.resolve()
}

describe('a duty', () => {
  const make = (runOnce: () => Promise<number | undefined | void>, everyMs = 1000) => {
    const clock = fakeClock()
    return { clock, loop: duty({ name: 'test', clock, log: silentLog, everyMs, runOnce }) }
  }

  test('starts its first round at once and the next after its pause', async () => {
    let rounds = 0
    const { clock, loop } = make(async () => void (rounds += 1))
    await loop.start()
    await settle()
    expect(rounds).toBe(1)
    await clock.advance(999)
    expect(rounds).toBe(1)
    await clock.advance(1)
    expect(rounds).toBe(2)
    await loop.stop()
  })
  test('waits no longer than a round asks for, and never longer than its pause', async () => {
    const waits = [10, 99_999, undefined]
    let rounds = 0
    const { clock, loop } = make(async () => waits[rounds++])
    await loop.start()
    await settle()
    await clock.advance(10)
    expect(rounds).toBe(2)
    await clock.advance(1000)
    expect(rounds).toBe(3)
    await loop.stop()
  })
  test('hears a hint that comes while a round is under way', async () => {
    let rounds = 0
    let release = (): void => undefined
    const { clock, loop } = make(async () => {
      rounds += 1
      if (rounds === 1) await new Promise<void>((resolve) => (release = resolve))
    })
    await loop.start()
    await settle()
    loop.wake()
    release()
    await settle()
    await clock.advance(0)
    expect(rounds).toBe(2)
    await loop.stop()
  })
  test('survives rounds that throw, with a growing pause that a hint does not shorten to nothing', async () => {
    let rounds = 0
    const { clock, loop } = make(async () => {
      rounds += 1
      if (rounds < 4) throw new Error('no database')
    })
    await loop.start()
    await settle()
    loop.wake()
    await settle()
    expect(rounds).toBeLessThanOrEqual(2)
    await clock.advance(20_000)
    expect(rounds).toBeGreaterThanOrEqual(4)
    await loop.stop()
  })
  test('stop waits for the round under way; a second stop and a stop without a start are fine', async () => {
    let finished = false
    let release = (): void => undefined
    const { loop } = make(async () => {
      await new Promise<void>((resolve) => (release = resolve))
      finished = true
    })
    await loop.stop()
    await loop.start()
    await settle()
    const stopped = Promise.all([loop.stop(), loop.stop()])
    release()
    await stopped
    expect(finished).toBe(true)
    await loop.stop()
  })
  test('can be started and stopped many times over', async () => {
    let rounds = 0
    const { loop } = make(async () => void (rounds += 1))
    for (let i = 0; i < 50; i += 1) {
      await loop.start()
      await settle()
      await loop.stop()
    }
    expect(rounds).toBe(50)
  })
})

describe('services together', () => {
  const named = (name: string, seen: string[], fails = false): Service => ({
    name,
    start: async () => {
      if (fails) throw new Error(`${name} fails`)
      seen.push(`+${name}`)
    },
    stop: async () => void seen.push(`-${name}`),
  })

  test('start in order and stop in reverse', async () => {
    const seen: string[] = []
    const all = together('all', [named('a', seen), named('b', seen)])
    await all.start()
    await all.stop()
    expect(seen).toEqual(['+a', '+b', '-b', '-a'])
  })
  test('leave nothing running when one of them can not start', async () => {
    const seen: string[] = []
    const all = together('all', [named('a', seen), named('b', seen, true), named('c', seen)])
    await expect(all.start()).rejects.toThrow('b fails')
    expect(seen).toEqual(['+a', '-a'])
  })
})
