// At most once on a real database: what got lost is not run again, and every way out of `unknown` is taken once.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { JobInput, RunResolution } from '@oncejob/protocol'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { audit } from './retention/audit.ts'
import { holdStill, listEffects } from './storage/effects.ts'
import { dropRunPartition, momentOf } from './storage/partitions.ts'
import { sql } from './storage/sql.ts'
import { createRig, type Rig } from './testing/rig.ts'

let database: TestDatabase
let rig: Rig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createRig(database.db)
})
afterAll(() => database.close())

const signal = new AbortController().signal
const answersOf = async (answer: Promise<{ answers: { answer: string; code?: string }[] }>) =>
  (await answer).answers.map((one) => one.code ?? one.answer)
const succeeded = ({ runId, lease }: { runId: number; lease: number }) => ({
  reports: [{ runId, lease, outcome: 'succeeded' as const, result: 'late' }],
})
const reported = (
  { runId, lease }: { runId: number; lease: number },
  outcome: 'failed' | 'timed-out' | 'stopped',
  more: { code?: string; unfinished?: boolean; effect?: string; terminal?: boolean } = {},
) => {
  const { code = 'BROKEN', ...rest } = more
  return { reports: [{ runId, lease, outcome, error: { code, message: 'm' }, ...rest }] }
}

/** A worker of its own app that executes a run; at most once unless the job says otherwise. */
const claimed = async (job: Partial<JobInput> = {}) => {
  const appId = await rig.app()
  const jobId = await rig.job(appId, { guarantee: 'at-most-once', ...job })
  const { sessionId } = await rig.worker(appId)
  const runId = await rig.submit(appId, jobId)
  const { runs } = await rig.poll(appId, sessionId)
  expect(runs.map((run) => run.runId)).toEqual([runId])
  return { appId, jobId, sessionId, runId, run: runs[0]! }
}
/** The same, and its worker is gone. */
const unknown = async (job: Partial<JobInput> = {}) => {
  const made = await claimed(job)
  await rig.sessions.leave(made.appId, made.sessionId)
  expect(await rig.where(made.runId)).toEqual({ state: 'open', places: ['undecided'], attempts: ['lost'] })
  return made
}
const undecided = async (runId: number) =>
  (
    await rig.db.query<{ reason: string; effect: string | null; lease: number }>(
      sql`select reason, effect, lease from oncejob.run_undecided where run_id = ${runId}`,
    )
  )[0]
const runRow = async (runId: number) =>
  (
    await rig.db.query<{ state: string; result: string | null; error: string | null; decided_by: string | null }>(
      sql`select state, result, error, decided_by from oncejob.run where id = ${runId}`,
    )
  )[0]
const trailOf = async (runId: number): Promise<string[]> =>
  (
    await rig.db.query<{ action: string }>(
      sql`select action from oncejob.audit where target = ${`run/${runId}`} order by id`,
    )
  ).map((row) => row.action)
/** What another worker of the app gets. */
const offered = async (appId: number) => {
  const { sessionId } = await rig.worker(appId)
  return { sessionId, runs: (await rig.poll(appId, sessionId)).runs }
}
const makeOverdue = (runId: number) =>
  rig.db.query(sql`update oncejob.attempt set deadline_at = now() - interval '1 h' where run_id = ${runId}`)

describe('a run that is executed at most once', () => {
  test('is not run again when its worker is lost: it waits for a decision', async () => {
    const { appId, runId, run } = await unknown({ retry: { max: 5, maxLost: 100 } })
    expect(run.guarantee).toBe('at-most-once')
    expect(await undecided(runId)).toEqual({ reason: 'lost', effect: null, lease: run.lease })
    await rig.due.runOnce()
    await rig.limits.runOnce()
    await rig.reclaim.takeBack()
    expect((await offered(appId)).runs).toEqual([])
    expect(await rig.where(runId)).toMatchObject({ places: ['undecided'] })
  })
  test('is changed by no late report, effect or hand-back of the lost worker (I4)', async () => {
    const { appId, runId, run } = await unknown()
    for (const report of [succeeded(run), reported(run, 'failed'), reported(run, 'stopped')])
      expect(await answersOf(rig.sessions.report(appId, report))).toEqual(['LEASE_LOST'])
    const key = { appId, runId, lease: run.lease, name: 'mail' }
    await expect(rig.effects.begin(key)).rejects.toMatchObject({ code: 'LEASE_LOST' })
    await expect(rig.effects.end(key, '1')).rejects.toMatchObject({ code: 'LEASE_LOST' })
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['undecided'], attempts: ['lost'] })
  })
  test('is unknown when its time is over and its worker does not answer', async () => {
    const { runId } = await claimed({ attemptTimeoutMs: 60_000, runTimeoutMs: 60_000, retry: { max: 3 } })
    await makeOverdue(runId)
    await rig.overdue.runOnce()
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['undecided'], attempts: ['timed-out'] })
    expect(await undecided(runId)).toMatchObject({ reason: 'timed-out' })
  })
  test('is unknown when its worker reports a time-out that the processor did not heed', async () => {
    const { appId, runId, run } = await claimed({ retry: { max: 3, delayMs: 0 } })
    await rig.sessions.report(appId, reported(run, 'timed-out', { unfinished: true }))
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['undecided'], attempts: ['timed-out'] })
  })
  test('follows its retry policy when its worker says how the attempt ended', async () => {
    for (const outcome of ['failed', 'timed-out'] as const) {
      const { appId, runId, run } = await claimed({ retry: { max: 1, delayMs: 0 } })
      await rig.sessions.report(appId, reported(run, outcome))
      expect(await rig.where(runId)).toMatchObject({ state: 'open', places: ['ready'] })
    }
  })
  test('is run again when it was handed back: it never began', async () => {
    const { appId, runId, run } = await claimed()
    await rig.sessions.report(appId, { reports: [{ runId, lease: run.lease, outcome: 'handed-back' }] })
    expect(await rig.where(runId)).toMatchObject({ places: ['ready'] })
  })
  test('that was asked to stop ends as stopped, also when its worker is lost', async () => {
    const { appId, sessionId, runId } = await claimed()
    await rig.runs.stop(appId, runId, 'ada')
    await rig.sessions.leave(appId, sessionId)
    expect(await rig.where(runId)).toEqual({ state: 'stopped', places: [], attempts: ['lost'] })
  })
  test('gives its slot back while it waits for a decision', async () => {
    const { appId, jobId, sessionId, runId } = await claimed({ maxConcurrentRuns: 1 })
    const next = await rig.submit(appId, jobId)
    expect(await rig.where(next)).toMatchObject({ places: ['blocked'] })
    await rig.sessions.leave(appId, sessionId)
    await expect.poll(async () => (await rig.where(next)).places, { timeout: 20_000 }).toEqual(['ready'])
    expect(await rig.where(runId)).toMatchObject({ places: ['undecided'] })
  })
  test('keeps whoever waits for its end waiting, until it is decided', async () => {
    const { appId, runId } = await unknown()
    expect(await rig.runs.waitForEnd(runId, 1, signal)).toBe(false)
    const ended = rig.runs.waitForEnd(runId, 60_000, signal)
    await rig.runs.resolve(appId, runId, { as: 'succeeded' }, 'ada')
    expect(await ended).toBe(true)
  })
  test('keeps its partition from being dropped', async () => {
    const { runId } = await unknown()
    const places = sql`delete from oncejob.run_undecided where run_id <> ${runId}`
    const dropped = rig.db.transaction(async (tx) => {
      // nothing else is open for this moment
      for (const table of [sql`run_ready`, sql`run_later`, sql`run_blocked`, sql`attempt`])
        await tx.query(sql`delete from oncejob.${table}`)
      await tx.query(places)
      const answer = await dropRunPartition(tx, { from: 1, to: 1_000_001 }, await momentOf(tx))
      throw Object.assign(new Error('rolled back'), { answer })
    })
    await expect(dropped).rejects.toMatchObject({ answer: false })
  })
})

describe('a run that is executed at least once', () => {
  test('comes again when its worker is lost', async () => {
    const { appId, sessionId, runId } = await claimed({ guarantee: 'at-least-once' })
    await rig.sessions.leave(appId, sessionId)
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['ready'], attempts: ['lost'] })
  })
  test('is unknown when an effect of it is, whatever retries are left', async () => {
    const { appId, runId, run } = await claimed({ guarantee: 'at-least-once', retry: { max: 5 } })
    expect(run.guarantee).toBe('at-least-once')
    await rig.sessions.report(
      appId,
      reported(run, 'failed', { code: 'EFFECT_UNKNOWN', terminal: true, effect: 'mail' }),
    )
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['undecided'], attempts: ['failed'] })
    expect(await undecided(runId)).toMatchObject({ reason: 'effect', effect: 'mail' })
    // the same report once more
    const again = reported(run, 'failed', { code: 'EFFECT_UNKNOWN' })
    expect(await answersOf(rig.sessions.report(appId, again))).toEqual(['duplicate'])
  })
})

describe('a decision', () => {
  test('ends the run with the result that it says', async () => {
    const { appId, runId } = await unknown()
    const decision: RunResolution = { as: 'succeeded', result: { sent: 'yes' } }
    expect(await rig.runs.resolve(appId, runId, decision, 'ada')).toEqual({
      id: runId,
      state: 'succeeded',
      changed: true,
    })
    expect(await rig.where(runId)).toEqual({ state: 'succeeded', places: [], attempts: ['lost'] })
    expect(await runRow(runId)).toMatchObject({ result: '{"sent":"yes"}', error: null, decided_by: 'ada' })
    expect(await rig.runs.resolve(appId, runId, decision, 'bob')).toMatchObject({ state: 'succeeded', changed: false })
    for (const other of [{ as: 'succeeded', result: 1 }, { as: 'failed' }, { as: 'retry' }] as const)
      await expect(rig.runs.resolve(appId, runId, other, 'bob')).rejects.toMatchObject({
        code: 'RUN_NOT_UNKNOWN',
        facts: { state: 'succeeded' },
      })
    expect(await trailOf(runId)).toEqual(['run.resolve'])
  })
  test('ends it as failed, with the reason that it says', async () => {
    const { appId, runId } = await unknown()
    await rig.runs.resolve(appId, runId, { as: 'failed', message: 'nothing arrived' }, 'ada')
    expect(await runRow(runId)).toMatchObject({ state: 'failed', decided_by: 'ada' })
    expect(JSON.parse((await runRow(runId))?.error ?? '')).toEqual({
      code: 'DECIDED_FAILED',
      message: 'nothing arrived',
    })
    for (const same of [{ as: 'failed' }, { as: 'failed', message: 'nothing arrived' }] as const)
      expect(await rig.runs.resolve(appId, runId, same, 'ada')).toMatchObject({ state: 'failed', changed: false })
    await expect(rig.runs.resolve(appId, runId, { as: 'failed', message: 'other' }, 'ada')).rejects.toMatchObject({
      code: 'RUN_NOT_UNKNOWN',
    })
  })
  test('lets it be executed again, by a new attempt with a greater lease', async () => {
    const { appId, runId, run } = await unknown({ retry: { maxLost: 0 } })
    expect(await rig.runs.resolve(appId, runId, { as: 'retry' }, 'ada')).toEqual({
      id: runId,
      state: 'waiting',
      changed: true,
    })
    expect(await rig.runs.resolve(appId, runId, { as: 'retry' }, 'ada')).toMatchObject({ changed: false })
    const { sessionId, runs } = await offered(appId)
    expect(runs).toMatchObject([{ runId, attempt: 2 }])
    expect(runs[0]!.lease).toBeGreaterThan(run.lease)
    expect(await rig.runs.resolve(appId, runId, { as: 'retry' }, 'ada')).toMatchObject({
      state: 'running',
      changed: false,
    })
    // the old worker is still a stranger, and a second loss is a second question
    expect(await answersOf(rig.sessions.report(appId, succeeded(run)))).toEqual(['LEASE_LOST'])
    await rig.sessions.leave(appId, sessionId)
    expect(await rig.where(runId)).toEqual({ state: 'open', places: ['undecided'], attempts: ['lost', 'lost'] })
    await rig.runs.resolve(appId, runId, { as: 'retry' }, 'ada')
    const last = (await offered(appId)).runs[0]!
    expect(await answersOf(rig.sessions.report(appId, succeeded(last)))).toEqual(['accepted'])
    expect(await runRow(runId)).toMatchObject({ state: 'succeeded', decided_by: null })
    expect(await trailOf(runId)).toEqual(['run.resolve', 'run.resolve'])
  })
  test('to run it again waits for a slot of its job', async () => {
    const { appId, jobId, runId } = await unknown({ maxConcurrentRuns: 1 })
    const holder = await rig.submit(appId, jobId)
    expect(await rig.where(holder)).toMatchObject({ places: ['ready'] })
    await rig.runs.resolve(appId, runId, { as: 'retry' }, 'ada')
    expect(await rig.where(runId)).toMatchObject({ places: ['blocked'] })
    await rig.runs.cancel(appId, holder, 'ada')
    await expect.poll(async () => (await rig.where(runId)).places, { timeout: 20_000 }).toEqual(['ready'])
  })
  test('that ends the run arms the fixed delay that waits for it; one to run it again does not yet', async () => {
    const again = await claimed()
    await rig.db.query(sql`update oncejob.attempt set follows = true where run_id = ${again.runId}`)
    await rig.sessions.leave(again.appId, again.sessionId)
    const awaiting = (jobId: number, runId: number) =>
      rig.db.query(sql`
        update oncejob.schedule set kind = 'fixed-delay', expression = '1000', awaiting_run_id = ${runId} where job_id = ${jobId}`)
    const isArmed = async (jobId: number): Promise<boolean> => {
      const rows = await rig.db.query<{ next: Date | null }>(
        sql`select next_fire_at as next from oncejob.schedule where job_id = ${jobId}`,
      )
      return rows[0]!.next !== null
    }
    await awaiting(again.jobId, again.runId)
    await rig.runs.resolve(again.appId, again.runId, { as: 'retry' }, 'ada')
    const [ready] = await rig.db.query<{ follows: boolean }>(
      sql`select follows from oncejob.run_ready where run_id = ${again.runId}`,
    )
    expect([ready?.follows, await isArmed(again.jobId)]).toEqual([true, false])

    const { appId, jobId, runId } = await unknown()
    await awaiting(jobId, runId)
    await rig.runs.resolve(appId, runId, { as: 'failed' }, 'ada')
    await expect.poll(() => isArmed(jobId), { timeout: 20_000 }).toBe(true)
  })
  test('is made once, however many are made at the same moment', async () => {
    const { appId, runId } = await unknown()
    const asked = Array.from({ length: 12 }, (_, i) =>
      i % 4 === 3
        ? rig.runs.stop(appId, runId, `actor-${i}`)
        : rig.runs.resolve(
            appId,
            runId,
            i % 4 === 2 ? { as: 'failed', message: `${i}` } : { as: 'succeeded', result: i },
            `actor-${i}`,
          ),
    )
    const answers = await Promise.allSettled(asked)
    const changed = answers.filter((one) => one.status === 'fulfilled' && one.value.changed)
    expect(changed).toHaveLength(1)
    expect(await trailOf(runId)).toHaveLength(1)
  })
  test('is refused for a run that is not unknown, is not there, or belongs to another app', async () => {
    const { appId, runId } = await claimed()
    for (const as of ['succeeded', 'failed', 'retry'] as const) {
      await expect(rig.runs.resolve(appId, runId, { as }, 'ada')).rejects.toMatchObject({
        code: 'RUN_NOT_UNKNOWN',
        facts: { state: 'running' },
      })
      const strange = await unknown()
      await expect(rig.runs.resolve(appId, strange.runId, { as }, 'ada')).rejects.toMatchObject({
        code: 'RUN_NOT_FOUND',
      })
      expect(await rig.where(strange.runId)).toMatchObject({ places: ['undecided'] })
    }
    expect(await rig.where(runId)).toMatchObject({ places: ['attempt'] })
    const waiting = await rig.submit(appId, await rig.job(appId), { delayMs: 60_000 })
    await expect(rig.runs.resolve(appId, waiting, { as: 'retry' }, 'ada')).rejects.toMatchObject({
      code: 'RUN_NOT_UNKNOWN',
      facts: { state: 'waiting' },
    })
  })
  test('keeps no result that is too large', async () => {
    const { appId, runId } = await unknown()
    const result = 'x'.repeat(70_000)
    await expect(rig.runs.resolve(appId, runId, { as: 'succeeded', result }, 'ada')).rejects.toMatchObject({
      code: 'BODY_TOO_LARGE',
    })
    expect(await rig.where(runId)).toMatchObject({ places: ['undecided'] })
  })
  test('by stop or cancel ends it as stopped; a retry by hand then runs it again', async () => {
    for (const act of ['stop', 'cancel'] as const) {
      const { appId, runId } = await unknown()
      await expect(rig.runs.retry(appId, runId, 'ada')).rejects.toMatchObject({
        code: 'RUN_NOT_ENDED',
        facts: { state: 'unknown' },
      })
      expect(await rig.runs[act](appId, runId, 'ada')).toEqual({ id: runId, state: 'stopped', changed: true })
      expect(await runRow(runId)).toMatchObject({ state: 'stopped', decided_by: 'ada' })
      expect(await trailOf(runId)).toEqual([`run.${act}`])
      await rig.runs.retry(appId, runId, 'ada')
      expect(await runRow(runId)).toMatchObject({ state: 'open', decided_by: null })
      expect((await offered(appId)).runs).toMatchObject([{ runId, attempt: 2 }])
    }
  })
})

describe('an effect that is unknown', () => {
  /** A run whose only attempt began `mail` and is gone. */
  const begun = async (job: Partial<JobInput> = {}) => {
    const made = await claimed(job)
    const key = { appId: made.appId, runId: made.runId, lease: made.run.lease, name: 'mail' }
    expect(await rig.effects.begin(key)).toEqual({ state: 'new' })
    return made
  }
  const lost = async (job: Partial<JobInput> = {}) => {
    const made = await begun(job)
    await rig.sessions.leave(made.appId, made.sessionId)
    return made
  }
  const resolve = (
    made: { appId: number; runId: number },
    decision: { done: boolean; outcome?: unknown },
    name = 'mail',
  ) => rig.runs.resolveEffect({ appId: made.appId, runId: made.runId, name, actor: 'ada' }, decision)
  /** The next attempt asks for the effect. */
  const askedAgain = async ({ appId, runId }: { appId: number; runId: number }) => {
    await rig.runs.resolve(appId, runId, { as: 'retry' }, 'ada')
    const { runs } = await offered(appId)
    return rig.effects.begin({ appId, runId, lease: runs[0]!.lease, name: 'mail' })
  }
  const listed = (runId: number) => listEffects(rig.db, runId, undefined, 10)

  test('is an intent while its attempt lives, and is then listed as unknown', async () => {
    const made = await begun()
    const effect = { name: 'mail', lease: made.run.lease, attempt: 1, endedAt: null, decidedBy: null }
    expect(await listed(made.runId)).toMatchObject([{ ...effect, state: 'intent' }])
    await expect(resolve(made, { done: true })).rejects.toMatchObject({ code: 'RUN_RUNNING' })
    await rig.sessions.leave(made.appId, made.sessionId)
    expect(await listed(made.runId)).toMatchObject([{ ...effect, state: 'unknown' }])
    expect(await askedAgain(made)).toEqual({ state: 'unknown' })
  })
  test('that someone says was done gives its outcome to the next attempt', async () => {
    const made = await lost()
    expect(await resolve(made, { done: true, outcome: { id: 7 } })).toEqual({ name: 'mail', done: true, changed: true })
    expect(await resolve(made, { done: true, outcome: { id: 7 } })).toMatchObject({ changed: false })
    for (const other of [{ done: false }, { done: true }, { done: true, outcome: 8 }])
      await expect(resolve(made, other)).rejects.toMatchObject({ code: 'EFFECT_DONE' })
    expect(await listed(made.runId)).toMatchObject([
      { state: 'done', outcome: { id: 7 }, decidedBy: 'ada', endedAt: expect.any(String) },
    ])
    expect(await askedAgain(made)).toEqual({ state: 'done', outcome: '{"id":7}' })
    expect(await trailOf(made.runId)).toEqual(['effect.resolve', 'run.resolve'])
  })
  test('that someone says was not done is executed by the next attempt', async () => {
    const made = await lost()
    expect(await resolve(made, { done: false })).toEqual({ name: 'mail', done: false, changed: true })
    expect(await listed(made.runId)).toEqual([])
    await expect(resolve(made, { done: false })).rejects.toMatchObject({ code: 'EFFECT_NOT_FOUND' })
    expect(await askedAgain(made)).toEqual({ state: 'new' })
  })
  test('can be decided wherever the run waits, and when it has ended, but not of another app', async () => {
    const ready = await lost({ guarantee: 'at-least-once' })
    expect(await rig.where(ready.runId)).toMatchObject({ places: ['ready'] })
    expect(await resolve(ready, { done: true })).toMatchObject({ changed: true })
    const later = await begun({ guarantee: 'at-least-once', retry: { max: 1, delayMs: 60_000 } })
    await rig.sessions.report(later.appId, reported(later.run, 'failed'))
    expect(await rig.where(later.runId)).toMatchObject({ places: ['later'] })
    expect(await resolve(later, { done: true })).toMatchObject({ changed: true })
    const ended = await begun()
    await rig.sessions.report(ended.appId, reported(ended.run, 'failed'))
    expect(await rig.where(ended.runId)).toMatchObject({ state: 'failed' })
    const { appId } = await claimed()
    await expect(resolve({ appId, runId: ended.runId }, { done: true })).rejects.toMatchObject({
      code: 'RUN_NOT_FOUND',
    })
    await expect(resolve(ended, { done: true }, 'other')).rejects.toMatchObject({ code: 'EFFECT_NOT_FOUND' })
    expect(await resolve(ended, { done: false })).toMatchObject({ changed: true })
  })
  // the embedded database has one connection: there nobody can come in between
  test('is decided while nobody can claim the run', async ({ skip }) => {
    skip(rig.db.kind === 'embedded')
    const { appId, runId } = await lost({ guarantee: 'at-least-once' })
    await rig.db.transaction(async (tx) => {
      expect(await holdStill(tx, appId, runId)).toBe('still')
      expect((await offered(appId)).runs).toEqual([])
    })
    expect((await offered(appId)).runs).toMatchObject([{ runId }])
  })
})

test('after all of this the audit finds nothing', async () => {
  const report = await audit(rig.db, { graceMs: 5_000, patienceMs: 600_000 })
  expect(report.findings.filter(({ violations }) => violations > 0)).toEqual([])
})
