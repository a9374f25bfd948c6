// Which Java workers may execute a job of the PowerJob wire: the rules of the contract's 4.3, and what is mended of them.
import { describe, expect, it } from 'vitest'
import {
  eligibleSessions,
  isSpecified,
  mayRun,
  rank,
  suitableSessions,
  type JavaNeeds,
  type RouteFacts,
  type SessionFacts,
} from './eligibility.ts'

const java = (change: Partial<JavaNeeds> = {}): JavaNeeds => ({
  only: false,
  frequent: false,
  specify: null,
  tagSubstring: false,
  ...change,
})
const route = (change: Partial<RouteFacts> = {}): RouteFacts => ({
  id: 1,
  processor: 'com.acme.P',
  labels: {},
  designated: [],
  minFreeCpuCores: 0,
  minFreeMemoryGb: 0,
  minFreeDiskGb: 0,
  maxWorkers: 0,
  strategy: 'health-first',
  java: java(),
  ...change,
})
const worker = (id: number, change: Partial<SessionFacts> = {}): SessionFacts => ({
  id,
  name: `10.0.0.${id}:27777`,
  address: `10.0.0.${id}:27777`,
  processors: ['*'],
  labels: {},
  metrics: { cpuCores: 4, cpuLoad: 1, freeMemoryGb: 2, freeDiskGb: 50 },
  slots: 100,
  running: 0,
  java: true,
  ...change,
})
const native = (id: number, change: Partial<SessionFacts> = {}): SessionFacts =>
  worker(id, { name: `n${id}`, address: null, processors: ['com.acme.P'], java: false, ...change })
const tagged = (id: number, tag: string): SessionFacts => worker(id, { labels: { tag } })
const ids = (sessions: readonly SessionFacts[]): number[] => sessions.map(({ id }) => id)

describe('a Java worker', () => {
  it('may execute every job of its wire, and no native one', () => {
    expect(mayRun(route({ processor: 'whatever' }), worker(1))).toBe(true)
    expect(mayRun(route({ java: null }), worker(1))).toBe(false)
  })
  it('leaves jobs of its wire to native workers that name the processor, unless only Java can execute them', () => {
    expect(mayRun(route(), native(1))).toBe(true)
    expect(mayRun(route({ processor: 'other' }), native(1))).toBe(false)
    expect(mayRun(route({ java: java({ only: true }) }), native(1))).toBe(false)
    expect(mayRun(route({ java: java({ only: true }) }), worker(1))).toBe(true)
  })
  it('is designated by its address or its whole tag', () => {
    const asks = route({ designated: ['blue', '10.0.0.7:27777'] })
    expect(mayRun(asks, tagged(1, 'blue'))).toBe(true)
    expect(mayRun(asks, worker(7))).toBe(true)
    expect(mayRun(asks, tagged(2, 'blueish'))).toBe(false)
    expect(mayRun(asks, native(3, { labels: { tag: 'blue' } }))).toBe(false)
  })
  it('needs more free cores than are asked for, and passes when it can not tell its load', () => {
    const asks = route({ minFreeCpuCores: 3 })
    const loaded = (cpuLoad: number) =>
      worker(1, { metrics: { cpuCores: 4, cpuLoad, freeMemoryGb: 2, freeDiskGb: 50 } })
    expect(mayRun(asks, loaded(1))).toBe(false)
    expect(mayRun(asks, loaded(0.9))).toBe(true)
    expect(mayRun(asks, loaded(-1))).toBe(true)
    expect(mayRun(route({ minFreeMemoryGb: 2 }), loaded(1))).toBe(true)
    expect(mayRun(route({ minFreeDiskGb: 51 }), loaded(1))).toBe(false)
  })
  it('is preferred by the score that it gives itself', () => {
    const scored = (id: number, score: number) =>
      worker(id, { metrics: { cpuCores: 1, cpuLoad: 0.5, freeMemoryGb: 1, freeDiskGb: 1, score } })
    const order = rank('health-first', [scored(1, 3), scored(2, 9), worker(3)], {
      next: () => 0,
      bytes: () => new Uint8Array(),
    })
    expect(ids(order)).toEqual([2, 3, 1])
  })
})

describe('a job that specifies workers', () => {
  const met = (specify: string, tag: string, tagSubstring = false) =>
    isSpecified(java({ specify, tagSubstring }), tagged(1, tag))
  it('compares whole tags', () => {
    expect(met('tagEquals:blue', 'blue')).toBe(true)
    expect(met('tagEquals:blue', 'blue,eu')).toBe(false)
    expect(met('tagIn:blue', 'blue,eu')).toBe(true)
    expect(met('tagIn:red, eu', 'blue,eu')).toBe(true)
    expect(met('tagIn:blu', 'blue')).toBe(false)
    expect(met('blue,10.0.0.9:1', 'blue')).toBe(true)
    expect(met('10.0.0.1:27777', 'x')).toBe(true)
    expect(met('', 'x')).toBe(false)
  })
  it('compares parts of tags where the app wants it as PowerJob has it', () => {
    expect(met('tagIn:blu', 'blue', true)).toBe(true)
    expect(met('tagEquals:blu', 'blue', true)).toBe(false)
  })
  it('takes those before others, and others when there are none', () => {
    const all = [tagged(1, 'red'), tagged(2, 'blue'), tagged(3, 'blue')]
    expect(ids(eligibleSessions(route({ java: java({ specify: 'tagEquals:blue' }) }), all))).toEqual([2, 3])
    expect(ids(eligibleSessions(route({ java: java({ specify: 'tagEquals:green' }) }), all))).toEqual([1, 2, 3])
    // whoever suits may take part in it
    expect(ids(suitableSessions(route({ java: java({ specify: 'tagEquals:blue' }) }), all))).toEqual([1, 2, 3])
  })
  it('is cut to the number of workers that it may have', () => {
    expect(ids(suitableSessions(route({ maxWorkers: 2 }), [worker(3), worker(1), worker(2)]))).toEqual([1, 2])
  })
})

describe('a job on a short interval', () => {
  const frequent = route({ java: java({ frequent: true }) })
  it('is left to Java workers while there is one that suits it', () => {
    expect(ids(eligibleSessions(frequent, [native(1), worker(2)]))).toEqual([2])
    expect(ids(eligibleSessions(frequent, [native(1)]))).toEqual([1])
    const designated = route({ java: java({ frequent: true }), designated: ['n1'] })
    expect(ids(eligibleSessions(designated, [native(1), worker(2)]))).toEqual([1])
  })
})
