// A processor that dies at every point around ctx.once: how often the effect happened in the end, for each choice.
import { expect, test } from 'vitest'
import type { EffectLedger } from './effect-ledger.ts'
import { Effects, type OnceOptions } from './effects.ts'

/** The ledger as the server keeps it, for the runs of one test; each lease is the current one when it asks. */
const memoryLedger = (): EffectLedger => {
  const rows = new Map<string, { lease: number; done: boolean; outcome?: unknown }>()
  return {
    begin: async ({ lease }, name) => {
      const row = rows.get(name)
      if (row?.done === true) return { state: 'done', outcome: row.outcome }
      if (row === undefined) rows.set(name, { lease, done: false })
      return { state: row === undefined || row.lease === lease ? 'new' : 'unknown' }
    },
    end: async ({ lease }, name, outcome) => {
      rows.set(name, { lease, done: true, outcome })
      return { outcome }
    },
  }
}

const points = ['before begin', 'after begin', 'before fn', 'after fn', 'after end', 'nowhere'] as const
type Point = (typeof points)[number]
const choices = ['run-again', 'ask', 'resolve'] as const

class Died extends Error {}

/** Attempts until one succeeds or says that it will not; the first ones die at the given points. */
const outcomesOf = async (deaths: readonly Point[], choice: (typeof choices)[number]) => {
  const ledger = memoryLedger()
  let happened = 0
  for (const [index, point] of [...deaths, 'nowhere' as const].entries()) {
    // whoever is dead does nothing any more, also nothing that follows in the code
    let dead = false
    const dieAt = (here: Point): void => {
      dead ||= here === point
      if (dead) throw new Died(here)
    }
    const effects = new Effects({
      hand: { runId: 1, lease: index + 1 },
      ledger: {
        begin: async (...args) => {
          dieAt('before begin')
          const answer = await ledger.begin(...args)
          dieAt('after begin')
          return answer
        },
        end: async (...args) => {
          dieAt('after fn')
          const answer = await ledger.end(...args)
          dieAt('after end')
          return answer
        },
      },
      guarantee: 'at-least-once',
      reason: () => undefined,
      onLost: () => undefined,
    })
    const options: OnceOptions<number> = {
      onUnknown: choice,
      resolve: async () => (happened > 0 ? { outcome: happened } : 'not-done'),
    }
    try {
      const outcome = await effects.once(
        'pay',
        () => {
          dieAt('before fn')
          happened += 1
          return happened
        },
        options,
      )
      return { happened, outcome }
    } catch (error) {
      if (!(error instanceof Died)) return { happened, outcome: (error as { code: string }).code }
    }
  }
  throw new Error('no attempt came to an end')
}

const cases = choices.flatMap((choice) =>
  points.flatMap((first) => points.map((second): [typeof choice, Point, Point] => [choice, first, second])),
)

test.each(cases)('%s: the attempts die %s and %s', async (choice, first, second) => {
  const { happened, outcome } = await outcomesOf([first, second], choice)
  switch (choice) {
    case 'run-again':
      expect(happened).toBeGreaterThanOrEqual(1)
      expect(outcome).toBe(happened)
      break
    case 'ask':
      expect(happened).toBeLessThanOrEqual(1)
      if (outcome !== 'EFFECT_UNKNOWN') expect([happened, outcome]).toEqual([1, 1])
      break
    case 'resolve':
      expect([happened, outcome]).toEqual([1, 1])
  }
})

test('without a death in the gap every choice runs the effect exactly once', async () => {
  for (const choice of choices) {
    for (const point of ['before begin', 'after end', 'nowhere'] as const) {
      expect([choice, point, await outcomesOf([point], choice)]).toEqual([choice, point, { happened: 1, outcome: 1 }])
    }
  }
})
