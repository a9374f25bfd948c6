// Real PowerJob clients behind proxies that rewrite or drop the header they look for: they send every call twice (T-09, T-11).
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startHeaderProxy, type HeaderProxyOptions } from '@oncejob/testkit'
import { openScene, type Scene } from './support/bench-app.ts'
import { apiJob } from './support/jobs.ts'

const full = process.env['ONCEJOB_FULL'] === '1'
const calls = full ? 400 : 60

describe.for(['5.1.0', '5.1.1'] as const)('client %s', (version) => {
  let scene: Scene
  beforeAll(async () => {
    scene = await openScene(version)
  })
  afterAll(() => scene.close())

  /** Calls through a proxy of its own; a job of its own, so that its runs are those of these calls. */
  const play = async (
    header: HeaderProxyOptions['header'],
    use: { readonly threads: number; readonly clientPerCall?: true },
  ): Promise<{ succeeded: number; runs: number; sent: number }> => {
    const proxy = await startHeaderProxy({ target: scene.fleet.urls[0] ?? '', header })
    try {
      const opening = { ...scene.opening, addresses: [new URL(proxy.url).host] }
      const client = `${header} ${use.threads} ${use.clientPerCall}`
      await scene.java.open(client, opening)
      const { data: jobId } = await scene.java.call<number>(client, 'saveJob', apiJob(client))
      const before = proxy.requests.get('/openApi/runJob') ?? 0
      const { results } = await scene.java.repeat(client, 'runJob', [jobId], {
        times: calls,
        threads: use.threads,
        ...(use.clientPerCall === true ? { own: opening } : {}),
      })
      let runs = 0
      for await (const _ of scene.fleet.client.runs.list({ job: jobId ?? 0, limit: 500 })) runs += 1
      const succeeded = results.filter(({ data }) => typeof data === 'number').length
      const sent = (proxy.requests.get('/openApi/runJob') ?? 0) - before
      process.stdout.write(`${version} ${client}: ${calls} calls, ${sent} sent, ${succeeded} succeeded, ${runs} runs\n`)
      return { succeeded, runs, sent }
    } finally {
      await proxy.close()
    }
  }

  it('header seen: every call is sent once and makes one run', async () => {
    expect(await play('exact', { threads: 8 })).toEqual({ succeeded: calls, runs: calls, sent: calls })
  })

  it.for(['lower-case', 'absent'] as const)(
    'header %s: every call is sent twice, and one after another they make one run each',
    async (header) => {
      expect(await play(header, { threads: 1 })).toEqual({ succeeded: calls, runs: calls, sent: 2 * calls })
    },
  )

  it.for(['lower-case', 'absent'] as const)(
    'header %s: a client made for each call gets one run for each',
    async (header) => {
      const { succeeded, runs } = await play(header, { threads: 1, clientPerCall: true })
      expect({ succeeded, runs }).toEqual({ succeeded: calls, runs: calls })
    },
  )

  it('header lost under a client that eight threads share: no call is lost, few get a run too many', async () => {
    const { succeeded, runs } = await play('absent', { threads: 8 })
    expect(succeeded).toBe(calls)
    expect(runs).toBeGreaterThanOrEqual(succeeded)
    expect(runs).toBeLessThanOrEqual(calls * 1.15)
  })
})
