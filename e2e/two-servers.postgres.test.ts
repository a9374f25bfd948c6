// Two servers on one database: callers, workers and those who wait may each be at another one.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { makeCalls } from './support/calls.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import { ofKind } from './support/ledger.ts'
import { onServer, postgresPlace } from './support/places.ts'
import { expectCleanAudit, expectSucceeded, untilQuiet } from './support/proof.ts'
import { until } from './support/until.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

const openTwo = async () => {
  const place = await postgresPlace()
  // A lease so long that no renewal can be what wakes anybody: a poll is held for a third of it.
  fleet = await openFleet({ place, servers: 2, leaseMs: 600_000 })
  const [first = '', second = ''] = fleet.urls
  await fleet.client.jobs.create({ name: 'job', processor: 'work' })
  await fleet.addWorker('worker', { urls: [second] })
  return {
    fleet,
    place,
    first,
    second,
    caller: fleet.connect({ urls: [first] }),
    other: fleet.connect({ urls: [second] }),
  }
}

/** A third of the lease is 200 s: what comes within a minute did not wait for a poll to end. */
const soonMs = 60_000

it('a call at one server is executed by a worker at the other, and the caller is told of the end', async () => {
  const { fleet, caller } = await openTwo()
  for (let index = 0; index < 20; index += 1) {
    const run = await caller.run('job')
    expect(await run.result({ timeoutMs: soonMs, everyMs: 30_000 })).toMatchObject({ worker: 'worker' })
  }
  await expectCleanAudit(fleet)
})

it('so it is when nobody can listen: polling finds what no hint told', async () => {
  const { fleet, place, caller } = await openTwo()
  await (await caller.run('job')).result({ timeoutMs: soonMs })
  const database = new URL(place.url).pathname.slice(1)
  let cuts = 0
  // The listening sessions are ended again and again, so that hints are lost most of the time.
  const over = new AbortController()
  const cutting = (async () => {
    while (!over.signal.aborted) {
      const { rowCount } = await onServer(
        place.url,
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = '${database}' and query ilike 'listen%' and pid <> pg_backend_pid()`,
      )
      cuts += rowCount ?? 0
    }
  })()
  try {
    await until('the first cut', () => cuts > 0)
    for (let index = 0; index < 10; index += 1) {
      expect(await (await caller.run('job')).result({ timeoutMs: soonMs })).toMatchObject({ worker: 'worker' })
    }
  } finally {
    over.abort()
    await cutting
  }
  expect(cuts).toBeGreaterThan(1)
  await expectCleanAudit(fleet)
})

it('a stop asked for at one server reaches the worker at the other', async () => {
  const { fleet, caller } = await openTwo()
  const run = await caller.run('job', { untilAborted: 'worker' })
  const runId = await run.id()
  await until('it runs', () => ofKind(fleet.ledger(), 'start').some((entry) => entry.runId === runId))
  await caller.runs.stop(runId)
  await run.wait({ timeoutMs: soonMs })
  const aborted = await until('its signal aborts', () => ofKind(fleet.ledger(), 'abort').at(0))
  expect(aborted).toMatchObject({ runId, code: 'STOP_REQUESTED' })
})

it('a caller that waits at one server is told of an end that was reported through the other', async () => {
  const { fleet, caller, other } = await openTwo()
  const gate = join(fleet.folder, 'gate')
  const run = await caller.run('job', { gate })
  const runId = await run.id()
  await until('it runs', () => ofKind(fleet.ledger(), 'start').length === 1)
  const waits = Promise.all([
    caller.runs.wait(runId, { timeoutMs: soonMs }),
    other.runs.wait(runId, { timeoutMs: soonMs }),
  ])
  writeFileSync(gate, '')
  for (const seen of await waits) expect(seen.state).toBe('succeeded')
})

it('when one server leaves or dies, callers and workers go on with the other', async () => {
  const place = await postgresPlace()
  const two = (fleet = await openFleet({ place, servers: 2, leaseMs: 10_000 }))
  await two.client.jobs.create({ name: 'job', processor: 'work' })
  await Promise.all([two.addWorker('worker-1'), two.addWorker('worker-2', { urls: two.urls.toReversed() })])
  const [first, second] = two.servers
  const calls = makeCalls(two.client, { count: 600, inFlight: 8, input: () => ({ job: 'job' }) })
  await until('there is load', () => ofKind(two.ledger(), 'end').length > 50)
  expect(await first!.child().endBy('SIGTERM')).toEqual({ code: 0, signal: null })
  const called = await calls
  expect(Object.fromEntries(called.unknownWhy)).toEqual({})
  expect(called.acknowledged).toHaveLength(600)
  await untilQuiet(two)

  await first!.start()
  await second!.child().kill()
  const after = await makeCalls(two.client, { count: 100, inFlight: 8, input: () => ({ job: 'job' }) })
  await untilQuiet(two)
  await expectSucceeded(two, [...called.acknowledged, ...after.acknowledged])
  await expectCleanAudit(two)
})
