// Fail-over of PowerJob's clients between two servers (T-10): slow, reset, killed. Each call takes effect once, and its caller
// has the id of that run; what is left over by a kill between the answer's way out and its arrival is counted and printed.
import { startHeaderProxy, type LegacyClient } from '@oncejob/testkit'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openLegacyFleet, type LegacyFleet } from './support/legacy.ts'
import { postgresPlace } from './support/places.ts'
import { expectCleanAudit } from './support/proof.ts'
import { printTable, size } from './support/sizes.ts'
import { pause, until } from './support/until.ts'

let legacy: LegacyFleet
let databaseUrl = ''
const urls = (): [string, string] => [legacy.fleet.urls[0] ?? '', legacy.fleet.urls[1] ?? '']
beforeAll(async () => {
  const place = await postgresPlace()
  databaseUrl = place.url
  legacy = await openLegacyFleet({ place, servers: 2 })
  await until('each server knows of the other', async () => (await numberOf(beaten)) === 2)
})
afterAll(() => legacy.close())

const numberOf = async (statement: string): Promise<number> => {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    return (await client.query<{ n: number }>(statement)).rows[0]?.n ?? 0
  } finally {
    await client.end()
  }
}
const beaten = `select count(*)::int as n from oncejob.server where seen_at > (select max(started_at) from oncejob.server)`
/** How many statements wait for what the test holds. */
const waiting = `select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`

/** Nobody can make a run until it is released. */
const holdRuns = async (): Promise<() => Promise<void>> => {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  await client.query('begin; lock table oncejob.run_ready in share mode')
  return async () => {
    await client.query('commit')
    await client.end()
  }
}

interface Round {
  /** Between the moment when the calls are under way and the release of the database. */
  readonly disturb: () => Promise<void>
  /** What the clients have for the first server. */
  readonly first?: string
  /** Longer than a busy machine takes, unless it is about that. */
  readonly timeoutMs?: number
}

const rounds = size(2, 20)
const callsPerRound = 25

/** Calls that reach the first server, get no answer from it, and go on to the second. */
const failOver = async (round: Round): Promise<void> => {
  const [one, two] = urls()
  const [jobId = 0] = await legacy.makeJobs(1)
  const addresses = [round.first ?? one, two]
  // equal calls: of five clients, each shared by five threads
  const clients = await Promise.all(
    Array.from({ length: 5 }, () => legacy.connect(addresses, { timeoutMs: round.timeoutMs ?? 30_000 })),
  )
  const release = await holdRuns()
  const answers = Promise.allSettled(
    Array.from({ length: callsPerRound }, (_, index) =>
      (clients[index % clients.length] as LegacyClient).runJob(jobId),
    ),
  )
  await until('the calls are under way', async () => (await numberOf(waiting)) > 0)
  await round.disturb()
  await release()
  const told = (await answers).flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
  for (const client of clients) client.close()
  const ids = await legacy.runIdsOf(jobId)
  counts['calls'] = (counts['calls'] ?? 0) + callsPerRound
  counts['answered'] = (counts['answered'] ?? 0) + told.length
  counts['executed'] = (counts['executed'] ?? 0) + ids.size
  expect(told.filter((id) => !ids.has(id))).toEqual([])
  expect(told).toHaveLength(callsPerRound)
  expect(new Set(told).size).toBe(callsPerRound)
  expect(ids.size).toBe(callsPerRound)
}

const counts: Record<string, number> = {}
const sayCounts = (title: string): void => {
  printTable(title, counts)
  for (const name of Object.keys(counts)) counts[name] = 0
}

it('the first server is too slow', async () => {
  for (let index = 0; index < rounds; index += 1) await failOver({ timeoutMs: 3_000, disturb: () => pause(3_300) })
  sayCounts('T-10, slow')
})

it('the first server resets the connections while it executes', async () => {
  const cut = Promise.withResolvers<boolean>()
  const cuts = new Map<string, Promise<boolean>>([['/openApi/runJob', cut.promise]])
  let current = cut
  const proxy = await startHeaderProxy({
    target: urls()[0],
    header: 'exact',
    cuts: (path) => cuts.get(path) ?? Promise.resolve(false),
  })
  try {
    for (let index = 0; index < rounds; index += 1) {
      current = Promise.withResolvers<boolean>()
      cuts.set('/openApi/runJob', current.promise)
      await failOver({
        // the peer that the second server sees is the same, and so is the rest
        first: proxy.url,
        disturb: async () => {
          current.resolve(true)
          await pause(300)
        },
      })
    }
  } finally {
    await proxy.close()
  }
  sayCounts('T-10, reset')
})

it('the first server is killed while it executes', async () => {
  const [first] = legacy.fleet.servers
  for (let index = 0; index < size(2, 8); index += 1) {
    await failOver({
      disturb: async () => {
        await first?.child().kill()
        await pause(300)
      },
    })
    await first?.start()
  }
  sayCounts('T-10, killed while executing')
})

it('the first server is killed under load, again and again: nothing is lost, and what is left over is counted', async () => {
  const [first] = legacy.fleet.servers
  const told = new Map<number, number[]>()
  let calls = 0
  let failures = 0
  const kills = size(3, 20)
  for (let kill = 0; kill < kills; kill += 1) {
    const [jobId = 0] = await legacy.makeJobs(1)
    const ids: number[] = []
    told.set(jobId, ids)
    const over = new AbortController()
    const thread = async (client: LegacyClient): Promise<void> => {
      while (!over.signal.aborted) {
        calls += 1
        try {
          ids.push(await client.runJob(jobId))
        } catch {
          failures += 1
        }
      }
    }
    const clients = await Promise.all(Array.from({ length: 4 }, () => legacy.connect(urls(), { timeoutMs: 30_000 })))
    const threads = [...clients, ...clients].map(thread)
    await until('there is load', () => ids.length > 40)
    await first?.child().kill()
    const before = ids.length
    await until('the second server answers', () => ids.length > before + 20)
    over.abort()
    await Promise.all(threads)
    for (const client of clients) client.close()
    await first?.start()
  }
  let executed = 0
  let left = 0
  for (const [jobId, ids] of told) {
    const runs = await legacy.runIdsOf(jobId)
    executed += runs.size
    expect(ids.filter((id) => !runs.has(id))).toEqual([])
    expect(new Set(ids).size).toBe(ids.length)
    left += runs.size - ids.length
  }
  printTable('T-10, killed under load', { kills, calls, failures, executed, 'runs of calls without an answer': left })
  // at most one for each thread and kill: those that were under way
  expect(left).toBeLessThanOrEqual(8 * kills)
})

it('nothing of it breaks an invariant', async () => {
  await expectCleanAudit(legacy.fleet)
})
