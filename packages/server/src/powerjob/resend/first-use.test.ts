// The first-use rule against a model of the clients: never a lost run, no doubling for those who call one after another.
import { seedFromEnv } from '@oncejob/testkit'
import { describe, expect, it } from 'vitest'
import { playHistory, quickRandom, type ModelSetup } from '../testing/client-model.ts'
import { emptyPath, pathMachine, type PathEvent, type PathState } from '../testing/path-machine.ts'
import { judge, lifetimes } from './first-use.ts'

const histories = process.env['ONCEJOB_FULL'] === '1' ? 100_000 : 2_000
const seed = seedFromEnv()
const firstSeed = parseInt(seed.slice(0, 8), 16) || 1

const withoutDebt: typeof judge = (evidence, use) => judge({ ...evidence, debt: 0 }, use)
const withoutBudget: typeof judge = (evidence, use) => judge({ ...evidence, budget: 1 }, use)

interface Sum {
  histories: number
  /** Histories in which a run was lost. */
  lost: number
  /** Histories in which the executions of some body were not as many as its calls. */
  inexact: number
  calls: number
  succeeded: number
  executed: number
  collapsed: number
}

const play = (setup: ModelSetup, by?: typeof judge): Sum => {
  const sum: Sum = { histories, lost: 0, inexact: 0, calls: 0, succeeded: 0, executed: 0, collapsed: 0 }
  for (let index = 0; index < histories; index += 1) {
    const one = playHistory(setup, firstSeed + index, by)
    if (one.lost > 0) sum.lost += 1
    if (one.inexact > 0) sum.inexact += 1
    for (const count of ['calls', 'succeeded', 'executed', 'collapsed'] as const) sum[count] += one[count]
  }
  return sum
}

const say = (name: string, sum: Sum): string => {
  const extra = ((100 * (sum.executed - sum.succeeded)) / Math.max(1, sum.succeeded)).toFixed(1)
  return `${name}: ${sum.histories} histories, lost in ${sum.lost}, extra runs ${extra} %, ${sum.collapsed} collapsed (ONCEJOB_SEED=${seed})`
}

const one = { clients: 1, threads: 1, callsPerThread: 6, bodies: 2, header: ['lost'] } as const satisfies ModelSetup
const four: ModelSetup = { ...one, clients: 4 }
const eight: ModelSetup = { ...one, threads: 8, callsPerThread: 3, expiry: 0.1 }
const perCall: ModelSetup = { ...four, clients: 8, clientPerCall: true, callsPerThread: 3 }
const seenByEight: ModelSetup = { ...eight, header: ['seen'], expiry: 0.15 }
const seenByThree: ModelSetup = { ...seenByEight, clients: 3, threads: 3 }

/** `exact`: N2 holds as well. `seen`: nothing is collapsed. */
const rows: readonly (readonly [string, ModelSetup, { readonly exact?: true; readonly seen?: true }])[] = [
  ['discarded, 1 thread', one, { exact: true }],
  ['discarded, 1 thread, tokens expire', { ...one, expiry: 0.1 }, { exact: true }],
  [
    'discarded, 1 thread for half a minute, tokens expire',
    { ...one, callsPerThread: 40, stepMs: 200, expiry: 0.1 },
    { exact: true },
  ],
  ['discarded, 4 sequential clients', four, { exact: true }],
  ['discarded, 4 sequential clients, tokens expire', { ...four, expiry: 0.1 }, {}],
  ['discarded, a client per call, 8 at once', perCall, { exact: true }],
  ['discarded, a client per call, tokens expire', { ...perCall, expiry: 0.1 }, {}],
  ['discarded, 4 threads share a client', { ...one, threads: 4, callsPerThread: 3 }, {}],
  ['discarded, 8 threads share a client, tokens expire', eight, {}],
  ['discarded, 1 thread, calls are refused', { ...one, refusals: 0.3 }, { exact: true }],
  ['discarded, 1 thread, executions break', { ...one, breaks: 0.2 }, {}],
  ['discarded, 4 clients, calls are refused or break, tokens expire', { ...four, refusals: 0.2, breaks: 0.2 }, {}],
  ['discarded, 8 threads, calls are refused or break', { ...eight, refusals: 0.1, breaks: 0.1, bodies: 1 }, {}],
  ['discarded, 4 clients that take seconds, tokens expire', { ...four, stepMs: 200, expiry: 0.1 }, {}],
  ['header seen, 8 threads share a client, tokens expire', seenByEight, { exact: true, seen: true }],
  ['header seen, 3 clients with 3 threads, tokens expire', seenByThree, { exact: true, seen: true }],
  ['header seen, a client per call, tokens expire', { ...perCall, header: ['seen'], expiry: 0.15 }, { seen: true }],
  ['header seen, calls are refused or break', { ...seenByEight, refusals: 0.2, breaks: 0.1 }, { seen: true }],
]

describe('against a model of the clients', () => {
  it.each(rows)(
    'no run is lost: %s',
    (name, setup, { exact, seen }) => {
      const sum = play(setup)
      process.stdout.write(`  ${say(name, sum)}\n`)
      expect(sum.lost, say(name, sum)).toBe(0)
      if (exact === true) expect(sum.inexact, say(name, sum)).toBe(0)
      if (seen === true) expect(sum.collapsed, say(name, sum)).toBe(0)
      else expect(sum.collapsed).toBeGreaterThan(histories)
    },
    300_000,
  )

  // what keeps the model honest: each part of the rule is needed, and so is what it takes for granted
  it.each([
    ['without debt, sequential clients whose tokens expire', { ...four, expiry: 0.1 }, withoutDebt],
    ['without debt, threads whose tokens expire', eight, withoutDebt],
    ['without debt, one thread whose calls are refused', { ...one, refusals: 0.3 }, withoutDebt],
    ['without budget, the header seen by threads', seenByEight, withoutBudget],
    ['without budget, the header seen by several clients', seenByThree, withoutBudget],
    [
      'mixed on one path: some clients see the header',
      { ...four, header: ['seen', 'lost'], threads: 2, expiry: 0.15 },
      judge,
    ],
  ] as const)(
    'runs would be lost %s',
    (name, setup, by) => {
      const sum = play(setup, by)
      process.stdout.write(`  ${say(name, sum)}\n`)
      expect(sum.lost).toBeGreaterThan(0)
    },
    300_000,
  )

  it('a window in time would lose nearly all runs of a loop', () => {
    let executed = 0
    let lastMs = -Infinity
    const random = quickRandom(firstSeed)
    for (let call = 0, nowMs = 0; call < 50; call += 1) {
      for (const gapMs of [7, 10]) {
        nowMs += gapMs + random()
        if (nowMs - lastMs > 50) executed += 1
        lastMs = nowMs
      }
    }
    expect(executed).toBeLessThan(50)
  })
})

describe('what 1.5 of the contract shows on the wire', () => {
  const play = (events: readonly (readonly [number, PathEvent])[]) => {
    const step = pathMachine()
    let state: PathState = emptyPath
    const decisions = []
    for (const [atMs, event] of events) {
      const next = step(state, event, atMs)
      state = next.state
      if (next.decision !== null) decisions.push(next.decision)
    }
    return decisions
  }
  const call = (id: number, jti: string, issuedAtMs: number, first: boolean, fingerprint = 'x'): PathEvent => ({
    kind: 'called',
    id,
    first,
    use: { fingerprint, jti, issuedAtMs },
  })
  const plain = { kind: 'execute', forced: false }

  it('two calls whose answers are thrown away are executed twice, not four times', () => {
    const decisions = play([
      [4, call(5, 'T3', 2, false)],
      [6, { kind: 'done', id: 5 }],
      [10, call(7, 'T6', 8, true)],
      [17, call(8, 'T6', 8, false)],
      [18, { kind: 'done', id: 8 }],
      [25, call(10, 'T9', 20, true)],
    ])
    expect(decisions).toEqual([plain, { kind: 'collapse', into: 5 }, plain, { kind: 'collapse', into: 8 }])
  })

  it('an execution is handed out once, not with its own token, and not when it ended after the token was issued', () => {
    const twice = play([
      [1, call(1, 'A', 0, false)],
      [2, { kind: 'done', id: 1 }],
      [4, call(2, 'B', 3, true)],
      [5, call(3, 'C', 4, true)],
    ])
    expect(twice).toEqual([plain, { kind: 'collapse', into: 1 }, plain])
    const own = play([
      [1, call(1, 'A', 0, true)],
      [2, { kind: 'done', id: 1 }],
      [3, call(2, 'A', 2, true)],
    ])
    expect(own).toEqual([plain, plain])
    const late = play([
      [1, call(1, 'A', 0, false)],
      [3, { kind: 'done', id: 1 }],
      [4, call(2, 'B', 2, true)],
    ])
    expect(late).toEqual([plain, plain])
  })

  it('evidence grows old: 5 s for executions and first uses, 10 s for rejections, 10 min for what they owe', () => {
    const after = (ms: number) =>
      play([
        [0, call(1, 'A', 0, false)],
        [0, { kind: 'done', id: 1 }],
        [ms, call(2, 'B', 0, true)],
      ])[1]
    expect(after(lifetimes.candidateMs - 1)).toEqual({ kind: 'collapse', into: 1 })
    expect(after(lifetimes.candidateMs)).toEqual(plain)
    const afterRejection = (ms: number, fingerprint: string) =>
      play([
        [0, { kind: 'rejected', fingerprint }],
        [ms, call(1, 'A', 0, false)],
        [ms, { kind: 'done', id: 1 }],
        [ms + 1, call(2, 'B', ms, true)],
      ])[1]
    expect(afterRejection(lifetimes.rejectionMs - 2, 'y')).toEqual(plain)
    expect(afterRejection(lifetimes.rejectionMs, 'y')).toEqual({ kind: 'collapse', into: 1 })
    expect(afterRejection(lifetimes.rejectionDebtMs - 2, 'x')).toEqual({ kind: 'execute', forced: true })
    expect(afterRejection(lifetimes.rejectionDebtMs, 'x')).toEqual({ kind: 'collapse', into: 1 })
  })

  it('a first use on a reading call explains a rejection as well', () => {
    const decisions = play([
      [0, { kind: 'rejected', fingerprint: 'read' }],
      [2, { kind: 'read-first' }],
      [3, call(1, 'A', 0, false)],
      [4, { kind: 'done', id: 1 }],
      [6, call(2, 'B', 5, true)],
    ])
    expect(decisions[1]).toEqual({ kind: 'collapse', into: 1 })
  })

  it('what broke while it was to pay is owed still, what was refused is not', () => {
    const next = (how: 'refused' | 'broken') =>
      play([
        [0, call(1, 'A', 0, false)],
        [1, { kind: 'failed', id: 1, how }],
        [3, call(2, 'B', 2, true)],
        [4, { kind: 'failed', id: 2, how }],
        [5, call(3, 'B', 2, false)],
        [6, { kind: 'done', id: 3 }],
        [8, call(4, 'C', 7, true)],
      ])[3]
    expect(next('refused')).toEqual({ kind: 'collapse', into: 3 })
    expect(next('broken')).toEqual({ kind: 'execute', forced: true })
  })
})
