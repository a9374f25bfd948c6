// The undelivered rule across servers: each has its own sign of life, which its system gives back when it dies. PostgreSQL only.
import { spawn, type ChildProcess } from 'node:child_process'
import { openTestDatabase, testDatabaseKind, type TestDatabase } from '@oncejob/testkit'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { silentLog } from '../../kernel/log.ts'
import type { Db, QueryOptions } from '../../storage/db.ts'
import { openPostgres } from '../../storage/engine/postgres.ts'
import { serverLockSpace } from '../../storage/resends.ts'
import { sql, type Sql } from '../../storage/sql.ts'
import { effectsOf, prepareEffects, route, startResends, type ResendServer } from '../testing/resend-rig.ts'

let database: TestDatabase
const undo: (() => unknown)[] = []
beforeAll(async () => {
  database = await openTestDatabase()
  await prepareEffects(database.db)
})
afterAll(() => database.close())
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})

const start = async (db: Db = database.db): Promise<ResendServer> => {
  const server = await startResends(db, { others: true })
  undo.push(() => server.stop())
  return server
}
const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))
const fresh = (): string => `body-${Math.random().toString(36).slice(2)}`
const idOf = (made: { readonly attempt?: { readonly id: number | null } | undefined }): number => made.attempt?.id ?? 0

/** The connection of an attempt is lost; resolves when the other servers can see it. */
const lose = async (server: ResendServer, id: number): Promise<void> => {
  server.resends.undelivered(id)
  const noted = sql`select id from oncejob.legacy_attempt where id = ${id} and undelivered_at is not null`
  await expect.poll(() => database.db.query(noted), { timeout: 30_000, interval: 5 }).toHaveLength(1)
}

/** A whole server in a process of its own that executes one call and says so, before or after the commit of its effect. */
const executeIn = async (
  moment: 'executing' | 'committed' | 'answered',
  token: string,
  body: string,
): Promise<ChildProcess> => {
  const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href)
  const forever = `new Promise(() => setInterval(() => undefined, 1_000))`
  const say = `process.stdout.write('there\\n')`
  const plan = {
    executing: `{ gate: (${say}, ${forever}) }`,
    committed: `{ get after() { ${say}; return ${forever} } }`,
    answered: `{}`,
  }[moment]
  const code = `
    import { openPostgres } from ${url('../../storage/engine/postgres.ts')}
    import { silentLog as log } from ${url('../../kernel/log.ts')}
    import { startResends } from ${url('../testing/resend-rig.ts')}
    const db = await openPostgres({ url: ${JSON.stringify(database.url)}, log, applicationName: 'victim', poolMax: 3 })
    const server = await startResends(db, { others: true })
    const made = await server.call(${JSON.stringify(token)}, ${JSON.stringify(body)}, ${plan})
    ${say}
    setInterval(() => undefined, 1_000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', code], { stdio: ['pipe', 'pipe', 'inherit'] })
  undo.push(() => child.kill('SIGKILL'))
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve())
    child.once('exit', (status) => reject(new Error(`the server ended with ${status}`)))
  })
  return child
}

const signs = async (): Promise<number> => {
  const [row] = await database.db.query<{ n: number }>(
    sql`select count(*) as n from pg_locks where classid = ${serverLockSpace}::bigint::oid and granted
      and database = (select oid from pg_database where datname = current_database())`,
  )
  return row?.n ?? 0
}

/** Kills a server; resolves when nothing is left of it. */
const killed = async (victim: ChildProcess): Promise<void> => {
  const before = await signs()
  victim.kill('SIGKILL')
  await expect.poll(signs, { timeout: 30_000, interval: 5 }).toBeLessThan(before)
}

const onPostgres = (): void => {
  it('an answer lost at one server is handed out by another, once', async () => {
    const [a, b, c] = [await start(), await start(), await start()]
    const body = fresh()
    const first = await a.call('T', body)
    await lose(a, idOf(first))
    const second = await b.answered('T', body)
    expect(second.collapsed).toEqual({ into: idOf(first), kind: 'undelivered' })
    expect(second.answer.body).toBe(first.answer.body)
    expect((await c.answered('T', body)).collapsed).toBeNull()
    expect(await effectsOf(database.db, body)).toBe(2)
  })

  it('a call that is slow at one server and given up by its client takes effect once', async () => {
    const a = await start()
    const body = fresh()
    const gate = Promise.withResolvers<void>()
    const { attempt, outcome } = await a.begin('T', body, { gate: gate.promise })
    await pause(350)
    // the repeat is here before the word of the broken connection is there
    const { db } = database
    let looks = 0
    const early: Db = {
      ...db,
      query: async <R>(statement: Sql, options?: QueryOptions) => {
        const rows = await db.query<R>(statement, options)
        if (options?.name === 'legacy_standing' && (looks += 1) === 1) await lose(a, attempt.id ?? 0)
        return rows
      },
    }
    const b = await start(early)
    const made = await b.answered('T', body)
    expect(looks).toBe(2)
    // the first had not begun its effect: the repeat took it over, and the first finds it done
    expect(made.collapsed).toBeNull()
    gate.resolve()
    expect((await outcome).answer.body).toBe(made.answer.body)
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('a repeat that is lost as well is repeated by the third server, under the same key', async () => {
    const [a, b, c] = [await start(), await start(), await start()]
    const body = fresh()
    const first = await a.call('T', body)
    await lose(a, idOf(first))
    const second = await b.call('T', body)
    await lose(b, idOf(second))
    expect((await c.answered('T', body)).answer.body).toBe(first.answer.body)
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('a lost answer is handed out once in all, be it repeated where it was lost or elsewhere first', async () => {
    const [a, b] = [await start(), await start()]
    for (const [first, second] of [
      [a, b],
      [b, a],
    ] as const) {
      const body = fresh()
      const lost = await a.call('T', body)
      await lose(a, idOf(lost))
      expect((await first.answered('T', body)).answer.body).toBe(lost.answer.body)
      expect((await second.answered('T', body)).collapsed).toBeNull()
      expect(await effectsOf(database.db, body)).toBe(2)
    }
  })

  it('a repeat that waits at the same server and is lost as well is repeated at the other, under the same key', async () => {
    const [a, b] = [await start(), await start()]
    const body = fresh()
    const gate = Promise.withResolvers<void>()
    const first = await a.begin('T', body, { gate: gate.promise })
    await lose(a, first.attempt.id ?? 0)
    const second = await a.begin('T', body, { gate: gate.promise })
    expect(second.attempt.key).toBe(first.attempt.key)
    await lose(a, second.attempt.id ?? 0)
    const third = b.answered('T', body, { gate: gate.promise })
    gate.resolve()
    const answers = await Promise.all([first.outcome, second.outcome, third])
    expect(new Set(answers.map((made) => made.answer.body)).size).toBe(1)
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('an execution that broke after its commit is not executed again', async () => {
    const a = await start()
    const body = fresh()
    const { attempt, outcome } = await a.begin('T', body, {
      get after() {
        return Promise.reject(new Error('answer lost'))
      },
    })
    await expect(outcome).rejects.toThrow('answer lost')
    a.resends.undelivered(attempt.id ?? 0)
    expect((await a.answered('T', body)).collapsed?.kind).toBe('undelivered')
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('equal calls that are meant are all executed, at whichever servers they are under way', async () => {
    const servers = [await start(), await start(), await start()]
    const body = fresh()
    for (let round = 0; round < 5; round += 1)
      await Promise.all(servers.flatMap((server) => [server.answered('T', body), server.answered('T', body)]))
    expect(await effectsOf(database.db, body)).toBe(30)
  })

  it('a server killed after the commit: the repeat has the answer that was lost', async () => {
    const survivor = await start()
    for (let round = 0; round < 3; round += 1) {
      const body = fresh()
      await killed(await executeIn('committed', 'T', body))
      const made = await survivor.answered('T', body)
      expect(made.collapsed?.kind).toBe('undelivered')
      expect(await effectsOf(database.db, body)).toBe(1)
    }
  })

  it('its sign of life may still be there for some milliseconds', async () => {
    const { db } = database
    let alive = 2
    const late: Db = {
      ...db,
      query: async <R>(statement: Sql, options?: QueryOptions) => {
        const rows = await db.query<R>(statement, options)
        if (options?.name !== 'legacy_standing' || alive-- <= 0) return rows
        return rows.map((row) => ({ ...row, undelivered: false }))
      },
    }
    const survivor = await start(late)
    const body = fresh()
    await killed(await executeIn('committed', 'T', body))
    expect((await survivor.answered('T', body)).collapsed?.kind).toBe('undelivered')
    expect(alive).toBeLessThan(1)
  })

  it('a server killed before the commit: the repeat is executed, once', async () => {
    const survivor = await start()
    const body = fresh()
    await killed(await executeIn('executing', 'T', body))
    const made = await survivor.answered('T', body)
    expect(made.collapsed).toBeNull()
    expect(made.answer.outcome).toBe('done')
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('a server killed when it had begun to answer: that is doubt, and the call is executed', async () => {
    const survivor = await start()
    const body = fresh()
    await killed(await executeIn('answered', 'T', body))
    expect((await survivor.answered('T', body)).collapsed).toBeNull()
    expect(await effectsOf(database.db, body)).toBe(2)
  })

  it('what was lost and handed out still counts once for clients that throw answers away', async () => {
    const [a, b] = [await start(), await start()]
    const body = fresh()
    const token = await a.construct()
    const first = await a.call(token, body)
    await lose(a, idOf(first))
    const again = await b.answered(token, body)
    await pause(2)
    const thrown = await b.answered(await b.issue(), body)
    expect(again.collapsed?.kind).toBe('undelivered')
    expect(thrown.collapsed).toEqual({ into: idOf(first), kind: 'first-use' })
    expect(await effectsOf(database.db, body)).toBe(1)
  })

  it('a server that can not say that it lives is never taken for dead', async () => {
    const survivor = await start()
    const mute = await startResends(
      { ...database.db, hold: () => Promise.resolve(() => Promise.resolve()) },
      { others: true },
    )
    const body = fresh()
    const gate = Promise.withResolvers<void>()
    const { outcome } = await mute.begin('T', body, { gate: gate.promise })
    expect((await survivor.answered('T', body)).collapsed).toBeNull()
    gate.resolve()
    await outcome
    expect(await effectsOf(database.db, body)).toBe(2)
  })

  it('a repeat of the same call at two servers at once is handed out at one of them', async () => {
    const [a, b, c] = [await start(), await start(), await start()]
    const body = fresh()
    const first = await a.call('T', body)
    await lose(a, idOf(first))
    const both = await Promise.all([b.answered('T', body), c.answered('T', body)])
    expect(both.filter((made) => made.collapsed !== null)).toHaveLength(1)
    expect(await effectsOf(database.db, body)).toBe(2)
  })

  it('the sign of life comes back when its connection is lost', async () => {
    const db = await openPostgres({ url: database.url ?? '', log: silentLog, applicationName: 'held', poolMax: 1 })
    const told: boolean[] = []
    const stop = await db.hold({ space: serverLockSpace, id: 41 }, (held) => void told.push(held))
    expect(told).toEqual([true])
    await database.db.query(sql`
      select pg_terminate_backend(pid) from pg_locks where classid = ${serverLockSpace}::bigint::oid and objid = 41`)
    await expect.poll(() => told, { timeout: 30_000 }).toEqual([true, false, true])
    await stop()
    expect(told.at(-1)).toBe(false)
    await db.close()
  })

  it('with clients of another peer nothing is shared', async () => {
    const [a, b] = [await start(), await start()]
    const body = fresh()
    const first = await a.call('T', body)
    await lose(a, idOf(first))
    const other = await b.answered('T', body, {}, { route: { ...route, peer: '10.0.0.99' } })
    expect(other.collapsed).toBeNull()
    expect(await effectsOf(database.db, body)).toBe(2)
  })
}

// oxlint-disable-next-line vitest/no-conditional-tests, vitest/valid-describe-callback -- a test that needs several servers is absent elsewhere, not skipped
if (testDatabaseKind() === 'postgres') describe('on PostgreSQL', onPostgres)
else it('one server only: nothing to share', () => expect(testDatabaseKind()).not.toBe('postgres'))
