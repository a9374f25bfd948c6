// What every engine promises, whichever it is: the tests that each of them has to pass.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DatabaseError, Outage } from '../../kernel/errors.ts'
import type { Db } from '../db.ts'
import { sql } from '../sql.ts'

interface Opened {
  readonly db: Db
  close(): Promise<void>
}

const one = async <R>(db: Db, statement: Parameters<Db['query']>[0]): Promise<R> => {
  const [row] = await db.query<R>(statement)
  if (row === undefined) throw new Error('no row')
  return row
}

const failure = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

/** Lets others go first, so that transactions overlap. */
const pause = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

const types = (db: () => Db): void => {
  describe('types', () => {
    test('bigints, counts and their arrays come back as numbers', async () => {
      const row = await one(
        db(),
        sql`select 9007199254740991::bigint as big, count(*) as count, array[1, null, -2]::bigint[] as many, '{}'::bigint[] as none`,
      )
      expect(row).toEqual({ big: 9_007_199_254_740_991, count: 1, many: [1, null, -2], none: [] })
    })

    test('a bigint that a number cannot hold is refused, not rounded', async () => {
      expect(String(await failure(db().query(sql`select 9007199254740993::bigint as big`)))).toContain(
        '9007199254740993',
      )
      expect(await one(db(), sql`select 1 as alive`)).toEqual({ alive: 1 })
    })

    test('instants come back as Dates, to the millisecond and whatever the zone', async () => {
      const at = new Date('2026-03-29T01:30:00.123Z')
      const row = await one(
        db(),
        sql`select ${at}::timestamptz as at, timestamptz '2026-01-01 00:00+08' as there, array[${at}::timestamptz] as ats`,
      )
      expect(row).toEqual({ at, there: new Date('2025-12-31T16:00:00Z'), ats: [at] })
      expect(await one(db(), sql`show timezone`)).toEqual({ TimeZone: 'UTC' })
    })

    test('dates and times without a zone stay text', async () => {
      const row = await one(
        db(),
        sql`select date '2026-02-28' as day, timestamp '2026-02-28 10:00' as at, 1.10::numeric as price`,
      )
      expect(row).toEqual({ day: '2026-02-28', at: '2026-02-28 10:00:00', price: '1.10' })
    })

    test('json is parsed, and objects are stored as json', async () => {
      const value = { a: [1, { b: null }], text: 'quote " and \\ and ü' }
      const row = await one(
        db(),
        sql`select ${value}::jsonb as object, ${JSON.stringify([1, 'x'])}::json as list, 'null'::jsonb as nothing, array[${value}::jsonb] as many`,
      )
      expect(row).toEqual({ object: value, list: [1, 'x'], nothing: null, many: [value] })
    })

    test('booleans, numbers, bytes, text and nulls keep their value', async () => {
      const bytes = Uint8Array.from([0, 255, 92, 39])
      const row = await one<Record<string, unknown>>(
        db(),
        sql`select ${true}::boolean as yes, ${2}::int as two, ${0.5}::float8 as half, ${bytes}::bytea as bytes, ${null}::text as nothing,
          ${undefined}::bigint as missing, ${''}::text as empty`,
      )
      expect(row).toMatchObject({ yes: true, two: 2, half: 0.5, nothing: null, missing: null, empty: '' })
      expect(Uint8Array.from(row['bytes'] as Buffer)).toEqual(bytes)
    })

    test('arrays of text keep quotes, commas, backslashes, nulls and the word null', async () => {
      const texts = ['a,b', '"q"', '\\', '{}', '', 'null', null, ' ü']
      expect(await one(db(), sql`select ${texts}::text[] as texts`)).toEqual({ texts })
      const rows = await db().query(
        sql`select * from unnest(${[1, 2]}::bigint[], ${['x', null]}::text[]) as t (id, name)`,
      )
      expect(rows).toEqual([
        { id: 1, name: 'x' },
        { id: 2, name: null },
      ])
    })
  })
}

const failures = (db: () => Db): void => {
  describe('failures', () => {
    test('a refusal carries its SQLSTATE and constraint, and leaves the connection usable', async () => {
      const refused = async (statement: Parameters<Db['query']>[0]): Promise<unknown> => {
        const error = await failure(db().query(statement))
        return error instanceof DatabaseError ? [error.sqlState, error.constraint] : error
      }
      await db().query(sql`insert into t.item (id, name) values (1, 'one')`)
      expect(await refused(sql`insert into t.item (id, name) values (1, 'again')`)).toEqual(['23505', 'item_pkey'])
      expect(await refused(sql`insert into t.item (id, name) values (2, '')`)).toEqual(['23514', 'item_name_check'])
      expect(await refused(sql`selec`)).toEqual(['42601', undefined])
      expect(await refused(sql`select ${'x'}::int`)).toEqual(['22P02', undefined])
      expect(await refused(sql`select * from t.nothing`)).toEqual(['42P01', undefined])
      expect(await one(db(), sql`select name from t.item where id = 1`)).toEqual({ name: 'one' })
    })

    test('a named statement that was refused works the next time', async () => {
      const insert = (id: number): Promise<unknown[]> =>
        db().query(sql`insert into t.item (id, name) values (${id}, 'named') returning id`, { name: 'contract_insert' })
      expect(await insert(20)).toEqual([{ id: 20 }])
      expect(await failure(insert(20))).toBeInstanceOf(DatabaseError)
      expect(await insert(21)).toEqual([{ id: 21 }])
    })

    test('one name for two texts is refused', async () => {
      await db().query(sql`select 1 as a`, { name: 'contract_twice' })
      // all sessions of a pool have to know the name before one can be sure to meet it
      await Promise.all(Array.from({ length: 50 }, () => db().query(sql`select 1 as a`, { name: 'contract_twice' })))
      expect(String(await failure(db().query(sql`select 2 as b`, { name: 'contract_twice' })))).toContain(
        'contract_twice',
      )
    })

    test('a script is one transaction', async () => {
      const script = `insert into t.item (id, name) values (30, 'first'); insert into t.item (id, name) values (30, 'second')`
      expect(await failure(db().script(script))).toMatchObject({ sqlState: '23505' })
      expect(await db().query(sql`select from t.item where id = 30`)).toEqual([])
    })

    test('a failed script with a transaction of its own leaves nothing open', async () => {
      expect(await failure(db().script('begin; select 1/0'))).toMatchObject({ sqlState: '22012' })
      await Promise.all(Array.from({ length: 20 }, () => db().query(sql`select 1`)))
    })
  })
}

const transactions = (db: () => Db): void => {
  describe('transactions', () => {
    test('what resolves is committed, and its value returned', async () => {
      const value = await db().transaction(async (tx) => {
        await tx.query(sql`insert into t.item (id, name) values (40, 'kept')`)
        return 'value'
      })
      expect(value).toBe('value')
      expect(await one(db(), sql`select name from t.item where id = 40`)).toEqual({ name: 'kept' })
    })

    test('what rejects is rolled back, and its error passed on', async () => {
      const mine = new Error('mine')
      const work = db().transaction(async (tx) => {
        await tx.query(sql`insert into t.item (id, name) values (41, 'lost')`)
        throw mine
      })
      expect(await failure(work)).toBe(mine)
      expect(await db().query(sql`select from t.item where id = 41`)).toEqual([])
    })

    test('a refusal that the work swallows does not pass for a commit', async () => {
      const work = db().transaction(async (tx) => {
        await tx.query(sql`insert into t.item (id, name) values (42, 'lost')`)
        await failure(tx.query(sql`select 1/0`))
      })
      expect(await failure(work)).toMatchObject({ name: 'DatabaseError', sqlState: '25P02' })
      expect(await db().query(sql`select from t.item where id = 42`)).toEqual([])
    })

    test('a transaction cannot be used after its end', async () => {
      const { query } = await db().transaction(async (tx) => tx)
      expect(String(await failure(Promise.resolve().then(() => query(sql`select 1`))))).toContain('after its end')
    })

    test('transactions that run at the same time do not mix', async () => {
      const work = (i: number): Promise<void> =>
        db().transaction(async (tx) => {
          for (let part = 0; part < 3; part++) {
            await tx.query(sql`insert into t.part (owner, part) values (${i}, ${part})`)
            await pause()
          }
          const [row] = await tx.query<{ mine: number }>(sql`select count(*) as mine from t.part where owner = ${i}`)
          expect(row).toEqual({ mine: 3 })
          if (i % 3 === 0) throw new Error('given up')
        })
      const outcomes = await Promise.allSettled(Array.from({ length: 30 }, (_, i) => work(i)))
      expect(outcomes.filter((outcome) => outcome.status === 'rejected')).toHaveLength(10)
      const rows = await db().query(
        sql`select owner, count(*) as parts from t.part group by owner having count(*) <> 3 or owner % 3 = 0`,
      )
      expect(rows).toEqual([])
      expect(await one(db(), sql`select count(*) as parts from t.part`)).toEqual({ parts: 60 })
    })

    test('a statement beside an open transaction is not part of it', async () => {
      let beside: Promise<unknown> | undefined
      const work = db().transaction(async (tx) => {
        await tx.query(sql`insert into t.item (id, name) values (50, 'inside')`)
        beside = db().query(sql`insert into t.item (id, name) values (51, 'beside')`)
        await pause()
        throw new Error('given up')
      })
      expect(await failure(work)).toBeInstanceOf(Error)
      await beside
      expect(await db().query(sql`select id from t.item where id in (50, 51)`)).toEqual([{ id: 51 }])
    })

    test('statements asked for at once inside a transaction all take effect, in order', async () => {
      const ids = await db().transaction((tx) =>
        Promise.all(
          [60, 61, 62].map((id) => tx.query(sql`insert into t.item (id, name) values (${id}, 'many') returning id`)),
        ),
      )
      expect(ids.flat()).toEqual([{ id: 60 }, { id: 61 }, { id: 62 }])
    })

    test('many statements at once are each answered with their own rows', async () => {
      const asked = Array.from({ length: 300 }, (_, i) => i)
      const answers = await Promise.all(asked.map((i) => one<{ i: number }>(db(), sql`select ${i}::int as i`)))
      expect(answers.map((row) => row.i)).toEqual(asked)
    })

    test('a refused statement takes none of its neighbours with it', async () => {
      const insert = (id: number): Promise<unknown> =>
        db().query(sql`insert into t.item (id, name) values (${id}, 'group')`)
      const outcomes = await Promise.allSettled([70, 70, 71, 71, 72].map(insert))
      expect(outcomes.map((outcome) => outcome.status).filter((status) => status === 'fulfilled')).toHaveLength(3)
      expect(await one(db(), sql`select count(*) as kept from t.item where id between 70 and 72`)).toEqual({ kept: 3 })
    })
  })
}

/** Registers the tests; `open` gives a database that nobody else uses. */
export const engineContract = (open: () => Promise<Opened>): void => {
  let opened: Opened
  const db = (): Db => opened.db
  beforeAll(async () => {
    opened = await open()
    await opened.db.script(`create schema t;
      create table t.item (id bigint primary key, name text not null check (name <> ''));
      create table t.part (owner int, part int, primary key (owner, part))`)
  })
  afterAll(() => opened.close())

  types(db)
  failures(db)
  transactions(db)

  test('hints to nobody are lost without a failure', async () => {
    await expect(db().notify('nobody', [])).resolves.toBeUndefined()
    await db().notify('nobody', ['a', 'b'])
  })

  test('a closed database answers with an outage, and closing twice is fine', async () => {
    const other = await open()
    const before = other.db.query(sql`select 1 as one`)
    expect(await before).toEqual([{ one: 1 }])
    await other.close()
    await other.db.close()
    expect(await failure(other.db.query(sql`select 1`))).toBeInstanceOf(Outage)
    expect(await failure(other.db.transaction((tx) => tx.query(sql`select 1`)))).toBeInstanceOf(Outage)
  })
}
