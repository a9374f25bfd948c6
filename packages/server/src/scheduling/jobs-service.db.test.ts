// Promises about jobs as people write them, on a real database.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { Refusal, type JobInput, type ScheduleInput } from '@oncejob/protocol'
import { jobView, type StoredJob } from '../storage/jobs.ts'
import { jobKeyOf, type JobFilter, type JobSort } from '../storage/jobs-list.ts'
import { sql } from '../storage/sql.ts'
import { createJobsService, type Caller, type JobsService } from './jobs-service.ts'

let database: TestDatabase
let service: JobsService
let caller: Caller
let other: Caller
let hints: number[] = []

const makeApp = async (name: string): Promise<Caller> => {
  const rows = await database.db.query<{ id: number }>(sql`
    insert into oncejob.app (namespace_id, name) select id, ${name} from oncejob.namespace where name = 'default' returning id`)
  return { appId: rows[0]!.id, actor: 'tester' }
}

beforeAll(async () => {
  database = await openTestDatabase()
  service = createJobsService({ db: database.db, hints: { jobChanged: (appId) => hints.push(appId) } })
})
afterAll(() => database.close())

let apps = 0
beforeEach(async () => {
  apps += 1
  caller = await makeApp(`app-${apps}`)
  other = await makeApp(`other-${apps}`)
  hints = []
})

const seen = (job: StoredJob) => ({ jobId: job.id, version: job.version })
const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work
    return 'none'
  } catch (error) {
    if (error instanceof Refusal) return error.code
    throw error
  }
}
const refusalOf = async (work: Promise<unknown>): Promise<Refusal> => {
  try {
    await work
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
  throw new Error('it was not refused')
}
const auditOf = async (jobId: number) =>
  database.db.query<{ actor: string; action: string; detail: unknown; app_id: number }>(
    sql`select actor, action, detail, app_id from oncejob.audit where target = ${`job/${jobId}`} order by id`,
  )
interface ScheduleRow {
  next_fire_at: Date | null
  anchor_at: Date
  awaiting_run_id: number | null
  version: number
  kind: string
  expression: string
}
const scheduleOf = async (jobId: number): Promise<ScheduleRow> => {
  const rows = await database.db.query<ScheduleRow>(sql`select * from oncejob.schedule where job_id = ${jobId}`)
  return rows[0]!
}
const nowMs = async (): Promise<number> => {
  const rows = await database.db.query<{ at: Date }>(sql`select now() as at`)
  return rows[0]!.at.getTime()
}
const simple = (change: Partial<JobInput> = {}): JobInput => ({ name: 'mail', processor: 'send-mail', ...change })
const daily: ScheduleInput = { trigger: { kind: 'cron', expression: '0 3 * * *' }, zone: 'Europe/Berlin' }
const farAway: ScheduleInput = { trigger: { kind: 'once', at: '2999-01-01T00:00:00Z' } }
const full: JobInput = {
  name: 'everything',
  description: 'All fields',
  processor: 'p',
  processorType: 'external',
  mode: 'standalone',
  params: { b: [1, { x: null }], a: 'ü\0' },
  schedule: {
    trigger: { kind: 'daily', everyMs: 60_000, from: '08:00:00', to: '18:00:00', daysOfWeek: [5, 1] },
    zone: 'America/New_York',
    startAt: '2030-01-01T01:00:00+01:00',
    endAt: '2031-01-01T00:00:00.5Z',
    jitterMs: 5,
    misfire: { policy: 'run-all', maxRuns: 7, maxLatenessMs: 9_000_000_000 },
    overlap: 'queue',
    dst: { gap: 'skip', overlap: 'both' },
  },
  enabled: true,
  priority: -7,
  maxConcurrentRuns: 3,
  taskConcurrency: 9,
  queueTimeoutMs: 0,
  attemptTimeoutMs: 5_000_000_000,
  runTimeoutMs: 6_000_000_000,
  retry: {
    max: 4,
    backoff: 'fixed',
    delayMs: 10,
    maxDelayMs: 20,
    jitter: 0.25,
    retryOn: ['A', 'B"\\,{}'],
    noRetryOn: ['C'],
    maxLost: 2,
  },
  guarantee: 'at-most-once',
  taskRetryMax: 3,
  workers: {
    labels: { zone: 'eu', 'a/b~c': '"' },
    designated: ['w2', 'w1'],
    minFreeCpuCores: 0.5,
    minFreeMemoryGb: 1.25,
    minFreeDiskGb: 2,
    maxWorkers: 2,
    strategy: 'random',
  },
  notify: ['ops'],
  alarm: { threshold: 1, windowMs: 2, silenceMs: 3 },
  log: { level: 'debug', type: 'none', loggerName: 'l' },
  trackerBehavior: 'paddling',
  tag: 't',
  extra: 'e',
}

describe('create', () => {
  it('a job that says only its name and processor gets every default, version 1 and no fire', async () => {
    const job = await service.create(caller, simple())
    expect(jobView(job)).toMatchObject({
      app: `app-${apps}`,
      name: 'mail',
      version: 1,
      mode: 'standalone',
      params: null,
      enabled: true,
      retry: {
        max: 0,
        backoff: 'exponential',
        delayMs: 1000,
        maxDelayMs: 3_600_000,
        jitter: 0.1,
        retryOn: [],
        noRetryOn: [],
        maxLost: 10,
      },
      workers: {
        labels: {},
        designated: [],
        minFreeCpuCores: 0,
        minFreeMemoryGb: 0,
        minFreeDiskGb: 0,
        maxWorkers: 0,
        strategy: 'health-first',
      },
      schedule: { trigger: { kind: 'none' }, zone: 'UTC', startAt: null, endAt: null, overlap: 'allow' },
      nextFireAt: null,
    })
  })

  it('every field comes back as it was given', async () => {
    const job = await service.create(caller, full)
    const view = jobView(await service.get(caller.appId, String(job.id)))
    const { schedule, ...rest } = full
    expect(view).toMatchObject(rest)
    expect(view.schedule).toEqual({
      ...schedule,
      trigger: { kind: 'daily', everyMs: 60_000, from: '08:00:00', to: '18:00:00', daysOfWeek: [1, 5] },
      startAt: '2030-01-01T00:00:00.000Z',
      endAt: '2031-01-01T00:00:00.500Z',
    })
    // the first Tuesday of 2030 is the 1st; daysOfWeek has Monday and Friday; New York is at UTC-5
    expect(view.nextFireAt).toBe('2030-01-04T13:00:00.000Z')
  })

  it.each<ScheduleInput['trigger']>([
    { kind: 'none' },
    { kind: 'cron', expression: '0 0 12 ? * MON-FRI 2099' },
    { kind: 'fixed-rate', everyMs: 50 },
    { kind: 'fixed-delay', delayMs: 9_007_199_254_740_000 },
    { kind: 'once', at: '2999-12-31T23:59:59+02:00' },
  ])('the trigger %j comes back as it was given', async (trigger) => {
    const job = await service.create(caller, simple({ schedule: { trigger } }))
    expect(job.definition.schedule.trigger).toEqual(trigger)
  })

  it('writes the job and who made it together, and tells the servers', async () => {
    const job = await service.create(caller, simple())
    expect(await auditOf(job.id)).toEqual([
      { actor: 'tester', action: 'job.create', detail: { name: 'mail' }, app_id: caller.appId },
    ])
    expect(hints).toEqual([caller.appId])
  })

  it('a name is unique in its app, not among apps, and free again after a delete', async () => {
    const job = await service.create(caller, simple())
    expect(await codeOf(service.create(caller, simple()))).toBe('NAME_TAKEN')
    await service.create(other, simple())
    await service.remove(caller, 'mail', seen(job))
    const next = await service.create(caller, simple())
    expect(next.id).toBeGreaterThan(job.id)
  })

  it('two creations of one name at once: one is made, the other is refused', async () => {
    const codes = await Promise.all([
      codeOf(service.create(caller, simple())),
      codeOf(service.create(caller, simple())),
    ])
    expect(codes.toSorted()).toEqual(['NAME_TAKEN', 'none'])
  })

  it.each([
    ['JOB_INVALID', simple({ mode: 'map' })],
    ['JOB_INVALID', simple({ retry: { delayMs: 10, maxDelayMs: 5 } })],
    ['JOB_INVALID', simple({ name: 'a\0b' })],
    ['SCHEDULE_INVALID', simple({ schedule: { trigger: { kind: 'cron', expression: '1 2 3' } } })],
    ['SCHEDULE_INVALID', simple({ schedule: { ...daily, zone: 'Mars/Olympus' } })],
    ['SCHEDULE_INVALID', simple({ schedule: { ...daily, startAt: '2030-01-01T00:00:00' } })],
    ['SCHEDULE_INVALID', simple({ schedule: { trigger: { kind: 'once', at: '2001-01-01T00:00:00Z' } } })],
  ])('refuses with %s and leaves nothing behind', async (code, input) => {
    expect(await codeOf(service.create(caller, input))).toBe(code)
    expect(await service.list(caller.appId, { filter: {}, sort: 'id', after: undefined, limit: 10 })).toEqual([])
    expect(hints).toEqual([])
  })

  it('a disabled job does not fire, and may have a date that is over', async () => {
    const job = await service.create(
      caller,
      simple({ enabled: false, schedule: { trigger: { kind: 'once', at: '2001-01-01T00:00:00Z' } } }),
    )
    expect(job.nextFireAt).toBeNull()
  })

  it('a rate and a delay without a start fire at once', async () => {
    const rate = await service.create(
      caller,
      simple({ schedule: { trigger: { kind: 'fixed-rate', everyMs: 3_600_000 } } }),
    )
    const delay = await service.create(
      caller,
      simple({ name: 'd', schedule: { trigger: { kind: 'fixed-delay', delayMs: 3_600_000 } } }),
    )
    for (const job of [rate, delay]) {
      const row = await scheduleOf(job.id)
      expect(row.next_fire_at).toEqual(row.anchor_at)
    }
  })

  it('a delay with a start fires first at its start', async () => {
    const schedule: ScheduleInput = { trigger: { kind: 'fixed-delay', delayMs: 50 }, startAt: '2999-01-01T00:00:00Z' }
    const job = await service.create(caller, simple({ schedule }))
    expect(job.nextFireAt?.toISOString()).toBe('2999-01-01T00:00:00.000Z')
  })
})

describe('look up', () => {
  it('finds by id and by name, and never in another app', async () => {
    const job = await service.create(caller, simple())
    expect((await service.get(caller.appId, String(job.id))).id).toBe(job.id)
    expect((await service.get(caller.appId, 'mail')).id).toBe(job.id)
    expect(await codeOf(service.get(other.appId, String(job.id)))).toBe('JOB_NOT_FOUND')
    expect(await codeOf(service.get(other.appId, 'mail'))).toBe('JOB_NOT_FOUND')
    expect(await codeOf(service.get(caller.appId, 'mail\0'))).toBe('JOB_NOT_FOUND')
    expect(await codeOf(service.get(caller.appId, '99999999999999999999'))).toBe('JOB_NOT_FOUND')
  })

  it('of a name that is all digits the id wins', async () => {
    const first = await service.create(caller, simple())
    const second = await service.create(caller, simple({ name: String(first.id) }))
    const third = await service.create(caller, simple({ name: '888888888888' }))
    expect((await service.get(caller.appId, String(first.id))).id).toBe(first.id)
    expect((await service.get(caller.appId, '888888888888')).id).toBe(third.id)
    expect(second.definition.name).toBe(String(first.id))
  })

  it('a name that several PowerJob jobs have is refused as ambiguous', async () => {
    const ids = [await service.create(caller, simple()), await service.create(caller, simple({ name: 'x' }))].map(
      ({ id }) => id,
    )
    await database.db.query(
      sql`update oncejob.job set origin = 'powerjob', name = 'same' where id = any(${ids}::bigint[])`,
    )
    expect((await refusalOf(service.get(caller.appId, 'same'))).facts).toEqual({ ids })
    expect(await codeOf(service.get(caller.appId, 'same'))).toBe('NAME_AMBIGUOUS')
  })
})

describe('change', () => {
  it('a patch changes what it names and nothing else, and the audit entry says what', async () => {
    const job = await service.create(caller, full)
    const changed = await service.patch(caller, 'everything', seen(job), { priority: 3, retry: { max: 1 } })
    expect(changed.version).toBe(2)
    expect(changed.definition).toEqual({
      ...job.definition,
      priority: 3,
      retry: {
        max: 1,
        backoff: 'exponential',
        delayMs: 1000,
        maxDelayMs: 3_600_000,
        jitter: 0.1,
        retryOn: [],
        noRetryOn: [],
        maxLost: 10,
      },
    })
    const [, entry] = await auditOf(job.id)
    expect(entry).toMatchObject({ action: 'job.update' })
    expect(entry?.detail).toEqual({
      changed: [
        '/priority',
        '/retry/max',
        '/retry/backoff',
        '/retry/delayMs',
        '/retry/maxDelayMs',
        '/retry/jitter',
        '/retry/retryOn',
        '/retry/noRetryOn',
        '/retry/maxLost',
      ],
    })
  })

  it('a replacement takes defaults for what it leaves out', async () => {
    const job = await service.create(caller, full)
    const replaced = await service.replace(caller, String(job.id), '*', simple({ name: 'renamed' }))
    const fresh = await service.create(caller, simple({ name: 'fresh' }))
    expect({ ...replaced.definition, name: 'fresh' }).toEqual(fresh.definition)
    expect(replaced.version).toBe(2)
  })

  it('a change of nothing keeps the version and writes no entry', async () => {
    const job = await service.create(caller, full)
    hints = []
    expect((await service.replace(caller, 'everything', seen(job), full)).version).toBe(1)
    expect((await service.patch(caller, 'everything', seen(job), {})).version).toBe(1)
    expect(await auditOf(job.id)).toHaveLength(1)
    expect(hints).toEqual([])
  })

  it('of two edits of the same version one wins, and the other learns what differs', async () => {
    const job = await service.create(caller, simple())
    for (let i = 1; i < 7; i += 1) await service.patch(caller, 'mail', '*', { priority: i })
    const at7 = { jobId: job.id, version: 7 }
    const outcomes = await Promise.allSettled([
      service.patch(caller, 'mail', at7, { priority: 100, tag: 'one' }),
      service.patch(caller, 'mail', at7, { priority: 200, tag: 'two' }),
    ])
    const won = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    const lost = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []))
    expect(won.map(({ version }) => version)).toEqual([8])
    const current = won[0]!.definition
    const [mine, theirs] = current.priority === 100 ? [200, 100] : [100, 200]
    expect(lost).toEqual([expect.objectContaining({ code: 'VERSION_CONFLICT' })])
    expect((lost[0] as Refusal).facts).toEqual({
      expected: 7,
      current: 8,
      changes: [
        { path: '/priority', yours: mine, current: theirs },
        { path: '/tag', yours: mine === 200 ? 'two' : 'one', current: current.tag },
      ],
    })
    expect((await service.get(caller.appId, 'mail')).version).toBe(8)
  })

  it('an ETag of another job is a conflict', async () => {
    const job = await service.create(caller, simple())
    const refusal = await refusalOf(service.patch(caller, 'mail', { jobId: job.id + 1, version: 1 }, { priority: 1 }))
    expect(refusal.facts).toMatchObject({ expected: null, current: 1 })
  })

  it('a new name must be free', async () => {
    await service.create(caller, simple())
    await service.create(caller, simple({ name: 'b' }))
    expect(await codeOf(service.patch(caller, 'b', '*', { name: 'mail' }))).toBe('NAME_TAKEN')
    expect((await service.get(caller.appId, 'b')).version).toBe(1)
  })

  it('a job of another app cannot be changed', async () => {
    const job = await service.create(caller, simple())
    for (const ref of ['mail', String(job.id)]) {
      expect(await codeOf(service.patch(other, ref, '*', { priority: 1 }))).toBe('JOB_NOT_FOUND')
      expect(await codeOf(service.remove(other, ref, '*'))).toBe('JOB_NOT_FOUND')
      expect(await codeOf(service.setEnabled(other, ref, false))).toBe('JOB_NOT_FOUND')
      expect(await codeOf(service.copy(other, ref, {}))).toBe('JOB_NOT_FOUND')
    }
  })

  it('a deleted job is gone, its schedule is off, and its runs stay', async () => {
    const job = await service.create(caller, simple({ schedule: daily }))
    await database.db.query(sql`
      insert into oncejob.run (id, app_id, job_id, priority, due_at) values (nextval('oncejob.run_id_seq'), ${caller.appId}, ${job.id}, 0, now())`)
    expect(await codeOf(service.remove(caller, 'mail', { jobId: job.id, version: 2 }))).toBe('VERSION_CONFLICT')
    await service.remove(caller, 'mail', seen(job))
    expect(await codeOf(service.get(caller.appId, String(job.id)))).toBe('JOB_NOT_FOUND')
    expect(await codeOf(service.remove(caller, String(job.id), '*'))).toBe('JOB_NOT_FOUND')
    expect(await scheduleOf(job.id)).toMatchObject({ next_fire_at: null, version: 2 })
    const runs = await database.db.query<{ state: string }>(sql`select state from oncejob.run where job_id = ${job.id}`)
    expect(runs).toEqual([{ state: 'open' }])
    expect((await auditOf(job.id)).map(({ action }) => action)).toEqual(['job.create', 'job.delete'])
  })
})

describe('schedule', () => {
  it('every edit counts the version of the schedule up, so that a scheduler under way misses', async () => {
    const job = await service.create(caller, simple({ schedule: daily }))
    expect((await scheduleOf(job.id)).version).toBe(1)
    await service.patch(caller, 'mail', '*', { priority: 1 })
    expect((await scheduleOf(job.id)).version).toBe(2)
    await service.setEnabled(caller, 'mail', false)
    expect((await scheduleOf(job.id)).version).toBe(3)
  })

  it('an edit beside the timing leaves a due fire due', async () => {
    const job = await service.create(caller, simple({ schedule: daily }))
    await database.db.query(
      sql`update oncejob.schedule set next_fire_at = '2020-01-01T00:00:00Z' where job_id = ${job.id}`,
    )
    const changed = await service.patch(caller, 'mail', '*', {
      description: 'x',
      schedule: { ...daily, jitterMs: 5, overlap: 'skip' },
    })
    expect(changed.nextFireAt?.toISOString()).toBe('2020-01-01T00:00:00.000Z')
  })

  it('a new timing is computed from now', async () => {
    const job = await service.create(caller, simple({ schedule: daily }))
    await database.db.query(
      sql`update oncejob.schedule set next_fire_at = '2020-01-01T00:00:00Z' where job_id = ${job.id}`,
    )
    const changed = await service.patch(caller, 'mail', '*', { schedule: farAway })
    expect(changed.nextFireAt?.toISOString()).toBe('2999-01-01T00:00:00.000Z')
    expect(await scheduleOf(job.id)).toMatchObject({ kind: 'once', expression: '2999-01-01T00:00:00Z' })
  })

  it('the anchor of a rate stays over edits until the trigger changes', async () => {
    const trigger = { kind: 'fixed-rate', everyMs: 86_400_000 } as const
    const job = await service.create(caller, simple({ schedule: { trigger } }))
    await database.db.query(
      sql`update oncejob.schedule set anchor_at = '2020-01-01T00:00:00Z' where job_id = ${job.id}`,
    )
    await service.patch(caller, 'mail', '*', { schedule: { trigger, endAt: '2999-01-01T00:00:00Z' } })
    const kept = await scheduleOf(job.id)
    expect(kept.anchor_at.toISOString()).toBe('2020-01-01T00:00:00.000Z')
    expect(kept.next_fire_at?.toISOString()).toMatch(/T00:00:00\.000Z$/)
    await service.patch(caller, 'mail', '*', { schedule: { trigger: { ...trigger, everyMs: 3_600_000 } } })
    expect((await scheduleOf(job.id)).anchor_at.getTime()).toBeGreaterThan(kept.anchor_at.getTime())
  })

  it('fires that were due while the job was disabled are not made up for', async () => {
    const job = await service.create(caller, simple({ schedule: daily }))
    await database.db.query(
      sql`update oncejob.schedule set next_fire_at = '2020-01-01T00:00:00Z' where job_id = ${job.id}`,
    )
    expect((await service.setEnabled(caller, 'mail', false)).nextFireAt).toBeNull()
    const beganMs = await nowMs()
    const enabled = await service.setEnabled(caller, 'mail', true)
    expect(enabled.nextFireAt!.getTime()).toBeGreaterThanOrEqual(beganMs)
  })

  it('enabling what is enabled changes nothing: no version, no entry, no new fire', async () => {
    const job = await service.create(caller, simple({ schedule: daily }))
    hints = []
    await database.db.query(
      sql`update oncejob.schedule set next_fire_at = '2020-01-01T00:00:00Z' where job_id = ${job.id}`,
    )
    const again = await service.setEnabled(caller, 'mail', true)
    expect(again).toMatchObject({ version: 1, nextFireAt: new Date('2020-01-01T00:00:00Z') })
    expect(await auditOf(job.id)).toHaveLength(1)
    expect(hints).toEqual([])
    await service.setEnabled(caller, 'mail', false)
    expect((await service.setEnabled(caller, 'mail', false)).version).toBe(2)
    expect((await auditOf(job.id)).map(({ action }) => action)).toEqual(['job.create', 'job.disable'])
  })

  it('enabling a job whose last date is over is no error, and it does not fire', async () => {
    const past: ScheduleInput = { trigger: { kind: 'once', at: '2001-01-01T00:00:00Z' } }
    await service.create(caller, simple({ enabled: false, schedule: past }))
    expect(await service.setEnabled(caller, 'mail', true)).toMatchObject({ nextFireAt: null, version: 2 })
  })

  it('a delay goes on waiting for its run over edits and over disable and enable', async () => {
    const trigger = { kind: 'fixed-delay', delayMs: 60_000 } as const
    const job = await service.create(caller, simple({ schedule: { trigger } }))
    await database.db.query(
      sql`update oncejob.schedule set next_fire_at = null, awaiting_run_id = 5 where job_id = ${job.id}`,
    )
    await service.patch(caller, 'mail', '*', { schedule: { trigger: { ...trigger, delayMs: 5000 } } })
    await service.setEnabled(caller, 'mail', false)
    await service.setEnabled(caller, 'mail', true)
    expect(await scheduleOf(job.id)).toMatchObject({ next_fire_at: null, awaiting_run_id: 5 })
    await service.patch(caller, 'mail', '*', { schedule: daily })
    const cron = await scheduleOf(job.id)
    expect(cron.awaiting_run_id).toBeNull()
    expect(cron.next_fire_at).not.toBeNull()
  })

  it('a delay that was disabled between two runs begins anew when it is enabled', async () => {
    const trigger = { kind: 'fixed-delay', delayMs: 60_000 } as const
    const job = await service.create(caller, simple({ schedule: { trigger, startAt: '2020-01-01T00:00:00Z' } }))
    await service.setEnabled(caller, 'mail', false)
    const beganMs = await nowMs()
    const enabled = await service.setEnabled(caller, 'mail', true)
    expect(enabled.nextFireAt!.getTime()).toBeGreaterThanOrEqual(beganMs)
    expect(job.id).toBe(enabled.id)
  })

  it('a job whose definition no longer passes can still be switched off', async () => {
    const job = await service.create(caller, simple())
    await database.db.query(sql`update oncejob.job set mode = 'broadcast' where id = ${job.id}`)
    expect((await service.setEnabled(caller, 'mail', false)).definition.enabled).toBe(false)
    expect(await codeOf(service.patch(caller, 'mail', '*', { priority: 5 }))).toBe('JOB_INVALID')
  })
})

describe('routes', () => {
  const routes = async (ids: readonly number[]) =>
    (await Promise.all(ids.map(async (id) => service.get(caller.appId, String(id))))).map(({ routeId }) => routeId)

  it('jobs that ask the same share a route, whatever the order in which they say it', async () => {
    const a = await service.create(
      caller,
      simple({ name: 'a', workers: { labels: { x: '1', y: '2' }, designated: ['m', 'n'] } }),
    )
    const b = await service.create(
      caller,
      simple({ name: 'b', workers: { designated: ['n', 'm', 'n'], labels: { y: '2', x: '1' } } }),
    )
    const c = await service.create(caller, simple({ name: 'c', workers: { labels: { x: '1' } } }))
    const [ra, rb, rc] = await routes([a.id, b.id, c.id])
    expect(ra).toBe(rb)
    expect(rc).not.toBe(ra)
  })

  it('jobs with a maximum of workers share with nobody, and routes are never shared among apps', async () => {
    const a = await service.create(caller, simple({ name: 'a', workers: { maxWorkers: 1 } }))
    const b = await service.create(caller, simple({ name: 'b', workers: { maxWorkers: 1 } }))
    const c = await service.create(other, simple({ name: 'c' }))
    const d = await service.create(caller, simple({ name: 'd' }))
    expect(new Set([a, b, c, d].map(({ routeId }) => routeId)).size).toBe(4)
  })

  it('jobs that are made at once and ask the same get one route', async () => {
    const names = Array.from({ length: 8 }, (_, i) => `job-${i}`)
    const made = await Promise.all(names.map((name) => service.create(caller, simple({ name, processor: 'same' }))))
    expect(new Set(made.map(({ routeId }) => routeId)).size).toBe(1)
  })

  it('runs that wait follow their job to its new route, those of other jobs stay', async () => {
    const job = await service.create(caller, simple())
    const twin = await service.create(caller, simple({ name: 'twin' }))
    const put = async (table: 'ready' | 'later' | 'blocked', runId: number, jobId: number) => {
      const values = sql`${runId}, ${job.routeId}, 0, now(), ${jobId}, 0, false`
      if (table === 'ready') {
        await database.db.query(
          sql`insert into oncejob.run_ready (run_id, route_id, priority, run_at, job_id, attempts, follows) values (${values})`,
        )
      }
      if (table === 'later') {
        await database.db.query(
          sql`insert into oncejob.run_later (run_id, route_id, priority, run_at, job_id, attempts, follows, needs_slot) values (${values}, false)`,
        )
      }
      if (table === 'blocked') {
        await database.db.query(
          sql`insert into oncejob.run_blocked (run_id, route_id, priority, run_at, job_id, attempts, follows) values (${values})`,
        )
      }
    }
    await put('ready', 9001, job.id)
    await put('later', 9002, job.id)
    await put('blocked', 9003, job.id)
    await put('ready', 9004, twin.id)
    const { routeId } = await service.patch(caller, 'mail', '*', { workers: { labels: { gpu: 'yes' } } })
    expect(routeId).not.toBe(job.routeId)
    const rows = await database.db.query<{ run_id: number; route_id: number }>(sql`
      select run_id, route_id from oncejob.run_ready union all select run_id, route_id from oncejob.run_later
      union all select run_id, route_id from oncejob.run_blocked order by 1`)
    expect(rows).toEqual([
      { run_id: 9001, route_id: routeId },
      { run_id: 9002, route_id: routeId },
      { run_id: 9003, route_id: routeId },
      { run_id: 9004, route_id: job.routeId },
    ])
    await database.db.script(
      'delete from oncejob.run_ready; delete from oncejob.run_later; delete from oncejob.run_blocked',
    )
  })
})

describe('copy', () => {
  it('a copy is disabled, has a name of its own and everything else of its source', async () => {
    const job = await service.create(caller, full)
    const one = await service.copy(caller, 'everything', {})
    const two = await service.copy(caller, String(job.id), {})
    const named = await service.copy(caller, 'everything', { name: 'mine', enabled: true })
    expect([one, two, named].map(({ definition }) => definition.name)).toEqual([
      'everything (copy)',
      'everything (copy 2)',
      'mine',
    ])
    expect(one).toMatchObject({ version: 1, nextFireAt: null })
    expect(named.nextFireAt).not.toBeNull()
    expect(one.definition).toEqual({ ...job.definition, name: 'everything (copy)', enabled: false })
    expect(await auditOf(one.id)).toMatchObject([
      { action: 'job.copy', detail: { name: 'everything (copy)', from: `job/${job.id}` } },
    ])
  })

  it('a copy with a taken name is refused, and a long name still fits', async () => {
    await service.create(caller, simple({ name: 'n'.repeat(255) }))
    expect(await codeOf(service.copy(caller, 'n'.repeat(255), { name: 'n'.repeat(255) }))).toBe('NAME_TAKEN')
    expect((await service.copy(caller, 'n'.repeat(255), {})).definition.name.length).toBeLessThanOrEqual(255)
  })
})

describe('export and import', () => {
  it('what was exported from one app makes the same jobs in another, and a repeat changes nothing', async () => {
    await service.create(caller, full)
    await service.create(caller, simple({ schedule: daily }))
    const file = await service.export(caller.appId, {})
    expect(file.jobs.map(({ name }) => name)).toEqual(['everything', 'mail'])
    const first = await service.import(other, JSON.parse(JSON.stringify(file)) as typeof file)
    expect(first.jobs.map(({ outcome }) => outcome)).toEqual(['created', 'created'])
    hints = []
    const second = await service.import(other, file)
    expect(second).toEqual({ jobs: first.jobs.map((job) => ({ ...job, outcome: 'unchanged' })) })
    expect(hints).toEqual([])
    expect(await service.export(other.appId, {})).toEqual(file)
    expect(await auditOf(first.jobs[0]!.id)).toHaveLength(1)
  })

  it('the answer is in the order of the file, whatever happened to each job', async () => {
    await service.create(caller, simple({ name: 'b' }))
    await service.create(caller, simple({ name: 'a' }))
    const result = await service.import(caller, {
      format: 'oncejob.jobs/1',
      jobs: [simple({ name: 'c' }), simple({ name: 'a', priority: 5 }), simple({ name: 'b' })],
    })
    expect(result.jobs.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual([
      'c created',
      'a updated',
      'b unchanged',
    ])
    expect((await service.get(caller.appId, 'a')).version).toBe(2)
  })

  it('one bad job refuses the file, says which it is, and nothing is made', async () => {
    const jobs = [simple({ name: 'good' }), simple({ name: 'bad', schedule: { ...daily, zone: 'Nowhere' } })]
    const refusal = await refusalOf(service.import(caller, { format: 'oncejob.jobs/1', jobs }))
    expect(refusal.code).toBe('SCHEDULE_INVALID')
    expect(refusal.message).toContain('"bad"')
    expect(await codeOf(service.get(caller.appId, 'good'))).toBe('JOB_NOT_FOUND')
    expect(await codeOf(service.import(caller, { format: 'oncejob.jobs/1', jobs: [simple(), simple()] }))).toBe(
      'JOB_INVALID',
    )
  })

  it('two imports of one file at once make each job once', async () => {
    const file = {
      format: 'oncejob.jobs/1' as const,
      jobs: Array.from({ length: 20 }, (_, i) => simple({ name: `j${i}`, processor: `p${i}` })),
    }
    const reversed = { ...file, jobs: file.jobs.toReversed() }
    const results = await Promise.all([service.import(caller, file), service.import(caller, reversed)])
    const outcomes = results.flatMap(({ jobs }) => jobs.map(({ outcome }) => outcome))
    expect(outcomes.filter((outcome) => outcome === 'created')).toHaveLength(20)
    expect(outcomes.filter((outcome) => outcome === 'unchanged')).toHaveLength(20)
    expect((await service.export(caller.appId, {})).jobs).toHaveLength(20)
  })

  it('a job whose last fire is over is imported, and does not fire', async () => {
    const jobs = [simple({ schedule: { trigger: { kind: 'once', at: '2001-01-01T00:00:00Z' } } })]
    await service.import(caller, { format: 'oncejob.jobs/1', jobs })
    expect((await service.get(caller.appId, 'mail')).nextFireAt).toBeNull()
  })
})

describe('list', () => {
  const pages = async (sort: JobSort, filter: JobFilter = {}, limit = 2): Promise<string[]> => {
    const names: string[] = []
    let after: ReturnType<typeof jobKeyOf> | undefined
    for (;;) {
      const page = await service.list(caller.appId, { filter, sort, after, limit })
      names.push(...page.map(({ definition }) => definition.name))
      const last = page.at(-1)
      if (page.length < limit || last === undefined) return names
      after = jobKeyOf(sort, last)
    }
  }
  const make = async () => {
    await service.create(caller, simple({ name: 'b', tag: 'x', schedule: farAway }))
    await service.create(caller, simple({ name: 'a', description: '100% sure', processor: 'Other' }))
    await service.create(caller, simple({ name: 'd', enabled: false, schedule: daily }))
    await service.create(caller, simple({ name: 'c', tag: 'x', schedule: daily }))
    await service.create(caller, simple({ name: 'e' }))
    await service.create(other, simple({ name: 'foreign' }))
    await service.remove(caller, String((await service.create(caller, simple({ name: 'gone' }))).id), '*')
  }

  it('every order gives every job of the app exactly once over its pages', async () => {
    await make()
    expect(await pages('id')).toEqual(['b', 'a', 'd', 'c', 'e'])
    expect(await pages('-id')).toEqual(['e', 'c', 'd', 'a', 'b'])
    expect(await pages('name')).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(await pages('-name')).toEqual(['e', 'd', 'c', 'b', 'a'])
    await service.patch(caller, 'a', '*', { priority: 1 })
    await database.db.query(
      sql`update oncejob.job set updated_at = '2020-01-01T00:00:00Z' where app_id = ${caller.appId} and name <> 'a'`,
    )
    expect(await pages('updatedAt')).toEqual(['b', 'd', 'c', 'e', 'a'])
    expect(await pages('-updatedAt')).toEqual(['a', 'e', 'c', 'd', 'b'])
    expect(await pages('nextFireAt')).toEqual(['c', 'b', 'a', 'd', 'e'])
  })

  it('filters narrow, alone and together, and what people type has no wildcards', async () => {
    await make()
    expect(await pages('name', { tag: 'x' })).toEqual(['b', 'c'])
    expect(await pages('name', { tag: 'x', kind: 'cron' })).toEqual(['c'])
    expect(await pages('name', { enabled: false })).toEqual(['d'])
    expect(await pages('name', { processor: 'Other' })).toEqual(['a'])
    expect(await pages('name', { name: 'e' })).toEqual(['e'])
    expect(await pages('name', { q: 'oTHER' })).toEqual(['a'])
    expect(await pages('name', { q: '0%' })).toEqual(['a'])
    expect(await pages('name', { q: '_' })).toEqual([])
    expect(await pages('name', { q: '\\' })).toEqual([])
  })
})
