// Any interleaving of repeats, crashes around the commit, sweeps and a database clock that jumps keeps I1: a key has at most
// one effect while it is remembered, and whoever repeats it gets the first answer.
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestDatabase, seedFromEnv, type TestDatabase } from '@oncejob/testkit'
import { nextTurn, systemClock, type Clock } from '../kernel/clock.ts'
import { systemRandom } from '../kernel/random.ts'
import type { Db, Queries } from '../storage/db.ts'
import { sweepKeys, type RequestKey, type StoredAnswer } from '../storage/request-keys.ts'
import { sql } from '../storage/sql.ts'
import { createRequestKeys, type RequestKeys } from './keys.ts'

const histories = process.env['ONCEJOB_FULL'] === '1' ? 1_000 : 60
const hourMs = 3_600_000
// lives through one jump of an hour, not through two
const windowMs = 1.5 * hourMs

type Crash = 'no' | 'before commit' | 'after commit'

class Crashed extends Error {}

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
  // Without any constraint: it counts what happened.
  await database.db.script('create table probe (id bigserial, key text not null)')
})
afterAll(() => database.close())

/** The process dies around the commit: what it knew is lost, what the database has is not. */
const crashing = (db: Db, crash: Crash): Db => ({
  ...db,
  query: (statement, options) => db.query(statement, options),
  transaction: async (work) => {
    const done = await db.transaction(async (tx) => {
      const result = await work(tx)
      if (crash === 'before commit') throw new Crashed()
      return result
    })
    if (crash === 'after commit') throw new Crashed()
    return done
  },
})

// who waits for a first call waits one turn, not for real time
const clock: Clock = { ...systemClock, sleep: () => nextTurn() }
const servers = new Map<Crash, RequestKeys>()
const keysOf = (crash: Crash): RequestKeys => {
  const known = servers.get(crash)
  if (known !== undefined) return known
  const needs = { db: crash === 'no' ? database.db : crashing(database.db, crash), clock, random: systemRandom }
  const made = createRequestKeys(needs, { windowMs })
  servers.set(crash, made)
  return made
}

const work =
  (key: string) =>
  async (tx: Queries): Promise<StoredAnswer> => {
    const [row] = await tx.query<{ id: number }>(sql`insert into probe (key) values (${key}) returning id`)
    return { status: 201, headers: '{}', body: JSON.stringify(row) }
  }

type Told = { readonly said: string; readonly replayed: boolean } | 'crashed' | 'reused'

const send = async (key: RequestKey, crash: Crash): Promise<Told> => {
  for (;;) {
    try {
      const { answer, replayOf } = await keysOf(crash).once(key, work(key.key))
      return { said: `${answer.status} ${answer.body}`, replayed: replayOf !== undefined }
    } catch (error) {
      if (error instanceof Crashed) return 'crashed'
      const { code } = error as { code?: string }
      if (code === 'IDEMPOTENCY_KEY_REUSED') return 'reused'
      // a busy machine: the caller sends the same again
      if (code !== 'IDEMPOTENCY_IN_PROGRESS') throw error
    }
  }
}

/** What must be remembered of a key. `said` is undefined while the only one who knew the answer has crashed. */
interface Known {
  readonly fingerprint: string
  said: string | undefined
  leftMs: number
}

const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      key: fc.nat(2),
      body: fc.constantFrom('a', 'a', 'a', 'b'),
      // one per call that comes at the same time
      crashes: fc.array(fc.constantFrom<Crash>('no', 'no', 'before commit', 'after commit'), {
        minLength: 1,
        maxLength: 4,
      }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('sweep' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('jump' as const), byMs: fc.constantFrom(hourMs, -hourMs) }) },
)
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never

let history = 0

/** One history against the database and against what must be so. */
class Model {
  readonly #known = new Map<string, Known>()
  readonly #effects = new Map<string, number>()
  readonly #name = `history-${(history += 1)}`

  async step(next: Command): Promise<void> {
    if (next.do === 'send') await this.#send(`${this.#name}-key-${next.key}`, next.body, next.crashes)
    else if (next.do === 'jump') await this.#jump(next.byMs)
    else await this.#sweep()
    await this.#compare()
  }

  async #send(text: string, body: string, crashes: readonly Crash[]): Promise<void> {
    const key: RequestKey = { appId: 1, key: text, fingerprint: `1 ${body}`, requestId: 'r', route: 'POST /probe' }
    const before = this.#known.get(text)
    const told = await Promise.all(crashes.map((crash) => send(key, crash)))
    const answers = told.flatMap((one) => (typeof one === 'string' ? [] : [one]))
    if (before !== undefined && before.fingerprint !== key.fingerprint) {
      expect(new Set(told)).toEqual(new Set(['reused']))
      return
    }
    if (before !== undefined) {
      // nobody does it again, so nobody crashes at it
      expect(answers).toHaveLength(crashes.length)
      expect(answers.filter(({ replayed }) => !replayed)).toEqual([])
    } else if (crashes.some((crash) => crash !== 'before commit')) {
      this.#effects.set(text, (this.#effects.get(text) ?? 0) + 1)
      this.#known.set(text, { fingerprint: key.fingerprint, said: undefined, leftMs: windowMs })
      expect(answers.filter(({ replayed }) => !replayed).length).toBeLessThanOrEqual(1)
    } else expect(new Set(told)).toEqual(new Set(['crashed']))
    const known = this.#known.get(text)
    for (const { said } of answers) {
      if (known === undefined) throw new Error('an answer without an effect')
      known.said ??= said
      expect(said).toBe(known.said)
    }
  }

  /** The database's clock jumps: everything that is stored is so much older, or younger, than it was. */
  async #jump(byMs: number): Promise<void> {
    await database.db.query(sql`
      update oncejob.request_key set created_at = created_at - ${byMs}::bigint * interval '1 ms',
        expires_at = expires_at - ${byMs}::bigint * interval '1 ms' where key like ${`${this.#name}-%`}`)
    for (const known of this.#known.values()) known.leftMs -= byMs
  }

  async #sweep(): Promise<void> {
    await sweepKeys(database.db, 1_000)
    for (const [key, { leftMs }] of this.#known) if (leftMs < 0) this.#known.delete(key)
  }

  async #compare(): Promise<void> {
    const like = `${this.#name}-%`
    const effects = await database.db.query<{ key: string; n: number }>(
      sql`select key, count(*)::int as n from probe where key like ${like} group by key`,
    )
    expect(new Map(effects.map(({ key, n }) => [key, n]))).toEqual(this.#effects)
    const rows = await database.db.query<{ key: string; status: number }>(
      sql`select key, status::int as status from oncejob.request_key where key like ${like}`,
    )
    expect(rows.map(({ key }) => key).toSorted()).toEqual([...this.#known.keys()].toSorted())
    expect(rows.filter(({ status }) => status !== 201)).toEqual([])
  }
}

/** Any text is a seed elsewhere; here it has to be a number. */
const numberOf = (seed: string): number =>
  /^\d{1,9}$/.test(seed) ? Number(seed) : Number.parseInt(seed.slice(0, 7), 16) || 1

test(
  `${histories} histories of calls, crashes, sweeps and jumps of the clock (I1)`,
  { timeout: histories * 2_000 + 60_000 },
  async () => {
    const seed = numberOf(seedFromEnv())
    process.stdout.write(`request keys with ONCEJOB_SEED=${seed}\n`)
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 15 }), async (commands) => {
        const model = new Model()
        for (const next of commands) await model.step(next)
      }),
      { numRuns: histories, seed },
    )
  },
)
