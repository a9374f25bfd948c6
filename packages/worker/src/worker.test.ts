// The worker as a whole against a server over real HTTP: what it promises when answers, servers and leases get lost.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AttemptTimedOut, LeaseLost, ServerRefused, StopRequested, TerminalError } from './errors.ts'
import type { RunFinished, WorkerEvent } from './events.ts'
import { silentLog } from './log.ts'
import type { RunContext } from './processor.ts'
import { FakeClock } from './testing/fake-clock.ts'
import { FakeServer } from './testing/fake-server.ts'
import { until } from './testing/until.ts'
import { createWorker, type Worker, type WorkerDeps, type WorkerOptions } from './worker.ts'

let server: FakeServer
let workers: Worker[] = []
let gates: PromiseWithResolvers<unknown>[] = []
let events: WorkerEvent[] = []

beforeEach(async () => {
  server = await FakeServer.start()
  workers = []
  gates = []
  events = []
})

afterEach(async () => {
  for (const gate of gates) gate.resolve(undefined)
  await Promise.all(workers.map((worker) => worker.stop()))
  await server.close()
})

type Work = (ctx: RunContext) => unknown

const make = (work: Work, options: Partial<WorkerOptions> = {}, deps: WorkerDeps = {}): Worker => {
  const worker = createWorker(
    {
      url: server.url,
      token: 'a-token',
      processors: { work },
      log: silentLog,
      drainMs: 60_000,
      signals: false,
      guardProcess: false,
      onEvent: (event) => events.push(event),
      ...options,
    },
    deps,
  )
  workers.push(worker)
  return worker
}

/** A processor that stays until the test lets it go; `reasons` gets the abort reasons. */
const stay = () => {
  const begun: RunContext[] = []
  const reasons: unknown[] = []
  const gate = Promise.withResolvers<unknown>()
  gates.push(gate)
  const work: Work = (ctx) => {
    begun.push(ctx)
    ctx.signal.addEventListener('abort', () => reasons.push(ctx.signal.reason))
    return gate.promise
  }
  return { work, begun, reasons, gate }
}

const finishedRuns = (): RunFinished[] => events.filter((event) => event.type === 'run-finished')
const expectAccepted = (count: number): Promise<void> =>
  until(`${count} results are accepted`, () => server.accepted.length === count)

describe('a run', () => {
  test('goes out once and its result comes back once', async () => {
    const worker = make((ctx) => ({ doubled: Number(ctx.params) * 2 }), {
      name: 'me',
      app: 'shop',
      labels: { zone: 'a' },
    })
    await worker.start()
    for (let n = 1; n <= 500; n += 1) server.add({ params: n })
    await expectAccepted(500)
    expect(server.reports).toHaveLength(500)
    const results = server.accepted.map((report) => 'result' in report && report.result)
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(500)
    expect(server.sessions).toMatchObject([{ name: 'me', processors: ['work'], slots: 10, labels: { zone: 'a' } }])
    expect(server.calls.every(({ path }) => path.endsWith('?app=shop'))).toBe(true)
    expect(worker.status()).toMatchObject({ state: 'running', running: 0 })
  })

  test('never runs beside more others than the worker has slots', async () => {
    let now = 0
    let most = 0
    const worker = make(
      async () => {
        now += 1
        most = Math.max(most, now)
        await new Promise((resolve) => setImmediate(resolve))
        now -= 1
      },
      { concurrency: 3 },
    )
    await worker.start()
    for (let n = 0; n < 100; n += 1) server.add()
    await expectAccepted(100)
    expect(most).toBe(3)
    expect(Math.max(...server.polls.map(({ free }) => free))).toBe(3)
  })

  test('whose hand-over was lost is started once', async () => {
    const { work, begun, gate } = stay()
    await make(work).start()
    server.loseNextHandOver = true
    const run = server.add()
    await until('the run begins', () => begun.length === 1)
    expect(server.loseNextHandOver).toBe(false)
    gate.resolve('ok')
    await expectAccepted(1)
    expect(begun.map(({ lease }) => lease)).toEqual([run.lease])
  })

  test('that is handed over again while it executes, waits to be answered, or was answered is not started again', async () => {
    const { work, begun, gate } = stay()
    await make(work).start()
    const run = server.add()
    await until('the run begins', () => begun.length === 1)
    server.repeat(run)
    server.intercept = ({ path }) => (path.startsWith('/reports') ? 'hang-up' : undefined)
    gate.resolve('ok')
    await until('a report is lost', () => server.calls.some(({ path }) => path.startsWith('/reports')))
    server.repeat(run)
    server.intercept = () => undefined
    await expectAccepted(1)
    server.repeat(run)
    const next = server.add()
    await until('the next run begins', () => begun.length > 1)
    expect(begun.map(({ lease }) => lease)).toEqual([run.lease, next.lease])
  })

  test('of a processor that this worker does not have is a failed attempt', async () => {
    await make(() => 1).start()
    server.add({ processor: 'toString' })
    await expectAccepted(1)
    expect(server.accepted).toMatchObject([{ outcome: 'failed', error: { code: 'PROCESSOR_NOT_FOUND' } }])
  })

  test('takes the parameters of its job when it has none of its own', async () => {
    await make((ctx) => [ctx.params, ctx.jobParams, ctx.runParams]).start()
    server.add({ jobParams: 'job' })
    server.add({ jobParams: 'job', params: 0 })
    await expectAccepted(2)
    expect(server.accepted.map((report) => 'result' in report && report.result)).toEqual([
      ['job', 'job', null],
      [0, 'job', 0],
    ])
  })
})

describe('a processor', () => {
  test('that throws anything at all is a failed attempt, and the worker goes on', async () => {
    const thrown = ['text', undefined, { code: 1 }, new Error('plain'), new TerminalError('for good')]
    await make((ctx) => Promise.reject(thrown[Number(ctx.params)])).start()
    for (const index of thrown.keys()) server.add({ params: index })
    await expectAccepted(5)
    const codes = server.accepted.map((report) => ('error' in report ? report.error.code : report.outcome))
    expect(codes).toEqual(['NOT_AN_ERROR', 'NOT_AN_ERROR', 'NOT_AN_ERROR', 'Error', 'TERMINAL'])
  })

  test('that returns too much has its result cut to what the server takes', async () => {
    server.maxResultBytes = 100
    await make(() => 'y'.repeat(1000)).start()
    server.add()
    await expectAccepted(1)
    expect(server.accepted).toMatchObject([{ outcome: 'succeeded', result: 'y'.repeat(98), resultTruncated: true }])
  })

  test('finds its log in the server before its result', async () => {
    await make((ctx) => ctx.log.info('one', { two: 2 })).start()
    server.add()
    await expectAccepted(1)
    expect(server.logs).toMatchObject([{ level: 'info', text: 'one {"two":2}' }])
    const order = server.calls.map(({ path }) => path).filter((path) => path === '/logs' || path === '/reports')
    expect(order).toEqual(['/logs', '/reports'])
  })

  test('tells its progress with the next poll, once', async () => {
    const { work, begun } = stay()
    await make(work, { concurrency: 2 }).start()
    server.add()
    await until('the run begins', () => begun.length === 1)
    begun[0]?.progress(40, 'reading')
    server.add({ logLevel: 'off' })
    await until('the second run begins', () => begun.length === 2)
    begun[1]?.progress(undefined, 'only words')
    server.order(server.add(), 'stop')
    const told = () => server.polls.flatMap(({ held }) => held.flatMap(({ progress }) => progress ?? []))
    await until('both are told', () => told().length >= 2)
    expect(told()).toEqual([{ percent: 40, note: 'reading' }, { note: 'only words' }])
  })

  test('times out after the time of its attempt', async () => {
    const { work, reasons, gate } = stay()
    await make(work).start()
    server.add({ timeoutMs: 30 })
    await until('the signal aborts', () => reasons.length === 1)
    expect(reasons[0]).toBeInstanceOf(AttemptTimedOut)
    gate.resolve('too late')
    await expectAccepted(1)
    expect(server.accepted).toMatchObject([{ outcome: 'timed-out', error: { code: 'ATTEMPT_TIMED_OUT' } }])
  })
})

describe('a worker whose slots are all taken', () => {
  test('asks again as soon as one is free', async () => {
    const first = stay()
    const second = stay()
    await make((ctx) => (ctx.params === 1 ? first : second).work(ctx), { concurrency: 2 }).start()
    server.pollMs = 1_000_000
    server.add({ params: 1 })
    server.add({ params: 2 })
    await until('a poll that wants nothing', () => server.polls.at(-1)?.free === 0 && server.isPolled)
    const third = server.add({ params: 2 })
    first.gate.resolve('room')
    await until('the third run begins', () => second.begun.length === 2)
    expect(second.begun.at(-1)?.lease).toBe(third.lease)
    expect(server.polls.some(({ free }) => free === 1)).toBe(true)
  })
})

describe('an order of the server', () => {
  test('to stop aborts the signal, also while every slot is taken, and is reported as stopped', async () => {
    const { work, begun, reasons, gate } = stay()
    await make(work, { concurrency: 1 }).start()
    const run = server.add()
    await until('the run begins', () => begun.length === 1)
    server.order(run, 'stop')
    await until('the signal aborts', () => reasons.length === 1)
    expect(reasons[0]).toBeInstanceOf(StopRequested)
    gate.reject(reasons[0])
    await expectAccepted(1)
    expect(server.accepted).toMatchObject([{ outcome: 'stopped', error: { code: 'STOP_REQUESTED' } }])
  })

  test('that the lease is lost aborts the signal and nothing is reported', async () => {
    const { work, begun, reasons, gate } = stay()
    const worker = make(work, { concurrency: 2 })
    await worker.start()
    const run = server.add()
    await until('the run begins', () => begun.length === 1)
    server.order(run, 'lost')
    await until('the signal aborts', () => reasons.length === 1)
    expect(reasons[0]).toMatchObject({ name: 'LeaseLost', how: 'lost' })
    expect(finishedRuns()).toMatchObject([{ lease: run.lease, outcome: null, answer: null }])
    expect(worker.status().running).toBe(1)
    gate.resolve('unwanted')
    server.add()
    await expectAccepted(1)
    expect(server.reports.map(({ lease }) => lease)).not.toContain(run.lease)
  })

  test('about a result on its way is left to the answer of the report', async () => {
    const { work, begun, gate } = stay()
    await make(work).start()
    const run = server.add()
    await until('the run begins', () => begun.length === 1)
    server.intercept = ({ path }) => (path === '/reports' ? 'hang-up' : undefined)
    gate.resolve('done')
    await until('a report is lost', () => server.calls.some(({ path }) => path === '/reports'))
    server.order(run, 'lost')
    await until('the order is taken', () => server.isPolled)
    server.intercept = () => undefined
    await until('the run is answered', () => finishedRuns().length === 1)
    expect(finishedRuns()).toMatchObject([{ outcome: 'succeeded', answer: 'lost' }])
    expect(server.accepted).toEqual([])
  })
})

describe('when servers do not answer', () => {
  test('a worker that starts before its server waits for it', async () => {
    server.down = true
    const worker = make(() => 1)
    const starting = worker.start()
    await until('the worker says so', () => events.some(({ type }) => type === 'server-unreachable'))
    expect(worker.status()).toMatchObject({ state: 'starting', sessionId: null })
    server.down = false
    await starting
    expect(worker.status().state).toBe('running')
    expect(events.map(({ type }) => type)).toContain('server-reachable')
  })

  test('a result that was ready during the outage is delivered once after it', async () => {
    const { work, begun, gate } = stay()
    const worker = make(work)
    await worker.start()
    server.add()
    await until('the run begins', () => begun.length === 1)
    server.down = true
    gate.resolve('kept')
    await until('the result waits', () => worker.status().undelivered === 1)
    await until('the worker notices', () => events.some(({ type }) => type === 'server-unreachable'))
    server.down = false
    await expectAccepted(1)
    expect(server.accepted).toMatchObject([{ outcome: 'succeeded', result: 'kept' }])
    await until('the answer arrives', () => worker.status().undelivered === 0)
    expect(finishedRuns()).toHaveLength(1)
  })

  test('a result whose answer was lost is sent again and counts once', async () => {
    await make(() => 'once').start()
    const seen: unknown[] = []
    server.intercept = ({ path, body }) => {
      if (path !== '/reports' || seen.length > 0) return undefined
      seen.push(body)
      return 'hang-up'
    }
    server.add()
    await expectAccepted(1)
    await until('the answer arrives', () => finishedRuns().length === 1)
    expect(server.accepted).toHaveLength(1)
    expect(finishedRuns()).toMatchObject([{ answer: 'accepted' }])
  })

  test('the next address is asked, and stays in use', async () => {
    const second = await FakeServer.start()
    try {
      server.down = true
      const worker = make(() => 1, { urls: [server.url, second.url] })
      await worker.start()
      second.add()
      await until('the second server has the result', () => second.accepted.length === 1)
      expect(worker.status().server).toBe(second.url)
      await worker.stop()
    } finally {
      await second.close()
    }
  })

  test('a server that is broken (5xx) is an outage like any other', async () => {
    const faults = { left: 4 }
    server.intercept = () => (faults.left-- > 0 ? { status: 503, body: { code: 'DATABASE_UNAVAILABLE' } } : undefined)
    await make(() => 1).start()
    server.add()
    await expectAccepted(1)
  })

  test('the lease lapses without answered polls, the signal aborts, and a late result is still reported', async () => {
    const clock = new FakeClock()
    const { work, begun, reasons, gate } = stay()
    const worker = make(work, {}, { clock })
    await worker.start()
    server.add()
    await until('the run begins', () => begun.length === 1)
    const step = (): void => clock.advance(100)
    server.hangUp()
    await until('the signal aborts', () => reasons.length === 1, step)
    expect(clock.monotonic()).toBeGreaterThanOrEqual(server.leaseMs)
    expect(reasons[0]).toBeInstanceOf(LeaseLost)
    expect(reasons[0]).toMatchObject({ how: 'lapsed' })
    expect(events.map(({ type }) => type)).toContain('leases-lapsed')
    gate.resolve('late')
    server.down = false
    await until('the result is accepted', () => server.accepted.length === 1, step)
    expect(server.accepted).toMatchObject([{ outcome: 'succeeded', result: 'late' }])
  })

  test('what a lapsed lease cut short is left to the server by ending the session, after results are delivered', async () => {
    const clock = new FakeClock()
    const { work, begun, reasons, gate } = stay()
    const other = stay()
    const worker = make((ctx) => (ctx.params === 'other' ? other : { work }).work(ctx), {}, { clock })
    await worker.start()
    const cut = server.add()
    const finished = server.add({ params: 'other' })
    await until('both runs begin', () => begun.length + other.begun.length === 2)
    const first = server.session
    const step = (): void => clock.advance(100)
    server.hangUp()
    await until('the signal aborts', () => reasons.length === 1, step)
    gate.reject(reasons[0])
    other.gate.resolve('done')
    await until('the result waits', () => worker.status().undelivered === 1)
    server.down = false
    await until('a new session', () => server.session !== first, step)
    expect(server.left).toEqual([first])
    expect(server.reports.map(({ lease }) => lease)).not.toContain(cut.lease)
    expect(server.accepted).toMatchObject([{ lease: finished.lease, outcome: 'succeeded' }])
    const next = server.add({ params: 'other' })
    await until('new runs are taken', () => server.accepted.at(-1)?.lease === next.lease, step)
  })

  test('an answer that comes after the lease is over starts nothing; the run comes again', async () => {
    const clock = new FakeClock()
    const { work, begun } = stay()
    const warnings: string[] = []
    const log = { ...silentLog, warn: (_facts: unknown, message: string) => warnings.push(message) }
    server.leaseMs = 1000
    await make(work, { log }, { clock }).start()
    await until('a poll waits', () => server.isPolled)
    // The answer is written, and the process does not get to it before its lease is over.
    const run = server.add()
    clock.advance(1500)
    await until('the run begins', () => begun.length === 1)
    expect(begun[0]?.lease).toBe(run.lease)
    expect(warnings).toContain('answer to a poll came after the lease was over, ignored')
  })
})

describe('a session', () => {
  test('that has ended is replaced; what ran in it is aborted, and its result still offered', async () => {
    const { work, begun, reasons, gate } = stay()
    await make(work).start()
    server.add()
    await until('the run begins', () => begun.length === 1)
    const first = server.session
    server.endSession()
    await until('a new session', () => server.session !== 0 && server.session !== first)
    expect(reasons).toMatchObject([{ name: 'LeaseLost', how: 'session-ended' }])
    gate.resolve('finished all the same')
    await expectAccepted(1)
    expect(events.map(({ type }) => type)).toContain('session-lost')
  })

  test('that is refused makes start() fail with the reason', async () => {
    for (const [status, code] of [
      [401, 'TOKEN_INVALID'],
      [403, 'READ_ONLY'],
      [400, 'REQUEST_INVALID'],
    ] as const) {
      server.intercept = () => ({ status, body: { code, detail: 'this is why', issues: [{ path: '/name' }] } })
      const worker = make(() => 1)
      const refusal = await worker.start().catch((error: unknown) => error)
      expect(refusal).toBeInstanceOf(ServerRefused)
      expect(refusal).toMatchObject({ status, code })
      expect(String(refusal)).toContain('this is why')
      expect(worker.status().state).toBe('stopped')
    }
  })

  test('carries the figures of the machine, and those given instead', async () => {
    await make(() => 1).start()
    const figures = { cpuCores: 3, cpuLoad: 0.5, freeMemoryGb: 2, freeDiskGb: 10 }
    await make(() => 1, { metrics: () => figures }).start()
    expect(server.sessions[0]?.metrics?.cpuCores).toBeGreaterThan(0)
    expect(server.sessions[0]?.metrics?.freeDiskGb).toBeGreaterThan(0)
    expect(server.sessions[1]?.metrics).toEqual(figures)
  })
})

describe('stopping', () => {
  test('hands back what was not begun, waits for what runs, delivers it and leaves', async () => {
    const { work, begun, gate } = stay()
    const worker = make(work, { concurrency: 1 })
    await worker.start()
    const running = server.add()
    await until('the run begins', () => begun.length === 1)
    const session = server.session
    // More than asked for: it queues in the worker.
    const queued = server.add()
    server.intercept = ({ path }) => {
      if (!path.includes('/poll')) return undefined
      server.intercept = () => undefined
      return { status: 200, body: { runs: [queued], stops: [] } }
    }
    server.order(running, 'stop')
    await until('the extra run has arrived', () => server.polls.at(-1)?.held.length === 2)
    const stopping = worker.stop()
    await until('it is handed back', () => server.reports.length === 1)
    expect(server.reports).toEqual([{ runId: queued.runId, lease: queued.lease, outcome: 'handed-back' }])
    expect(worker.status().state).toBe('draining')
    await until('polls say that it drains', () => server.polls.at(-1)?.draining === true)
    expect(server.polls.at(-1)?.free).toBe(0)
    gate.resolve('finished')
    expect(await stopping).toEqual({ undelivered: 0 })
    expect(server.accepted.at(-1)).toMatchObject({ lease: running.lease, outcome: 'succeeded' })
    expect(server.left).toEqual([session])
    expect(server.calls.at(-1)?.method).toBe('DELETE')
    expect(begun).toHaveLength(1)
  })

  test('aborts what takes longer than drainMs, and leaves it to the server with the session', async () => {
    const { work, begun, reasons, gate } = stay()
    const worker = make(work, { drainMs: 10 })
    await worker.start()
    server.add()
    await until('the run begins', () => begun.length === 1)
    const stopping = worker.stop()
    await until('the signal aborts', () => reasons.length === 1)
    expect(reasons[0]).toMatchObject({ code: 'WORKER_STOPPED', by: 'worker' })
    gate.reject(reasons[0])
    await stopping
    expect(server.reports).toEqual([])
    expect(server.left).toHaveLength(1)
    expect(finishedRuns()).toMatchObject([{ outcome: null, answer: null }])
  })

  test('does not wait for ever for a processor that ignores everything', async () => {
    const clock = new FakeClock()
    // The clock runs ahead of the server here, which must not look like an outage.
    server.leaseMs = 1_000_000_000
    server.pollMs = 1_000_000_000
    const { work, begun } = stay()
    const worker = make(work, {}, { clock })
    await worker.start()
    server.add()
    await until('the run begins', () => begun.length === 1)
    const done: { result?: unknown } = {}
    void worker.stop().then((result) => (done.result = result))
    await until(
      'the worker stops',
      () => done.result !== undefined,
      () => clock.advance(1000),
    )
    expect(server.reports).toEqual([])
    expect(server.left).toHaveLength(1)
  })

  test('gives up results when no server answers for drainMs, and says how many', async () => {
    const clock = new FakeClock()
    const { work, begun, gate } = stay()
    const worker = make(work, {}, { clock })
    await worker.start()
    server.add()
    server.add()
    await until('both runs begin', () => begun.length === 2)
    server.down = true
    gate.resolve('never delivered')
    const done: { result?: unknown } = {}
    void worker.stop().then((result) => (done.result = result))
    await until(
      'the worker stops',
      () => done.result !== undefined,
      () => clock.advance(1000),
    )
    expect(done.result).toEqual({ undelivered: 2 })
  })

  test('may come before starting, while starting, and more than once', async () => {
    expect(await make(() => 1).stop()).toEqual({ undelivered: 0 })
    server.down = true
    const worker = make(() => 1)
    const starting = worker.start()
    expect(await Promise.all([worker.stop(), worker.stop()])).toEqual([{ undelivered: 0 }, { undelivered: 0 }])
    await starting
    await expect(worker.start()).rejects.toThrow('started once')
    expect(worker.status().state).toBe('stopped')
  })
})

describe('options', () => {
  test('that can not be used are refused when the worker is made', () => {
    expect(() => make(() => 1, { urls: [] })).toThrow(TypeError)
    expect(() => make(() => 1, { url: 'localhost:7700' })).toThrow('"localhost:7700" is not an http(s) address')
    expect(() => make(() => 1, { concurrency: 0 })).toThrow(RangeError)
    expect(() => make(() => 1, { processors: {} })).toThrow(TypeError)
  })

  test('a listener that throws harms no run', async () => {
    await make(() => 1, {
      onEvent: () => {
        throw new Error('the listener broke')
      },
    }).start()
    server.add()
    await expectAccepted(1)
  })
})
