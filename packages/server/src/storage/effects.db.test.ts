// Promises of the effect ledger: only the current lease writes, nothing is recorded twice, what is unknown stays so.
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createEffects } from '../dispatch/effects.ts'
import { createRig, type Rig } from '../testing/rig.ts'
import { checks, runCheck } from './audit-checks.ts'
import { completeEffect, deleteEffects, findEffect, insertIntent, type EffectKey } from './effects.ts'
import { sql } from './sql.ts'

let database: TestDatabase
let rig: Rig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createRig(database.db)
})
afterAll(() => database.close())

/** A run in the hands of a worker. `again`: the worker is lost, and another one gets the run. */
const claimed = async () => {
  const appId = await rig.app()
  const jobId = await rig.job(appId)
  const runId = await rig.submit(appId, jobId)
  const take = async () => {
    const { sessionId } = await rig.worker(appId)
    const { runs } = await rig.poll(appId, sessionId)
    expect(runs.map((run) => run.runId)).toEqual([runId])
    return { sessionId, lease: runs[0]!.lease }
  }
  let { sessionId, lease } = await take()
  return {
    appId,
    runId,
    key: (name = 'mail'): EffectKey => ({ appId, runId, lease, name }),
    lose: () => rig.sessions.leave(appId, sessionId),
    again: async (): Promise<void> => {
      await rig.sessions.leave(appId, sessionId)
      ;({ sessionId, lease } = await take())
    },
    report: () => rig.sessions.report(appId, { reports: [{ runId, lease, outcome: 'succeeded' }] }),
  }
}

const rowOf = async ({ runId, name }: EffectKey) => {
  const [row] = await database.db.query<{ state: string; lease: number; outcome: string | null; ended: boolean }>(sql`
    select state, lease, outcome, ended_at is not null as ended from oncejob.effect where run_id = ${runId} and name = ${name}`)
  return row
}
const expectClean = async (): Promise<void> => {
  for (const check of checks) {
    const { examples } = await runCheck(database.db, check, { graceMs: 5_000, patienceMs: 60_000 })
    expect(examples, check.says).toEqual([])
  }
}

describe('an effect', () => {
  it('is new once, and its outcome is what every later attempt hears', async () => {
    const run = await claimed()
    const first = run.key()
    expect(await rig.effects.begin(first)).toEqual({ state: 'new' })
    expect(await rowOf(first)).toEqual({ state: 'intent', lease: first.lease, outcome: null, ended: false })
    expect(await rig.effects.end(first, '{"sent":1}')).toBe('{"sent":1}')
    expect(await rig.effects.begin(first)).toEqual({ state: 'done', outcome: '{"sent":1}' })
    await run.again()
    expect(await rig.effects.begin(run.key())).toEqual({ state: 'done', outcome: '{"sent":1}' })
    expect(await rowOf(first)).toEqual({ state: 'done', lease: first.lease, outcome: '{"sent":1}', ended: true })
    await expectClean()
  })

  it('may have no outcome at all', async () => {
    const run = await claimed()
    await rig.effects.begin(run.key())
    expect(await rig.effects.end(run.key(), null)).toBeNull()
    expect(await rig.effects.begin(run.key())).toEqual({ state: 'done', outcome: null })
  })

  it('whose calls are repeated by the same lease is answered the same', async () => {
    const run = await claimed()
    expect(await rig.effects.begin(run.key())).toEqual({ state: 'new' })
    expect(await rig.effects.begin(run.key())).toEqual({ state: 'new' })
    expect(await rig.effects.end(run.key(), '1')).toBe('1')
    // the first outcome counts
    expect(await rig.effects.end(run.key(), '2')).toBe('1')
    expect(await rowOf(run.key())).toMatchObject({ state: 'done', outcome: '1' })
  })

  it('that an earlier lease began stays unknown to every attempt until one records an outcome', async () => {
    const run = await claimed()
    const first = run.key()
    await rig.effects.begin(first)
    await run.again()
    expect(await rig.effects.begin(run.key())).toEqual({ state: 'unknown' })
    expect(await rig.effects.begin(run.key())).toEqual({ state: 'unknown' })
    expect(await rowOf(first)).toMatchObject({ state: 'intent', lease: first.lease })
    await run.again()
    expect(await rig.effects.begin(run.key())).toEqual({ state: 'unknown' })
    expect(await rig.effects.end(run.key(), '"found"')).toBe('"found"')
    expect(await rowOf(first)).toMatchObject({ state: 'done', lease: run.key().lease, outcome: '"found"' })
    await run.again()
    expect(await rig.effects.begin(run.key())).toEqual({ state: 'done', outcome: '"found"' })
    await expectClean()
  })

  it('of another name, or of another run, is another effect', async () => {
    const [one, two] = [await claimed(), await claimed()]
    for (const key of [one.key('a'), one.key('b'), two.key('a')])
      expect(await rig.effects.begin(key)).toEqual({ state: 'new' })
  })

  it('that was not begun has no end, and one that is too large is not kept', async () => {
    const run = await claimed()
    await expect(rig.effects.end(run.key(), '1')).rejects.toMatchObject({ code: 'EFFECT_NOT_BEGUN' })
    const small = createEffects({ db: database.db, maxResultBytes: 10 })
    await small.begin(run.key())
    await expect(small.end(run.key(), '"ééééé"')).rejects.toMatchObject({ code: 'EFFECT_OUTCOME_TOO_LARGE' })
    expect(await small.end(run.key(), '"éééé"')).toBe('"éééé"')
  })

  it('keeps its outcome over a retry by hand', async () => {
    const run = await claimed()
    await rig.effects.begin(run.key())
    await rig.effects.end(run.key(), '1')
    await run.report()
    await rig.runs.retry(run.appId, run.runId, 'test')
    const { sessionId } = await rig.worker(run.appId)
    const { runs } = await rig.poll(run.appId, sessionId)
    const key = { ...run.key(), lease: runs[0]!.lease }
    expect(await rig.effects.begin(key)).toEqual({ state: 'done', outcome: '1' })
  })
})

describe('a lease that is not the current one', () => {
  const expectLost = async (key: EffectKey): Promise<void> => {
    await expect(rig.effects.begin(key)).rejects.toMatchObject({ code: 'LEASE_LOST' })
    await expect(rig.effects.begin({ ...key, name: 'other' })).rejects.toMatchObject({ code: 'LEASE_LOST' })
    await expect(rig.effects.end(key, '"zombie"')).rejects.toMatchObject({ code: 'LEASE_LOST' })
    expect(await rowOf({ ...key, name: 'other' })).toBeUndefined()
  }

  it('writes nothing: lost, overtaken, ended, of another app, or made up', async () => {
    const run = await claimed()
    const first = run.key()
    await rig.effects.begin(first)
    await run.lose()
    await expectLost(first)
    const other = await claimed()
    const overtaken = other.key()
    await other.again()
    await expectLost(overtaken)
    await expectLost({ ...other.key(), appId: run.appId })
    await expectLost({ ...other.key(), runId: 999_999 })
    await other.report()
    await expectLost(other.key())
    expect(await rowOf(first)).toMatchObject({ state: 'intent', lease: first.lease })
    await expectClean()
  })

  it('does not change what the current one began', async () => {
    const run = await claimed()
    const old = run.key()
    await run.again()
    await rig.effects.begin(run.key())
    await expectLost(old)
    expect(await rowOf(run.key())).toMatchObject({ state: 'intent', lease: run.key().lease })
  })
})

describe('the ledger under contention', () => {
  it('lets one of many that come at once write, and tells the others the same', async () => {
    const run = await claimed()
    const many = Array.from({ length: 20 }, (_, i) => i)
    const begun = await Promise.all(many.map(() => rig.effects.begin(run.key())))
    expect(new Set(begun.map(({ state }) => state))).toEqual(new Set(['new']))
    const ends = await Promise.all(many.map((i) => rig.effects.end(run.key(), String(i))))
    expect(new Set(ends).size).toBe(1)
    const { outcome } = await findEffect(database.db, run.key())
    expect(outcome).toBe(ends[0])
  })

  it('makes whoever ends the attempt wait for a write under way', async () => {
    // only PostgreSQL has a second connection
    if (database.kind !== 'postgres') return expect(database.db.kind).toBe('embedded')
    const run = await claimed()
    const written = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const order: string[] = []
    const writing = database.db.transaction(async (tx) => {
      expect(await insertIntent(tx, run.key())).toBe(true)
      written.resolve()
      await gate.promise
      order.push('written')
    })
    await written.promise
    const ended = run.report().then(() => order.push('ended'))
    // asking for something else in between gives the other side every chance to be wrong
    await rig.where(run.runId)
    gate.resolve()
    await Promise.all([writing, ended])
    expect(order).toEqual(['written', 'ended'])
    expect(await rowOf(run.key())).toMatchObject({ state: 'intent' })
    await expectClean()
  })
})

describe('the statements', () => {
  it('say by themselves whether they changed something', async () => {
    const run = await claimed()
    const key = run.key()
    expect(await findEffect(database.db, key)).toEqual({ held: true, state: null, lease: null, outcome: null })
    expect(await completeEffect(database.db, key, '1')).toBe(false)
    expect(await insertIntent(database.db, key)).toBe(true)
    expect(await insertIntent(database.db, key)).toBe(false)
    expect(await completeEffect(database.db, key, '1')).toBe(true)
    expect(await completeEffect(database.db, key, '2')).toBe(false)
    await run.lose()
    expect(await findEffect(database.db, key)).toEqual({ held: false, state: 'done', lease: key.lease, outcome: '1' })
  })

  it('forget effects of a range of ids in batches', async () => {
    await database.db.script(`truncate oncejob.effect;
      insert into oncejob.effect (run_id, name, lease) select run, name, 1 from generate_series(1, 4) run, unnest('{a,b}'::text[]) name`)
    expect(await deleteEffects(database.db, { from: 2, to: 4 }, 3)).toBe(3)
    expect(await deleteEffects(database.db, { from: 2, to: 4 }, 3)).toBe(1)
    expect(await deleteEffects(database.db, { from: 2, to: 4 }, 3)).toBe(0)
    const rows = await database.db.query<{ id: number }>(
      sql`select distinct run_id as id from oncejob.effect order by 1`,
    )
    expect(rows).toEqual([{ id: 1 }, { id: 4 }])
  })
})
