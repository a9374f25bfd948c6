// Two servers whose clocks are a minute apart, killed at random, and schedules that are due every second: the database's
// clock decides what is due and who holds a lease, so no fire is missing, early or double (T-17).
import { seedFromEnv } from '@oncejob/testkit'
import { afterEach, expect, it } from 'vitest'
import { openFleet, type Fleet } from './support/fleet.ts'
import { size } from './support/sizes.ts'
import { runStorm } from './support/storm.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

const skewsMs = [30_000, -30_000]

it('the clocks of the two servers are really wrong, and neither start nor death of a worker is judged by them', async () => {
  fleet = await openFleet({ servers: 2, skewsMs, leaseMs: 4_000, graceMs: 1_000 })
  for (const [index, skewMs] of skewsMs.entries()) {
    // the only time that a server tells by its own clock: until when it will know this key
    const answer = await fetch(`${fleet.urls[index]}/api/v1/jobs`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${fleet.appToken}`,
        'content-type': 'application/json',
        'idempotency-key': `clock-of-server-${index}`,
      },
      body: JSON.stringify({ name: `job-${index}`, processor: 'work' }),
    })
    const untilMs = new Date(answer.headers.get('idempotency-expires') ?? 0).getTime()
    expect(Math.abs(untilMs - 72 * 3_600_000 - Date.now() - skewMs)).toBeLessThan(20_000)
  }
  const { client, addWorker, urls } = fleet
  await client.jobs.create({ name: 'job', processor: 'work' })
  for (const [index, url] of urls.entries()) {
    const worker = await addWorker(`worker-${index}`, { urls: [url] })
    const beganMs = Date.now()
    const run = await fleet.connect({ urls: [url] }).run('job', { ms: 6_000 })
    await run.result()
    const { attempts, dueAt } = await client.runs.get(await run.id())
    // longer than the lease, and nobody took it away
    expect(attempts).toBe(1)
    expect(Math.abs(new Date(dueAt).getTime() - beganMs)).toBeLessThan(20_000)
    await worker.child().kill()
  }
})

it(
  'every fire is made once and in its second, and every run finished once, while servers and workers are killed',
  { timeout: size(300_000, 1_800_000) },
  async () => {
    const counts = size(
      { schedules: 25, seconds: 15, calls: 200, kills: 6, workers: 2 },
      { schedules: 500, seconds: 60, calls: 1000, kills: 24, workers: 6 },
    )
    await runStorm({ seed: seedFromEnv(), servers: 2, skewsMs, ...counts })
  },
)
