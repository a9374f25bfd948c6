// Promises about jobs of this wire: every field comes back as it was sent, updates keep what the contract says (6.2),
// and what the native API changes is shown.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { definitionOf, patchedDefinition, type JobDefinition } from '../runs/job-definition.ts'
import { WireError } from './call.ts'
import { wireJobOf, writtenJob, type KnownJob } from './job-codec.ts'
import { checkAlarm, completeJob, readJob, type WireJob } from './job-request.ts'
import { anyJob, runsOf, sentJob } from './testing/jobs.ts'

const zone = 'Europe/Berlin'
const read = (sent: Record<string, unknown>): WireJob => {
  const { id: _, ...job } = { id: null, ...completeJob(readJob(sent), true) }
  return job
}
/** Saves a job, as the database gives it back. */
const save = (sent: Record<string, unknown>, current?: KnownJob): KnownJob => {
  const written = writtenJob(read(sent), current, zone)
  return JSON.parse(JSON.stringify({ powerjob: null, ...written }))
}
const shown = (sent: Record<string, unknown>, current?: KnownJob): WireJob => wireJobOf(save(sent, current))
const noUsers = (ids: unknown) => (Array.isArray(ids) && ids.length === 0 ? null : ids)
const says = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    if (error instanceof WireError) return `${error.javaClass}: ${error.message}`
    throw error
  }
  return 'nothing'
}

/** What a saved job must show. */
const expected = (sent: Record<string, unknown>): Record<string, unknown> => ({
  ...sent,
  lifeCycle: sent['lifeCycle'] ?? { start: null, end: null },
  notifyUserIds: noUsers(sent['notifyUserIds']),
})

describe('round trips', () => {
  it('every field of every request comes back as it was sent', () => {
    fc.assert(
      fc.property(anyJob, (sent) => {
        expect(shown(sent)).toEqual(expected(sent))
      }),
      runsOf(1000),
    )
  })

  it('an update shows the second request, whatever the first one was, except what it keeps', () => {
    fc.assert(
      fc.property(anyJob, anyJob, (first, second) => {
        const kept = Object.fromEntries(
          ['notifyUserIds', 'alarmConfig', 'logConfig', 'advancedRuntimeConfig'].map((name) => [
            name,
            noUsers(second[name] ?? first[name]),
          ]),
        )
        // an empty list clears
        if (Array.isArray(second['notifyUserIds'])) kept['notifyUserIds'] = noUsers(second['notifyUserIds'])
        expect(shown(second, save(first))).toEqual({ ...expected(second), ...kept })
      }),
      runsOf(1000),
    )
  })

  it('saving what is shown changes nothing', () => {
    fc.assert(
      fc.property(anyJob, (sent) => {
        const job = save(sent)
        expect(save({ ...wireJobOf(job) }, job)).toEqual(job)
      }),
      runsOf(500),
    )
  })

  it('the job of a plain client needs nothing beside the definition', () => {
    const job = save(
      sentJob({
        timeExpressionType: 'CRON',
        timeExpression: '0 30 2 * * ?',
        jobParams: 'p',
        tag: 't',
        maxInstanceNum: 3,
      }),
    )
    expect(job.powerjob).toBeNull()
    expect(job.definition).toMatchObject({
      name: 'nightly',
      processor: 'com.acme.Nightly',
      params: 'p',
      maxConcurrentRuns: 3,
      attemptTimeoutMs: null,
      runTimeoutMs: null,
      schedule: { trigger: { kind: 'cron', expression: '0 30 2 * * ?' }, zone, overlap: 'fail' },
    })
  })
})

describe('limits of runs', () => {
  const limits = ({ definition }: KnownJob) => [definition.maxConcurrentRuns, definition.schedule.overlap]
  it('no maximum is no limit, a maximum fails what comes on top, and short intervals have one run at a time', () => {
    expect(limits(save(sentJob()))).toEqual([0, 'allow'])
    expect(limits(save(sentJob({ maxInstanceNum: -1 })))).toEqual([0, 'allow'])
    expect(limits(save(sentJob({ maxInstanceNum: 4 })))).toEqual([4, 'fail'])
    const rate = { timeExpressionType: 'FIXED_RATE', timeExpression: '5000' }
    expect(limits(save(sentJob(rate)))).toEqual([1, 'fail'])
    expect(shown(sentJob(rate)).maxInstanceNum).toBe(0)
    expect(limits(save(sentJob(), save(sentJob(rate))))).toEqual([0, 'allow'])
  })

  it('an overlap policy that was chosen natively stays as long as the limit does', () => {
    const definition = definitionOf({
      name: 'n',
      processor: 'p',
      maxConcurrentRuns: 2,
      schedule: { trigger: { kind: 'none' }, overlap: 'queue' },
    })
    const native: KnownJob = { definition, powerjob: null }
    expect(limits(save(sentJob({ maxInstanceNum: 2 }), native))).toEqual([2, 'queue'])
    expect(limits(save(sentJob({ maxInstanceNum: 3 }), native))).toEqual([3, 'fail'])
    const skipping = { definition: { ...definition, maxConcurrentRuns: 0 }, powerjob: null }
    expect(wireJobOf(skipping).maxInstanceNum).toBe(1)
    expect(limits(save(sentJob({ maxInstanceNum: 1 }), skipping))).toEqual([0, 'queue'])
  })
})

describe('a time limit', () => {
  it('is that of each attempt', () => {
    const { definition } = save(sentJob({ instanceTimeLimit: 60_000 }))
    expect(definition).toMatchObject({ attemptTimeoutMs: 60_000, runTimeoutMs: null })
  })

  it('of a whole run is shown, and stays one when it comes back as it was', () => {
    const { definition } = save(sentJob())
    const native = { definition: { ...definition, runTimeoutMs: 5_000 }, powerjob: null }
    expect(wireJobOf(native).instanceTimeLimit).toBe(5_000)
    const same = save(sentJob({ instanceTimeLimit: 5_000 }), native)
    expect(same.definition).toMatchObject({ attemptTimeoutMs: null, runTimeoutMs: 5_000 })
    const other = save(sentJob({ instanceTimeLimit: 6_000 }), native)
    expect(other.definition).toMatchObject({ attemptTimeoutMs: 6_000, runTimeoutMs: null })
  })
})

describe('an update', () => {
  const first = save(
    sentJob({
      jobDescription: 'd',
      jobParams: 'p',
      instanceTimeLimit: 60_000,
      instanceRetryNum: 1,
      minCpuCores: 1.5,
      designatedWorkers: 'blue,127.0.0.1:27777',
      notifyUserIds: [1, 2],
      extra: 'x',
      dispatchStrategy: 'SPECIFY',
      dispatchStrategyConfig: 'tagIn:a',
      lifeCycle: { start: 1_795_304_785_565, end: 4_795_391_186_565 },
      alarmConfig: { alertThreshold: 3, statisticWindowLen: 60, silenceWindowLen: 300 },
      tag: 't1',
      logConfig: { type: 4, level: 1, loggerName: 'L' },
      advancedRuntimeConfig: { taskTrackerBehavior: 11 },
    }),
  )

  it('clears what it leaves out, and keeps users, alarm, log and runtime settings', () => {
    const second = shown(sentJob({ jobName: 'full2' }), first)
    expect(second).toMatchObject({
      jobName: 'full2',
      jobDescription: null,
      jobParams: null,
      instanceTimeLimit: 0,
      instanceRetryNum: 0,
      minCpuCores: 0,
      designatedWorkers: null,
      extra: null,
      dispatchStrategy: 'HEALTH_FIRST',
      dispatchStrategyConfig: null,
      lifeCycle: { start: null, end: null },
      tag: null,
      notifyUserIds: [1, 2],
      alarmConfig: { alertThreshold: 3, statisticWindowLen: 60, silenceWindowLen: 300 },
      logConfig: { type: 4, level: 1, loggerName: 'L' },
      advancedRuntimeConfig: { taskTrackerBehavior: 11 },
    })
  })

  it('clears the users by an empty list', () => {
    expect(shown(sentJob({ notifyUserIds: [] }), first).notifyUserIds).toBeNull()
  })

  const native: JobDefinition = definitionOf({
    name: 'native',
    processor: 'p',
    params: { a: [1] },
    priority: 7,
    guarantee: 'at-most-once',
    queueTimeoutMs: 5,
    retry: { max: 2, backoff: 'exponential', delayMs: 3, jitter: 0.5, retryOn: ['X'] },
    workers: { labels: { zone: 'eu' }, strategy: 'least-loaded', designated: ['a,b'] },
    notify: ['ops', '12'],
    alarm: { threshold: 1, windowMs: 1500, silenceMs: 1 },
    schedule: {
      trigger: { kind: 'cron', expression: '0 3 13 * 5' },
      zone: 'Asia/Tokyo',
      jitterMs: 9,
      misfire: { policy: 'run-all' },
      dst: { gap: 'skip' },
    },
  })

  it('leaves what this wire does not know, or shows less exactly, as it was', () => {
    const job: KnownJob = { definition: native, powerjob: null }
    const again = { ...wireJobOf(job) }
    expect(again).toMatchObject({
      jobParams: '{"a":[1]}',
      timeExpressionType: 'CRON',
      timeExpression: '0 0 3 13 * FRI',
      notifyUserIds: [12],
      alarmConfig: { alertThreshold: 1, statisticWindowLen: 2, silenceWindowLen: 1 },
      dispatchStrategy: 'HEALTH_FIRST',
    })
    expect(save(again, job).definition).toEqual(native)
    const changed = save({ ...again, timeExpression: '0 0 4 13 * FRI', tag: 'x' }, job).definition
    expect(changed).toEqual({
      ...native,
      tag: 'x',
      schedule: { ...native.schedule, trigger: { kind: 'cron', expression: '0 0 4 13 * FRI', days: 'both' } },
    })
  })

  it('a zone comes with the first expression on the clock, and stays', () => {
    const call = save(sentJob())
    expect(call.definition.schedule.zone).toBe('UTC')
    const cron = save(sentJob({ timeExpressionType: 'CRON', timeExpression: '0 0 3 * * ?' }), call)
    expect(cron.definition.schedule.zone).toBe(zone)
    const moved: KnownJob = {
      ...cron,
      definition: { ...cron.definition, schedule: { ...cron.definition.schedule, zone: 'Asia/Tokyo' } },
    }
    const later = save(sentJob({ timeExpressionType: 'CRON', timeExpression: '0 0 4 * * ?' }), moved)
    expect(later.definition.schedule.zone).toBe('Asia/Tokyo')
  })
})

describe('what the native API changes', () => {
  const job = save(
    sentJob({
      timeExpressionType: 'WORKFLOW',
      timeExpression: 'x',
      concurrency: 0,
      designatedWorkers: ' a , b',
      dispatchStrategy: 'SPECIFY',
      dispatchStrategyConfig: 'tagIn:a',
      logConfig: { type: 1, level: 2, loggerName: null },
    }),
  )
  const after = (patch: Parameters<typeof patchedDefinition>[1]): WireJob =>
    wireJobOf({ ...job, definition: patchedDefinition(job.definition, patch) })

  it('is shown instead of what was sent here, and nothing else changes', () => {
    const before = wireJobOf(job)
    const { schedule, workers } = job.definition
    expect(after({ description: 'new' })).toEqual({ ...before, jobDescription: 'new' })
    expect(after({ schedule: { ...schedule, trigger: { kind: 'fixed-rate', everyMs: 300_000 } } })).toEqual({
      ...before,
      timeExpressionType: 'FIXED_RATE',
      timeExpression: '300000',
    })
    expect(after({ taskConcurrency: 8 })).toEqual({ ...before, concurrency: 8 })
    expect(after({ workers: { ...workers, designated: ['c'], strategy: 'health-first' } })).toEqual({
      ...before,
      designatedWorkers: 'c',
      dispatchStrategy: 'HEALTH_FIRST',
    })
    expect(after({ log: { level: 'error' } })).toEqual({
      ...before,
      logConfig: { type: 1, level: 4, loggerName: null },
    })
  })
})

describe('required fields', () => {
  const names = ['jobName', 'appId', 'processorInfo', 'executeType', 'processorType', 'timeExpressionType'] as const
  const missing = (sent: Record<string, unknown>): string =>
    says(() => completeJob(readJob(sent), sent['appId'] !== undefined))

  it('the first that is missing is told, in the order of the contract', () => {
    const sent: Record<string, unknown> = {}
    for (const name of names) {
      expect(missing(sent)).toBe(`PowerJobException: ${name} can't be empty`)
      sent[name] = sentJob()[name]
    }
    expect(missing(sent)).toBe('nothing')
  })

  it('an empty text is missing, and one of nothing but spaces is not', () => {
    expect(missing(sentJob({ jobName: '' }))).toBe("PowerJobException: jobName can't be empty")
    expect(missing(sentJob({ processorInfo: '' }))).toBe("PowerJobException: processorInfo can't be empty")
    expect(missing(sentJob({ jobName: ' ' }))).toBe('nothing')
  })

  it('an alarm with a number missing is refused', () => {
    const alarm = (alarmConfig: unknown) => says(() => checkAlarm(read(sentJob({ alarmConfig }))))
    expect(alarm({ alertThreshold: 3 })).toBe('PowerJobException: illegal alarm config!')
    expect(alarm({})).toBe('PowerJobException: illegal alarm config!')
    expect(alarm({ alertThreshold: 3, statisticWindowLen: 1, silenceWindowLen: 0 })).toBe('nothing')
    expect(alarm(null)).toBe('nothing')
  })

  it('defaults fill what is absent or null, and the traps of primitives hold', () => {
    const { maxInstanceNum: _, concurrency: __, ...rest } = sentJob({ enable: null, minCpuCores: null })
    expect(read({ ...rest, instanceRetryNum: null, dispatchStrategy: null })).toMatchObject({
      maxInstanceNum: 0,
      concurrency: 5,
      instanceRetryNum: 0,
      dispatchStrategy: 'HEALTH_FIRST',
      enable: false,
      minCpuCores: 0,
    })
    const { enable: ___, ...absent } = sentJob()
    expect(read(absent).enable).toBe(true)
  })
})
