// Java workers and servers that are lost in the middle of runs: every run ends once, and a late result changes nothing.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Attempt, RunDetail } from '@oncejob/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startNode } from '../e2e/support/children.ts'
import { placeKind } from '../e2e/support/places.ts'
import { size } from '../e2e/support/sizes.ts'
import { pause, until } from '../e2e/support/until.ts'
import { openJavaFleet, type JavaApp, type JavaFleet } from './support/java-fleet.ts'
import { processor, workerVersions, type JavaEntry, type JavaWorker } from './support/java-worker.ts'

const outcomesOf = ({ attemptHistory }: RunDetail): Attempt['outcome'][] => attemptHistory.map(({ outcome }) => outcome)

const workerAt = (app: JavaApp, port: number | undefined): JavaWorker => {
  const found = app.workers.find((worker) => worker.port === port)
  if (found === undefined) throw new Error(`no worker has the port ${port}`)
  return found
}

/** Resolves when no run of the app is open. */
const allEnded = async (app: JavaApp, limitMs: number): Promise<void> => {
  await until(
    'all runs have ended',
    async () =>
      (await app.client.runs.list({ state: ['waiting', 'running', 'unknown'], limit: 1 }).page()).items.length === 0,
    limitMs,
  )
}

const executionsByRun = (lines: readonly JavaEntry[]): Map<number, JavaEntry[]> =>
  Map.groupBy(
    lines.filter(({ kind }) => kind === 'start'),
    ({ instanceId }) => instanceId,
  )

describe.concurrent('one server', () => {
  let java: JavaFleet
  beforeAll(async () => {
    java = await openJavaFleet()
  })
  afterAll(() => java.close())

  it('workers of every version and a native worker share one app: each run is executed once, by one that may', async ({
    expect,
  }) => {
    const app = await java.openApp('mixed')
    const native = join(java.fleet.folder, 'native.ledger')
    writeFileSync(native, '')
    const { token } = await java.fleet.admin.tokens.create(app.name, { name: 'native' })
    const worker = startNode(fileURLToPath(new URL('support/worker.ts', import.meta.url)), [], {
      tied: true,
      env: { INTEROP_WORKER: JSON.stringify({ urls: java.fleet.urls, token, ledger: native }) },
    })
    await Promise.all([worker.says(/^READY$/m), ...workerVersions.map((version) => app.addWorker(version))])
    const shared = await app.saveJob('for all', { processorInfo: processor('Echo'), dispatchStrategy: 'RANDOM' })
    const own = await app.client.jobs.create({ name: 'native only', processor: 'com.example.Echo' })
    const java4 = await app.saveJob('java only', { processorInfo: processor('Slow'), jobParams: '5' })
    const jobs = [shared, shared, shared, shared, own.id, java4]
    const { ids } = await app.client.runs.createBatch(
      Array.from({ length: 300 }, (_, at) => ({ job: jobs[at % 6] ?? 0 })),
    )
    await allEnded(app, 120_000)
    const byJava = executionsByRun(app.ledger())
    const byNative = Map.groupBy(readFileSync(native, 'utf8').split('\n').filter(Boolean).map(Number), (id) => id)
    for (const run of await Promise.all(ids.map((id) => app.client.runs.get(id)))) {
      const java = byJava.get(run.id)?.length ?? 0
      const natively = byNative.get(run.id)?.length ?? 0
      expect(run).toMatchObject({ state: 'succeeded', attempts: 1 })
      expect(java + natively, `executions of run ${run.id}`).toBe(1)
      if (run.jobId === own.id) expect(natively).toBe(1)
      if (run.jobId === java4) expect(java).toBe(1)
    }
    const ports = new Set(app.ledger().map(({ port }) => port))
    expect([...ports].toSorted()).toEqual(app.workers.map(({ port }) => port).toSorted())
    const sharedNatively = (await app.client.runs.list({ job: shared, limit: 500 }).page()).items.filter(
      ({ worker: name }) => name === 'interop',
    )
    expect(sharedNatively.length).toBeGreaterThan(0)
  })

  it('a worker that is killed: its port refuses, and its runs are taken over at once', async ({ expect }) => {
    const app = await java.openApp('killed')
    await Promise.all([app.addWorker('5.1.1', { pace: 'usual' }), app.addWorker('4.3.9', { pace: 'usual' })])
    const jobId = await app.saveJob('slow', {
      processorInfo: processor('Slow'),
      jobParams: '8000',
      dispatchStrategy: 'RANDOM',
    })
    const { ids } = await app.client.runs.createBatch(Array.from({ length: 12 }, () => ({ job: jobId })))
    await until('all have begun', () => executionsByRun(app.ledger()).size === ids.length)
    const began = executionsByRun(app.ledger())
    const victim = workerAt(app, began.get(ids[0] ?? 0)?.[0]?.port)
    const killedMs = Date.now()
    await victim.kill()
    await allEnded(app, 75_000 + 60_000)
    let latestMs = 0
    for (const id of ids) {
      const run = await app.client.runs.get(id)
      const [first, second] = app.linesOf(id, 'start')
      const wasHere = first?.port === victim.port
      expect(run.state).toBe('succeeded')
      expect(outcomesOf(run)).toEqual(wasHere ? ['lost', 'succeeded'] : ['succeeded'])
      expect(app.linesOf(id, 'start')).toHaveLength(wasHere ? 2 : 1)
      if (second !== undefined) latestMs = Math.max(latestMs, second.at - killedMs)
    }
    process.stdout.write(`killed worker: the last of its runs began again after ${Math.round(latestMs)} ms\n`)
    expect(latestMs).toBeLessThan(75_000)
  })

  it('a worker that is frozen: its run is taken over, and what it says when it comes back changes nothing', async ({
    expect,
  }) => {
    const app = await java.openApp('frozen')
    await Promise.all([app.addWorker('5.1.1'), app.addWorker('5.1.0')])
    const jobId = await app.saveJob('slow', { processorInfo: processor('Slow'), jobParams: '20000' })
    const runId = await app.runJob(jobId)
    const [first] = await until('it has begun', () => {
      const lines = app.linesOf(runId, 'start')
      return lines.length > 0 && lines
    })
    const frozen = workerAt(app, first?.port)
    const frozenMs = Date.now()
    frozen.freeze()
    // its port still takes connections: only the missing heartbeats tell
    const second = await until('another worker has begun', () => app.linesOf(runId, 'start')[1], 120_000)
    const takenMs = second.at - frozenMs
    process.stdout.write(`frozen worker: its run began again after ${Math.round(takenMs)} ms\n`)
    expect(takenMs).toBeLessThan(75_000)
    expect(second.port).not.toBe(frozen.port)
    frozen.thaw()
    // its sleep is long over: it has an end to tell, or is interrupted by the stop that it is sent
    await until('the late one has ended', () =>
      app.linesOf(runId).some(({ kind, port }) => kind !== 'start' && port === frozen.port),
    )
    await pause(3_000)
    const other = workerAt(app, second.port)
    expect(await app.client.runs.get(runId)).toMatchObject({ state: 'running', worker: other.address, attempts: 2 })
    const run = await app.ended(runId)
    expect(run).toMatchObject({ state: 'succeeded', worker: other.address, result: 'slept 20000' })
    expect(outcomesOf(run)).toEqual(['lost', 'succeeded'])
    expect(Date.parse(run.endedAt ?? '')).toBeGreaterThanOrEqual(second.at + 20_000)
    expect(app.linesOf(runId, 'start')).toHaveLength(2)
    // and it is a worker like any other again
    await app.heard(frozen)
    const again = await app.saveJob('again', { processorInfo: processor('Echo'), designatedWorkers: frozen.address })
    expect(await app.ended(await app.runJob(again))).toMatchObject({ state: 'succeeded', worker: frozen.address })
  })
})

it('a run that ends while the server is down is reported when it is back', async () => {
  const java = await openJavaFleet()
  try {
    const app = await java.openApp('waits')
    await Promise.all([app.addWorker('5.1.1', { pace: 'usual' }), app.addWorker('4.3.9', { pace: 'usual' })])
    const jobId = await app.saveJob('slow', {
      processorInfo: processor('Slow'),
      jobParams: '4000',
      dispatchStrategy: 'RANDOM',
    })
    const { ids } = await app.client.runs.createBatch(Array.from({ length: 10 }, () => ({ job: jobId })))
    await until('all have begun', () => executionsByRun(app.ledger()).size === ids.length)
    const [server] = java.fleet.servers
    await server?.child().kill()
    const downMs = size(20_000, 50_000)
    await pause(downMs)
    expect(app.ledger().filter(({ kind }) => kind === 'end')).toHaveLength(ids.length)
    await server?.start()
    // a worker asks again for 66 s
    for (const id of ids) {
      const run = await app.ended(id)
      expect(run).toMatchObject({ state: 'succeeded', result: 'slept 4000', attempts: 1 })
      expect(app.linesOf(id, 'start')).toHaveLength(1)
    }
  } finally {
    await java.close()
  }
})

it.skipIf(placeKind() !== 'postgres')(
  'servers that are killed again and again: every run ends once, and nothing is handed over twice',
  async () => {
    const java = await openJavaFleet({ servers: 2 })
    try {
      const app = await java.openApp('storm')
      await Promise.all(
        [...workerVersions, '5.1.1' as const].map((version) => app.addWorker(version, { pace: 'usual' })),
      )
      const jobId = await app.saveJob('short', {
        processorInfo: processor('Slow'),
        jobParams: '40',
        dispatchStrategy: 'RANDOM',
      })
      const runs = size(300, 3_000)
      const kills = size(3, 10)
      const perKill = Math.ceil(runs / (kills + 1))
      const ids: number[] = []
      const ask = async (count: number): Promise<void> => {
        // the client asks again, with the same key, whatever happens to the server
        for (let made = 0; made < count; made += 5) {
          const { ids: some } = await app.client.runs.createBatch(
            Array.from({ length: Math.min(5, count - made) }, () => ({ job: jobId })),
          )
          ids.push(...some)
          await pause(40)
        }
      }
      for (let kill = 0; kill < kills; kill += 1) {
        const victim = java.fleet.servers[kill % 2]
        const asking = ask(Math.min(perKill, runs - ids.length))
        await pause(500)
        await victim?.child().kill()
        await asking
        await victim?.start()
        // workers have gone to the other one within 10 s
        await pause(5_000)
      }
      await ask(runs - ids.length)
      expect(new Set(ids).size).toBe(runs)
      // what was taken and not sent is found by its silence, after a minute
      await allEnded(app, 240_000)
      const executions = executionsByRun(app.ledger())
      let lost = 0
      let again = 0
      for (const id of ids) {
        const run = await app.client.runs.get(id)
        const starts = executions.get(id) ?? []
        const at = Map.groupBy(starts, ({ port }) => `127.0.0.1:${port}`)
        const attempts = Map.groupBy(run.attemptHistory, ({ worker }) => worker ?? '')
        expect(run.state, `run ${id}`).toBe('succeeded')
        expect(outcomesOf(run).filter((outcome) => outcome === 'succeeded')).toHaveLength(1)
        expect(outcomesOf(run).at(-1)).toBe('succeeded')
        // each execution has an attempt of its own at its worker: none was handed over twice
        for (const [address, there] of at)
          expect(
            attempts.get(address)?.length ?? 0,
            `run ${id} at ${address}: ${JSON.stringify(run.attemptHistory)}`,
          ).toBeGreaterThanOrEqual(there.length)
        expect(starts.length, `run ${id}`).toBeGreaterThanOrEqual(1)
        lost += run.attempts - 1
        again += starts.length - 1
      }
      expect(await java.fleet.admin.audit()).toMatchObject({ clean: true })
      process.stdout.write(
        `${runs} runs, ${kills} kills of servers: ${lost} attempts lost with a server, of which ${again} had been executed\n`,
      )
      expect(again).toBeLessThanOrEqual(lost)
    } finally {
      await java.close()
    }
  },
  600_000,
)
