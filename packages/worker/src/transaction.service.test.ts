// ctx.transaction on PostgreSQL: the user's rows and the effect commit together, once per run, whatever dies in between.
import type { Assignment } from '@oncejob/protocol'
import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AttemptContext } from './context.ts'
import { LeaseLost } from './errors.ts'
import { openTestPostgres, postgresReachable, skipNote, type TestPostgres } from './testing/postgres.ts'
import { effectsMigrationSql, migrateEffects, type PgClient, type PgPool } from './transaction.ts'

const reachable = await postgresReachable()

let database: TestPostgres
let nextRun = 1

/** An attempt of a run; `lost` collects what its execution is told. */
const attempt = (runId: number, lease: number) => {
  const lost: LeaseLost[] = []
  const none = () => Promise.reject(new Error('no server here'))
  const assignment: Assignment = {
    runId,
    lease,
    attempt: 1,
    jobId: 3,
    job: 'job',
    processor: 'work',
    jobParams: null,
    params: null,
    fireAt: null,
    createdAt: '2026-01-01T00:00:00.000Z',
    dueAt: '2026-01-01T00:00:01.000Z',
    priority: 0,
    timeoutMs: null,
    idempotencyKey: `run-${runId}`,
    logLevel: 'info',
    guarantee: 'at-least-once',
  }
  const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
  const ctx = new AttemptContext(assignment, {
    makeLog: () => silent,
    ledger: { begin: none, end: none },
    onLost: (error) => lost.push(error),
  })
  return { ctx, lost }
}

const rowsOf = async (runId: number): Promise<number> => {
  const { rows } = await database.pool.query<{ n: string }>('SELECT count(*) AS n FROM payment WHERE run_id = $1', [
    runId,
  ])
  return Number(rows[0]!.n)
}
const insert = async (tx: PgClient, runId: number, lease = 0): Promise<{ by: number }> => {
  await tx.query('INSERT INTO payment (run_id, lease) VALUES ($1, $2)', [runId, lease])
  return { by: lease }
}

/** A pool whose clients call `before` ahead of each statement, and `after` behind it; both get its number, from 1. */
const watched = (hooks: {
  before?: (n: number, client: pg.PoolClient, text: string) => Promise<void>
  after?: (n: number, client: pg.PoolClient) => Promise<void>
}): PgPool => ({
  connect: async () => {
    const client = await database.pool.connect()
    const ignore = () => undefined
    client.on('error', ignore)
    let n = 0
    return {
      query: async (text: string, values?: unknown[]) => {
        n += 1
        const mine = n
        await hooks.before?.(mine, client, text)
        const result = await client.query(text, values)
        await hooks.after?.(mine, client)
        return result
      },
      release: (error?: Error | boolean) => {
        client.removeListener('error', ignore)
        client.release(error)
      },
    }
  },
})

const pidOf = (client: pg.PoolClient): number => {
  // pg knows it, its types do not
  const { processID } = client as unknown as { processID: number }
  return processID
}

describe.skipIf(!reachable)(`ctx.transaction${skipNote(reachable)}`, () => {
  beforeAll(async () => {
    database = await openTestPostgres()
    await Promise.all([1, 2, 3].map(() => migrateEffects(database.pool)))
    // Without any constraint: it counts what happened.
    await database.pool.query('CREATE TABLE payment (run_id bigint, lease bigint)')
  })
  afterAll(async () => {
    await database.close()
  })
  beforeEach(() => {
    nextRun += 1
  })

  test('needs tables that may be made at every start', async () => {
    await migrateEffects(database.pool)
    await database.pool.query(effectsMigrationSql())
    const { rows } = await database.pool.query('SELECT count(*) AS n FROM oncejob_fence')
    expect(rows).toHaveLength(1)
  })

  test('gives a later attempt the stored output without running, and works with the clients of pg', async () => {
    const runId = nextRun
    let calls = 0
    const pay = (lease: number) =>
      attempt(runId, lease).ctx.transaction(database.pool, 'pay', async (tx) => {
        calls += 1
        const { rows } = await tx.query<{ run_id: string }>(
          'INSERT INTO payment (run_id, lease) VALUES ($1, $2) RETURNING run_id',
          [runId, lease],
        )
        return { at: new Date(0), run: rows[0]!.run_id }
      })
    const once = { at: '1970-01-01T00:00:00.000Z', run: String(runId) }
    expect(await pay(10)).toEqual(once)
    expect(await pay(10)).toEqual(once)
    expect(await pay(11)).toEqual(once)
    expect([calls, await rowsOf(runId)]).toEqual([1, 1])
  })

  test('that returns nothing gives nothing to later attempts too', async () => {
    const runId = nextRun
    const pay = (lease: number) =>
      attempt(runId, lease).ctx.transaction(database.pool, 'pay', async (tx) => void (await insert(tx, runId)))
    expect([await pay(1), await pay(2), await rowsOf(runId)]).toEqual([undefined, undefined, 1])
  })

  test('whose work throws, or returns what JSON can not express, writes nothing and can be tried again', async () => {
    const runId = nextRun
    const failing = (result: () => unknown) =>
      attempt(runId, 1).ctx.transaction(database.pool, 'pay', async (tx) => {
        await insert(tx, runId)
        return result()
      })
    await expect(
      failing(() => {
        throw new Error('the price is gone')
      }),
    ).rejects.toThrow('the price is gone')
    await expect(failing(() => 1n)).rejects.toMatchObject({ code: 'EFFECT_OUTCOME_INVALID' })
    expect(await rowsOf(runId)).toBe(0)
    expect(await attempt(runId, 1).ctx.transaction(database.pool, 'pay', (tx) => insert(tx, runId, 1))).toEqual({
      by: 1,
    })
    expect(await rowsOf(runId)).toBe(1)
  })

  test('is not committed when the work hides that one of its statements failed', async () => {
    const runId = nextRun
    const hiding = attempt(runId, 1).ctx.transaction(database.pool, 'pay', async (tx) => {
      await insert(tx, runId)
      await tx.query('SELECT 1 / 0').catch(() => undefined)
    })
    await expect(hiding).rejects.toMatchObject({ code: '25P02' })
    expect(await rowsOf(runId)).toBe(0)
  })

  test('of a zombie is refused once a newer attempt has written anything', async () => {
    const runId = nextRun
    const zombie = attempt(runId, 1)
    await zombie.ctx.transaction(database.pool, 'first', (tx) => insert(tx, runId, 1))
    await attempt(runId, 2).ctx.transaction(database.pool, 'first', (tx) => insert(tx, runId, 2))
    expect(zombie.lost).toEqual([])
    const late = zombie.ctx.transaction(database.pool, 'second', (tx) => insert(tx, runId, 1))
    await expect(late).rejects.toBeInstanceOf(LeaseLost)
    expect(zombie.lost).toHaveLength(1)
    expect(await rowsOf(runId)).toBe(1)
  })

  test('of a zombie that is overtaken at any point where it can be writes nothing', async () => {
    // behind its third statement it holds the fence, and a newer attempt has to wait: see the next test
    for (const at of [1, 2, 3]) {
      const runId = (nextRun += 1)
      const pool = watched({
        before: async (n) => {
          if (n === at) await attempt(runId, 2).ctx.transaction(database.pool, 'pay', (tx) => insert(tx, runId, 2))
        },
      })
      const zombie = attempt(runId, 1).ctx.transaction(pool, 'other', (tx) => insert(tx, runId, 1))
      await expect(zombie, `overtaken before statement ${at}`).rejects.toBeInstanceOf(LeaseLost)
      expect(await rowsOf(runId)).toBe(1)
    }
  })

  test('of a newer attempt waits for an older one that is writing, and gets its output', async () => {
    const runId = nextRun
    const inside = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const older = attempt(runId, 1).ctx.transaction(database.pool, 'pay', async (tx) => {
      inside.resolve()
      await gate.promise
      return insert(tx, runId, 1)
    })
    await inside.promise
    const newer = attempt(runId, 2).ctx.transaction(database.pool, 'pay', (tx) => insert(tx, runId, 2))
    gate.resolve()
    expect([await older, await newer, await rowsOf(runId)]).toEqual([{ by: 1 }, { by: 1 }, 1])
  })

  test('may stand in another of the same attempt, under another name', async () => {
    const runId = nextRun
    const { ctx } = attempt(runId, 1)
    await ctx.transaction(database.pool, 'outer', async (tx) => {
      await ctx.transaction(database.pool, 'inner', (inner) => insert(inner, runId))
      await insert(tx, runId)
      await expect(ctx.transaction(database.pool, 'outer', (inner) => insert(inner, runId))).rejects.toThrow(
        'under way',
      )
    })
    expect(await rowsOf(runId)).toBe(2)
  })

  test('killed at every point leaves the row once, after the next attempt', async () => {
    let statements = 0
    const counting = watched({ before: async (n) => void (statements = n) })
    await attempt(nextRun, 1).ctx.transaction(counting, 'pay', (tx) => insert(tx, nextRun))
    expect(statements).toBe(7)
    for (const sent of [false, true]) {
      for (let at = 1; at <= statements; at += 1) {
        const runId = (nextRun += 1)
        const dying = watched({
          before: async (n, client) => {
            if (n === at && !sent) await database.kill(pidOf(client))
          },
          after: async (n, client) => {
            if (n !== at || !sent) return
            await database.kill(pidOf(client))
            throw new Error('the process died')
          },
        })
        const point = `killed ${sent ? 'after' : 'before'} statement ${at}`
        const killed = attempt(runId, 1).ctx.transaction(dying, 'pay', (tx) => insert(tx, runId, 1))
        await expect(killed, point).rejects.toBeInstanceOf(Error)
        const committed = sent && at === statements
        expect(await rowsOf(runId), point).toBe(committed ? 1 : 0)
        const again = attempt(runId, 2).ctx.transaction(database.pool, 'pay', (tx) => insert(tx, runId, 2))
        expect(await again, point).toEqual({ by: committed ? 1 : 2 })
        expect(await rowsOf(runId), point).toBe(1)
      }
    }
  })

  test('of many attempts at once has one effect: 40 runs, 4 attempts each', async () => {
    const runs = Array.from({ length: 40 }, () => (nextRun += 1))
    const results = await Promise.all(
      runs.flatMap((runId) =>
        [1, 2, 3, 4].map((lease) =>
          attempt(runId, lease)
            .ctx.transaction(database.pool, 'pay', (tx) => insert(tx, runId, lease))
            .catch((error: unknown) => {
              expect(error).toBeInstanceOf(LeaseLost)
              return 'lost' as const
            }),
        ),
      ),
    )
    expect(results.filter((result) => result !== 'lost').length).toBeGreaterThanOrEqual(40)
    const { rows } = await database.pool.query<{ n: string }>(
      'SELECT count(*) AS n FROM payment WHERE run_id = ANY($1) GROUP BY run_id',
      [runs],
    )
    expect(rows).toHaveLength(40)
    expect(new Set(rows.map(({ n }) => n))).toEqual(new Set(['1']))
  })
})
