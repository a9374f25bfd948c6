// Promises about the fire history: fires and sub-runs in one order, page by page, without gaps and without repeats.
import type { Fire, FireKind, FireOutcome, JobInput } from '@oncejob/protocol'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createJobsService } from '../scheduling/jobs-service.ts'
import { fireKeyOf, listFiresOfApp, listFiresOfJob, type FireKey, type FireListing } from './fires-read.ts'
import { keepSubRuns, type SubRun } from './java-attempts.ts'
import { sql } from './sql.ts'

let database: TestDatabase
let appId: number
let otherAppId: number
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

const makeApp = async (name: string): Promise<number> => {
  const [row] = await database.db.query<{ id: number }>(sql`
    insert into oncejob.app (namespace_id, name) select id, ${name} from oncejob.namespace where name = 'default' returning id`)
  return row!.id
}
let apps = 0
beforeEach(async () => {
  apps += 1
  appId = await makeApp(`app-${apps}`)
  otherAppId = await makeApp(`other-${apps}`)
})

const makeJob = async (name: string, app = appId, change: Partial<JobInput> = {}): Promise<number> => {
  const service = createJobsService({ db: database.db, hints: { jobChanged: () => undefined } })
  return (await service.create({ appId: app, actor: 'tester' }, { name, processor: 'send', ...change })).id
}
const makeRun = async (jobId: number, app = appId): Promise<number> => {
  const [row] = await database.db.query<{ id: number }>(sql`
    insert into oncejob.run (id, app_id, job_id, priority, due_at)
    values (nextval('oncejob.run_id_seq'), ${app}, ${jobId}, 0, now()) returning id`)
  return row!.id
}
/** A live attempt of the run; the answer is its lease. */
const makeAttempt = async (runId: number, jobId: number): Promise<number> => {
  const [row] = await database.db.query<{ lease: number }>(sql`
    insert into oncejob.attempt (run_id, lease, session_id, app_id, job_id, number, follows, claimed_at)
    values (${runId}, nextval('oncejob.lease_seq'), 1, ${appId}, ${jobId}, 1, false, now())
    on conflict (run_id) do update set lease = excluded.lease returning lease`)
  return row!.lease
}
const makeFire = (jobId: number, fireAt: string, outcome: FireOutcome = 'skipped') =>
  database.db.query(sql`
    insert into oncejob.fire (schedule_id, fire_at, job_id, outcome, run_id, reason, covers)
    select id, ${fireAt}::timestamptz, ${jobId}, ${outcome}, ${outcome === 'fired' ? 5 : null}, ${outcome === 'fired' ? null : 'because'}, 1
    from oncejob.schedule where job_id = ${jobId}`)

const at = (second: number): string => `2026-01-01T00:00:${String(second).padStart(2, '0')}.000Z`
const told = (number: number, second: number, more: Partial<SubRun> = {}): SubRun => ({
  number,
  startedMs: Date.parse(at(second)),
  finishedMs: Date.parse(at(second)) + 100,
  status: 5,
  result: 'ok',
  ...more,
})
const underWay = { finishedMs: null, status: 2, result: null }
const everything: FireListing = { kind: undefined, outcome: undefined, before: undefined, limit: 100 }
type List = (listing: FireListing) => Promise<Fire[]>
const ofJob =
  (jobId: number): List =>
  (listing) =>
    listFiresOfJob(database.db, jobId, listing)
const ofApp: List = (listing) => listFiresOfApp(database.db, appId, listing)

/** All of a listing, page by page as the API reads it. */
const paged = async (list: List, listing: FireListing, size: number, between?: () => Promise<unknown>) => {
  const seen: Fire[] = []
  for (let before: FireKey | undefined; ;) {
    const found = await list({ ...listing, before, limit: size + 1 })
    const page = found.slice(0, size)
    seen.push(...page)
    if (found.length <= size) return seen
    before = fireKeyOf(page.at(-1)!)
    await between?.()
  }
}

describe('the fire history', () => {
  it('has the fires of a job and of an app, newest first, over pages, with a filter', async () => {
    const [a, b] = [await makeJob('a'), await makeJob('b')]
    await makeFire(await makeJob('foreign', otherAppId), at(9))
    for (const second of [1, 2, 3]) await makeFire(a, at(second), second === 2 ? 'fired' : 'skipped')
    for (const second of [2, 3, 4]) await makeFire(b, at(second))
    expect(await ofJob(a)({ ...everything, outcome: 'fired' })).toEqual([
      {
        jobId: a,
        scheduleId: expect.any(Number),
        fireAt: at(2),
        outcome: 'fired',
        runId: 5,
        reason: null,
        covers: 1,
        recordedAt: expect.stringMatching(/Z$/),
        subRun: null,
      },
    ])
    const names = (fires: Fire[]) => fires.map((fire) => `${fire.jobId === a ? 'a' : 'b'}${fire.fireAt.slice(18, 19)}`)
    expect(names(await paged(ofJob(a), everything, 1))).toEqual(['a3', 'a2', 'a1'])
    expect(names(await paged(ofApp, everything, 2))).toEqual(['b4', 'b3', 'a3', 'b2', 'a2', 'a1'])
  })

  it('shows each execution that a Java worker told of, among the fires, with its run, its end and its result', async () => {
    const jobId = await makeJob('often')
    const runId = await makeRun(jobId)
    const lease = await makeAttempt(runId, jobId)
    await makeFire(jobId, at(1), 'fired')
    await keepSubRuns(database.db, runId, lease, [
      told(3, 4, underWay),
      told(2, 3, { status: 4, result: 'TOO_MUCH_INSTANCE' }),
      told(1, 2, { result: 'x'.repeat(2_000) }),
    ])
    const shown = await ofJob(jobId)(everything)
    expect(shown.map(({ subRun }) => subRun)).toEqual([
      { number: 3, lease, state: 'running', endedAt: null, result: null },
      { number: 2, lease, state: 'failed', endedAt: '2026-01-01T00:00:03.100Z', result: 'TOO_MUCH_INSTANCE' },
      { number: 1, lease, state: 'succeeded', endedAt: '2026-01-01T00:00:02.100Z', result: 'x'.repeat(1_000) },
      null,
    ])
    expect(shown[0]).toMatchObject({ jobId, fireAt: at(4), outcome: 'fired', runId, reason: null, covers: 1 })
    expect(Math.abs(Date.parse(shown[0]!.recordedAt) - Date.now())).toBeLessThan(600_000)
    expect(new Set(shown.map(({ scheduleId }) => scheduleId)).size).toBe(1)
    expect(await ofApp(everything)).toEqual(shown)
    // its end is told later, and then stays
    await keepSubRuns(database.db, runId, lease, [told(3, 4, { result: 'done' })])
    await keepSubRuns(database.db, runId, lease, [told(3, 4, { status: 4, result: 'late' })])
    expect((await ofJob(jobId)(everything))[0]?.subRun).toMatchObject({ state: 'succeeded', result: 'done' })
    expect((await ofJob(jobId)({ ...everything, kind: 'fire' })).map(({ runId: of }) => of)).toEqual([5])
    expect(await ofJob(jobId)({ ...everything, kind: 'sub-run' })).toHaveLength(3)
    expect(await ofJob(jobId)({ ...everything, outcome: 'fired' })).toHaveLength(4)
    expect(await ofApp({ ...everything, outcome: 'skipped' })).toEqual([])
    expect(await ofApp({ ...everything, kind: 'sub-run', outcome: 'skipped' })).toEqual([])
    expect(await ofJob(jobId)({ ...everything, kind: 'sub-run', outcome: 'missed' })).toEqual([])
  })

  it('does not call running what its worker will not tell of any more', async () => {
    const jobId = await makeJob('fast')
    const runId = await makeRun(jobId)
    const first = await makeAttempt(runId, jobId)
    const states = async () => (await ofJob(jobId)(everything)).map(({ subRun }) => [subRun?.number, subRun?.state])
    await keepSubRuns(database.db, runId, first, [told(2, 2, underWay), told(1, 1, underWay)])
    expect(await states()).toEqual([
      [2, 'running'],
      [1, 'running'],
    ])
    // its last ten are 2 to 11
    await keepSubRuns(database.db, runId, first, [told(11, 11, underWay)])
    expect(await states()).toEqual([
      [11, 'running'],
      [2, 'running'],
      [1, 'unknown'],
    ])
    // the run is taken back and begins anew elsewhere, with numbers from 1
    const second = await makeAttempt(runId, jobId)
    await keepSubRuns(database.db, runId, second, [told(1, 12, underWay)])
    expect(await states()).toEqual([
      [1, 'running'],
      [11, 'unknown'],
      [2, 'unknown'],
      [1, 'unknown'],
    ])
    await database.db.query(sql`delete from oncejob.attempt where run_id = ${runId}`)
    expect((await states()).map(([, state]) => state)).toEqual(['unknown', 'unknown', 'unknown', 'unknown'])
  })

  it('has one entry for what is told twice, also in one answer, and none for a run that is not there', async () => {
    const jobId = await makeJob('twice')
    const runId = await makeRun(jobId)
    await keepSubRuns(database.db, runId, 7, [told(1, 1), told(1, 1), told(2, 2)])
    await keepSubRuns(database.db, runId, 7, [told(2, 2), told(1, 1)])
    await keepSubRuns(database.db, runId + 1_000, 7, [told(1, 1)])
    expect((await ofApp(everything)).map(({ subRun }) => subRun?.number)).toEqual([2, 1])
  })

  it('of a deleted job stays in that of its app, and is of no other app', async () => {
    const jobId = await makeJob('gone')
    const runId = await makeRun(jobId)
    await keepSubRuns(database.db, runId, 1, [told(1, 1)])
    await database.db.query(sql`update oncejob.job set deleted_at = now() where id = ${jobId}`)
    expect(await ofApp(everything)).toHaveLength(1)
    expect(await listFiresOfApp(database.db, otherAppId, everything)).toEqual([])
  })
})

describe('pages of fires and sub-runs', () => {
  const seedText = process.env['ONCEJOB_SEED']
  const settings = {
    numRuns: Number(process.env['ONCEJOB_RUNS'] ?? 40),
    interruptAfterTimeLimit: 120_000,
    ...(seedText === undefined ? {} : { seed: Number(seedText) }),
  }
  // few times, so that many are equal, also across jobs, runs and attempts
  const second = fc.integer({ min: 1, max: 3 })
  const job = fc.nat({ max: 2 })
  const fires = fc.uniqueArray(
    fc.record({ job, second, outcome: fc.constantFrom<FireOutcome>('fired', 'skipped', 'missed') }),
    { maxLength: 9, selector: (fire) => `${fire.job} ${fire.second}` },
  )
  const subRuns = fc.uniqueArray(
    fc.record({
      job,
      run: fc.nat({ max: 1 }),
      lease: fc.integer({ min: 1, max: 2 }),
      number: fc.integer({ min: 1, max: 5 }),
      second,
    }),
    { maxLength: 40, size: 'max', selector: (sub) => `${sub.job} ${sub.run} ${sub.lease} ${sub.number}` },
  )
  const asked = fc.record({
    of: fc.option(job, { nil: undefined, freq: 1 }),
    kind: fc.constantFrom<FireKind | undefined>(undefined, undefined, 'fire', 'sub-run'),
    outcome: fc.constantFrom<FireOutcome | undefined>(undefined, undefined, 'fired', 'skipped'),
    size: fc.constantFrom(1, 1, 2, 3, 5),
  })

  it('have each entry once and in one order, whatever is equal, and whatever comes while they are read', async () => {
    const jobIds = [await makeJob('a'), await makeJob('b'), await makeJob('c')]
    const runIds: number[][] = []
    for (const jobId of jobIds) runIds.push([await makeRun(jobId), await makeRun(jobId)])
    let later = 10
    /** While someone turns pages, newer entries appear and ends are told. */
    const meanwhile = async (): Promise<void> => {
      later += 1
      await keepSubRuns(database.db, runIds[0]![0]!, 1, [told(later * 10, later)])
      await makeFire(jobIds[1]!, at(later), 'fired')
      await database.db.query(sql`update oncejob.powerjob_sub_run set finished_at = started_at, status = 4`)
    }
    const property = fc.asyncProperty(fires, subRuns, asked, async (made, repeated, { of, kind, outcome, size }) => {
      await database.db.script('delete from oncejob.fire; delete from oncejob.powerjob_sub_run')
      later = 10
      for (const fire of made) await makeFire(jobIds[fire.job]!, at(fire.second), fire.outcome)
      for (const sub of repeated)
        await keepSubRuns(database.db, runIds[sub.job]![sub.run]!, sub.lease, [told(sub.number, sub.second)])
      const expected = [
        ...made
          .filter((fire) => kind !== 'sub-run' && (outcome ?? fire.outcome) === fire.outcome)
          .map((fire) => ({ job: fire.job, keys: [fire.second, jobIds[fire.job]!, 0, 0, 0] })),
        ...repeated
          .filter(() => kind !== 'fire' && (outcome ?? 'fired') === 'fired')
          .map((sub) => ({
            job: sub.job,
            keys: [sub.second, jobIds[sub.job]!, runIds[sub.job]![sub.run]!, sub.lease, sub.number],
          })),
      ]
        .filter((entry) => of === undefined || entry.job === of)
        .map(({ keys }) => keys)
        .toSorted((one, other) => {
          const differs = one.findIndex((value, i) => value !== other[i])
          return differs === -1 ? 0 : other[differs]! - one[differs]!
        })
      const list = of === undefined ? ofApp : ofJob(jobIds[of]!)
      const seen = await paged(list, { ...everything, kind, outcome }, size, meanwhile)
      expect(
        seen.map((fire) => {
          const [fireAt, ...keys] = fireKeyOf(fire)
          return [Number(fireAt.slice(17, 19)), ...keys]
        }),
      ).toEqual(expected)
    })
    await fc.assert(property, settings)
  })
})
