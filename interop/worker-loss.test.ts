// Java workers and servers that are lost in the middle of runs: every run ends once, and a late result changes nothing.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Attempt, RunDetail } from '@oncejob/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startNode } from '../e2e/support/children.ts'
import { placeKind } from '../e2e/support/places.ts'
import { printTable, size } from '../e2e/support/sizes.ts'
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
    expect(ports).toEqual(new Set(app.workers.map(({ port }) => port)))
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
    // without the refusal it would be a minute, for the missing heartbeats
    expect(latestMs).toBeLessThan(30_000)
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

it('a worker that was restarted while nobody looked says that it has nothing, and its run begins anew', async () => {
  const java = await openJavaFleet()
  try {
    const app = await java.openApp('restarted')
    const worker = await app.addWorker('5.1.1')
    const jobId = await app.saveJob('slow', { processorInfo: processor('Slow'), jobParams: '25000' })
    const runId = await app.runJob(jobId)
    await until('it has begun', () => app.linesOf(runId, 'start').length > 0)
    // a worker tells of a run after ten seconds at the latest
    await pause(12_000)
    const [server] = java.fleet.servers
    await server?.child().kill()
    await worker.kill()
    await server?.start()
    await worker.start()
    const run = await app.ended(runId)
    expect(run).toMatchObject({ state: 'succeeded', worker: worker.address })
    expect(outcomesOf(run)).toEqual(['lost', 'succeeded'])
    // not for the minute in which nothing was told of it
    expect(run.attemptHistory[0]?.error?.message).toBe('The worker does not have the run any more.')
    expect(app.linesOf(runId, 'start')).toHaveLength(2)
  } finally {
    await java.close()
  }
})

/** Asks for runs, most of them short, while servers are killed in turn, and once a worker; returns the ids of the runs. */
const storm = async ({ fleet }: JavaFleet, app: JavaApp, runs: number, kills: number): Promise<number[]> => {
  const jobId = await app.saveJob('some time', { processorInfo: processor('Slow'), dispatchStrategy: 'RANDOM' })
  const ids: number[] = []
  const ask = async (count: number): Promise<void> => {
    // the client asks again, with the same key, whatever happens to the server
    for (let made = 0; made < count; made += 5) {
      const some = Array.from({ length: Math.min(5, count - made) }, (_, at) => ({
        job: jobId,
        params: at === 0 ? '3000' : '40',
      }))
      ids.push(...(await app.client.runs.createBatch(some)).ids)
      await pause(40)
    }
  }
  const perKill = Math.ceil(runs / (kills + 1))
  for (let kill = 0; kill < kills; kill += 1) {
    const victim = fleet.servers[kill % 2]
    const asking = ask(Math.min(perKill, runs - ids.length))
    await pause(500)
    await victim?.child().kill()
    if (kill === 1) {
      await app.workers[0]?.kill()
      await app.workers[0]?.start()
    }
    await asking
    await victim?.start()
    // workers have gone to the other one within 10 s, or have not yet
    await pause(size(4_000, 7_000))
  }
  await ask(runs - ids.length)
  return ids
}

/** Compares what the workers did with the history of the runs; returns what was counted. */
const account = async (app: JavaApp, ids: readonly number[]) => {
  const executions = executionsByRun(app.ledger())
  const killed = app.workers[0]?.address
  const counted = { lostWithWorker: 0, lostWithServer: 0, handedBack: 0, executedAgain: 0 }
  for (const id of ids) {
    const run = await app.client.runs.get(id)
    const starts = executions.get(id) ?? []
    const told = `run ${id}: ${JSON.stringify(run.attemptHistory)} ${JSON.stringify(starts)}`
    expect(run.state, told).toBe('succeeded')
    // it ended once, and whatever came before that was a loss
    const before = run.attemptHistory.slice(0, -1)
    expect(run.attemptHistory.at(-1)?.outcome, told).toBe('succeeded')
    for (const { outcome, worker } of before) {
      expect(['lost', 'handed-back'], told).toContain(outcome)
      if (outcome === 'handed-back') counted.handedBack += 1
      else if (worker === killed) counted.lostWithWorker += 1
      else counted.lostWithServer += 1
    }
    // each execution has an attempt of its own at its worker: none was handed over twice
    expect(starts.length, told).toBeGreaterThanOrEqual(1)
    const attempts = Map.groupBy(run.attemptHistory, ({ worker }) => worker)
    for (const [port, there] of Map.groupBy(starts, (start) => start.port))
      expect(attempts.get(`127.0.0.1:${port}`)?.length ?? 0, told).toBeGreaterThanOrEqual(there.length)
    counted.executedAgain += starts.length - 1
  }
  return counted
}

it.skipIf(placeKind() !== 'postgres')(
  'servers that are killed again and again: every run ends once, and nothing is handed over twice',
  async () => {
    const java = await openJavaFleet({ servers: 2 })
    try {
      const app = await java.openApp('storm')
      const versions = [...workerVersions, '5.1.1'] as const
      await Promise.all(versions.map((version) => app.addWorker(version, { pace: 'usual' })))
      const runs = size(300, 3_000)
      const kills = size(3, 10)
      const ids = await storm(java, app, runs, kills)
      expect(new Set(ids).size).toBe(runs)
      // what was taken and not sent is found by its silence, after a minute
      await allEnded(app, 240_000)
      const counted = await account(app, ids)
      printTable(`${runs} runs, ${kills} kills of servers, one of a worker`, { ...counted })
      expect(counted.executedAgain).toBeLessThanOrEqual(counted.lostWithServer + counted.lostWithWorker)
      expect(await java.fleet.admin.audit()).toMatchObject({ clean: true })
    } finally {
      await java.close()
    }
  },
  600_000,
)
