// Promises of batches: nothing waits on an idle system, everything is answered, a failure reaches exactly its own items.
import { describe, expect, test } from 'vitest'
import { batcher } from './batch.ts'

describe('a batcher', () => {
  test('gathers what comes together, and what comes meanwhile goes as the next', async () => {
    const sizes: number[] = []
    let release = (): void => undefined
    const add = batcher<number, number>({
      maxSize: 100,
      run: async (items) => {
        sizes.push(items.length)
        if (sizes.length === 1) await new Promise<void>((resolve) => (release = resolve))
        return items.map((item) => item * 2)
      },
    })
    const first = [1, 2, 3].map((n) => add(n))
    await expect.poll(() => sizes).toEqual([3])
    const second = [4, 5].map((n) => add(n))
    release()
    expect(await Promise.all([...first, ...second])).toEqual([2, 4, 6, 8, 10])
    expect(sizes).toEqual([3, 2])
  })
  test('never gives more than its size to one call', async () => {
    const sizes: number[] = []
    const add = batcher<number, number>({ maxSize: 4, run: async (items) => (sizes.push(items.length), items) })
    expect(await Promise.all(Array.from({ length: 10 }, (_, i) => add(i)))).toEqual(
      Array.from({ length: 10 }, (_, i) => i),
    )
    expect(Math.max(...sizes)).toBeLessThanOrEqual(4)
  })
  test('rejects the items of a failed batch, and goes on with the next', async () => {
    let calls = 0
    const add = batcher<number, number>({
      maxSize: 2,
      run: async (items) => {
        calls += 1
        if (calls === 1) throw new Error('no database')
        return items
      },
    })
    const results = await Promise.allSettled([1, 2, 3].map((n) => add(n)))
    expect(results.map((one) => one.status)).toEqual(['rejected', 'rejected', 'fulfilled'])
  })
  test('tells an item that was left unanswered instead of leaving it waiting', async () => {
    const add = batcher<number, number>({ maxSize: 5, run: async () => [1] })
    const results = await Promise.allSettled([add(1), add(2)])
    expect(results.map((one) => one.status)).toEqual(['fulfilled', 'rejected'])
  })
})
