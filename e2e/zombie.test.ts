// The zombie: a worker that was frozen past its lease comes back and finishes. Its result is refused, the second one's stays.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { openFleet, type Fleet, type WorkParams } from './support/fleet.ts'
import { ofKind } from './support/ledger.ts'
import { expectCleanAudit } from './support/proof.ts'
import { until } from './support/until.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

it('a worker frozen past its lease: the run finishes elsewhere, its signal aborts, its late report changes nothing', async () => {
  const { client, admin, addWorker, folder, ledger, urls, appToken } = (fleet = await openFleet({
    leaseMs: 2_000,
    graceMs: 500,
  }))
  const zombie = await addWorker('zombie')
  await client.jobs.create({ name: 'job', processor: 'work' })
  const gate = join(folder, 'gate')
  const params: WorkParams = { gate, untilAborted: 'zombie' }
  const run = await client.run('job', params)
  const runId = await run.id()
  const first = await until('the zombie begins', () => ofKind(ledger(), 'start').at(0))
  expect(first).toMatchObject({ runId, worker: 'zombie' })

  zombie.child().signal('SIGSTOP')
  await addWorker('successor')
  const second = await until('another worker takes over', () => ofKind(ledger(), 'start').at(1))
  expect(second).toMatchObject({ runId, worker: 'successor' })
  expect(second.lease).toBeGreaterThan(first.lease)
  writeFileSync(gate, '')
  const result = { runId, lease: second.lease, worker: 'successor' }
  expect(await run.result()).toEqual(result)

  zombie.child().signal('SIGCONT')
  const late = await until('the zombie hears what its result is worth', () =>
    ofKind(ledger(), 'finished').find((entry) => entry.worker === 'zombie'),
  )
  expect(late).toMatchObject({ runId, lease: first.lease, outcome: 'succeeded', answer: 'lost' })
  const aborted = ofKind(ledger(), 'abort').filter((entry) => entry.worker === 'zombie')
  expect(aborted).toMatchObject([{ runId, lease: first.lease, code: 'LEASE_LOST' }])

  // The same report by hand: the wire names the code.
  const answer = await fetch(`${urls[0]}/api/v1/worker/reports`, {
    method: 'POST',
    headers: { authorization: `Bearer ${appToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ reports: [{ runId, lease: first.lease, outcome: 'succeeded', result: 'mine' }] }),
  })
  expect(await answer.json()).toEqual({ answers: [{ runId, lease: first.lease, answer: 'lost', code: 'LEASE_LOST' }] })

  const after = await client.runs.get(runId)
  expect(after).toMatchObject({ state: 'succeeded', result, worker: 'successor', attempts: 2 })
  expect(after.attemptHistory.map(({ lease, outcome }) => ({ lease, outcome }))).toEqual([
    { lease: first.lease, outcome: 'lost' },
    { lease: second.lease, outcome: 'succeeded' },
  ])
  expect(await admin.metrics()).toMatch(/report_lost"?\} [1-9]/)
  await expectCleanAudit(fleet)

  // It lives on as a worker like any other.
  const again = await client.run('job')
  await again.result()
  await until('the zombie has a session again', async () => {
    const names = (await client.workers.list().page()).items.map((worker) => worker.name)
    return names.includes('zombie')
  })
})
