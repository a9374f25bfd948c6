// Promises of the rules that choose workers.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Random } from '../kernel/random.ts'
import {
  eligibleSessions,
  mayRun,
  obstacle,
  rank,
  type Metrics,
  type RouteFacts,
  type SessionFacts,
} from './eligibility.ts'

const chance = (...values: number[]): Random => {
  let at = 0
  return { next: () => values[at++ % values.length] ?? 0, bytes: (length) => new Uint8Array(length) }
}
const route = (change: Partial<RouteFacts> = {}): RouteFacts => ({
  id: 1,
  processor: 'mail',
  labels: {},
  designated: [],
  minFreeCpuCores: 0,
  minFreeMemoryGb: 0,
  minFreeDiskGb: 0,
  maxWorkers: 0,
  strategy: 'health-first',
  java: null,
  ...change,
})
const session = (change: Partial<SessionFacts> = {}): SessionFacts => ({
  id: 1,
  name: 'w1',
  address: null,
  processors: ['mail'],
  labels: {},
  metrics: null,
  slots: 4,
  running: 0,
  java: false,
  ...change,
})
const metrics = (change: Partial<Metrics> = {}): Metrics => ({
  cpuCores: 4,
  cpuLoad: 1,
  freeMemoryGb: 8,
  freeDiskGb: 100,
  ...change,
})

describe('who may', () => {
  it('a worker without the processor may not', () => {
    expect(obstacle(route(), session({ processors: ['other'] }))).toEqual({ kind: 'processor' })
  })

  it('every label of the job must be on the worker with the same value', () => {
    const asks = route({ labels: { zone: 'eu', gpu: 'yes' } })
    expect(obstacle(asks, session({ labels: { zone: 'eu' } }))).toEqual({ kind: 'label', label: 'gpu=yes' })
    expect(obstacle(asks, session({ labels: { zone: 'us', gpu: 'yes' } }))).toEqual({ kind: 'label', label: 'zone=eu' })
    expect(mayRun(asks, session({ labels: { zone: 'eu', gpu: 'yes', more: '1' } }))).toBe(true)
  })

  it('a label named like a member of every object is only found where the worker has it', () => {
    expect(mayRun(route({ labels: { constructor: 'x' } }), session())).toBe(false)
  })

  it('designated names the worker or its address, whole', () => {
    const asks = route({ designated: ['w1', '10.0.0.7:27777'] })
    expect(mayRun(asks, session({ name: 'w1' }))).toBe(true)
    expect(mayRun(asks, session({ name: 'x', address: '10.0.0.7:27777' }))).toBe(true)
    expect(obstacle(asks, session({ name: 'w11', address: '10.0.0.7' }))).toEqual({ kind: 'designated' })
  })

  it('a worker that reports no metrics passes only where none are asked', () => {
    expect(mayRun(route(), session())).toBe(true)
    expect(obstacle(route({ minFreeCpuCores: 1 }), session())).toEqual({ kind: 'resource', resource: 'cpuCores' })
    expect(obstacle(route({ minFreeMemoryGb: 1 }), session())).toEqual({ kind: 'resource', resource: 'memoryGb' })
    expect(obstacle(route({ minFreeDiskGb: 1 }), session())).toEqual({ kind: 'resource', resource: 'diskGb' })
  })

  it('exactly as much as is asked is enough, less is not', () => {
    const asks = route({ minFreeCpuCores: 3, minFreeMemoryGb: 8, minFreeDiskGb: 100 })
    expect(mayRun(asks, session({ metrics: metrics() }))).toBe(true)
    expect(mayRun(asks, session({ metrics: metrics({ cpuLoad: 1.1 }) }))).toBe(false)
    expect(mayRun(asks, session({ metrics: metrics({ freeMemoryGb: 7.9 }) }))).toBe(false)
    expect(mayRun(asks, session({ metrics: metrics({ freeDiskGb: 99 }) }))).toBe(false)
  })

  it('an unknown load passes', () => {
    expect(mayRun(route({ minFreeCpuCores: 64 }), session({ metrics: metrics({ cpuLoad: -1 }) }))).toBe(true)
  })
})

describe('how many', () => {
  it('with a maximum of workers the oldest able sessions are taken, in whatever order they are given', () => {
    const able = [5, 3, 9, 4].map((id) => session({ id }))
    const unable = session({ id: 1, processors: ['other'] })
    expect(eligibleSessions(route({ maxWorkers: 2 }), [...able, unable]).map(({ id }) => id)).toEqual([3, 4])
  })

  it('without a maximum every able session is taken', () => {
    expect(eligibleSessions(route(), [session({ id: 2 }), session({ id: 1 })]).map(({ id }) => id)).toEqual([1, 2])
  })
})

describe('who first', () => {
  it('health-first: memory counts double, free cores once, no metrics last', () => {
    const order = rank(
      'health-first',
      [
        session({ id: 1 }),
        session({ id: 2, metrics: metrics({ freeMemoryGb: 1, cpuCores: 8, cpuLoad: 0 }) }),
        session({ id: 3, metrics: metrics({ freeMemoryGb: 5, cpuCores: 2, cpuLoad: 0 }) }),
      ],
      chance(0),
    )
    expect(order.map(({ id }) => id)).toEqual([3, 2, 1])
  })

  it('health-first: an unknown load counts as one free core', () => {
    const unknown = session({ id: 1, metrics: metrics({ cpuCores: 64, cpuLoad: -1 }) })
    const known = session({ id: 2, metrics: metrics({ cpuCores: 4, cpuLoad: 2 }) })
    expect(rank('health-first', [unknown, known], chance(0)).map(({ id }) => id)).toEqual([2, 1])
  })

  it('health-first: equal health goes to the less loaded', () => {
    const order = rank('health-first', [session({ id: 1, running: 3 }), session({ id: 2, running: 1 })], chance(0))
    expect(order.map(({ id }) => id)).toEqual([2, 1])
  })

  it('least-loaded: the smallest share of used slots first, not the smallest number', () => {
    const order = rank(
      'least-loaded',
      [session({ id: 1, slots: 2, running: 1 }), session({ id: 2, slots: 100, running: 10 })],
      chance(0),
    )
    expect(order.map(({ id }) => id)).toEqual([2, 1])
  })

  it('random follows chance', () => {
    const three = [1, 2, 3].map((id) => session({ id }))
    expect(rank('random', three, chance(0)).map(({ id }) => id)).toEqual([1, 2, 3])
    expect(rank('random', three, chance(0.99)).map(({ id }) => id)).toEqual([3, 2, 1])
  })

  it('every order has each session once', () => {
    const strategies = fc.constantFrom('random', 'least-loaded', 'health-first')
    const sessions = fc.array(fc.nat(9)).map((running) => running.map((n, i) => session({ id: i + 1, running: n })))
    const chances = fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 1 })
    fc.assert(
      fc.property(strategies, sessions, chances, (strategy, given, values) => {
        const ids = rank(strategy, given, chance(...values)).map(({ id }) => id)
        expect(ids.toSorted((a, b) => a - b)).toEqual(given.map(({ id }) => id))
      }),
    )
  })
})
