// What holds for the migration files themselves; running them is in migrate.db.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { migrationsFolder, readMigrations } from './migrate.ts'

const folder = mkdtempSync(join(tmpdir(), 'oncejob-migrations-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('every migration says its reason on line 1', () => {
  const migrations = readMigrations(migrationsFolder)
  expect(migrations.length).toBeGreaterThan(0)
  for (const { name, text } of migrations) expect(text, name).toMatch(/^-- \S.{10,}\n/)
})

test('no migration begins or ends a transaction of its own', () => {
  for (const { name, text } of readMigrations(migrationsFolder)) {
    expect(text, name).not.toMatch(/^\s*(?:begin|start\s+transaction|commit|rollback|end)\s*;/im)
  }
})

test('line ends do not change a checksum, any other change does', () => {
  const checksumOf = (text: string): string | undefined => {
    writeFileSync(join(folder, '000001_first.sql'), text)
    return readMigrations(folder)[0]?.checksum
  }
  expect(checksumOf('-- a\r\nselect 1;\r\n')).toBe(checksumOf('-- a\nselect 1;\n'))
  expect(checksumOf('-- a\nselect 2;\n')).not.toBe(checksumOf('-- a\nselect 1;\n'))
})

test('a gap in the numbers is refused, and files of other names are not looked at', () => {
  writeFileSync(join(folder, 'schema.sql'), 'nonsense')
  expect(readMigrations(folder).map((migration) => migration.version)).toEqual([1])
  writeFileSync(join(folder, '000003_third.sql'), '-- c')
  expect(() => readMigrations(folder)).toThrow('migration 2 is missing')
})
