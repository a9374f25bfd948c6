// PostgreSQL is restarted under load, sometimes without asking: nothing that was acknowledged is lost.
import { seedFromEnv, seededRandom } from '@oncejob/testkit'
import { afterEach, expect, it } from 'vitest'
import { makeCalls, sayCalls } from './support/calls.ts'
import { below } from './support/chance.ts'
import { startCluster, whyNoCluster, type Cluster } from './support/cluster.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import { ofKind } from './support/ledger.ts'
import { postgresPlace } from './support/places.ts'
import {
  expectCallsKept,
  expectCleanAudit,
  expectFinishedOnce,
  expectNothingStuck,
  expectOneLiveAttempt,
  readFacts,
  untilQuiet,
} from './support/proof.ts'
import { printTable, size } from './support/sizes.ts'
import { pause, until } from './support/until.ts'

let fleet: Fleet | undefined
let cluster: Cluster | undefined
afterEach(async () => {
  await fleet?.close()
  await cluster?.remove()
})

const why = whyNoCluster()
if (why !== undefined) process.stdout.write(`SKIPPED restarts of PostgreSQL: ${why}\n`)

it.skipIf(why !== undefined)('five restarts under load lose no acknowledged call and no completion', async () => {
  const seed = seedFromEnv()
  process.stdout.write(`restarts with ONCEJOB_SEED=${seed}\n`)
  const random = seededRandom(seed)
  cluster = await startCluster()
  const place = await postgresPlace(cluster.url)
  fleet = await openFleet({ place, servers: 2, leaseMs: 3_000, graceMs: 2_000 })
  const { client, addWorker, ledger } = fleet
  await client.jobs.create({ name: 'called', processor: 'work', retry: { maxLost: 1000, max: 1000, delayMs: 0 } })
  await Promise.all([addWorker('worker-1'), addWorker('worker-2')])

  const over = new AbortController()
  const calls = makeCalls(client, {
    count: size(20_000, 100_000),
    inFlight: 8,
    // Not as fast as it can: the load is to last, not to fill the machine.
    overMs: size(80_000, 200_000),
    input: () => ({ job: 'called' }),
    signal: over.signal,
  })
  const modes = ['immediate', 'fast', 'immediate', 'fast', 'immediate'] as const
  for (const mode of modes) {
    const before = ofKind(ledger(), 'end').length
    await until('work goes on', () => ofKind(ledger(), 'end').length > before + 50)
    await pause(below(random, 500))
    await cluster.restart(mode)
  }
  const before = ofKind(ledger(), 'end').length
  await until('work goes on after the last restart', () => ofKind(ledger(), 'end').length > before + 50)
  over.abort()
  const called = await calls

  await untilQuiet(fleet)
  await expectCleanAudit(fleet)
  await expectNothingStuck(fleet)
  const facts = await readFacts(fleet)
  const entries = ledger()
  const { unknownDone } = expectCallsKept(facts, called)
  expectFinishedOnce(facts, entries)
  expectOneLiveAttempt(facts, entries)
  for (const server of fleet.servers) expect(server.child().isAlive()).toBe(true)
  printTable(`database-restarts on PostgreSQL, seed ${seed}`, {
    'restarts (immediate, fast)': `3, 2`,
    ...sayCalls(called, unknownDone),
    'executions begun': ofKind(entries, 'start').length,
    'completions accepted': facts.attempts.filter((attempt) => attempt.outcome === 'succeeded').length,
  })
})
