// Leaving in good order: SIGTERM to a worker or to a server loses nothing and does nothing twice.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { makeCalls } from './support/calls.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import { ofKind } from './support/ledger.ts'
import { expectCleanAudit, expectSucceeded, untilQuiet } from './support/proof.ts'
import { until } from './support/until.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

const begunTwice = (): number => {
  const starts = ofKind(fleet?.ledger() ?? [], 'start')
  return starts.length - new Set(starts.map((entry) => entry.runId)).size
}

it('a worker told to stop finishes and delivers what runs; later runs go to others; nothing is executed twice', async () => {
  const { client, addWorker, folder, ledger } = (fleet = await openFleet())
  const leaving = await addWorker('leaving', { concurrency: 2 })
  await client.jobs.create({ name: 'job', processor: 'work' })
  const gate = join(folder, 'gate')
  const running = await Promise.all([client.run('job', { gate }), client.run('job', { gate })])
  await until('both run', () => ofKind(ledger(), 'start').length === 2)

  leaving.child().signal('SIGTERM')
  await until('the worker drains', async () => {
    const workers = (await client.workers.list({ state: 'all' }).page()).items
    return workers.some((worker) => worker.name === 'leaving' && worker.state === 'draining')
  })
  const later = await Promise.all([client.run('job'), client.run('job')])
  await addWorker('staying', { concurrency: 2 })
  for (const run of later) expect(await run.result()).toMatchObject({ worker: 'staying' })
  expect(leaving.child().isAlive()).toBe(true)

  writeFileSync(gate, '')
  for (const run of running) expect(await run.result()).toMatchObject({ worker: 'leaving' })
  expect(await leaving.child().ended).toEqual({ code: 0, signal: null })
  expect(ofKind(ledger(), 'finished').map((entry) => entry.answer)).toEqual([
    'accepted',
    'accepted',
    'accepted',
    'accepted',
  ])
  expect(begunTwice()).toBe(0)
  const gone = (await client.workers.list({ state: 'all' }).page()).items.find((worker) => worker.name === 'leaving')
  expect(gone).toMatchObject({ state: 'ended', endReason: 'left' })
  await expectCleanAudit(fleet)
})

it('a worker told to stop under load hands back what it has not begun, at once', async () => {
  const { client, addWorker, ledger } = (fleet = await openFleet({ leaseMs: 60_000 }))
  await client.jobs.create({ name: 'job', processor: 'work' })
  const leaving = await addWorker('leaving', { concurrency: 4 })
  await addWorker('staying', { concurrency: 4 })
  const calls = makeCalls(client, { count: 300, inFlight: 8, input: () => ({ job: 'job', params: { ms: 20 } }) })
  await until('the leaving worker is busy', () => ofKind(ledger(), 'start').some((entry) => entry.worker === 'leaving'))
  expect(await leaving.child().endBy('SIGTERM')).toEqual({ code: 0, signal: null })
  const called = await calls
  // Long before the lease of a minute is over.
  await untilQuiet(fleet)
  expect(called.acknowledged).toHaveLength(300)
  expect(begunTwice()).toBe(0)
  expect(ofKind(ledger(), 'end')).toHaveLength(300)
  await expectCleanAudit(fleet)
})

it('a server told to stop under load answers every call that it has begun, and ends with 0', async () => {
  const { client, addWorker, servers, ledger } = (fleet = await openFleet({ leaseMs: 60_000 }))
  const [server] = servers
  await client.jobs.create({ name: 'job', processor: 'work' })
  await addWorker('worker')
  const calls = makeCalls(client, { count: 600, inFlight: 16, input: () => ({ job: 'job' }) })
  await until('there is load', () => ofKind(ledger(), 'end').length > 50)
  expect(await server!.child().endBy('SIGTERM')).toEqual({ code: 0, signal: null })
  await server!.start()
  const called = await calls
  expect(Object.fromEntries(called.unknownWhy)).toEqual({})
  expect(called.acknowledged).toHaveLength(600)
  expect(new Set(called.acknowledged).size).toBe(600)
  await untilQuiet(fleet)
  await expectSucceeded(fleet, called.acknowledged)
  expect(begunTwice()).toBe(0)
  await expectCleanAudit(fleet)
})
