// One key, many senders: whoever comes first decides, all others are told the same, and nobody takes the database from the rest.
import { sql } from '@oncejob/server/testing'
import { seedFromEnv, seededRandom } from '@oncejob/testkit'
import { makeRequestKey } from '@oncejob/protocol'
import pg from 'pg'
import { afterEach, expect, it } from 'vitest'
import { below } from './support/chance.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import {
  callAgent,
  codeOf,
  isPassing,
  sendOnce,
  type Answer,
  type Asked,
  type KeyedCall,
} from './support/keyed-calls.ts'
import { postgresPlace, rowsOf } from './support/places.ts'
import { expectCleanAudit } from './support/proof.ts'
import { printTable, size } from './support/sizes.ts'
import { pause, until } from './support/until.ts'

let fleet: Fleet | undefined
const agent = callAgent()
afterEach(() => fleet?.close())

const open = async () => {
  const place = await postgresPlace()
  fleet = await openFleet({ place, servers: 3, env: { ONCEJOB_POOL_MAX: String(poolMax) } })
  return { fleet, url: place.url }
}

const poolMax = 5
// beside its pool a server has a session that listens and one that says that it lives
const sessionsMax = poolMax + 2
// a call waits for two seconds before it is told to come again
const triesMax = 40

/** Counts the sessions of the servers until it is stopped. */
const watchSessions = async (url: string): Promise<{ stop: () => Promise<number> }> => {
  const client = new pg.Client({ connectionString: url, application_name: 'oncejob-e2e' })
  client.on('error', () => undefined)
  await client.connect()
  let most = 0
  const over = new AbortController()
  const look = (async () => {
    while (!over.signal.aborted) {
      const { rows } = await client.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity
          where datname = current_database() and application_name <> 'oncejob-e2e'`,
      )
      most = Math.max(most, rows[0]?.n ?? 0)
      await pause(20)
    }
  })()
  return {
    stop: async () => {
      over.abort()
      await look
      await client.end()
      return most
    },
  }
}

const callOf = (asked: Omit<Asked, 'wants'>, key = makeRequestKey()): KeyedCall => ({
  asked: { ...asked, wants: 201 },
  key,
  answers: [],
  sendings: 0,
  left: 0,
})

/** Sends it once to one of the servers; a connection that was not even made is made again. */
const send = async (of: Fleet, call: KeyedCall, server: number): Promise<Answer> => {
  const [method = ''] = call.asked.route.split(' ')
  const url = new URL(call.asked.path, of.urls[server % of.urls.length])
  call.sendings += 1
  return sendOnce(agent, { method, url, token: of.appToken, asked: call.asked, key: call.key })
}

const routes: [string, (of: Fleet) => Promise<KeyedCall>][] = [
  [
    'that makes a job',
    async () => callOf({ route: 'POST /api/v1/jobs', path: '/api/v1/jobs', json: { name: 'one', processor: 'work' } }),
  ],
  [
    'that makes a run',
    async (of) => {
      await of.client.jobs.create({ name: 'job', processor: 'work' })
      return callOf({ route: 'POST /api/v1/runs', path: '/api/v1/runs', json: { job: 'job', params: { a: 1 } } })
    },
  ],
  [
    'that saves a job and runs it',
    async () =>
      callOf({
        route: 'POST /api/v1/jobs:run',
        path: '/api/v1/jobs:run',
        json: { job: { name: 'one', processor: 'work' } },
      }),
  ],
]

it.each(routes)(
  'one call %s, sent by everybody at once to three servers: one effect, 201 or 409 for all, few sessions (T-04)',
  { timeout: size(300_000, 600_000) },
  async (says, newCall) => {
    const { fleet, url } = await open()
    const call = await newCall(fleet)
    const count = size(1_500, 10_000)
    const watch = await watchSessions(url)
    const took: number[] = []
    const codes = new Map<string, number>()
    const answered = async (index: number): Promise<Answer> => {
      for (let tries = 0; tries < triesMax; tries += 1) {
        const startedMs = performance.now()
        const answer = await send(fleet, call, index + tries)
        took.push(performance.now() - startedMs)
        const name = `${answer.status} ${codeOf(answer) ?? ''}`.trim()
        codes.set(name, (codes.get(name) ?? 0) + 1)
        if (!isPassing(answer)) return answer
        expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
        await pause(1_000 * Number(answer.headers['retry-after']))
      }
      throw new Error('told to come again for ever')
    }
    const answers = await Promise.all(Array.from({ length: count }, (_, index) => answered(index)))
    const sessions = await watch.stop()
    expect([...codes.keys()].filter((name) => !['201', '409 IDEMPOTENCY_IN_PROGRESS'].includes(name))).toEqual([])
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1)
    expect(answers.filter(({ headers }) => headers['idempotent-replayed'] === undefined)).toHaveLength(1)
    expect(sessions).toBeLessThanOrEqual(fleet.servers.length * sessionsMax)
    const rows = await rowsOf(
      fleet.place,
      sql`select (select count(*)::int from oncejob.job) as jobs, (select count(*)::int from oncejob.run) as runs`,
    )
    expect(rows).toEqual([{ jobs: 1, runs: says.endsWith('job') ? 0 : 1 }])
    await expectCleanAudit(fleet)
    const sorted = took.toSorted((left, right) => left - right)
    printTable(`one call ${says}, sent ${count} times at once`, {
      ...Object.fromEntries(codes),
      'answers that are no repeat': 1,
      'sessions at the database, at most': sessions,
      'ms until an answer, half of them': Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0),
      'ms until an answer, 99 of 100': Math.round(sorted[Math.floor(sorted.length * 0.99)] ?? 0),
    })
  },
)

/** Holds keys as their first calls would, for as long as the session lasts. */
const holdKeys = async (of: Fleet, url: string, keys: readonly string[]): Promise<{ release: () => Promise<void> }> => {
  const [app] = await rowsOf<{ id: number }>(of.place, sql`select id from oncejob.app where name = 'shop'`)
  const holder = new pg.Client({ connectionString: url, application_name: 'oncejob-e2e' })
  // the database is dropped with it when a test fails
  holder.on('error', () => undefined)
  await holder.connect()
  for (const key of keys) await holder.query('select pg_advisory_lock(hashtextextended($1, $2))', [key, app?.id])
  return { release: () => holder.end() }
}

it('while the first call is held up, its repeats are told to come again, and get its answer then (T-04)', async () => {
  const { fleet, url } = await open()
  const call = await routes[0]![1](fleet)
  const held = await holdKeys(fleet, url, [call.key])
  const watch = await watchSessions(url)
  const count = size(300, 3_000)
  const early = await Promise.all(Array.from({ length: count }, (_, index) => send(fleet, call, index)))
  expect(new Set(early.map((answer) => `${answer.status} ${codeOf(answer)}`))).toEqual(
    new Set(['409 IDEMPOTENCY_IN_PROGRESS']),
  )
  // they wait without holding a session each, and others get through meanwhile
  await fleet.client.jobs.create({ name: 'other', processor: 'work' })
  expect(await watch.stop()).toBeLessThanOrEqual(fleet.servers.length * sessionsMax)
  await held.release()
  const late = await Promise.all(Array.from({ length: 30 }, (_, index) => send(fleet, call, index)))
  // what was told before was not kept: nobody is told 409 for ever
  expect(new Set(late.map(({ status, text }) => `${status} ${text}`)).size).toBe(1)
  expect(late[0]!.status).toBe(201)
})

it('two bodies that race for one key: one is executed, the other is refused for ever, on every route (T-05)', async () => {
  const { fleet, url } = await open()
  const seed = seedFromEnv()
  process.stdout.write(`races with ONCEJOB_SEED=${seed}\n`)
  const random = seededRandom(seed)
  const { id: job } = await fleet.client.jobs.create({ name: 'job', processor: 'work' })
  const bodyOf = (round: number, side: number): Omit<Asked, 'wants'> => {
    const name = `job-${round}-${side}`
    if (round % 3 === 0) return { route: 'POST /api/v1/jobs', path: '/api/v1/jobs', json: { name, processor: 'work' } }
    if (round % 3 === 1) return { route: 'POST /api/v1/runs', path: '/api/v1/runs', json: { job, params: name } }
    return { route: 'POST /api/v1/runs/batch', path: '/api/v1/runs/batch', json: { runs: [{ job, params: name }] } }
  }
  let turnedAway = 0
  const final = async (call: KeyedCall): Promise<string> => {
    for (let tries = 0; tries < triesMax; tries += 1) {
      const answer = await send(fleet, call, below(random, 3))
      if (!isPassing(answer)) return `${answer.status} ${codeOf(answer) ?? answer.text}`
      turnedAway += 1
      await pause(below(random, 100))
    }
    return 'told to come again for ever'
  }
  const reused = '422 IDEMPOTENCY_KEY_REUSED'
  const winners: string[] = []
  const race = async (round: number, key = makeRequestKey()): Promise<void> => {
    const sides = [0, 1].map((side) => callOf(bodyOf(round, side), key))
    const first = random.next() < 0.5 ? sides : sides.toReversed()
    // twice each, all at once, then each again when it is decided
    const told = await Promise.all([...first, ...first].map(async (call) => ({ call, says: await final(call) })))
    for (const call of sides) told.push({ call, says: await final(call) })
    const bySide = sides.map((side) => new Set(told.flatMap(({ call, says }) => (call === side ? [says] : []))))
    const winner = bySide.findIndex((says) => ![...says].includes(reused))
    expect(bySide[1 - winner], `round ${round}`).toEqual(new Set([reused]))
    expect([...(bySide[winner] ?? [])], `round ${round}`).toEqual([expect.stringMatching(/^201 \{/)])
    winners.push(`job-${round}-${winner}`)
  }
  const rounds = size(200, 1_000)
  // At first some of the races are held up for longer than a call waits: nobody may be told later what all are told then.
  const slow = Array.from({ length: 6 }, () => makeRequestKey())
  const held = await holdKeys(fleet, url, slow)
  const slowRaces = Promise.all(slow.map((key, i) => race(-3 * (i + 1), key)))
  await until('everybody is told to come again', () => turnedAway >= 4 * slow.length)
  await held.release()
  await slowRaces
  for (let from = 0; from < rounds; from += 25) await Promise.all(Array.from({ length: 25 }, (_, i) => race(from + i)))
  const rows = await rowsOf<{ name: string }>(
    fleet.place,
    sql`select name from oncejob.job where name <> 'job' union all select params::jsonb #>> '{}' from oncejob.run`,
  )
  expect(rows.map(({ name }) => name).toSorted()).toEqual(winners.toSorted())
  const keys = await rowsOf<{ n: number }>(
    fleet.place,
    sql`select count(*)::int as n from oncejob.request_key where status <> 201`,
  )
  expect(keys).toEqual([{ n: 0 }])
  await expectCleanAudit(fleet)
  printTable(`two bodies for one key, seed ${seed}`, {
    keys: rounds + slow.length,
    'executed bodies': rows.length,
    'keys with a mixed record': 0,
    'told to come again': turnedAway,
  })
})
