// The embedded database's traps: two processes, lost syncs, half-made folders. Real folders, real processes, real kills.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, expect, test } from 'vitest'
import { StartFailure } from '../../kernel/errors.ts'
import { silentLog } from '../../kernel/log.ts'
import { sql } from '../sql.ts'
import { seedRelease } from './cluster.ts'
import type { EmbeddedDb, EmbeddedOptions } from './embedded.ts'
import { openEmbedded } from './embedded.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})

const newFolder = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'oncejob-embedded-'))
  undo.push(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

const open = async (dir: string, more: Partial<EmbeddedOptions> = {}): Promise<EmbeddedDb> => {
  const db = await openEmbedded({ dir, log: silentLog, ...more })
  undo.push(() => db.close())
  return db
}

const failure = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

interface Child {
  readonly process: ChildProcess
  /** The next line it prints; undefined when it has ended. */
  next(): Promise<string | undefined>
  kill(): Promise<void>
}

const childCode = (body: string): string => `
  import { openEmbedded } from ${JSON.stringify(new URL('./embedded.ts', import.meta.url).href)}
  import { sql } from ${JSON.stringify(new URL('../sql.ts', import.meta.url).href)}
  import { silentLog as log } from ${JSON.stringify(new URL('../../kernel/log.ts', import.meta.url).href)}
  const say = (text) => process.stdout.write(text + '\\n')
  const dir = process.argv[1]
  ${body}`

const startChild = (dir: string, body: string): Child => {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', childCode(body), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise<void>((resolve) => void child.once('exit', () => resolve()))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  undo.push(kill)
  const next = async (): Promise<string | undefined> => {
    const { value, done } = await lines.next()
    return done === true ? undefined : value
  }
  return { process: child, next, kill }
}

const holdOpen = `await openEmbedded({ dir, log }); say('open'); setInterval(() => undefined, 1_000)`

test('a second process is refused while the first lives, and let in right after its SIGKILL', async () => {
  const dir = newFolder()
  const first = startChild(dir, holdOpen)
  expect(await first.next()).toBe('open')
  const refused = await failure(openEmbedded({ dir, log: silentLog }))
  expect(refused).toBeInstanceOf(StartFailure)
  expect(String(refused)).toContain(
    `the data folder ${dir} is in use by another OnceJob server (pid ${first.process.pid})`,
  )
  await first.kill()
  const db = await open(dir)
  expect(await db.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
})

test('the same process cannot open a folder twice, and being refused does not free it', async () => {
  const dir = newFolder()
  await open(dir)
  for (let i = 0; i < 2; i++) expect(await failure(openEmbedded({ dir, log: silentLog }))).toBeInstanceOf(StartFailure)
  const other = startChild(
    dir,
    `await openEmbedded({ dir, log }).then(() => say('open'), (error) => say(error.name)); process.exit()`,
  )
  expect(await other.next()).toBe('StartFailure')
})

test('a closed folder can be opened again, with its data', async () => {
  const dir = newFolder()
  const first = await open(dir)
  await first.script('create table t (id int); insert into t values (7)')
  await first.close()
  const second = await open(dir)
  expect(await second.query(sql`select id from t`)).toEqual([{ id: 7 }])
})

test('every single insert is one sync or more', async () => {
  const db = await open(newFolder())
  await db.script('create table t (id int)')
  const before = db.syncs()
  for (let i = 0; i < 50; i++) await db.query(sql`insert into t values (${i})`)
  expect(db.syncs() - before).toBeGreaterThanOrEqual(50)
})

test('every transaction is one sync or more, reading is none', async () => {
  const db = await open(newFolder())
  await db.script('create table t (id int)')
  const before = db.syncs()
  for (let i = 0; i < 20; i++) await db.transaction((tx) => tx.query(sql`insert into t values (${i})`))
  const after = db.syncs()
  expect(after - before).toBeGreaterThanOrEqual(20)
  // the first reading marks rows as committed, which is written too, but never waits
  for (let i = 0; i < 20; i++) await db.query(sql`select id from t`)
  expect(db.syncs()).toBe(after)
})

test('statements that wait side by side share a sync, and none is answered before it', async () => {
  const db = await open(newFolder())
  await db.script('create table t (id int)')
  const before = db.syncs()
  const syncsWhenAnswered = await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      await db.query(sql`insert into t values (${i})`)
      return db.syncs()
    }),
  )
  expect(Math.min(...syncsWhenAnswered)).toBeGreaterThan(before)
  expect(db.syncs() - before).toBeLessThan(50)
})

const insertWithoutDisk = `
  const { default: fs } = await import('node:fs')
  const { syncBuiltinESMExports } = await import('node:module')
  const db = await openEmbedded({ dir, log })
  await db.script('create table t (id int); insert into t values (1)')
  const { fdatasyncSync } = fs
  const patch = (sync) => { fs.fdatasyncSync = sync; syncBuiltinESMExports() }
  patch(() => { throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' }) })
  const outcomes = await Promise.allSettled([db.query(sql\`insert into t values (2)\`), db.query(sql\`insert into t values (3)\`)])
  patch(fdatasyncSync)
  outcomes.push(...(await Promise.allSettled([db.query(sql\`select 1\`)])))
  say(outcomes.map((outcome) => outcome.reason?.name).join())
  await db.close().catch(() => undefined)
  process.exit()`

test('when the disk fails nothing is acknowledged any more, and a new start is sound', async () => {
  const dir = newFolder()
  const child = startChild(dir, insertWithoutDisk)
  expect(await child.next()).toBe('Outage,Outage,Outage')
  expect(await child.next()).toBeUndefined()
  const db = await open(dir)
  expect(await db.query(sql`select id from t where id = 1`)).toEqual([{ id: 1 }])
})

const insertForEver = `
  const db = await openEmbedded({ dir, log })
  await db.script('create table if not exists t (id bigint generated always as identity primary key)')
  const insert = async () => {
    for (;;) {
      const [row] = await db.query(sql\`insert into t default values returning id\`)
      say(String(row.id))
    }
  }
  await Promise.all([insert(), insert(), insert()])`

test('ten SIGKILLs under load lose no acknowledged row', { timeout: 300_000 }, async () => {
  const dir = newFolder()
  const acknowledged: number[] = []
  for (let round = 0; round < 10; round++) {
    const child = startChild(dir, insertForEver)
    for (let i = 0; i < 20 + round * 7; i++) acknowledged.push(Number(await child.next()))
    await child.kill()
    // what it had printed before it died was acknowledged as well
    for (let line = await child.next(); line !== undefined; line = await child.next()) acknowledged.push(Number(line))
  }
  const db = await open(dir)
  const rows = await db.query<{ id: number }>(sql`select id from t`)
  const kept = new Set(rows.map((row) => row.id))
  expect(acknowledged.filter((id) => !kept.has(id))).toEqual([])
  expect(acknowledged.length).toBeGreaterThanOrEqual(10 * 20)
})

test('a crash while the first cluster is unpacked leaves nothing that a later start trusts', async () => {
  const dir = newFolder()
  mkdirSync(join(dir, 'pg.unpacking', 'base'), { recursive: true })
  writeFileSync(join(dir, 'pg.unpacking', 'PG_VERSION'), '18\n')
  const db = await open(dir)
  expect(await db.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
  expect(readdirSync(dir).toSorted()).toEqual(['lock.db', 'lock.pid', 'pg'])
})

test('a SIGKILL at any time of the first start leaves a folder that the next start can use', async () => {
  const dir = newFolder()
  const child = startChild(dir, `say('starting'); ${holdOpen}`)
  await child.next()
  await expect
    .poll(() => existsSync(join(dir, 'pg.unpacking')) || existsSync(join(dir, 'pg')), { timeout: 30_000, interval: 1 })
    .toBe(true)
  await child.kill()
  const db = await open(dir)
  expect(await db.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
})

test('a data folder that is a file, or below one, is refused in one line', async () => {
  const path = join(newFolder(), 'file')
  writeFileSync(path, '')
  for (const dir of [path, join(path, 'below')]) {
    const error = await failure(openEmbedded({ dir, log: silentLog }))
    expect(error).toBeInstanceOf(StartFailure)
    expect(String(error)).toMatch(/^StartFailure: the data folder \S+ cannot be used: .+$/)
  }
})

test('a folder of another PostgreSQL release is refused, and stays as it is', async () => {
  const dir = newFolder()
  mkdirSync(join(dir, 'pg'))
  writeFileSync(join(dir, 'pg', 'PG_VERSION'), '17\n')
  expect(String(await failure(openEmbedded({ dir, log: silentLog })))).toContain('was written by PostgreSQL 17')
  expect(readdirSync(join(dir, 'pg'))).toEqual(['PG_VERSION'])
})

test('dead rows are vacuumed and the write-ahead log is cut, without anyone asking', async () => {
  const upkeep = { everyStatements: 20, walBytesMax: 2 ** 20, changedRowsMax: 100 }
  const db = await open(newFolder(), { upkeep })
  await db.script('create table t (id int, pad text)')
  const state = async (): Promise<{ redo: string; vacuums: number } | undefined> => {
    const rows = await db.query<{ redo: string; vacuums: number }>(
      sql`select (pg_control_checkpoint()).redo_lsn::text as redo, vacuum_count as vacuums from pg_stat_all_tables where relname = 't'`,
    )
    return rows[0]
  }
  const before = await state()
  const work = async (): Promise<boolean> => {
    await db.query(sql`insert into t select i, repeat('x', 500) from generate_series(1, 500) as i`)
    await db.query(sql`delete from t`)
    const now = await state()
    return now !== undefined && now.vacuums > 0 && now.redo !== before?.redo
  }
  await expect.poll(work, { timeout: 50_000, interval: 1 }).toBe(true)
})

test('the seed was made with the release of PGlite that is installed', () => {
  const read = (url: URL): { version?: string; dependencies?: Record<string, string> } =>
    JSON.parse(readFileSync(url, 'utf8'))
  const engine = '@electric-sql/pglite'
  expect(read(new URL('../../../package.json', import.meta.url)).dependencies?.[engine]).toBe(seedRelease)
  expect(read(new URL('../package.json', import.meta.resolve(engine))).version).toBe(seedRelease)
})
