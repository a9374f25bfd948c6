// The server with the embedded database is killed with SIGKILL under load: nothing that was acknowledged is lost.
import { seedFromEnv, seededRandom } from '@oncejob/testkit'
import { afterEach, it } from 'vitest'
import { makeCalls, sayCalls } from './support/calls.ts'
import { below } from './support/chance.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import { ofKind } from './support/ledger.ts'
import {
  expectCallsKept,
  expectCleanAudit,
  expectFinishedOnce,
  expectNothingStuck,
  expectOneLiveAttempt,
  readFacts,
  untilQuiet,
} from './support/proof.ts'
import { printTable } from './support/sizes.ts'
import { pause, until } from './support/until.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

const kills = 10

it('ten SIGKILLs under load lose no acknowledged call and no completion', async () => {
  const seed = seedFromEnv()
  process.stdout.write(`kills with ONCEJOB_SEED=${seed}\n`)
  const random = seededRandom(seed)
  fleet = await openFleet({ leaseMs: 5_000, graceMs: 5_000 })
  const { client, addWorker, ledger, servers } = fleet
  const server = servers[0]!
  await client.jobs.create({ name: 'called', processor: 'work', retry: { maxLost: 1000, max: 1000, delayMs: 0 } })
  await Promise.all([addWorker('worker-1'), addWorker('worker-2')])

  const over = new AbortController()
  const calls = makeCalls(client, {
    count: 20_000,
    inFlight: 8,
    overMs: 80_000,
    input: () => ({ job: 'called' }),
    signal: over.signal,
  })
  for (let index = 0; index < kills; index += 1) {
    const before = ofKind(ledger(), 'end').length
    await until('work goes on', () => ofKind(ledger(), 'end').length > before + 20)
    await pause(below(random, 300))
    await server.child().kill()
    await server.start()
  }
  const before = ofKind(ledger(), 'end').length
  await until('work goes on after the last kill', () => ofKind(ledger(), 'end').length > before + 20)
  over.abort()
  const called = await calls

  await untilQuiet(fleet)
  await expectCleanAudit(fleet)
  await server.child().kill()
  await expectNothingStuck(fleet)
  const facts = await readFacts(fleet)
  const entries = ledger()
  const { unknownDone } = expectCallsKept(facts, called)
  expectFinishedOnce(facts, entries)
  expectOneLiveAttempt(facts, entries)
  printTable(`database-restarts on the embedded database, seed ${seed}`, {
    'servers killed': kills,
    ...sayCalls(called, unknownDone),
    'executions begun': ofKind(entries, 'start').length,
    'completions accepted': facts.attempts.filter((attempt) => attempt.outcome === 'succeeded').length,
  })
})
