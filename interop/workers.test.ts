// Real Java workers of every version: every way to execute and every kind of schedule, with one server and no change but its address.
import { networkInterfaces } from 'node:os'
import type { Fire, RunDetail } from '@oncejob/protocol'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { printTable } from '../e2e/support/sizes.ts'
import { pause, until } from '../e2e/support/until.ts'
import { openJavaFleet, type JavaApp, type JavaFleet } from './support/java-fleet.ts'
import { processor, workerVersions, type JavaEntry, type JavaWorker } from './support/java-worker.ts'

let java: JavaFleet
beforeAll(async () => {
  java = await openJavaFleet()
})
afterAll(async () => {
  if (process.env['INTEROP_WORDS'] === '1') process.stdout.write(java.words())
  await java.close()
})

/** A worker may lose the result of a part inside itself (contract 5.7): tried again in the worker, else ended by its time limit. */
const limited = { instanceTimeLimit: 60_000, instanceRetryNum: 2, taskRetryNum: 2 }
const mostMs = (limited.instanceRetryNum + 1) * (limited.instanceTimeLimit + 15_000)

/** Addresses of this machine that a worker would choose. */
const outward = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .flatMap(({ family, internal, address }) => (family === 'IPv4' && !internal ? [address] : []))

const portsOf = (lines: readonly JavaEntry[]): Set<number> => new Set(lines.map(({ port }) => port))

describe.concurrent.for(workerVersions)('worker %s', (version) => {
  let app: JavaApp
  let one: JavaWorker
  let other: JavaWorker
  let hazards = 0
  let repeats = 0

  beforeAll(async () => {
    app = await java.openApp(`java-${version}`)
    ;[one, other] = await Promise.all([
      app.addWorker(version, { tag: 'blue' }),
      app.addWorker(version, { tag: 'green' }),
    ])
  })
  afterAll(() => {
    const [mine, its] = [one.drops(), other.drops()]
    printTable(`inside the workers ${version}`, {
      'messages about parts dropped': mine.all + its.all,
      'of these, ends': mine.ends + its.ends,
      'parts repeated': repeats,
      'runs tried again for it': hazards,
    })
  })

  /** A distributed run when it has ended, tried again if its worker lost a part of it. */
  const distributed = async (runId: number): Promise<RunDetail> => {
    const run = await app.ended(runId, mostMs)
    hazards += run.attempts - 1
    return run
  }

  it('a standalone job gets its parameters and its result comes back', async ({ expect }) => {
    const jobId = await app.saveJob('echo', { processorInfo: processor('Echo'), jobParams: 'of the job «ü»' })
    const run = await app.ended(await app.runJob(jobId, 'of the run 中文 😀'))
    expect(run).toMatchObject({
      state: 'succeeded',
      result: 'job=of the job «ü» run=of the run 中文 😀',
      attempts: 1,
    })
    expect(app.workers.map(({ address }) => address)).toContain(run.worker)
    expect(app.linesOf(run.id).map(({ kind }) => kind)).toEqual(['start', 'end'])
  })

  it.skipIf(outward.length === 0)(
    'a worker that nobody told an address finds one, though the first of its servers is down',
    async ({ expect }) => {
      const plain = await java.openApp(`plain-${version}`)
      const servers = ['127.0.0.1:1', ...java.fleet.urls.map((url) => new URL(url).host)]
      const worker = await plain.addWorker(version, { findsAddress: true, servers })
      const [found] = (await plain.client.workers.list().page()).items
      expect(outward.map((host) => `${host}:${worker.port}`)).toContain(found?.address)
      expect(found).toMatchObject({ version, state: 'live' })
      const jobId = await plain.saveJob('echo', { processorInfo: processor('Echo') })
      expect(await plain.ended(await plain.runJob(jobId))).toMatchObject({ state: 'succeeded', worker: found?.address })
    },
  )

  it('a processor that is not there fails the run at once and says so', async ({ expect }) => {
    const jobId = await app.saveJob('nobody', { processorInfo: 'com.example.Nobody' })
    const run = await app.ended(await app.runJob(jobId))
    expect(run).toMatchObject({ state: 'failed', attempts: 1 })
    expect(run.error?.message).toContain('fetch Processor failed')
  })

  it('a broadcast is executed once on each of two workers, with what comes before and after', async ({ expect }) => {
    const jobId = await app.saveJob('on each', {
      executeType: 'BROADCAST',
      processorInfo: processor('OnEach'),
      ...limited,
    })
    const run = await distributed(await app.runJob(jobId))
    expect(run).toMatchObject({ state: 'succeeded', result: 'on 2 workers' })
    const starts = app.linesOf(run.id, 'start')
    expect(portsOf(starts)).toEqual(new Set([one.port, other.port]))
    // a worker that hears no confirmation in time sends a part once more by itself
    repeats += starts.length - 2
    expect(app.linesOf(run.id, 'before')).toHaveLength(run.attempts)
    expect(app.linesOf(run.id, 'after').length).toBeOneOf([1, run.attempts])
  })

  it('a map executes every part', async ({ expect }) => {
    const jobId = await app.saveJob('maps', {
      executeType: 'MAP',
      processorInfo: processor('Maps'),
      jobParams: '40',
      concurrency: 20,
      ...limited,
    })
    const run = await distributed(await app.runJob(jobId))
    expect(run.state).toBe('succeeded')
    const parts = app.linesOf(run.id, 'start')
    expect(new Set(parts.map(({ taskId }) => taskId)).size).toBe(40)
    repeats += parts.length - 40
  })

  it('a map-reduce of 1,000 parts adds all of them up, and its worker is asked how far it is', async ({ expect }) => {
    const jobId = await app.saveJob('sums', {
      executeType: 'MAP_REDUCE',
      processorInfo: processor('Sums'),
      jobParams: '1000',
      concurrency: 60,
      ...limited,
    })
    const runId = await app.runJob(jobId)
    const detail = await until('the worker tells of its tasks', async () => {
      const told = await app.client.runs.java(runId, { tasks: 'succeeded' })
      return told.source === 'live' && (told.tasks?.succeeded ?? 0) > 10 && told.taskList.length > 0 ? told : undefined
    })
    expect(detail.tasks?.total).toBeGreaterThanOrEqual(1000)
    expect(detail.taskList.length).toBeLessThanOrEqual(10)
    expect(detail.taskList.every(({ state }) => state === 'succeeded')).toBe(true)
    const run = await distributed(runId)
    expect(run).toMatchObject({ state: 'succeeded', result: '1000 parts, sum 500500' })
    expect(new Set(app.linesOf(run.id, 'start').map(({ taskId }) => taskId)).size).toBe(1000)
    const after = await app.client.runs.java(run.id)
    expect(after).toMatchObject({ source: 'stored' })
  })

  it.for(['FIXED_RATE', 'FIXED_DELAY'])(
    '%s is one long run at one worker that counts its executions, until it is disabled',
    async (type, { expect }) => {
      const jobId = await app.saveJob(type, {
        timeExpressionType: type,
        timeExpression: '1000',
        processorInfo: processor('Echo'),
        jobParams: type,
      })
      const run = await until(
        'the long run is there',
        async () => (await app.client.runs.list({ job: jobId, state: 'running' }).page()).items[0],
      )
      /** The fire history of the job, by pages of four: what the server has asked for by itself. */
      const history = async (): Promise<Fire[]> => {
        const fires: Fire[] = []
        for await (const fire of app.client.jobs.fires(jobId, { limit: 4 })) fires.push(fire)
        return fires
      }
      await until('its fire history shows three executions', async () => {
        const shown = await history()
        return shown.filter(({ subRun }) => subRun?.state === 'succeeded').length >= 3
      })
      const detail = await app.client.runs.java(run.id)
      // its counters are those of the last report
      expect(detail.tasks?.total).toBeGreaterThanOrEqual(3)
      const numbers = detail.subRuns.map(({ number }) => number)
      expect(numbers).toEqual(numbers.toSorted((a, b) => b - a))
      expect(numbers).toContain(1)
      const results = detail.subRuns.filter(({ state }) => state === 'succeeded').map(({ result }) => result)
      expect(new Set(results)).toEqual(new Set([`job=${type} run=null`]))
      const shown = await history()
      const numbersOf = (fires: Fire[]) => fires.map(({ subRun }) => subRun?.number ?? 0)
      expect(shown.every(({ runId, outcome }) => runId === run.id && outcome === 'fired')).toBe(true)
      expect(numbersOf(shown)).toEqual(numbersOf(shown).toSorted((a, b) => b - a))
      expect(new Set(numbersOf(shown)).size).toBe(shown.length)
      expect(numbersOf(shown)).toEqual(expect.arrayContaining(numbers))
      expect((await app.client.fires.list({ job: jobId, kind: 'fire' }).page()).items).toEqual([])
      const told = async () =>
        (await app.client.runs.list({ job: jobId }).page()).items.map(({ id, trigger, error }) => ({
          id,
          trigger,
          error,
        }))
      expect(await told()).toEqual([{ id: run.id, trigger: 'call', error: null }])
      await app.call('disableJob', { jobId })
      const ended = await app.ended(run.id)
      expect(ended.state).toBe('stopped')
      const lines = app.linesOf(run.id, 'start')
      expect(portsOf(lines).size).toBe(1)
      // what is under way when it is told goes on; nothing begins after
      await pause(3_000)
      const settled = app.linesOf(run.id, 'start').length
      await pause(4_000)
      expect(app.linesOf(run.id, 'start')).toHaveLength(settled)
      expect(await told()).toHaveLength(1)
      const after = await history()
      const executed = new Set(app.linesOf(run.id, 'end').map(({ subInstanceId }) => subInstanceId))
      const succeeded = after.filter(({ subRun }) => subRun?.state === 'succeeded')
      expect(numbersOf(succeeded).filter((number) => !executed.has(number))).toEqual([])
      // what it has not told before it was stopped, nobody will
      expect(after.filter(({ subRun }) => subRun?.state === 'running')).toEqual([])
      printTable(`${type} each second, ${version}`, { executed: executed.size, 'in the fire history': after.length })
    },
  )

  it('a cron makes a run of its own for each of its times', async ({ expect }) => {
    const jobId = await app.saveJob('cron', {
      timeExpressionType: 'CRON',
      timeExpression: '0/3 * * * * ?',
      processorInfo: processor('Echo'),
    })
    const runs = await until('it was executed three times', async () => {
      const { items } = await app.client.runs.list({ job: jobId, state: 'succeeded' }).page()
      return items.length >= 3 ? items : undefined
    })
    await app.call('disableJob', { jobId })
    const times = runs.map(({ fireAt }) => Date.parse(fireAt ?? ''))
    expect(new Set(times).size).toBe(runs.length)
    expect(times.every((ms) => ms % 3_000 === 0)).toBe(true)
    for (const { id } of runs) expect(app.linesOf(id, 'start')).toHaveLength(1)
  })

  it('a delayed run starts when its delay is over', async ({ expect }) => {
    const jobId = await app.saveJob('later', { processorInfo: processor('Echo') })
    const beforeMs = Date.now()
    const runId = await app.runJob(jobId, 'x', 3_000)
    const afterMs = Date.now()
    const run = await app.ended(runId)
    const [line] = app.linesOf(runId, 'start')
    expect(run.state).toBe('succeeded')
    expect(line?.at).toBeGreaterThanOrEqual(beforeMs + 3_000)
    expect(Date.parse(run.dueAt)).toBeLessThanOrEqual(afterMs + 3_000)
  })

  it('a stop interrupts the processor, and the run is stopped', async ({ expect }) => {
    const jobId = await app.saveJob('slow', { processorInfo: processor('Slow'), jobParams: '120000' })
    const runId = await app.runJob(jobId)
    await until('it has begun', () => app.linesOf(runId, 'start').length > 0)
    await app.call('stopInstance', { instanceId: runId })
    expect((await app.ended(runId)).state).toBe('stopped')
    await until('the processor was interrupted', () => app.linesOf(runId, 'threw').length > 0)
  })

  it('a processor that ignores interrupts does not bring a stopped run back to life', async ({ expect }) => {
    const jobId = await app.saveJob('deaf', { processorInfo: processor('Deaf'), jobParams: '20000' })
    const runId = await app.runJob(jobId)
    await until('it has begun', () => app.linesOf(runId, 'start').length > 0)
    await app.call('stopInstance', { instanceId: runId })
    const stopped = await app.ended(runId)
    // it says every second that it runs
    await until('it has ended by itself', () => app.linesOf(runId, 'end').length > 0)
    await pause(2_000)
    expect(await app.client.runs.get(runId)).toMatchObject({ state: 'stopped', endedAt: stopped.endedAt, attempts: 1 })
  })

  it('a run that takes longer than its time limit is interrupted, and tried again with the whole limit', async ({
    expect,
  }) => {
    const jobId = await app.saveJob('too slow', {
      processorInfo: processor('Slow'),
      jobParams: '120000',
      instanceTimeLimit: 2_000,
      instanceRetryNum: 1,
    })
    const run = await app.ended(await app.runJob(jobId))
    expect(run).toMatchObject({ state: 'failed', attempts: 2 })
    expect(run.attemptHistory.map(({ outcome }) => outcome)).toEqual(['timed-out', 'timed-out'])
    await until('the processor was interrupted', () => app.linesOf(run.id, 'threw').length === 2)
  })

  it('a run is tried again as often as its job says, and each attempt is in its history', async ({ expect }) => {
    const jobId = await app.saveJob('at last', {
      processorInfo: processor('FailsFirst'),
      jobParams: '2',
      instanceRetryNum: 2,
    })
    const run = await app.ended(await app.runJob(jobId))
    expect(run).toMatchObject({ state: 'succeeded', result: 'at last', attempts: 3 })
    expect(run.attemptHistory.map(({ outcome }) => outcome)).toEqual(['failed', 'failed', 'succeeded'])
    expect(app.linesOf(run.id, 'start')).toHaveLength(3)
  })

  it('a task is tried again inside the worker, within one attempt', async ({ expect }) => {
    const jobId = await app.saveJob('inside', {
      processorInfo: processor('FailsFirst'),
      jobParams: '2',
      taskRetryNum: 2,
    })
    const run = await app.ended(await app.runJob(jobId))
    expect(run).toMatchObject({ state: 'succeeded', attempts: 1 })
    expect(app.linesOf(run.id, 'start')).toHaveLength(3)
  })

  it.for([
    ['returned', 'the job says fail'],
    ['throw', 'the job says throw'],
  ] as const)(
    'a failure that is %s: the run has failed after its retry, with the words of the processor',
    async ([how, says], { expect }) => {
      const jobId = await app.saveJob(`fails: ${how}`, {
        processorInfo: processor('Fails'),
        jobParams: how,
        instanceRetryNum: 1,
      })
      const run = await app.ended(await app.runJob(jobId))
      expect(run).toMatchObject({ state: 'failed', attempts: 2 })
      expect(run.error?.message).toContain(says)
    },
  )

  it('an Error, of which the worker itself never tells, is ended by the time limit', async ({ expect }) => {
    const jobId = await app.saveJob('error', { processorInfo: processor('ThrowsError'), instanceTimeLimit: 4_000 })
    const run = await app.ended(await app.runJob(jobId))
    expect(run).toMatchObject({ state: 'failed', attempts: 1 })
    expect(run.attemptHistory.map(({ outcome }) => outcome)).toEqual(['timed-out'])
  })

  it('a designated worker, by its address or its tag, is the only one that gets the runs', async ({ expect }) => {
    const targets = [
      [one.address, one],
      ['green', other],
    ] as const
    for (const [designatedWorkers, worker] of targets) {
      const jobId = await app.saveJob(`for ${designatedWorkers}`, {
        processorInfo: processor('Echo'),
        designatedWorkers,
      })
      const runIds = await Promise.all(Array.from({ length: 8 }, () => app.runJob(jobId)))
      for (const runId of runIds)
        expect(await app.ended(runId)).toMatchObject({ state: 'succeeded', worker: worker.address })
    }
  })

  it('a tag of the dispatch strategy chooses the worker', async ({ expect }) => {
    for (const config of ['tagEquals:blue', 'tagIn:red,blue']) {
      const jobId = await app.saveJob(config, {
        processorInfo: processor('Echo'),
        dispatchStrategy: 'SPECIFY',
        dispatchStrategyConfig: config,
      })
      const runIds = await Promise.all(Array.from({ length: 8 }, () => app.runJob(jobId)))
      for (const runId of runIds)
        expect(await app.ended(runId)).toMatchObject({ state: 'succeeded', worker: one.address })
    }
  })

  it('what a processor logs is the log of its run: in order, whole, with its worker', async ({ expect }) => {
    const jobId = await app.saveJob('talks', { processorInfo: processor('Talks') })
    const run = await app.ended(await app.runJob(jobId))
    // a worker sends what it has every 5 s, also after the end
    const lines = await until('all lines are there', async () => {
      const page = await app.client.runs.logs(run.id, { limit: 1000 })
      return page.lines.some(({ text }) => text === 'line 49') ? page.lines : undefined
    })
    const texts = lines.map(({ text }) => text)
    expect(texts.slice(0, 2)).toEqual(['info two «ünïcode» 中文 😀', 'first line\nsecond line\n\tthird line'])
    expect(texts[2]).toMatch(
      /^it broke: badly\n?.*IllegalStateException: outer[^]*Caused by: java.lang.RuntimeException: inner cause/,
    )
    expect(texts.slice(3)).toEqual(Array.from({ length: 50 }, (_, index) => `line ${index}`))
    expect(lines.slice(0, 4).map(({ level }) => level)).toEqual(['info', 'warn', 'error', 'info'])
    expect(new Set(lines.map(({ attempt }) => attempt))).toEqual(new Set([1]))
    expect(new Set(lines.map(({ worker }) => worker))).toEqual(new Set([run.worker]))
  })
})
