// A worker that finishes while every server is down keeps the result, and delivers it once when one is back.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { openFleet, type Fleet } from './support/fleet.ts'
import { ofKind } from './support/ledger.ts'
import { expectCleanAudit } from './support/proof.ts'
import { pause, until } from './support/until.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

const finishDuringOutage = async (leaseMs: number, graceMs: number, downMs: number): Promise<void> => {
  const { client, addWorker, folder, ledger, servers } = (fleet = await openFleet({ leaseMs, graceMs }))
  await addWorker('worker')
  await client.jobs.create({ name: 'job', processor: 'work' })
  const gate = join(folder, 'gate')
  const runs = await Promise.all([1, 2, 3].map(() => client.run('job', { gate })))
  await until('all have begun', () => ofKind(ledger(), 'start').length === 3)

  await Promise.all(servers.map((server) => server.child().kill()))
  writeFileSync(gate, '')
  await until('all have ended', () => ofKind(ledger(), 'end').length === 3)
  // The outage must really outlast what the test is about.
  await pause(downMs)
  expect(ofKind(ledger(), 'finished')).toEqual([])

  await Promise.all(servers.map((server) => server.start()))
  await until('all results are answered', () => ofKind(ledger(), 'finished').length === 3)
  const started = ofKind(ledger(), 'start')
  for (const run of runs) {
    const runId = await run.id()
    const { lease } = started.find((entry) => entry.runId === runId)!
    expect(await run.result()).toEqual({ runId, lease, worker: 'worker' })
    expect((await client.runs.get(runId)).attemptHistory).toMatchObject([{ lease, outcome: 'succeeded' }])
  }
  expect(ofKind(ledger(), 'finished').map((entry) => entry.answer)).toEqual(['accepted', 'accepted', 'accepted'])
  expect(ofKind(ledger(), 'start')).toHaveLength(3)
  await expectCleanAudit(fleet)
}

it('a result that was ready while every server was down is delivered once and nothing is executed again', () =>
  finishDuringOutage(60_000, 5_000, 1_000))

it('so is one after an outage longer than lease and grace: nobody could take the run back meanwhile', () =>
  finishDuringOutage(8_000, 4_000, 13_000))
