// The databases that tests run on: whatever the engine, each is migrated, empty and its own.
import { expect, test } from 'vitest'
import { migrationsFolder, readMigrations, sql } from '@oncejob/server/testing'
import { openTestDatabase } from './databases.ts'
import { describeStatement } from './describe.ts'

const openEmpty = async (): Promise<AsyncDisposable & Awaited<ReturnType<typeof openTestDatabase>>> => {
  const database = await openTestDatabase()
  return { ...database, [Symbol.asyncDispose]: database.close }
}

test('a test database is migrated', async () => {
  await using database = await openEmpty()
  const rows = await database.db.query<{ version: number }>(sql`select version from oncejob.migration order by version`)
  expect(rows.map((row) => row.version)).toEqual(readMigrations(migrationsFolder).map((migration) => migration.version))
})

test('two test databases do not see each other', async () => {
  await using one = await openEmpty()
  await using other = await openEmpty()
  await one.db.script('create table oncejob.only_here (id bigint)')
  const find = sql`select to_regclass('oncejob.only_here') is not null as found`
  expect(await one.db.query(find)).toEqual([{ found: true }])
  expect(await other.db.query(find)).toEqual([{ found: false }])
})

test('several test databases can be asked for at once', async () => {
  const databases = await Promise.all([openTestDatabase(), openTestDatabase(), openTestDatabase()])
  for (const { db } of databases) expect(await db.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
  for (const database of databases) await database.close()
})

test('a statement is described with the types of its parameters and columns, and is not run', async () => {
  await using database = await openEmpty()
  await database.db.script('create table oncejob.thing (id bigint primary key, name text, seen_at timestamptz)')
  const insert = 'insert into oncejob.thing values ($1, $2, $3) returning id, name, seen_at as "seenAt"'
  expect(await describeStatement(database, insert)).toEqual({
    params: [20, 25, 1184],
    columns: [
      { name: 'id', typeOid: 20 },
      { name: 'name', typeOid: 25 },
      { name: 'seenAt', typeOid: 1184 },
    ],
  })
  expect(await describeStatement(database, 'delete from oncejob.thing')).toEqual({ params: [], columns: [] })
  expect(await database.db.query(sql`select id from oncejob.thing`)).toEqual([])
})

test('describing a statement with an unknown column fails', async () => {
  await using database = await openEmpty()
  await expect(describeStatement(database, 'select nonsense from oncejob.migration')).rejects.toThrow('nonsense')
})
