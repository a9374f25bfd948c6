// Run keys on a real database (I8): every policy for open and ended runs, waiting behind, resets, retries, batches, retention.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { KeyPolicy, OnOpen } from '@oncejob/protocol'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { systemClock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { createRunKeySweeper } from '../requests/run-key-sweeper.ts'
import { audit } from '../retention/audit.ts'
import { whyWaiting } from '../runs/why.ts'
import { dropRunPartition, listRunPartitions, lockPartitions, momentOf } from '../storage/partitions.ts'
import { getRun } from '../storage/runs-read.ts'
import { sql } from '../storage/sql.ts'
import { waitingOf } from '../storage/waiting-read.ts'
import { createRig, followUp, keyedSubmission, silence, type Rig } from '../testing/rig.ts'

let database: TestDatabase
let rig: Rig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createRig(database.db)
})
afterAll(() => database.close())
// whatever a test did, the invariants hold
afterEach(async () => {
  const { findings } = await audit(database.db, { graceMs: 5_000, patienceMs: 60_000 })
  expect(findings.filter(({ violations }) => violations > 0)).toEqual([])
})

type Work = Awaited<ReturnType<typeof rig.poll>>['runs'][number]

/** An app with a worker and a job, and calls with the key "k" of that job. */
const world = async (input: Parameters<Rig['job']>[1] = {}) => {
  const appId = await rig.app()
  const jobId = await rig.job(appId, input)
  const { sessionId } = await rig.worker(appId)
  const held: Work[] = []
  const report = async (run: { runId: number; lease: number }, outcome: 'succeeded' | 'failed' | 'stopped') => {
    const one = { runId: run.runId, lease: run.lease }
    const { answers } = await rig.sessions.report(appId, {
      reports: [
        outcome === 'succeeded' ? { ...one, outcome } : { ...one, outcome, error: { code: 'X', message: 'x' } },
      ],
    })
    const place = held.findIndex(({ lease }) => lease === run.lease)
    if (place !== -1) held.splice(place, 1)
    // what follows an end goes on beside the answer
    await followUp(rig)
    return answers[0]!.code ?? answers[0]!.answer
  }
  return {
    appId,
    jobId,
    sessionId,
    submit: (policy: KeyPolicy = {}, more: { params?: unknown; key?: string; delayMs?: number; job?: number } = {}) =>
      rig.submitKeyed(appId, more.job ?? jobId, more.key ?? 'k', { policy, ...more }),
    /** Starts what is ready. */
    start: async (): Promise<Work[]> => {
      const { runs } = await rig.poll(appId, sessionId, held)
      held.push(...runs)
      return runs
    },
    report,
    state: (runId: number) => rig.where(runId).then(({ state, places }) => [state, ...places].join(' ')),
    count: async (): Promise<number> => {
      const [row] = await rig.db.query<{ n: number }>(
        sql`select count(*)::int as n from oncejob.run where app_id = ${appId}`,
      )
      return row!.n
    },
  }
}
const refused = (code: string, facts: object = {}) => ({ code, facts: expect.objectContaining(facts) })
const again = (id: number) => ({ id, deduplicated: true, replaces: null, after: null, replayOf: null })
const fresh = (more: object = {}) => ({
  id: expect.any(Number),
  deduplicated: false,
  replaces: null,
  after: null,
  replayOf: null,
  ...more,
})

describe('an open run of the key', () => {
  test('is the answer, waiting or running, as often as it is asked for', async () => {
    const { submit, start, count } = await world()
    const first = await submit()
    expect(first).toEqual(fresh())
    expect(await submit()).toEqual(again(first.id))
    await start()
    expect(await submit()).toEqual(again(first.id))
    expect(await count()).toBe(1)
  })
  test('stands in the way of policy reject, which tells of it', async () => {
    const { submit, start, count } = await world()
    const { id } = await submit()
    await expect(submit({ onOpen: 'reject' })).rejects.toMatchObject(
      refused('RUN_KEY_CONFLICT', {
        existingRunId: id,
        existingState: 'waiting',
        existingInputHash: expect.any(String),
      }),
    )
    await start()
    await expect(submit({ onOpen: 'reject' })).rejects.toMatchObject(
      refused('RUN_KEY_CONFLICT', { existingRunId: id, existingState: 'running' }),
    )
    expect(await count()).toBe(1)
  })
  test('with other params refuses every policy, unless that is to be ignored', async () => {
    const { submit, count } = await world()
    const { id } = await submit({}, { params: { a: 1, b: 2 } })
    for (const onOpen of ['return', 'reject', 'replace', 'after'] as const) {
      await expect(submit({ onOpen }, { params: { a: 1, b: 3 } })).rejects.toMatchObject(
        refused('RUN_KEY_INPUT_MISMATCH', { existingRunId: id }),
      )
    }
    expect(await submit({}, { params: { b: 2, a: 1 } })).toEqual(again(id))
    expect(await submit({ onInputMismatch: 'ignore' }, { params: 'other' })).toEqual(again(id))
    expect(await count()).toBe(1)
  })
  test('belongs to its job: the same key of another job, and of the app, are other keys', async () => {
    const { appId, submit, count } = await world()
    const other = await rig.job(appId)
    const one = await submit()
    const two = await submit({}, { job: other })
    const three = await submit({ scope: 'app' })
    expect(new Set([one.id, two.id, three.id]).size).toBe(3)
    expect(await submit({ scope: 'app' })).toEqual(again(three.id))
    await expect(submit({ scope: 'app' }, { job: other })).rejects.toMatchObject(refused('RUN_KEY_INPUT_MISMATCH'))
    expect(await submit({ scope: 'app', onInputMismatch: 'ignore' }, { job: other })).toEqual(again(three.id))
    expect(await count()).toBe(3)
  })
  test('shows its key, and is found by it', async () => {
    const { appId, submit } = await world()
    const { id } = await submit()
    expect(await getRun(rig.db, appId, id)).toMatchObject({ id, key: 'k' })
  })
})

describe('an ended run of the key', () => {
  test('that succeeded is the answer; one that did not makes room for a new one', async () => {
    const { submit, start, report } = await world()
    const first = await submit()
    await report((await start())[0]!, 'failed')
    const second = await submit()
    expect(second).toEqual(fresh())
    expect(second.id).not.toBe(first.id)
    await report((await start())[0]!, 'succeeded')
    expect(await submit()).toEqual(again(second.id))
    await expect(submit({ onClosed: 'reject' })).rejects.toMatchObject(
      refused('RUN_KEY_CONFLICT', { existingRunId: second.id, existingState: 'succeeded' }),
    )
    expect((await submit({ onClosed: 'allow' })).id).not.toBe(second.id)
  })
  test('is the answer with onClosed return, whatever became of it', async () => {
    const { appId, submit } = await world()
    const { id } = await submit()
    await rig.runs.cancel(appId, id, 'test')
    expect(await submit({ onClosed: 'return' })).toEqual(again(id))
  })
  test('counts for the time that its own call named, and is forgotten after it', async () => {
    const { submit, start, report } = await world()
    const { id } = await submit({ ttlMs: 3_600_000 })
    await report((await start())[0]!, 'succeeded')
    // this call's own time is that of a run it does not make
    expect(await submit({ ttlMs: 0 })).toEqual(again(id))
    await rig.db.query(sql`update oncejob.run set ended_at = ended_at - interval '59 min' where id = ${id}`)
    expect(await submit()).toEqual(again(id))
    await rig.db.query(sql`update oncejob.run set ended_at = ended_at - interval '2 min' where id = ${id}`)
    expect(await submit({ onClosed: 'reject' }, { params: 'other' })).toEqual(fresh())
  })
  test('counts no longer with a time of 0, and for ever with null', async () => {
    const { submit, start, report } = await world()
    const brief = await submit({ ttlMs: 0 }, { key: 'brief' })
    const eternal = await submit({ ttlMs: null }, { key: 'eternal' })
    for (const run of await start()) await report(run, 'succeeded')
    expect((await submit({}, { key: 'brief' })).id).not.toBe(brief.id)
    await rig.db.query(sql`update oncejob.run set ended_at = ended_at - interval '90 years' where id = ${eternal.id}`)
    expect(await submit({}, { key: 'eternal' })).toEqual(again(eternal.id))
  })
})

describe('replace', () => {
  test('cancels a waiting run, and the new one starts at once', async () => {
    const { appId, submit, start, state } = await world()
    const old = await submit()
    const next = await submit({ onOpen: 'replace' })
    expect(next).toEqual(fresh({ replaces: old.id }))
    expect(await state(old.id)).toBe('canceled')
    expect(await getRun(rig.db, appId, old.id)).toMatchObject({ error: { code: 'REPLACED' } })
    expect((await start()).map(({ runId }) => runId)).toEqual([next.id])
    expect(await submit()).toEqual(again(next.id))
  })
  test('asks a running run to stop, and the new one waits until its worker has said that it stopped', async () => {
    const { appId, submit, start, report, state, sessionId } = await world()
    const old = await submit()
    const [run] = await start()
    const next = await submit({ onOpen: 'replace' })
    expect(next).toEqual(fresh({ replaces: old.id }))
    expect(await state(next.id)).toBe('open blocked')
    expect(whyWaiting((await waitingOf(rig.db, appId, next.id))!)).toMatchObject([
      { code: 'AFTER_RUN', heldBy: [old.id] },
    ])
    await rig.limits.runOnce()
    const stopped = async () => (await rig.poll(appId, sessionId, [run!])).stops
    await expect.poll(stopped, { timeout: 20_000, interval: 200 }).toMatchObject([{ runId: old.id, reason: 'stop' }])
    expect(await start()).toEqual([])
    expect(await report(run!, 'stopped')).toBe('accepted')
    expect(await state(old.id)).toBe('stopped')
    expect((await start()).map(({ runId }) => runId)).toEqual([next.id])
  })
  test('waits for a lost worker no longer than its lease, and the zombie’s late report changes nothing', async () => {
    const { appId, submit, start, report, state, sessionId } = await world()
    const old = await submit()
    const [zombie] = await start()
    const next = await submit({ onOpen: 'replace' })
    await silence(rig.db, sessionId)
    await rig.db.query(
      sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${sessionId}`,
    )
    await rig.reclaim.takeBack()
    await followUp(rig)
    expect(await state(old.id)).toBe('stopped')
    expect(await state(next.id)).toBe('open ready')
    expect(await report(zombie!, 'succeeded')).toBe('LEASE_LOST')
    expect(await state(old.id)).toBe('stopped')
    expect(await submit()).toEqual(again(next.id))
    const other = await rig.worker(appId)
    expect((await rig.poll(appId, other.sessionId)).runs.map(({ runId }) => runId)).toEqual([next.id])
  })
  test('of a run that is being replaced already waits for the same one; only the last call stays', async () => {
    const { submit, start, report, state } = await world()
    const first = await submit()
    const [run] = await start()
    const second = await submit({ onOpen: 'replace' })
    const third = await submit({ onOpen: 'replace' })
    expect(third).toEqual(fresh({ replaces: second.id }))
    expect(await state(second.id)).toBe('canceled')
    expect(await state(third.id)).toBe('open blocked')
    await report(run!, 'stopped')
    expect(await state(first.id)).toBe('stopped')
    expect((await start()).map(({ runId }) => runId)).toEqual([third.id])
  })
  test('waits for a decision on a run of unknown outcome', async () => {
    const { appId, submit, start, state, sessionId } = await world({ guarantee: 'at-most-once' })
    const old = await submit()
    await start()
    await rig.db.query(
      sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${sessionId}`,
    )
    await rig.reclaim.takeBack()
    expect(await state(old.id)).toBe('open undecided')
    const next = await submit({ onOpen: 'replace' })
    expect(await state(next.id)).toBe('open blocked')
    await rig.runs.resolve(appId, old.id, { as: 'failed' }, 'test')
    await followUp(rig)
    expect(await state(next.id)).toBe('open ready')
  })
})

describe('after', () => {
  test('starts when the open run has ended, whichever way', async () => {
    const { submit, start, report, state } = await world()
    const first = await submit()
    const [run] = await start()
    const second = await submit({ onOpen: 'after' })
    expect(second).toEqual(fresh({ after: first.id }))
    await rig.limits.runOnce()
    expect(await state(second.id)).toBe('open blocked')
    expect(await start()).toEqual([])
    await report(run!, 'failed')
    expect((await start()).map(({ runId }) => runId)).toEqual([second.id])
  })
  test('is followed up by the report itself, without the duty', async () => {
    const { appId, submit, start, state } = await world()
    await submit()
    const [run] = await start()
    const second = await submit({ onOpen: 'after' })
    await rig.sessions.report(appId, { reports: [{ runId: run!.runId, lease: run!.lease, outcome: 'succeeded' }] })
    await expect.poll(() => state(second.id), { timeout: 20_000 }).toBe('open ready')
  })
  test('keeps the latest: the one that waited before is canceled', async () => {
    const { appId, submit, start, state } = await world()
    const first = await submit()
    await start()
    const second = await submit({ onOpen: 'after' })
    const third = await submit({ onOpen: 'after' })
    expect(third).toEqual(fresh({ after: first.id }))
    expect(await state(second.id)).toBe('canceled')
    expect(await getRun(rig.db, appId, second.id)).toMatchObject({ error: { code: 'REPLACED' } })
    expect(await submit()).toEqual(again(third.id))
  })
  test('goes back to the running one when the waiting one is canceled by hand', async () => {
    const { appId, submit, start, report } = await world()
    const first = await submit()
    const [run] = await start()
    const second = await submit({ onOpen: 'after' })
    await rig.runs.cancel(appId, second.id, 'test')
    expect(await submit()).toEqual(again(first.id))
    await expect(rig.runs.retry(appId, second.id, 'test')).rejects.toMatchObject(refused('RUN_KEY_CONFLICT'))
    expect(await submit({ onOpen: 'after' })).toEqual(fresh({ after: first.id }))
    await report(run!, 'succeeded')
  })
  test('a delayed one waits for its time after the end of the other', async () => {
    const { submit, start, report, state } = await world()
    await submit()
    const [run] = await start()
    const second = await submit({ onOpen: 'after' }, { delayMs: 3_600_000 })
    expect(await state(second.id)).toBe('open blocked')
    await report(run!, 'succeeded')
    expect(await state(second.id)).toBe('open later')
  })
  test('holds over jobs with a key of the app', async () => {
    const { appId, submit, start, report } = await world()
    const other = await rig.job(appId)
    const first = await submit({ scope: 'app' })
    const [run] = await start()
    const second = await submit({ scope: 'app', onOpen: 'after', onInputMismatch: 'ignore' }, { job: other })
    expect(second).toEqual(fresh({ after: first.id }))
    await report(run!, 'succeeded')
    expect((await start()).map(({ runId }) => runId)).toEqual([second.id])
  })
})

describe('the overlap policy of the job', () => {
  test('still holds: skip refuses a new key where the limit is reached, and nothing of the key stays', async () => {
    const { appId, jobId, submit } = await world({
      schedule: { trigger: { kind: 'none' }, overlap: 'skip' },
      maxConcurrentRuns: 1,
    })
    const { id } = await submit()
    await expect(submit({}, { key: 'other' })).rejects.toMatchObject(refused('RUN_LIMIT'))
    await expect(rig.runs.runKey({ appId, jobId, key: 'other' })).rejects.toMatchObject(refused('RUN_KEY_NOT_FOUND'))
    expect(await submit()).toEqual(again(id))
  })
  test('lets a run wait behind the one whose slot it will get', async () => {
    const { submit, start, report, state } = await world({
      schedule: { trigger: { kind: 'none' }, overlap: 'skip' },
      maxConcurrentRuns: 1,
    })
    const first = await submit()
    const [run] = await start()
    const next = await submit({ onOpen: 'replace' })
    expect(next).toEqual(fresh({ replaces: first.id }))
    await expect(submit({}, { key: 'other' })).rejects.toMatchObject(refused('RUN_LIMIT'))
    await report(run!, 'stopped')
    expect(await state(next.id)).toBe('open ready')
  })
  test('bears a run failed with policy fail, and the key stands for it', async () => {
    const { submit, state } = await world({
      schedule: { trigger: { kind: 'none' }, overlap: 'fail' },
      maxConcurrentRuns: 1,
    })
    await submit()
    const born = await submit({ onClosed: 'return' }, { key: 'other' })
    expect(await state(born.id)).toBe('failed')
    expect(await submit({ onClosed: 'return' }, { key: 'other' })).toEqual(again(born.id))
  })
  test('a waiting run that is replaced gives its slot to the next one of the job', async () => {
    const { submit, state } = await world({ maxConcurrentRuns: 1 })
    const first = await submit({ ttlMs: 0 })
    const other = await submit({}, { key: 'other' })
    expect(await state(other.id)).toBe('open blocked')
    await submit({ onOpen: 'replace' })
    expect(await state(first.id)).toBe('canceled')
    expect(await state(other.id)).toBe('open ready')
  })
})

describe('a retry by hand', () => {
  test('gives the run its key back, and is refused while the key has another open run', async () => {
    const { appId, submit, start, report, state } = await world()
    const first = await submit()
    await report((await start())[0]!, 'failed')
    const second = await submit()
    await expect(rig.runs.retry(appId, first.id, 'test')).rejects.toMatchObject(
      refused('RUN_KEY_CONFLICT', { existingRunId: second.id }),
    )
    expect(await state(first.id)).toBe('failed')
    await report((await start())[0]!, 'failed')
    await rig.runs.retry(appId, first.id, 'test')
    expect(await submit()).toEqual(again(first.id))
    await expect(rig.runs.retry(appId, first.id, 'test')).rejects.toMatchObject(refused('RUN_NOT_ENDED'))
  })
  test('of a run whose key was forgotten or reset takes the key again', async () => {
    const { appId, jobId, submit, start, report } = await world()
    const { id } = await submit()
    await report((await start())[0]!, 'failed')
    await rig.runs.resetRunKey({ appId, jobId, key: 'k' }, { force: false, actor: 'test' })
    await rig.runs.retry(appId, id, 'test')
    expect(await submit()).toEqual(again(id))
  })
})

describe('a reset', () => {
  const free = refused('RUN_KEY_NOT_FOUND')
  test('frees the key of an ended run, and says who did it', async () => {
    const { appId, jobId, submit, start, report } = await world()
    const { id } = await submit()
    const ref = { appId, jobId, key: 'k' }
    expect(await rig.runs.runKey(ref)).toMatchObject({ scope: 'job', runId: id, state: 'waiting', expiresAt: null })
    await report((await start())[0]!, 'succeeded')
    const known = await rig.runs.runKey(ref)
    expect(known).toMatchObject({ state: 'succeeded', expiresAt: expect.any(String) })
    expect(Date.parse(known.expiresAt!) - Date.parse(known.endedAt!)).toBe(known.ttlMs)
    expect(await rig.runs.resetRunKey(ref, { force: false, actor: 'ann' })).toEqual({
      key: 'k',
      runId: id,
      state: 'succeeded',
    })
    await expect(rig.runs.runKey(ref)).rejects.toMatchObject(free)
    await expect(rig.runs.resetRunKey(ref, { force: true, actor: 'ann' })).rejects.toMatchObject(free)
    expect((await submit()).id).not.toBe(id)
    const notes = await rig.db.query<{ actor: string }>(
      sql`select actor from oncejob.audit where app_id = ${appId} and action = 'run-key.reset'`,
    )
    expect(notes).toEqual([{ actor: 'ann' }])
  })
  test('is refused while the run is open; with force it is canceled first', async () => {
    const { appId, jobId, submit, state } = await world()
    const { id } = await submit()
    const ref = { appId, jobId, key: 'k' }
    await expect(rig.runs.resetRunKey(ref, { force: false, actor: 'a' })).rejects.toMatchObject(
      refused('RUN_KEY_CONFLICT', { existingRunId: id }),
    )
    expect(await rig.runs.resetRunKey(ref, { force: true, actor: 'a' })).toMatchObject({ runId: id, state: 'canceled' })
    expect(await state(id)).toBe('canceled')
    expect((await submit({ onClosed: 'return' })).id).not.toBe(id)
  })
  test('by force of a running one frees the key at once, and the next run waits until it has stopped', async () => {
    const { appId, jobId, submit, start, report, state } = await world()
    const { id } = await submit({ ttlMs: null })
    const [run] = await start()
    const second = await submit({ onOpen: 'after' })
    const ref = { appId, jobId, key: 'k' }
    await rig.runs.resetRunKey(ref, { force: true, actor: 'a' })
    expect(await state(second.id)).toBe('canceled')
    await expect(rig.runs.runKey(ref)).rejects.toMatchObject(free)
    const third = await submit({}, { params: 'quite another' })
    expect(third).toEqual(fresh({ after: id }))
    expect(await start()).toEqual([])
    await report(run!, 'stopped')
    expect((await start()).map(({ runId }) => runId)).toEqual([third.id])
  })
  test('by force, after the end of a canceled successor was kept, keeps nothing of that end for the run before it', async () => {
    const { appId, jobId, submit, start, report } = await world()
    await submit()
    const [run] = await start()
    const successor = await submit({ onOpen: 'replace' })
    await rig.runs.cancel(appId, successor.id, 'a')
    await createRunKeySweeper({ db: rig.db, clock: systemClock, log: silentLog }).runOnce()
    await rig.runs.resetRunKey({ appId, jobId, key: 'k' }, { force: true, actor: 'a' })
    // the audit after each test compares what is kept with the run
    expect(await report(run!, 'succeeded')).toBe('accepted')
  })
})

describe('a batch', () => {
  test('makes each key’s run once, in the order of the input, together with runs without a key', async () => {
    const { appId, jobId, submit, count } = await world()
    const known = await submit({}, { key: 'known' })
    const one = (key: string, more: Parameters<typeof keyedSubmission>[3] = {}) =>
      keyedSubmission(appId, jobId, key, more)
    const plain = { ...one('x'), runKey: null }
    const { ids, deduplicated } = await rig.runs.submitMany([one('a'), plain, one('b'), one('a'), one('known'), plain])
    expect(ids[3]).toBe(ids[0])
    expect(ids[4]).toBe(known.id)
    expect(new Set(ids).size).toBe(5)
    expect(deduplicated).toEqual([ids[3], known.id])
    expect(await count()).toBe(5)
    expect(await rig.runs.submitMany([plain])).toMatchObject({ deduplicated: null })
  })
  test('is one after the other: a key that stands in it twice replaces and follows its own run', async () => {
    const { appId, jobId, start, state } = await world()
    const one = (onOpen: OnOpen) => keyedSubmission(appId, jobId, 'k', { policy: { onOpen } })
    const { ids } = await rig.runs.submitMany([one('return'), one('replace'), one('after'), one('after')])
    expect(await Promise.all(ids.map(state))).toEqual(['canceled', 'open ready', 'canceled', 'open blocked'])
    expect((await start()).map(({ runId }) => runId)).toEqual([ids[1]])
  })
  test('makes nothing when one of them is refused, and says which', async () => {
    const { appId, jobId, submit, count } = await world()
    await submit({}, { key: 'known' })
    const one = (key: string, policy: KeyPolicy = {}) => keyedSubmission(appId, jobId, key, { policy })
    await expect(rig.runs.submitMany([one('a'), one('known', { onOpen: 'reject' })])).rejects.toMatchObject({
      code: 'RUN_KEY_CONFLICT',
      message: expect.stringMatching(/^\/runs\/1: /),
      facts: { index: 1 },
    })
    // decided later than the others, and still nothing stays
    await expect(
      rig.runs.submitMany([one('a'), one('a', { onOpen: 'replace' }), one('a', { onOpen: 'reject' })]),
    ).rejects.toMatchObject({ code: 'RUN_KEY_CONFLICT', facts: { index: 2 } })
    await expect(rig.runs.submitMany([one('a'), { ...one('b'), job: 987_654_321 }])).rejects.toMatchObject({
      code: 'JOB_NOT_FOUND',
      facts: { index: 1 },
    })
    expect(await count()).toBe(1)
    await expect(rig.runs.runKey({ appId, jobId, key: 'a' })).rejects.toMatchObject(refused('RUN_KEY_NOT_FOUND'))
  })
})

describe('a key', () => {
  const sweeper = () => createRunKeySweeper({ db: rig.db, clock: systemClock, log: silentLog })
  const kept = (key: string) =>
    rig.db.query<{ state: string | null; expires_at: Date | null }>(
      sql`select state, expires_at from oncejob.run_key where key = ${key}`,
    )
  test('is forgotten by the sweeper when its time is over, and not before', async () => {
    const { submit, start, report } = await world()
    const [key, open] = [`swept-${Math.random()}`, `open-${Math.random()}`]
    const { id } = await submit({ ttlMs: 3_600_000 }, { key })
    await report((await start())[0]!, 'succeeded')
    await submit({ ttlMs: 0 }, { key: open })
    await sweeper().runOnce()
    expect(await kept(key)).toMatchObject([{ state: 'succeeded', expires_at: expect.any(Date) }])
    expect(await kept(open)).toEqual([{ state: null, expires_at: null }])
    expect(await submit({}, { key })).toEqual(again(id))
    await rig.db.query(sql`update oncejob.run_key set expires_at = now() - interval '1 min' where key = ${key}`)
    await sweeper().runOnce()
    expect(await kept(key)).toEqual([])
    expect(await kept(open)).toHaveLength(1)
  })
  test('of a run that is retried after its end was kept is open again, and is not swept', async () => {
    const { appId, submit, start, report } = await world()
    const key = `retried-${Math.random()}`
    const { id } = await submit({ ttlMs: 0 }, { key })
    await report((await start())[0]!, 'failed')
    await rig.runs.retry(appId, id, 'test')
    await sweeper().runOnce()
    expect(await kept(key)).toEqual([{ state: null, expires_at: null }])
    expect(await submit({}, { key })).toEqual(again(id))
  })
  test('outlives its run: retention keeps how it ended', async () => {
    const { submit, start, report } = await world()
    const { id } = await submit({ ttlMs: null }, { key: 'eternal' })
    const failed = await submit({}, { key: 'failed' })
    const runs = await start()
    await report(
      runs.find(({ runId }) => runId === id)!,
      'succeeded',
    )
    await report(
      runs.find(({ runId }) => runId === failed.id)!,
      'failed',
    )
    // whatever other tests left open, or have retried, would keep the partition
    await rig.db.script(`
      delete from oncejob.audit where action = 'run.retry';
      delete from oncejob.run_ready; delete from oncejob.run_later; delete from oncejob.run_blocked; delete from oncejob.attempt;
      delete from oncejob.run_undecided; delete from oncejob.run_slot;
      update oncejob.run set state = 'canceled', ended_at = now() where state = 'open'`)
    const [oldest] = await listRunPartitions(rig.db)
    const dropped = await rig.db.transaction(async (tx) => {
      await lockPartitions(tx, 10_000)
      return dropRunPartition(tx, oldest!, await momentOf(tx))
    })
    expect(dropped).toBe(true)
    expect((await rig.where(id)).state).toBe('none')
    await rig.db.query(sql`select setval('oncejob.run_id_seq', ${oldest!.to}::bigint)`)
    expect(await submit({}, { key: 'eternal' })).toEqual(again(id))
    await expect(submit({}, { key: 'eternal', params: 'other' })).rejects.toMatchObject(
      refused('RUN_KEY_INPUT_MISMATCH'),
    )
    expect((await submit({}, { key: 'failed' })).deduplicated).toBe(false)
  })
})
