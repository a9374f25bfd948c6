// PowerJob's clients send calls again without being asked to: whatever the way to the server does to the header, no call is
// lost, and those who call one after another get exactly one run for each (T-09, T-11, T-12).
import { legacyHttp1, legacyHttp2, startHeaderProxy, type HeaderProxy, type HeaderProxyOptions } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { callRuns, openLegacyFleet, type BurstResult, type LegacyFleet } from './support/legacy.ts'
import { expectCleanAudit } from './support/proof.ts'
import { printTable, size } from './support/sizes.ts'

let legacy: LegacyFleet
const undo: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  legacy = await openLegacyFleet({ env: { ONCEJOB_LOG_LEVEL: 'warn' } })
})
afterAll(async () => {
  for (const step of undo.splice(0)) await step()
  await legacy.close()
})

const calls = size(48, 400)
const rows: Record<string, string> = {}
afterAll(() => {
  const title = `T-09: ${calls} calls each: executed / succeeded / calls, collapsed, tokens rejected`
  printTable(title, rows)
})

// a busy machine makes threads that share a client overlap more than the 2 to 4 % that were measured
const slack = Math.ceil(calls * 0.1)

type Way = 'exact' | 'lower-case' | 'absent' | 'http/2'
type Use = '1 thread' | '8 threads' | 'client per call' | 'client per call, 8 at once'

const openWay = async (way: Way, expiry: number): Promise<HeaderProxy> => {
  let asked = 7
  const options: HeaderProxyOptions = {
    target: legacy.fleet.urls[0] ?? '',
    header: way === 'http/2' ? 'exact' : way,
    http2: way === 'http/2',
    spoilsToken: () => expiry > 0 && (asked += 1) % Math.round(1 / expiry) === 0,
  }
  const proxy = await startHeaderProxy(options)
  undo.push(() => proxy.close())
  return proxy
}

interface Played {
  readonly result: BurstResult
  readonly executed: Map<number, number>
  readonly collapsed: number
  readonly spoiled: number
}

const play = async (version: '4.3.9' | '5.1.0' | '5.1.1', way: Way, use: Use, expiry: number): Promise<Played> => {
  const proxy = await openWay(way, expiry)
  const jobIds = await legacy.makeJobs(4)
  const before = await legacy.collapses()
  const connect = () =>
    legacy.connect([proxy.url], {
      version,
      // no time-outs here: the machine may be busy, and they are the subject of T-10
      timeoutMs: 60_000,
      http: way === 'http/2' ? legacyHttp2() : legacyHttp1(),
    })
  const perCall = use.startsWith('client per call')
  const shared = perCall ? undefined : await connect()
  const result = await callRuns({
    calls,
    threads: use.startsWith('8') || use.endsWith('at once') ? 8 : 1,
    jobIds,
    clientOf: async () => shared ?? connect(),
    leave: (client) => {
      if (perCall) client.close()
    },
  })
  shared?.close()
  const executed = new Map<number, number>()
  for (const jobId of jobIds) executed.set(jobId, await legacy.runsOf(jobId))
  await proxy.close()
  return { result, executed, collapsed: (await legacy.collapses()) - before, spoiled: proxy.spoiled() }
}

const sum = (values: Iterable<number>): number => [...values].reduce((all, one) => all + one, 0)

const say = (name: string, { result, executed, collapsed, spoiled }: Played): void => {
  const succeeded = sum([...result.told.values()].map((ids) => ids.length))
  rows[name] = `${sum(executed.values())} / ${succeeded} / ${sum(result.calls.values())}, ${collapsed}, ${spoiled}`
}

const ways = ['exact', 'lower-case', 'absent', 'http/2'] as const
const uses = ['1 thread', '8 threads', 'client per call', 'client per call, 8 at once'] as const

describe.each(ways)('the header %s on the way', (way) => {
  const seen = way === 'exact'
  describe.each(uses)('%s', (use) => {
    it.each([0, 0.05])('with %d of the tokens rejected', async (expiry) => {
      const played = await play('5.1.1', way, use, expiry)
      say(`${way}, ${use}, ${expiry * 100} %`, played)
      const { result, executed, collapsed, spoiled } = played
      // a token that is rejected twice in a row fails its call, as it does at PowerJob
      expect(result.failures.length).toBeLessThanOrEqual(spoiled)
      const sequential = use === '1 thread' || use === 'client per call' || (use.endsWith('at once') && expiry === 0)
      for (const [jobId, count] of executed) {
        const succeeded = result.told.get(jobId)?.length ?? 0
        expect(count, 'no call is swallowed').toBeGreaterThanOrEqual(succeeded)
        if (seen || sequential) expect(count, 'no call is doubled').toBe(succeeded)
      }
      const all = sum(result.calls.values())
      expect(sum(executed.values())).toBeLessThanOrEqual(Math.ceil(1.05 * all) + (sequential || seen ? 0 : slack))
      if (seen) expect(collapsed).toBe(0)
      else expect(collapsed).toBeGreaterThan(0)
      expect(spoiled > 0).toBe(expiry > 0)
    })
  })
})

it.each(['exact', 'lower-case', 'absent'] as const)(
  'client 4.3.9 is not touched by any of it: header %s',
  async (way) => {
    for (const use of ['1 thread', '8 threads', 'client per call'] as const) {
      const played = await play('4.3.9', way, use, 0)
      say(`4.3.9, ${way}, ${use}`, played)
      const { result, executed, collapsed } = played
      for (const [jobId, count] of executed) expect(count).toBe(result.calls.get(jobId))
      expect(result.failures).toEqual([])
      expect(collapsed).toBe(0)
    }
  },
)

it('client 5.1.0 is served as 5.1.1 is', async () => {
  for (const way of ['exact', 'lower-case'] as const) {
    const { result, executed, collapsed } = await play('5.1.0', way, '1 thread', 0)
    for (const [jobId, count] of executed) expect(count).toBe(result.calls.get(jobId))
    expect(collapsed).toBe(way === 'exact' ? 0 : calls)
  }
})

it('T-11: ten intended equal calls are ten runs, in a loop and from ten clients behind one address', async () => {
  for (const way of ['exact', 'lower-case', 'absent', 'http/2'] as const) {
    const proxy = await openWay(way, 0)
    const [inLoop = 0, together = 0] = await legacy.makeJobs(2)
    const over = () => ({ timeoutMs: 60_000, http: way === 'http/2' ? legacyHttp2() : legacyHttp1() })
    const client = await legacy.connect([proxy.url], over())
    const ids = new Set<number>()
    for (let index = 0; index < 10; index += 1) ids.add(await client.runJob(inLoop))
    expect(ids.size).toBe(10)
    expect(await legacy.runIdsOf(inLoop)).toEqual(ids)
    const clients = await Promise.all(Array.from({ length: 10 }, () => legacy.connect([proxy.url], over())))
    await Promise.all(clients.map((one) => one.runJob(together)))
    expect(await legacy.runsOf(together)).toBe(10)
  }
})

it('T-12: a stop that is sent twice succeeds for its caller and changes the state once', async () => {
  const { fleet } = legacy
  for (const way of ['lower-case', 'absent'] as const) {
    const proxy = await openWay(way, 0)
    const client = await legacy.connect([proxy.url], { timeoutMs: 60_000 })
    const [jobId = 0] = await legacy.makeJobs(1)
    const instanceId = await client.runJob(jobId)
    expect(await client.form('/stopInstance', { instanceId })).toMatchObject({ success: true })
    expect(proxy.requests.get('/openApi/stopInstance')).toBe(2)
    const run = await fleet.client.runs.get(instanceId)
    expect(['canceled', 'stopped']).toContain(run.state)
    const retried = await client.form('/retryInstance', { instanceId })
    expect(retried).toMatchObject({ success: true })
    expect((await fleet.client.runs.get(instanceId)).state).toBe('waiting')
  }
})

it('the seeds: a job that is saved, disabled, enabled, run and deleted once has one run and one of each effect', async () => {
  const proxy = await openWay('absent', 0)
  const client = await legacy.connect([proxy.url], { version: '5.1.0', timeoutMs: 60_000 })
  const job = { jobName: 'seed', timeExpressionType: 'API', executeType: 'STANDALONE', processorType: 'BUILT_IN' }
  const jobId = await client.saveJob({ ...job, processorInfo: 'nobody', enable: false })
  const named = async (): Promise<number> => {
    const { data } = await client.json('/queryJob', { appIdEq: client.appId, jobNameEq: 'seed' })
    return (data as unknown[]).length
  }
  expect(await named()).toBe(1)
  for (const path of ['/disableJob', '/enableJob'])
    expect(await client.form(path, { jobId })).toMatchObject({ success: true })
  await client.runJob(jobId)
  expect(await legacy.runsOf(jobId)).toBe(1)
  expect(await client.form('/deleteJob', { jobId })).toMatchObject({ success: true })
  expect(proxy.requests.get('/openApi/saveJob')).toBe(2)
})

it('nothing of it breaks an invariant', async () => {
  await expectCleanAudit(legacy.fleet)
})
