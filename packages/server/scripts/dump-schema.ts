// Writes packages/server/sql/schema.sql, what all migrations together make; with --check only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { silentLog } from '../src/kernel/log.ts'
import type { Db } from '../src/storage/db.ts'
import { openEmbedded } from '../src/storage/engine/embedded.ts'
import { migrate, migrationsFolder } from '../src/storage/migrate.ts'
import type { Sql } from '../src/storage/sql.ts'
import type { Line, TableLine } from './schema-queries.ts'
import * as queries from './schema-queries.ts'

const path = join(migrationsFolder, 'schema.sql')

const head = `-- What all migrations together make, for reading. Nothing runs this file.
-- Written by packages/server/scripts/dump-schema.ts, which also checks that it is current.
`

type LinesOf = (table: string) => string[]

const linesOf = async (db: Db, statement: Sql): Promise<LinesOf> => {
  const lines = await db.query<Line>(statement)
  return (table) => lines.filter((line) => line.owner === table).map((line) => line.line)
}

const dump = async (db: Db): Promise<string> => {
  const tables = await db.query<TableLine>(queries.tables)
  const columns = await linesOf(db, queries.columns)
  const constraints = await linesOf(db, queries.constraints)
  const after = [queries.indexes, queries.triggers, queries.comments]
  const others = await Promise.all(after.map((statement) => linesOf(db, statement)))
  const paragraphs = tables.map(({ owner, line, partition, tail }) => {
    const body = [...columns(owner), ...constraints(owner)].map((part) => `  ${part}`).join(',\n')
    const create = partition ? `${line}${tail};` : `${line} (\n${body}\n)${tail};`
    return [create, ...others.flatMap((of) => of(owner))].join('\n')
  })
  const before = [queries.enums, queries.sequences, queries.functions]
  const first = await Promise.all(before.map(async (statement) => (await linesOf(db, statement))('').join('\n')))
  return `${[head.trimEnd(), ...first, ...paragraphs].filter((paragraph) => paragraph !== '').join('\n\n')}\n`
}

const current = async (): Promise<string> => {
  const db = await openEmbedded({ dir: 'memory', log: silentLog })
  try {
    await migrate(db)
    return await dump(db)
  } finally {
    await db.close()
  }
}

const readOr = (otherwise: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // a missing file differs from any
    return otherwise
  }
}

const text = await current()
const found = readOr('')
if (!process.argv.includes('--check')) {
  writeFileSync(path, text)
  process.stdout.write(`${path} ${found === text ? 'is current' : 'written'}\n`)
} else if (found !== text) {
  const lines = text.split('\n')
  const there = found.split('\n')
  const at = lines.findIndex((line, i) => line !== there[i])
  process.stderr.write(
    `packages/server/sql/schema.sql is not current: line ${at + 1} is\n  ${there[at] ?? '(missing)'}\nand should be\n  ${lines[at] ?? '(nothing)'}\nRun: node packages/server/scripts/dump-schema.ts\n`,
  )
  process.exitCode = 1
}
