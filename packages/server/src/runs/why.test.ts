// Promises of the reasons why a run waits.
import { describe, expect, it } from 'vitest'
import type { RouteFacts } from './eligibility.ts'
import { whyWaiting, type Candidate } from './why.ts'

const route = (change: Partial<RouteFacts> = {}): RouteFacts => ({
  id: 1,
  processor: 'mail',
  labels: {},
  designated: [],
  minFreeCpuCores: 0,
  minFreeMemoryGb: 0,
  minFreeDiskGb: 0,
  maxWorkers: 0,
  strategy: 'random',
  java: null,
  ...change,
})
const worker = (change: Partial<Candidate> = {}): Candidate => ({
  id: 1,
  name: 'w',
  address: null,
  processors: ['mail'],
  labels: {},
  metrics: null,
  slots: 1,
  running: 0,
  draining: false,
  java: false,
  ...change,
})
const ready = (asks: RouteFacts, candidates: Candidate[], ahead = 0) =>
  whyWaiting({ at: 'ready', route: asks, candidates, ahead })

describe('a run that waits for a worker', () => {
  it('no worker at all, or only draining ones', () => {
    expect(ready(route(), [])).toEqual([{ code: 'NO_WORKER', says: 'The app has no live worker.' }])
    expect(ready(route(), [worker({ draining: true })])).toMatchObject([{ code: 'NO_WORKER' }])
  })

  it('no worker with the processor', () => {
    expect(ready(route(), [worker({ processors: ['x'] })])).toMatchObject([
      { code: 'NO_WORKER_WITH_PROCESSOR', processor: 'mail' },
    ])
  })

  it('the label that is missing, of the workers that come furthest', () => {
    const asks = route({ labels: { a: '1', b: '2' } })
    const workers = [worker({ processors: ['x'] }), worker({ labels: { a: '1' } })]
    expect(ready(asks, workers)).toMatchObject([{ code: 'NO_WORKER_WITH_LABEL', label: 'b=2' }])
  })

  it('labels that different workers lack are both named, each once', () => {
    const asks = route({ labels: { a: '1', b: '2' } })
    const workers = [worker({ labels: { a: '1' } }), worker({ labels: { b: '2' } }), worker({ labels: { b: '2' } })]
    expect(ready(asks, workers).map(({ label }) => label)).toEqual(['b=2', 'a=1'])
  })

  it('no designated worker, and which they are', () => {
    const [reason] = ready(route({ designated: ['w7', 'w8'] }), [worker()])
    expect(reason).toMatchObject({ code: 'NO_DESIGNATED_WORKER' })
    expect(reason?.says).toContain('"w7", "w8"')
  })

  it('the resource that is missing', () => {
    expect(ready(route({ minFreeMemoryGb: 4 }), [worker()])).toMatchObject([
      { code: 'NO_WORKER_WITH_RESOURCES', resource: 'memoryGb' },
    ])
  })

  it('busy when every worker that fits is full, even if another has room', () => {
    const full = worker({ id: 1, running: 1 })
    const idle = worker({ id: 2 })
    expect(ready(route(), [full, worker({ id: 3, processors: ['x'] })], 2)).toMatchObject([
      { code: 'WORKERS_BUSY', ahead: 2 },
    ])
    expect(ready(route({ maxWorkers: 1 }), [full, idle])).toMatchObject([{ code: 'WORKERS_BUSY' }])
    expect(ready(route(), [full, idle])).toMatchObject([{ code: 'ABOUT_TO_START' }])
  })

  it('a draining worker does not count as a free one', () => {
    expect(ready(route(), [worker({ id: 1, running: 1 }), worker({ id: 2, draining: true })])).toMatchObject([
      { code: 'WORKERS_BUSY' },
    ])
  })

  it('counts in words', () => {
    const says = (ahead: number) => ready(route(), [worker({ running: 1 })], ahead)[0]?.says
    expect(says(0)).toContain('this run is the next one')
    expect(says(1)).toContain('1 run is before')
    expect(says(2)).toContain('2 runs are before')
    expect(says(10_000)).toContain('10000 runs or more')
  })
})

describe('a run that waits elsewhere', () => {
  const dueAt = '2030-01-01T00:00:00.000Z'

  it('for its time', () => {
    expect(whyWaiting({ at: 'later', dueAt, isDue: false, attempts: 0 })).toMatchObject([{ code: 'NOT_DUE', dueAt }])
    expect(whyWaiting({ at: 'later', dueAt, isDue: false, attempts: 1 })).toMatchObject([
      { code: 'RETRY_LATER', dueAt },
    ])
    expect(whyWaiting({ at: 'later', dueAt, isDue: true, attempts: 1 })).toMatchObject([{ code: 'ABOUT_TO_START' }])
  })

  it('for a slot of its job', () => {
    expect(whyWaiting({ at: 'blocked', limit: 1, hasRoom: false, heldBy: [4] })).toEqual([
      { code: 'LIMIT_REACHED', says: 'Its job allows 1 run at once.', limit: 1, heldBy: [4] },
    ])
    expect(whyWaiting({ at: 'blocked', limit: 1, hasRoom: true, heldBy: [] })).toMatchObject([
      { code: 'ABOUT_TO_START' },
    ])
  })
})

describe('a run behind another one of its run key', () => {
  it('waits for the end of that one, whatever its job allows', () => {
    expect(whyWaiting({ at: 'after', runId: 7 })).toEqual([
      { code: 'AFTER_RUN', says: expect.stringContaining('run 7'), heldBy: [7] },
    ])
  })
})

describe('a run of unknown outcome', () => {
  const since = '2026-01-01T00:00:00.000Z'

  it('waits for a decision, and says what to do', () => {
    for (const cause of ['lost', 'timed-out'] as const) {
      const [reason, ...others] = whyWaiting({ at: 'undecided', since, cause, effect: null })
      expect(others).toEqual([])
      expect(reason).toEqual({
        code: 'OUTCOME_UNKNOWN',
        says: expect.stringContaining('resolve the run'),
        since,
        cause,
      })
    }
  })

  it('because of an effect names it', () => {
    expect(whyWaiting({ at: 'undecided', since, cause: 'effect', effect: 'charge' })).toEqual([
      { code: 'OUTCOME_UNKNOWN', says: expect.stringContaining('"charge"'), since, cause: 'effect', effect: 'charge' },
    ])
    expect(whyWaiting({ at: 'undecided', since, cause: 'effect', effect: null })[0]).not.toHaveProperty('effect')
  })
})
