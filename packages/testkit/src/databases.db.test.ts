// The databases that tests run on: whatever the engine, each is migrated, empty and its own.
import { migrationsFolder, readMigrations, sql } from '@oncejob/server/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestDatabase } from './databases.ts'
import { openTestDatabase } from './databases.ts'
import { describeStatement } from './describe.ts'

let one: TestDatabase
let other: TestDatabase

// at once, as several test processes do
beforeAll(async () => {
  const opened = await Promise.all([openTestDatabase(), openTestDatabase()])
  one = opened[0]
  other = opened[1]
})
afterAll(async () => {
  await one.close()
  await other.close()
})

test('a test database is migrated', async () => {
  const rows = await one.db.query<{ version: number }>(sql`select version from oncejob.migration order by version`)
  expect(rows.map((row) => row.version)).toEqual(readMigrations(migrationsFolder).map((migration) => migration.version))
})

test('two test databases do not see each other', async () => {
  await one.db.script('create table oncejob.only_here (id bigint)')
  const find = sql`select to_regclass('oncejob.only_here') is not null as found`
  expect(await one.db.query(find)).toEqual([{ found: true }])
  expect(await other.db.query(find)).toEqual([{ found: false }])
})

test('a statement is described with the types of its parameters and columns, and is not run', async () => {
  await one.db.script('create table oncejob.thing (id bigint primary key, name text, seen_at timestamptz)')
  const insert = 'insert into oncejob.thing values ($1, $2, $3) returning id, name, seen_at as "seenAt"'
  expect(await describeStatement(one, insert)).toEqual({
    params: [20, 25, 1184],
    columns: [
      { name: 'id', typeOid: 20 },
      { name: 'name', typeOid: 25 },
      { name: 'seenAt', typeOid: 1184 },
    ],
  })
  expect(await describeStatement(one, 'delete from oncejob.thing')).toEqual({ params: [], columns: [] })
  expect(await one.db.query(sql`select id from oncejob.thing`)).toEqual([])
})

test('describing a statement with an unknown column fails', async () => {
  await expect(describeStatement(one, 'select nonsense from oncejob.migration')).rejects.toThrow('nonsense')
})
