// Real PowerJob clients where they used to get everything twice: expired tokens, slow servers, servers that die, keys.
import { afterEach, describe, expect, it } from 'vitest'
import { killAll } from '../e2e/support/children.ts'
import { pause, until } from '../e2e/support/until.ts'
import { openScene, patchApp, type Scene, type SceneOptions } from './support/bench-app.ts'
import { clientVersions, type ClientVersion, type Repeated } from './support/java.ts'
import { apiJob } from './support/jobs.ts'

let scene: Scene | undefined
const open = async (version: ClientVersion, options: SceneOptions = {}): Promise<Scene> => {
  scene = await openScene(version, options)
  await scene.java.open('c', scene.opening)
  return scene
}
afterEach(async () => {
  await scene?.close()
  scene = undefined
  await killAll()
})

const saveJob = async ({ java }: Scene, more: object = {}): Promise<number> =>
  Number((await java.call('c', 'saveJob', { ...apiJob('the job'), ...more })).data)
const runsOf = async ({ fleet }: Scene): Promise<readonly { id: number; state: string; attempts: number }[]> =>
  (await fleet.client.runs.list({ limit: 500 }).page()).items
const untilQuiet = (one: Scene): Promise<unknown> =>
  until('all runs have ended', async () =>
    (await runsOf(one)).every((run) => run.state !== 'waiting' && run.state !== 'running'),
  )

describe.for([true, false])('with the token check %s', (checked) => {
  it.for(clientVersions)(
    'the calls of the well-known reports have five effects with client %s: one job, one run',
    async (version) => {
      const one = await open(version, { env: { ONCEJOB_POWERJOB_AUTH: checked ? 'on' : 'off' } })
      const { java, proxy, fleet } = one
      proxy.take()
      const jobId = await saveJob(one)
      await java.call('c', 'disableJob', jobId)
      await java.call('c', 'enableJob', jobId)
      const { data: instanceId } = await java.call<number>('c', 'runJob', jobId)
      await until('it ran', async () => (await java.call('c', 'fetchInstanceStatus', instanceId)).data === 5)
      await java.call('c', 'deleteJob', jobId)
      const { '/fetchInstanceStatus': _, ...asked } = proxy.take()
      expect(asked).toEqual({ '/saveJob': 1, '/disableJob': 1, '/enableJob': 1, '/runJob': 1, '/deleteJob': 1 })
      expect((await runsOf(one)).map(({ id, attempts }) => ({ id, attempts }))).toEqual([
        { id: instanceId, attempts: 1 },
      ])
      expect(one.executions()).toEqual([instanceId])
      const trail = (await fleet.admin.auditLog({ limit: 100 }).page()).items
      const jobs = trail.filter(({ target }) => target === `job/${jobId}`).map(({ action }) => action)
      expect(jobs.toSorted()).toEqual(['job.create', 'job.delete', 'job.disable', 'job.enable'])
    },
  )
})

it.for(['5.1.0', '5.1.1'] as const)(
  '9.3 a token that has expired costs one more request and no second effect (client %s)',
  async (version) => {
    const one = await open(version, { env: { ONCEJOB_POWERJOB_TOKEN_SECONDS: '2' } })
    const jobId = await saveJob(one)
    await pause(3_000)
    one.proxy.take()
    const result = await one.java.call('c', 'runJob', jobId)
    expect(result.success).toBe(true)
    expect(one.proxy.take()).toEqual({ '/runJob': 2, '/authApp': 1 })
    await untilQuiet(one)
    expect(one.executions()).toEqual([result.data])
  },
)

// a server that is stopped and not killed: it has the call in its socket, and reads it when the caller is long gone
it.runIf(process.env['ONCEJOB_TEST_DB'] === 'postgres').for(clientVersions)(
  '9.4 with two addresses and a first server that hangs, a call makes one run (client %s)',
  async (version) => {
    const one = await open(version, { servers: 2 })
    const addresses = one.fleet.urls.map((url) => new URL(url).host)
    await one.java.open('c', { ...one.opening, addresses })
    const jobId = await saveJob(one)
    const first = one.fleet.servers[0]?.child()
    first?.signal('SIGSTOP')
    const { data, success } = await one.java.call('c', 'runJob', jobId)
    first?.signal('SIGCONT')
    expect(success).toBe(true)
    await untilQuiet(one)
    await one.fleet.connect({ urls: one.fleet.urls.slice(0, 1) }).me()
    await untilQuiet(one)
    expect((await runsOf(one)).map((run) => run.id)).toEqual([data])
    expect(one.executions()).toEqual([data])
  },
)

it.for(clientVersions)('ten equal calls in a loop are ten runs (client %s)', async (version) => {
  const one = await open(version)
  const jobId = await saveJob(one)
  const { results } = await one.java.repeat('c', 'runJob', [jobId], { times: 10, threads: 1 })
  expect(new Set(results.map(({ data }) => data)).size).toBe(10)
  await untilQuiet(one)
  expect(one.executions()).toHaveLength(10)
})

it('a key among the default headers works as on the native API', async () => {
  const one = await open('5.1.1')
  const jobId = await saveJob(one)
  const config = { defaultHeaders: { 'Idempotency-Key': 'order-4711' } }
  await one.java.open('keyed', { ...one.opening, config })
  const first = await one.java.call('keyed', 'runJob', jobId, 'x', 0)
  const again = await one.java.call('keyed', 'runJob', jobId, 'x', 0)
  expect(again).toEqual(first)
  const other = await one.java.call('keyed', 'runJob', jobId, 'y', 0)
  expect(other.success).toBe(false)
  await untilQuiet(one)
  expect(one.executions()).toEqual([first.data])
})

it('4.x calls have no token: the app decides whether they are taken', async () => {
  const one = await open('4.3.6', { tokenless: false })
  const refused = await one.java.call('c', 'saveJob', apiJob('no token'))
  expect(refused).toMatchObject({ success: false, message: 'INVALID_REQUEST:lack_of_appId_in_header' })
  await patchApp(one.fleet, { powerjob: { tokenless: true } })
  await until('the switch is seen', async () => (await one.java.call('c', 'saveJob', apiJob('no token'))).success)
  expect((await one.fleet.client.jobs.list({ limit: 100 }).page()).items).toHaveLength(1)
})

const full = process.env['ONCEJOB_FULL'] === '1'

it('a server that is killed in the middle loses no acknowledged call and makes no run execute twice', async () => {
  if (process.env['ONCEJOB_TEST_DB'] !== 'postgres') return
  const one = await open('5.1.1', { servers: 2, leaseMs: 3_000, graceMs: 1_000 })
  const jobId = await saveJob(one)
  const addresses = one.fleet.urls.map((url) => new URL(url).host)
  await one.java.open('c', { ...one.opening, addresses })
  const atLeast = full ? 2_000 : 600
  const killsWanted = full ? 10 : 3
  const killed: number[] = []
  const over = new AbortController()
  const killing = (async () => {
    for (let turn = 0; !over.signal.aborted; turn += 1) {
      const victim = one.fleet.servers[turn % 2]
      await victim?.child().kill()
      killed.push(turn)
      await victim?.start()
      await pause(300)
    }
  })()
  // a fast machine is through before the servers have died often enough
  const results: Repeated['results'][number][] = []
  while (results.length < atLeast || killed.length < killsWanted)
    results.push(...(await one.java.repeat('c', 'runJob', [jobId], { times: 300, threads: 16 })).results)
  const times = results.length
  over.abort()
  await killing
  const acknowledged = results.flatMap(({ data }) => (typeof data === 'number' ? [data] : []))
  await untilQuietLong(one, acknowledged.length)
  const executions = one.executions()
  const counts = Map.groupBy(executions, (runId) => runId)
  const again = [...counts].filter(([, starts]) => starts.length > 1)
  const unacknowledged = counts.size - new Set(acknowledged).size
  process.stdout.write(
    `${times} calls, ${killed.length} kills: ${acknowledged.length} acknowledged with ${new Set(acknowledged).size} runs, ` +
      `${counts.size} runs executed, of which ${unacknowledged} by calls that nobody acknowledged; ${again.length} runs twice\n`,
  )
  expect(killed.length).toBeGreaterThanOrEqual(killsWanted)
  for (const runId of acknowledged) expect(counts.has(runId), `run ${runId}`).toBe(true)
  expect(again).toEqual([])
}, 300_000)

const untilQuietLong = async (one: Scene, atLeast: number): Promise<void> => {
  await until(
    'all runs have ended',
    async () => {
      const open = (await one.fleet.client.runs.list({ limit: 10, state: ['waiting'] }).page()).items.length
      const running = (await one.fleet.client.runs.list({ limit: 10, state: ['running'] }).page()).items.length
      return open === 0 && running === 0 && new Set(one.executions()).size >= atLeast * 0.5
    },
    180_000,
  )
}
