// Migrations on a real database: each once, all or nothing, by one server at a time, never backwards.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTestDatabase } from '@oncejob/testkit'
import type { TestDatabase } from '@oncejob/testkit'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { StartFailure } from '../kernel/errors.ts'
import type { Db } from './db.ts'
import { migrate, migrationsFolder, readMigrations, schemaVersion } from './migrate.ts'
import { sql } from './sql.ts'

let database: TestDatabase
let db: Db
let folder: string

beforeAll(async () => {
  database = await openTestDatabase()
  db = database.db
})
afterAll(() => database.close())

beforeEach(async () => {
  await db.script('drop schema if exists oncejob cascade')
  folder = mkdtempSync(join(tmpdir(), 'oncejob-migrations-'))
  write('000001_first.sql', '-- the first table\ncreate table oncejob.first (id bigint);')
  write(
    '000002_second.sql',
    '-- the second table\ncreate table oncejob.second (id bigint); insert into oncejob.second values (1);',
  )
})
afterEach(() => rmSync(folder, { recursive: true }))

const write = (name: string, text: string): void => writeFileSync(join(folder, name), text)

const failure = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

test('an empty database gets everything, a second time nothing', async () => {
  expect(await migrate(db, folder)).toEqual({ from: 0, to: 2 })
  expect(await migrate(db, folder)).toEqual({ from: 2, to: 2 })
  expect(await schemaVersion(db)).toBe(2)
  expect(await db.query(sql`select id from oncejob.second`)).toEqual([{ id: 1 }])
})

test('an older database gets what is missing', async () => {
  await migrate(db, folder)
  write('000003_third.sql', '-- a column\nalter table oncejob.first add name text;')
  expect(await migrate(db, folder)).toEqual({ from: 2, to: 3 })
  expect(await db.query(sql`select name from oncejob.first`)).toEqual([])
})

test('a migration that fails leaves nothing of itself, and those before it stay', async () => {
  write('000003_third.sql', '-- fails half-way\ncreate table oncejob.third (id bigint); select 1/0;')
  expect(await failure(migrate(db, folder))).toMatchObject({ sqlState: '22012' })
  expect(await schemaVersion(db)).toBe(2)
  expect(await db.query(sql`select to_regclass('oncejob.third') is null as gone`)).toEqual([{ gone: true }])
  write('000003_third.sql', '-- mended\ncreate table oncejob.third (id bigint);')
  expect(await migrate(db, folder)).toEqual({ from: 2, to: 3 })
})

test('servers that start together migrate once', async () => {
  const all = await Promise.all(Array.from({ length: 6 }, () => migrate(db, folder)))
  expect(all.map(({ to }) => to)).toEqual([2, 2, 2, 2, 2, 2])
  expect(await db.query(sql`select count(*) as rows from oncejob.second`)).toEqual([{ rows: 1 }])
})

test('a migration that was applied with another text is refused', async () => {
  await migrate(db, folder)
  write('000001_first.sql', '-- the first table\ncreate table oncejob.first (id integer);')
  const error = await failure(migrate(db, folder))
  expect(error).toBeInstanceOf(StartFailure)
  expect(String(error)).toContain('migration 1 (first) was applied with another text')
})

test('a database that is newer than the server is refused', async () => {
  await migrate(db, folder)
  rmSync(join(folder, '000002_second.sql'))
  const error = await failure(migrate(db, folder))
  expect(error).toBeInstanceOf(StartFailure)
  expect(String(error)).toContain('the database has schema version 2, this server knows 1; start a newer server')
})

test('the migrations of this server apply', async () => {
  const { length } = readMigrations(migrationsFolder)
  expect(await migrate(db)).toEqual({ from: 0, to: length })
})
