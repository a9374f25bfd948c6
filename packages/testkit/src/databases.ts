// A migrated, empty database for each test file, in the engine that ONCEJOB_TEST_DB names.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  migrate,
  migrationsFolder,
  openEmbedded,
  openPostgres,
  packFolder,
  readMigrations,
  seedRelease,
  silentLog,
  unpackFolder,
} from '@oncejob/server/testing'
import type { Db, EmbeddedDb } from '@oncejob/server/testing'
import pg from 'pg'
import type { Description } from './describe.ts'
import { describeEmbedded, describePostgres } from './describe.ts'

export type TestDatabaseKind = 'memory' | 'disk' | 'postgres'

export interface TestDatabase {
  readonly db: Db
  readonly kind: TestDatabaseKind
  /** On PostgreSQL: the URL of this database. */
  readonly url: string | undefined
  /** On disk: the data folder. */
  readonly dir: string | undefined
  /** What a statement takes and returns; it is not run. */
  describe(text: string): Promise<Description>
  /** Closes and removes it. */
  close(): Promise<void>
}

/** The engine that ONCEJOB_TEST_DB asks for; `memory` when it says nothing. */
export const testDatabaseKind = (): TestDatabaseKind => {
  const kind = process.env['ONCEJOB_TEST_DB'] ?? 'memory'
  if (kind === 'memory' || kind === 'disk' || kind === 'postgres') return kind
  throw new Error(`ONCEJOB_TEST_DB is memory, disk or postgres, not ${kind}`)
}

/** The PostgreSQL server to test on. Databases are made and dropped there. */
export const testServerUrl = (): string =>
  process.env['ONCEJOB_TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'

/** Changes with everything that a migrated database depends on. */
const templateKey = (): string => {
  const parts = [seedRelease, ...readMigrations(migrationsFolder).map((migration) => migration.checksum)]
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16)
}

/** A migrated cluster as a tar, made once per machine and set of migrations. */
const migratedCluster = async (): Promise<Uint8Array> => {
  const folder = join(tmpdir(), 'oncejob-test-clusters')
  const path = join(folder, `${templateKey()}.tar`)
  if (existsSync(path)) return readFileSync(path)
  mkdirSync(folder, { recursive: true })
  const making = mkdtempSync(join(folder, 'making-'))
  try {
    const db = await openEmbedded({ dir: making, log: silentLog })
    await migrate(db)
    await db.close()
    const tar = packFolder(join(making, 'pg'))
    // several test processes may do this at once; each renames a whole file into place
    writeFileSync(join(making, 'tar'), tar)
    renameSync(join(making, 'tar'), path)
    return tar
  } finally {
    rmSync(making, { recursive: true })
  }
}

const embedded = async (kind: 'memory' | 'disk'): Promise<TestDatabase> => {
  const seed = await migratedCluster()
  const dir = kind === 'memory' ? undefined : mkdtempSync(join(tmpdir(), 'oncejob-test-'))
  if (dir !== undefined) await unpackFolder(seed, join(dir, 'pg'), { sync: false })
  const db: EmbeddedDb = await openEmbedded({ dir: dir ?? 'memory', log: silentLog, seed })
  return {
    db,
    kind,
    url: undefined,
    dir,
    describe: (text) => db.withEngine((engine) => describeEmbedded(engine, text)),
    close: async () => {
      await db.close()
      if (dir !== undefined) rmSync(dir, { recursive: true, force: true })
    },
  }
}

const withDatabase = (url: string, name: string): string => {
  const changed = new URL(url)
  changed.pathname = `/${name}`
  return changed.href
}

const asAdmin = async <T>(work: (admin: pg.Client) => Promise<T>): Promise<T> => {
  const admin = new pg.Client({ connectionString: testServerUrl(), connectionTimeoutMillis: 5_000 })
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.end()
  }
}

const names = async (admin: pg.Client, text: string, values: readonly unknown[]): Promise<string[]> =>
  (await admin.query<{ name: string }>(text, [...values])).rows.map((row) => row.name)

// A number of our own; one template is made at a time.
const templateLock = 6_011_990_552

/** Makes the template that databases are cloned from, unless it is there. */
const ensureTemplate = async (admin: pg.Client, template: string): Promise<void> => {
  const find = 'select datname as name from pg_database where datname = $1 and datistemplate'
  if ((await names(admin, find, [template])).length > 0) return
  await admin.query('select pg_advisory_lock($1)', [templateLock])
  try {
    if ((await names(admin, find, [template])).length > 0) return
    await admin.query(`drop database if exists ${template} with (force)`)
    await admin.query(`create database ${template} template template0`)
    const url = withDatabase(testServerUrl(), template)
    const db = await openPostgres({ url, log: silentLog, applicationName: 'oncejob-test', poolMax: 1 })
    try {
      await migrate(db)
    } finally {
      await db.close()
    }
    // only a finished one is marked, so a half-made one is made again
    await admin.query(`alter database ${template} is_template true`)
    await dropStale(admin, template)
  } finally {
    await admin.query('select pg_advisory_unlock($1)', [templateLock])
  }
}

/** Drops templates of other sets of migrations, and databases that nobody is connected to and that are a day old. */
const dropStale = async (admin: pg.Client, template: string): Promise<void> => {
  const stale = await names(
    admin,
    String.raw`select d.datname as name from pg_database d
      where (d.datname like 'oncejob\_template\_%' and d.datname <> $1 or d.datname like 'oncejob\_test\_%')
        and not exists (select from pg_stat_activity a where a.datname = d.datname)
        and (pg_stat_file('base/' || d.oid || '/PG_VERSION')).modification < now() - interval '1 day'`,
    [template],
  )
  for (const name of stale) {
    await admin.query(`alter database ${name} is_template false`)
    await admin.query(`drop database if exists ${name}`)
  }
}

const postgres = async (): Promise<TestDatabase> => {
  const name = `oncejob_test_${randomBytes(6).toString('hex')}`
  const template = `oncejob_template_${templateKey()}`
  await asAdmin(async (admin) => {
    await ensureTemplate(admin, template)
    await admin.query(`create database ${name} template ${template}`)
  })
  const url = withDatabase(testServerUrl(), name)
  const db = await openPostgres({ url, log: silentLog, applicationName: 'oncejob-test', poolMax: 8 })
  return {
    db,
    kind: 'postgres',
    url,
    dir: undefined,
    describe: (text) => describePostgres(url, text),
    close: async () => {
      await db.close()
      await asAdmin((admin) => admin.query(`drop database if exists ${name} with (force)`))
    },
  }
}

/** Opens a migrated, empty database that only the caller uses. */
export const openTestDatabase = (kind: TestDatabaseKind = testDatabaseKind()): Promise<TestDatabase> =>
  kind === 'postgres' ? postgres() : embedded(kind)
