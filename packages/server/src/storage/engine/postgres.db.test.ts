// PostgreSQL's own traps: connections that die, hints, unreachable servers. Most run on PostgreSQL only.
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { openTestDatabase, testDatabaseKind, testServerUrl } from '@oncejob/testkit'
import type { TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Outage, StartFailure } from '../../kernel/errors.ts'
import { silentLog } from '../../kernel/log.ts'
import { notingLog } from '../../testing/log.ts'
import type { Db } from '../db.ts'
import { sql } from '../sql.ts'
import { checkVersion, openPostgres } from './postgres.ts'

const failure = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

const openAt = (url: string, poolMax = 4): Promise<Db> =>
  openPostgres({ url, log: silentLog, applicationName: 'oncejob-victim', poolMax })

/** A port on which nobody listens. */
const freePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => void server.close(resolve))
  return port
}

test('an unreachable server is a start failure in one line, without the password', async () => {
  const port = await freePort()
  const error = await failure(openAt(`postgres://user:secret@127.0.0.1:${port}/db`))
  expect(error).toBeInstanceOf(StartFailure)
  expect(String(error)).toContain(`cannot use the database postgres://user@127.0.0.1:${port}/db: `)
  expect(String(error)).not.toMatch(/secret|\n/)
})

test('an unknown host and what is no database URL are start failures in one line', async () => {
  for (const url of ['postgres://user:secret@host.invalid/db', 'http://example.org', '']) {
    const error = await failure(openAt(url))
    expect(error).toBeInstanceOf(StartFailure)
    expect(String(error)).not.toMatch(/secret|\n/)
  }
})

test('PostgreSQL 14 is refused in one line, 15 is not', () => {
  expect(() => checkVersion(140_012, 'postgres://host/db')).toThrow(StartFailure)
  expect(() => checkVersion(140_012, 'postgres://host/db')).toThrow(
    'postgres://host/db is PostgreSQL 14; this server needs PostgreSQL 15 or newer',
  )
  checkVersion(150_000, 'postgres://host/db')
})

const onPostgres = (): void => {
  let database: TestDatabase
  let url: string
  beforeAll(async () => {
    database = await openTestDatabase('postgres')
    url = database.url ?? ''
    await database.db.script('create table public.t (id int)')
  })
  afterAll(() => database.close())

  /** Ends the connections of the database under test, and waits until they are gone. */
  const killSessions = async (): Promise<void> => {
    const mine = sql`pid <> pg_backend_pid() and application_name = 'oncejob-victim' and datname = current_database()`
    await database.db.query(sql`select pg_terminate_backend(pid) from pg_stat_activity where ${mine}`)
    await expect
      .poll(() => database.db.query(sql`select pid from pg_stat_activity where ${mine}`), { timeout: 30_000 })
      .toEqual([])
  }

  test('an unknown database and an unknown user are start failures', async () => {
    const unknown = new URL(testServerUrl())
    unknown.pathname = '/oncejob_no_such_database'
    expect(String(await failure(openAt(unknown.href)))).toContain('does not exist')
  })

  test('sessions have bounded patience, a name and the zone UTC', async () => {
    const db = await openAt(url)
    const [settings] = await db.query(sql`select current_setting('statement_timeout') as statement,
      current_setting('idle_in_transaction_session_timeout') as idle, current_setting('lock_timeout') as lock,
      current_setting('timezone') as zone, current_setting('application_name') as name`)
    await db.close()
    expect(settings).toEqual({ statement: '15s', idle: '15s', lock: '10s', zone: 'UTC', name: 'oncejob-victim' })
  })

  test('idle connections that are killed are replaced without anyone noticing, and told of in a short line', async () => {
    const { log, logged } = notingLog()
    const db = await openPostgres({ url, log, applicationName: 'oncejob-victim', poolMax: 4 })
    await Promise.all(Array.from({ length: 4 }, () => db.query(sql`select pg_sleep(0.01)`)))
    await killSessions()
    await expect.poll(async () => failure(db.query(sql`select 1`)), { timeout: 30_000 }).toBeUndefined()
    await db.close()
    const messages = ['database connection failed', 'database connection lost']
    expect([...new Set(logged.map(({ message }) => message))].toSorted()).toEqual(messages)
    const says = 'terminating connection due to administrator command'
    for (const { facts } of logged) expect(facts).toEqual({ err: { name: 'error', code: '57P01', message: says } })
  })

  test('a statement whose connection is killed is an outage, and the next one works', async () => {
    const db = await openAt(url, 1)
    const waiting = failure(db.query(sql`select pg_sleep(60)`))
    await expect
      .poll(
        () =>
          database.db.query(
            sql`select 1 as one from pg_stat_activity where query like '%pg_sleep(60)%' and application_name = 'oncejob-victim'`,
          ),
        {
          timeout: 30_000,
        },
      )
      .toEqual([{ one: 1 }])
    await killSessions()
    expect(await waiting).toBeInstanceOf(Outage)
    expect(await db.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
    await db.close()
  })

  test('a transaction whose connection is killed is an outage and leaves nothing; COMMIT says that it does not know', async () => {
    const db = await openAt(url, 1)
    const error = await failure(
      db.transaction(async (tx) => {
        await tx.query(sql`insert into public.t values (1)`)
        await killSessions()
      }),
    )
    expect(error).toBeInstanceOf(Outage)
    expect(String(error)).toContain('COMMIT')
    expect(await db.query(sql`select id from public.t`)).toEqual([])
    await db.close()
  })

  test('a statement that takes too long is an outage', async () => {
    const hasty = new URL(url)
    hasty.searchParams.set('statement_timeout', '3000')
    const db = await openAt(hasty.href)
    expect(await failure(db.query(sql`select pg_sleep(30)`))).toBeInstanceOf(Outage)
    await db.close()
  })

  test('hints reach those who listen, in order, and again after the connection was killed', async () => {
    const db = await openAt(url)
    const heard: string[] = []
    let connections = 0
    const stop = await db.listen(
      'contract',
      (payload) => void heard.push(payload),
      () => void (connections += 1),
    )
    await db.notify('contract', ['a', 'b'])
    await expect.poll(() => heard, { timeout: 30_000 }).toEqual(['a', 'b'])
    const before = connections
    await killSessions()
    await expect.poll(() => connections, { timeout: 30_000 }).toBeGreaterThan(before)
    await expect.poll(async () => failure(db.notify('contract', ['c'])), { timeout: 30_000 }).toBeUndefined()
    await expect.poll(() => heard, { timeout: 30_000 }).toEqual(['a', 'b', 'c'])
    await stop()
    await db.notify('contract', ['d'])
    await db.close()
    expect(heard).toEqual(['a', 'b', 'c'])
  })

  test('closing ends what listens', async () => {
    const db = await openAt(url)
    await db.listen(
      'contract',
      () => undefined,
      () => undefined,
    )
    await db.close()
    const left = sql`select pid from pg_stat_activity where application_name = 'oncejob-victim' and datname = current_database()`
    await expect.poll(() => database.db.query(left), { timeout: 30_000 }).toEqual([])
  })
}

// oxlint-disable-next-line vitest/no-conditional-tests, vitest/valid-describe-callback -- a test that needs PostgreSQL is absent elsewhere, not skipped
if (testDatabaseKind() === 'postgres') describe('on PostgreSQL', onPostgres)
