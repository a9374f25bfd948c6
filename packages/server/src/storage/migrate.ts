// Brings a database to this server's schema: the files of packages/server/sql, forward only, each once.
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DatabaseError, StartFailure } from '../kernel/errors.ts'
import type { Db, Queries } from './db.ts'
import { sql } from './sql.ts'

/** packages/server/sql, seen from the source and from the published build alike. */
export const migrationsFolder = fileURLToPath(new URL('../../sql', import.meta.url))

export interface Migration {
  readonly version: number
  readonly name: string
  /** SHA-256 of the text with line ends as `\n`, in hex. */
  readonly checksum: string
  readonly text: string
}

interface Applied {
  readonly version: number
  readonly checksum: string
}

const fileName = /^(\d{6})_([a-z0-9_]+)\.sql$/

// Any number will do as long as it is ours alone.
const lockKey = 6_011_990_551

/** The migrations in a folder, in order. Other files are not looked at. */
export const readMigrations = (folder: string): Migration[] => {
  const migrations = readdirSync(folder)
    .toSorted()
    .flatMap((file) => {
      const [, digits, name] = fileName.exec(file) ?? []
      if (digits === undefined || name === undefined) return []
      const text = readFileSync(join(folder, file), 'utf8').replaceAll('\r\n', '\n')
      return [{ version: Number(digits), name, text, checksum: createHash('sha256').update(text).digest('hex') }]
    })
  migrations.forEach((migration, i) => {
    if (migration.version !== i + 1) throw new Error(`migration ${i + 1} is missing or there twice in ${folder}`)
  })
  return migrations
}

// A script is one transaction, and the lock lasts as long. Whoever waits here is no reason to give up.
const alone = `set local statement_timeout = 0; set local lock_timeout = 0; select pg_advisory_xact_lock(${lockKey});`

const prepare = `${alone}
create schema if not exists oncejob;
create table if not exists oncejob.migration (
  version integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
);`

// Numbers, file names and checksums of our own shape, so they can stand in the text; a script has no parameters.
const apply = ({ version, name, checksum, text }: Migration): string =>
  `${alone} insert into oncejob.migration (version, name, checksum) values (${version}, '${name}', '${checksum}');\n${text}`

const isAppliedByAnother = (error: unknown): boolean =>
  error instanceof DatabaseError && error.sqlState === '23505' && error.constraint === 'migration_pkey'

const appliedTo = (db: Queries): Promise<Applied[]> =>
  db.query<Applied>(sql`select version, checksum from oncejob.migration order by version`)

const check = (applied: readonly Applied[], known: readonly Migration[]): number => {
  const version = applied.at(-1)?.version ?? 0
  if (version > known.length) {
    throw new StartFailure(
      `the database has schema version ${version}, this server knows ${known.length}; start a newer server`,
    )
  }
  for (const { version: at, checksum } of applied) {
    const migration = known[at - 1]
    if (migration?.checksum !== checksum) {
      throw new StartFailure(
        `migration ${at} (${migration?.name ?? 'unknown'}) was applied with another text than this server has`,
      )
    }
  }
  return version
}

/** The schema version of a migrated database. */
export const schemaVersion = async (db: Queries): Promise<number> => (await appliedTo(db)).at(-1)?.version ?? 0

/**
 * Applies what is missing, each file in one transaction; several servers may do it at once.
 * @returns the schema version before and after.
 * @throws StartFailure when the database is newer than this server or was migrated with other texts.
 */
export const migrate = async (db: Db, folder: string = migrationsFolder): Promise<{ from: number; to: number }> => {
  const known = readMigrations(folder)
  await db.script(prepare)
  const from = check(await appliedTo(db), known)
  for (const migration of known.slice(from)) {
    try {
      await db.script(apply(migration))
    } catch (error) {
      // another server was faster; anything else is rethrown
      if (!isAppliedByAnother(error)) throw error
    }
  }
  return { from, to: check(await appliedTo(db), known) }
}
