// Time-outs, patience and the one verdict of an attempt.
import type { Assignment } from '@oncejob/protocol'
import { expect, test } from 'vitest'
import { AttemptTimedOut, LeaseLost, StopRequested } from './errors.ts'
import { Execution, patienceMs } from './execution.ts'
import type { Verdict } from './outcome.ts'
import type { RunContext } from './processor.ts'
import { FakeClock } from './testing/fake-clock.ts'
import { until } from './testing/until.ts'

const assignment: Assignment = {
  runId: 1,
  lease: 2,
  attempt: 1,
  jobId: 3,
  job: 'job',
  processor: 'work',
  jobParams: { from: 'job' },
  params: null,
  fireAt: null,
  createdAt: '2026-01-01T00:00:00.000Z',
  dueAt: '2026-01-01T00:00:01.000Z',
  priority: 0,
  timeoutMs: 1000,
  idempotencyKey: 'run-1',
  logLevel: 'info',
  guarantee: 'at-least-once',
}

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

const noLedger = () => Promise.reject(new Error('no effects here'))

const setUp = (run: (ctx: RunContext) => unknown, more: Partial<Assignment> = {}) => {
  const clock = new FakeClock()
  const verdicts: Verdict[] = []
  const seen = { ends: 0 }
  const execution = new Execution(
    { ...assignment, ...more },
    {
      clock,
      maxResultBytes: 1000,
      makeLog: () => silent,
      ledger: { begin: noLedger, end: noLedger },
      onVerdict: (verdict) => verdicts.push(verdict),
      onEnd: () => (seen.ends += 1),
    },
  )
  execution.start(run)
  return { clock, verdicts, seen, execution }
}

const untilAborted = (ctx: RunContext): Promise<never> =>
  new Promise((_resolve, reject) => {
    ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error), { once: true })
  })

const never = (): Promise<never> => new Promise(() => undefined)

test('an attempt that takes too long is aborted and reported as timed out', async () => {
  const reasons: unknown[] = []
  const { clock, verdicts, seen } = setUp(async (ctx) => {
    ctx.signal.addEventListener('abort', () => reasons.push(ctx.signal.reason))
    await untilAborted(ctx)
  })
  clock.advance(999)
  expect(reasons).toEqual([])
  clock.advance(1)
  await until('the attempt ends', () => seen.ends === 1)
  expect(reasons[0]).toBeInstanceOf(AttemptTimedOut)
  expect(verdicts).toMatchObject([{ runId: 1, lease: 2, outcome: 'timed-out', error: { code: 'ATTEMPT_TIMED_OUT' } }])
  expect(clock.timers).toBe(0)
})

test('a processor that ignores its time-out is reported without it, and keeps its slot', () => {
  const { clock, verdicts, seen } = setUp(never)
  clock.advance(1000 + patienceMs)
  expect(verdicts).toMatchObject([{ outcome: 'timed-out' }])
  expect(Object.keys(verdicts[0] ?? {}).toSorted()).toEqual(['error', 'lease', 'outcome', 'runId'])
  expect(seen.ends).toBe(0)
})

test('of a job that is executed at most once such a report says that the processor goes on', async () => {
  const { clock, verdicts } = setUp(never, { guarantee: 'at-most-once' })
  clock.advance(1000 + patienceMs)
  expect(verdicts).toMatchObject([{ outcome: 'timed-out', unfinished: true }])
  const other = setUp(untilAborted, { guarantee: 'at-most-once' })
  other.clock.advance(1000)
  await until('the attempt ends', () => other.seen.ends === 1)
  expect(other.verdicts).toMatchObject([{ outcome: 'timed-out' }])
  expect(other.verdicts[0]).not.toHaveProperty('unfinished')
})

test('an attempt that ends in time leaves no timer behind', async () => {
  const { clock, verdicts, seen } = setUp(() => 'done')
  await until('the attempt ends', () => seen.ends === 1)
  expect(clock.timers).toBe(0)
  clock.advance(100_000)
  expect(verdicts).toEqual([{ runId: 1, lease: 2, outcome: 'succeeded', result: 'done' }])
})

test('a stop waits for the processor: the server decides how long', async () => {
  const { clock, verdicts, execution } = setUp(never)
  execution.abort(new StopRequested('server'))
  clock.advance(10 * patienceMs)
  await Promise.resolve()
  expect(verdicts).toEqual([])
  execution.abort(new LeaseLost('lost'))
  expect(verdicts).toEqual(['dropped'])
})

test('a lost lease silences an attempt that had timed out before', () => {
  const { clock, verdicts, execution } = setUp(never)
  clock.advance(1000)
  execution.abort(new LeaseLost('lost'))
  clock.advance(patienceMs)
  expect(verdicts).toEqual(['dropped'])
})

test('a shut-down ends patience also for an attempt whose lease had lapsed', () => {
  const { clock, verdicts, execution } = setUp(never)
  execution.abort(new LeaseLost('lapsed'))
  clock.advance(10 * patienceMs)
  expect(verdicts).toEqual([])
  execution.abort(new StopRequested('worker'))
  clock.advance(patienceMs)
  expect(verdicts).toEqual(['left'])
})

test('the first reason is the one that the signal shows, also when it is first looked at later', async () => {
  const gate = Promise.withResolvers<void>()
  const { execution, seen, verdicts } = setUp(async (ctx) => {
    await gate.promise
    expect(ctx.signal.reason).toBeInstanceOf(StopRequested)
    ctx.signal.throwIfAborted()
  })
  execution.abort(new StopRequested('server'))
  execution.abort(new AttemptTimedOut(1))
  gate.resolve()
  await until('the attempt ends', () => seen.ends === 1)
  expect(verdicts).toMatchObject([{ outcome: 'stopped', error: { code: 'STOP_REQUESTED' } }])
})

test('a processor that throws before its first await is a failed attempt', async () => {
  const { verdicts, seen } = setUp(() => {
    throw new Error('at once')
  })
  await until('the attempt ends', () => seen.ends === 1)
  expect(verdicts).toMatchObject([{ outcome: 'failed', error: { message: 'at once' } }])
})

test('the context tells the facts of the attempt, and its parts may be taken out of it', async () => {
  const facts: unknown[] = []
  const { seen, execution } = setUp((ctx) => {
    const { params, runParams, progress, signal, isFirstAttempt, fireAt, dueAt, log } = ctx
    progress(150, 'half')
    progress(Number.NaN)
    log.info('said')
    facts.push(params, runParams, isFirstAttempt, fireAt, dueAt.getTime() - ctx.createdAt.getTime(), signal.aborted)
  })
  await until('the attempt ends', () => seen.ends === 1)
  expect(facts).toEqual([{ from: 'job' }, null, true, null, 1000, false])
  expect(execution.context.toldProgress).toEqual({ percent: 100, note: 'half' })
  expect(execution.context.hasLogged).toBe(true)
})
