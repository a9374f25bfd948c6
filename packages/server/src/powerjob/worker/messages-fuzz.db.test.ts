// Whatever members a message has: the whole server takes it or refuses it, breaks nowhere, and the run of an honest worker ends once.
import { seededRandom, seedFromEnv } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sentJob } from '../testing/jobs.ts'
import { startRealWire, type RealWire } from '../testing/real-wire.ts'
import { startScriptedWorker, type ScriptedWorker } from '../testing/scripted-worker.ts'
import { messagePaths } from './messages.ts'

let server: RealWire
let worker: ScriptedWorker
let app: { readonly id: number; readonly name: string; readonly token: string }
beforeAll(async () => {
  server = await startRealWire({ ONCEJOB_POWERJOB_AUTH: 'off' })
  app = { name: 'bench', ...(await server.app('bench')) }
  worker = await startScriptedWorker(server.workerUrl, app)
})
afterAll(async () => {
  await worker?.stop()
  await server?.stop()
})

const get = async (path: string): Promise<string> =>
  (await fetch(`${server.url}${path}`, { headers: { authorization: `Bearer ${app.token}` } })).text()
const call = async (path: string, body: string, type: string): Promise<number> => {
  const answer = await fetch(`${server.url}/openApi${path}`, {
    method: 'POST',
    headers: { 'content-type': type },
    body,
  })
  return Number(((await answer.json()) as { data: unknown }).data)
}

describe('whatever members a message has', () => {
  it('is taken or refused, and the run of an honest worker is what it was', async () => {
    const random = seededRandom(seedFromEnv())
    const about = `seed ${random.seed}`
    const below = (limit: number): number => Math.floor(random.next() * limit)
    const pick = <T>(from: readonly T[]): T => from[below(from.length)]!
    const jobId = await call('/saveJob', JSON.stringify(sentJob({ appId: app.id })), 'application/json')
    await worker.heartbeat()
    const runId = await call('/runJob', `appId=${app.id}&jobId=${jobId}&delay=0`, 'application/x-www-form-urlencoded')
    await expect.poll(() => worker.toldAt('/worker/runJob').length, { timeout: 20_000 }).toBe(1)

    const odd = (): unknown =>
      pick<unknown>([
        null,
        true,
        '',
        -1,
        0,
        1.5,
        2 ** 31,
        2 ** 53,
        1e300,
        '1004656552407203904',
        'x',
        '\u0000',
        '\uD800',
        {},
        [],
        [1],
        { a: 1 },
      ])
    const strange = '127.0.0.1:1'
    const base: Record<string, () => Record<string, unknown>> = {
      [messagePaths.heartbeat]: () => ({
        workerAddress: pick([strange, '127.0.0.1:2', 'x']),
        appId: pick([app.id, app.id + 1]),
        appName: pick(['bench', 'x']),
        heartbeatTime: below(2 ** 40),
        version: '5.1.1',
        protocol: 'HTTP',
        overload: true,
        containerInfos: [{ containerId: 7, version: 'x', deployedTime: 1 }, odd()],
        systemMetrics: { cpuProcessors: odd(), cpuLoad: odd(), jvmMaxMemory: 4, score: odd() },
      }),
      [messagePaths.status]: () => ({
        appId: app.id,
        jobId: pick([jobId, 999]),
        instanceId: pick([runId, 999, 2 ** 52]),
        instanceStatus: pick([1, 2, 3, 4, 5, 9, 10, 77]),
        // never the worker that has the run: its reports would be heeded, and rightly so
        sourceAddress: pick([strange, '127.0.0.1:2']),
        startTime: below(2 ** 40),
        reportTime: below(2 ** 50),
        totalTaskNum: odd(),
        result: odd(),
        appendedWfContext: odd(),
      }),
      [messagePaths.logs]: () => ({
        workerAddress: pick([strange, worker.address]),
        instanceLogContents: [
          {
            instanceId: pick([runId, 999]),
            logTime: odd(),
            logLevel: odd(),
            logContent: pick(['a\u0000b', '\uD800', 'x'.repeat(below(100_000))]),
          },
          odd(),
        ],
      }),
      [messagePaths.cluster]: () => ({ appId: pick([app.id, 999]), jobId: pick([jobId, 999]) }),
      [messagePaths.container]: () => ({ containerId: below(3) }),
    }
    const statuses = new Map<number, number>()
    for (let i = 0; i < 400; i += 1) {
      const path = pick(Object.keys(base))
      const message = base[path]!()
      for (let n = below(3); n > 0; n -= 1) {
        const name = pick(Object.keys(message))
        // of the one thing that would be heeded, only the honest worker speaks
        if (path === messagePaths.status && name === 'sourceAddress') continue
        if (random.next() < 0.3) delete message[name]
        else message[name] = odd()
      }
      const { status, text } = await worker.post(path, message)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      expect([200, 403, 500], `${about}, ${i}: ${path} ${JSON.stringify(message).slice(0, 400)} -> ${text}`).toContain(
        status,
      )
    }
    const metrics = await get('/metrics')
    const broken = metrics
      .split('\n')
      .filter((line) => /^powerjob_worker_messages_total.*outcome="(failed|outage)"/.test(line))
    expect(broken, about).toEqual([])
    // neither all nor nothing
    expect(statuses.get(200) ?? 0, about).toBeGreaterThan(100)
    expect(statuses.get(200) ?? 0, about).toBeLessThan(390)

    expect(JSON.parse(await get(`/api/v1/runs/${runId}`)), about).toMatchObject({ state: 'running', attempts: 1 })
    expect((await worker.report(jobId, runId, 5)).text).toBe('{"success":true}')
    expect(JSON.parse(await get(`/api/v1/runs/${runId}`)), about).toMatchObject({ state: 'succeeded', result: 'done' })
    expect(worker.toldAt('/worker/runJob')).toHaveLength(1)
  })
})
