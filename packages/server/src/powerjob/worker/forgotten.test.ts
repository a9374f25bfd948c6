// Since when a worker has no run at all, by its heartbeats: whatever is late, overtaken, or said by a wrong clock.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { listen, nothingSince, type Beat, type Story } from './forgotten.ts'

const aheadMs = 1_795_000_000_000
/** A heartbeat that was written at a time of ours, and heard so much later. */
const beat = (atMs: number, idle = true, lateMs = 0): Beat => ({
  timeMs: aheadMs + atMs,
  heardMs: atMs + lateMs,
  idle,
})
const told = (...beats: readonly Beat[]): Story =>
  beats.reduce<Story | undefined>(listen, undefined) ?? { aheadMs, idle: [] }
const since = (...beats: readonly Beat[]): number | undefined => nothingSince(told(...beats))?.oursMs

describe('a worker', () => {
  it('that has said once that it has nothing is not believed', () => {
    expect(since(beat(0))).toBeUndefined()
    expect(since(beat(0, false), beat(10_000))).toBeUndefined()
  })
  it('has nothing since the last but one of its heartbeats, when both say so', () => {
    expect(nothingSince(told(beat(0), beat(10_000)))).toEqual({ timeMs: aheadMs, oursMs: 0 })
    expect(since(beat(0), beat(10_000), beat(20_000))).toBe(10_000)
  })
  it('has something as soon as it says so', () => {
    expect(since(beat(0), beat(10_000), beat(20_000, false))).toBeUndefined()
    expect(since(beat(0), beat(10_000), beat(20_000, false), beat(30_000))).toBeUndefined()
  })
  it('that says it often must say it for five seconds', () => {
    expect(since(beat(0), beat(2_000), beat(4_000))).toBeUndefined()
    expect(since(beat(0), beat(2_000), beat(4_000), beat(6_000))).toBe(0)
    expect(since(beat(0), beat(2_000), beat(4_000), beat(6_000), beat(8_000))).toBe(2_000)
  })
  it('that was not heard for a while is not believed for all that it said meanwhile', () => {
    expect(since(beat(0), beat(10_000, true, 25_000), beat(20_000, true, 15_000), beat(30_000, true, 5_000))).toBe(0)
    expect(since(beat(10_000, true, 25_000), beat(20_000, true, 15_000), beat(30_000, true, 5_000))).toBeUndefined()
  })
  it('says nothing new with a heartbeat that was overtaken, or twice the same', () => {
    expect(since(beat(10_000), beat(10_000, true, 10_000), beat(3_000, true, 20_000))).toBeUndefined()
  })
  it('whose clock is set back is believed when it has caught up', () => {
    const before = told(beat(0), beat(10_000))
    const behind = { ...beat(20_000), timeMs: aheadMs - 7_200_000 }
    expect(nothingSince(listen(before, behind))?.oursMs).toBe(0)
  })
  it('is never taken to have written a heartbeat later than it was heard', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ waitMs: fc.nat(20_000), timeMs: fc.nat(200_000), idle: fc.boolean() }), { maxLength: 20 }),
        (said) => {
          let story: Story | undefined
          let heardMs = 0
          for (const { waitMs, timeMs, idle } of said) {
            heardMs += waitMs
            story = listen(story, { heardMs, timeMs, idle })
            const found = nothingSince(story)
            if (found !== undefined) expect(found.oursMs).toBeLessThanOrEqual(heardMs - 5_000)
          }
        },
      ),
    )
  })
})
