// The two defects that this project was begun for, as they were reported of PowerJob 5.1: they must never come back here.
import { sql } from '@oncejob/server/testing'
import { afterEach, expect, it } from 'vitest'
import { openFleet, type Fleet } from './support/fleet.ts'
import { openGap, type Gap } from './support/gap.ts'
import { ofKind } from './support/ledger.ts'
import { rowsOf } from './support/places.ts'
import { expectCleanAudit, untilQuiet } from './support/proof.ts'

let fleet: Fleet | undefined
const gaps: Gap[] = []
afterEach(async () => {
  for (const gap of gaps.splice(0)) await gap.close()
  await fleet?.close()
})

/** A server, a worker, and a way to the server that loses the answer of each call the first time it is sent. */
const openTwice = async () => {
  const opened = (fleet = await openFleet())
  await opened.addWorker('worker')
  const sent = new Map<string, number>()
  const gap = await openGap(opened.urls[0]!, ({ headers, method }) => {
    const key = headers['idempotency-key']?.toString()
    if (method === 'GET' || key === undefined) return undefined
    sent.set(key, (sent.get(key) ?? 0) + 1)
    return sent.get(key) === 1 ? 'lose-answer' : undefined
  })
  gaps.push(gap)
  return { fleet: opened, sent, gap, client: opened.connect({ urls: [gap.url] }) }
}

const traces = async (of: Fleet) => {
  await untilQuiet(of)
  await expectCleanAudit(of)
  if (of.place.kind === 'embedded') await of.servers[0]!.child().endBy('SIGTERM')
  const jobs = await rowsOf<{ name: string; version: number; enabled: boolean }>(
    of.place,
    sql`select name, version, enabled from oncejob.job where deleted_at is null order by id`,
  )
  const runs = await rowsOf<{ id: number; state: string }>(of.place, sql`select id, state from oncejob.run order by id`)
  const audit = await rowsOf<{ action: string; n: number }>(
    of.place,
    sql`select action, count(*)::int as n from oncejob.audit where action like 'job.%' group by 1 order by 1`,
  )
  return { jobs, runs, audit: Object.fromEntries(audit.map(({ action, n }) => [action, n])) }
}

it('every call sent twice back to back makes one job and one run', async () => {
  const { fleet, client, sent, gap } = await openTwice()
  const job = await client.jobs.create({ name: 'order', processor: 'work' })
  await client.jobs.disable('order')
  await client.jobs.enable('order')
  const run = await client.run('order', { ms: 10 })
  expect(await run.result({ timeoutMs: 60_000 })).toMatchObject({ worker: 'worker' })
  await client.jobs.delete('order', { ifVersion: job.version + 2 })
  await client.jobs.create({ name: 'other', processor: 'work' })

  // each of the six calls came to the server twice, and the first answer of each was lost
  expect([...sent.values()]).toEqual([2, 2, 2, 2, 2, 2])
  expect(gap.made['lose-answer']).toBe(6)
  const { jobs, runs, audit } = await traces(fleet)
  expect(jobs).toEqual([{ name: 'other', version: 1, enabled: true }])
  expect(runs).toEqual([{ id: await run.id(), state: 'succeeded' }])
  expect(audit).toEqual({ 'job.create': 2, 'job.disable': 1, 'job.enable': 1, 'job.delete': 1 })
  expect(ofKind(fleet.ledger(), 'start').map((entry) => entry.runId)).toEqual([await run.id()])
})

it('save followed at once by run makes one run, executed once', async () => {
  const { fleet, client, sent } = await openTwice()
  // an enabled job that is run by call only: saving it starts nothing, so the run that follows is the only one
  const job = await client.jobs.create({ name: 'order', processor: 'work', enabled: true })
  const created = await client.runs.create({ job: job.id, params: { ms: 10 } })
  await client.runs.wait(created.id, { timeoutMs: 60_000 })
  // the same in one step
  const saved = await client.saveAndRun({ name: 'parcel', processor: 'work' }, { params: { ms: 10 } })
  await client.runs.wait(saved.run.id, { timeoutMs: 60_000 })
  expect(saved.job).toMatchObject({ version: 1, outcome: 'created' })

  expect([...sent.values()]).toEqual([2, 2, 2])
  const { jobs, runs } = await traces(fleet)
  expect(jobs.map(({ name, version }) => ({ name, version }))).toEqual([
    { name: 'order', version: 1 },
    { name: 'parcel', version: 1 },
  ])
  expect(runs).toEqual([
    { id: created.id, state: 'succeeded' },
    { id: saved.run.id, state: 'succeeded' },
  ])
  expect(ofKind(fleet.ledger(), 'start').map((entry) => entry.runId)).toEqual([created.id, saved.run.id])
})
