// Containers in real Java workers with Spring: fetched, deployed, renewed and dropped, and each worker's own word for what it has.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Container, ContainerWorker, RunDetail } from '@oncejob/protocol'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { runOncejob } from '../e2e/support/command.ts'
import { until } from '../e2e/support/until.ts'
import { openJavaFleet, type JavaApp, type JavaFleet } from './support/java-fleet.ts'
import { built, processor, workerVersions, type JavaWorker } from './support/java-worker.ts'

let java: JavaFleet
beforeAll(async () => {
  java = await openJavaFleet()
})
afterAll(async () => {
  if (process.env['INTEROP_WORDS'] === '1') process.stdout.write(java.words())
  await java.close()
})

const spring = join(built('container-1'), 'container-1-1.jar')
const autumn = join(built('container-2'), 'container-2-1.jar')
const noContainer = join(built('container-1'), 'container-1-1-broken.jar')

const quote = 'oncejob.interop.container.Quote'
const rebate = 'oncejob.interop.container.Rebate'
/** A worker may lose the result of a part inside itself (contract 5.7): tried again in the worker, else ended by its time limit. */
const limited = { instanceTimeLimit: 60_000, instanceRetryNum: 2, taskRetryNum: 2 }
const mostMs = (limited.instanceRetryNum + 1) * (limited.instanceTimeLimit + 15_000)
// a heartbeat says what is loaded: these come soon
const withSpring = { spring: true, heartbeatSeconds: 2 } as const

describe.concurrent.for(workerVersions)('containers of workers %s', (version) => {
  let app: JavaApp
  let one: JavaWorker
  let other: JavaWorker
  beforeAll(async () => {
    app = await java.openApp(`containers-${version}`)
    ;[one, other] = await Promise.all([app.addWorker(version, withSpring), app.addWorker(version, withSpring)])
  })

  const store = (name: string, file: string): Promise<Container> =>
    app.client.containers.upload(name, readFileSync(file))

  /** Saves a job for a class of the container; it is executed by one worker. */
  const jobAt = (worker: JavaWorker, id: number, className = quote): Promise<number> =>
    app.saveJob(`${className} of ${id} at ${worker.port}`, {
      processorType: 'EXTERNAL',
      processorInfo: `${id}#${className}`,
      designatedWorkers: worker.address,
    })
  const runAt = async (worker: JavaWorker, id: number, className = quote): Promise<RunDetail> =>
    app.ended(await app.runJob(await jobAt(worker, id, className), 'pears'))

  /** Saves a job that is executed by all of these. */
  const broadcastAt = (workers: readonly JavaWorker[], id: number, more: object = limited): Promise<number> =>
    app.saveJob(`broadcast of ${id}`, {
      executeType: 'BROADCAST',
      processorType: 'EXTERNAL',
      processorInfo: `${id}#${quote}`,
      designatedWorkers: workers.map(({ address }) => address).join(','),
      ...more,
    })

  const stateAt = async (id: number, worker: JavaWorker): Promise<ContainerWorker['state'] | undefined> =>
    (await app.client.containers.get(id)).workers.find(({ address }) => address === worker.address)?.state
  /** Resolves when a heartbeat of each of them has said so. */
  const heard = async (id: number, state: ContainerWorker['state'], workers: readonly JavaWorker[]): Promise<void> => {
    for (const worker of workers)
      await until(`container ${id} is ${state} at ${worker.address}`, async () => (await stateAt(id, worker)) === state)
  }

  it('a worker fetches one by itself when a run needs it, byte for byte, and its Spring makes the processor', async ({
    expect,
  }) => {
    const { id, version: jar } = await store('fetched', spring)
    expect(await stateAt(id, one)).toBe('absent')
    const run = await runAt(one, id)
    expect(run).toMatchObject({ state: 'succeeded', result: 'prices of spring for pears', attempts: 1 })
    expect(app.linesOf(run.id).map(({ kind, port }) => [kind, port])).toEqual([
      ['start', one.port],
      ['end', one.port],
    ])
    const kept = readFileSync(join(one.workspace, 'container', String(id), `${jar}.jar`))
    expect(kept.equals(readFileSync(spring))).toBe(true)
    await heard(id, 'loaded', [one])
    const { workers } = await app.client.containers.get(id)
    const told = workers.find(({ address }) => address === one.address)
    expect(told?.version).toBe(jar)
    expect(Math.abs(Date.parse(told?.loadedAt ?? '') - Date.parse(run.startedAt ?? ''))).toBeLessThan(60_000)
    // nobody told the other one
    expect(workers.find(({ address }) => address === other.address)).toMatchObject({ state: 'absent', version: null })
    const lines = await until('its log is there', async () => {
      const page = await app.client.runs.logs(run.id)
      return page.lines.length > 0 ? page.lines : undefined
    })
    expect(lines.map(({ text }) => text)).toEqual(['quoted from prices of spring'])
  })

  it('a deployed one is loaded by every worker, its next version replaces it in the next run, and who comes later is given that', async ({
    expect,
  }) => {
    const said = await runOncejob(['containers', 'upload', spring, '--name', 'prices', '--deploy', '--json'], {
      env: { ONCEJOB_URL: java.fleet.urls[0], ONCEJOB_TOKEN: java.fleet.adminToken, ONCEJOB_APP: app.name },
    })
    expect(said).toMatchObject({ code: 0 })
    const { id, version: first } = JSON.parse(said.stdout) as Container
    await heard(id, 'loaded', [one, other])
    for (const worker of [one, other]) {
      expect(await runAt(worker, id)).toMatchObject({ state: 'succeeded', result: 'prices of spring for pears' })
      // what the jar does not have can not run
      expect(await runAt(worker, id, rebate)).toMatchObject({ state: 'failed', attempts: 1 })
    }
    // stored is not deployed: who has a version stays with it
    const { version: second } = await store('prices', autumn)
    expect(second).not.toBe(first)
    await heard(id, 'outdated', [one, other])
    expect(await runAt(one, id)).toMatchObject({ result: 'prices of spring for pears' })
    const deployed = await app.client.containers.deploy(id)
    expect(deployed).toMatchObject({ id, version: second })
    expect(deployed.workers).toEqual(expect.arrayContaining([one.address, other.address]))
    await heard(id, 'loaded', [one, other])
    const later = await app.addWorker(version, withSpring)
    await heard(id, 'loaded', [later])
    for (const worker of [one, other, later]) {
      expect(await runAt(worker, id)).toMatchObject({ state: 'succeeded', result: 'prices of autumn for pears' })
      expect(await runAt(worker, id, rebate)).toMatchObject({ state: 'succeeded', result: 'rebate for pears' })
    }
    const wide = await app.ended(await app.runJob(await broadcastAt([one, other, later], id), 'pears'), mostMs)
    expect(wide.state).toBe('succeeded')
    const ports = app.linesOf(wide.id, 'end').map(({ port }) => port)
    expect(new Set(ports)).toEqual(new Set([one.port, other.port, later.port]))
    // in the middle of a distributed run none is fetched: a worker waits for the answer on the very thread that must read it
    const { id: stored } = await store('only-stored', spring)
    const once = { instanceTimeLimit: 60_000 }
    const stuck = await app.ended(await app.runJob(await broadcastAt([later], stored, once), 'pears'), mostMs)
    expect(stuck.state).toBe('failed')
    expect(stuck.error?.message).toContain(`has not loaded container ${stored} "only-stored"`)
    expect(stuck.error?.message).toContain('deploy it')
    // and back
    await store('prices', spring)
    await app.client.containers.deploy(id)
    await heard(id, 'loaded', [one, other, later])
    expect(await runAt(other, id)).toMatchObject({ state: 'succeeded', result: 'prices of spring for pears' })
  })

  it('a deleted one is dropped by its workers, and a job that names it fails and says so', async ({ expect }) => {
    const { id } = await store('dropped', spring)
    await app.client.containers.deploy(id)
    await heard(id, 'loaded', [one, other])
    const jobId = await jobAt(one, id)
    await expect(app.client.containers.delete(id)).rejects.toMatchObject({ code: 'CONTAINER_IN_USE' })
    await app.call('deleteJob', { jobId })
    await app.client.containers.delete(id)
    await expect(app.client.containers.get(id)).rejects.toMatchObject({ code: 'CONTAINER_NOT_FOUND' })
    for (const worker of [one, other]) {
      const run = await until('a worker that was told has dropped it', async () => {
        const ended = await runAt(worker, id)
        return ended.state === 'failed' && ended
      })
      expect(run).toMatchObject({ worker: worker.address, attempts: 1 })
      expect(run.error?.message).toMatch(new RegExp(`^the app has no container ${id} \\(.*fetch Processor failed`))
    }
  })

  it('a worker without Spring loads none, its runs fail and say what is missing, and its own jobs go on', async ({
    expect,
  }) => {
    const plain = await app.addWorker(version, { heartbeatSeconds: 2 })
    const { id } = await store('no-spring', spring)
    await app.client.containers.deploy(id)
    await heard(id, 'loaded', [one, other])
    const run = await runAt(plain, id)
    expect(run).toMatchObject({ state: 'failed', worker: plain.address, attempts: 1 })
    expect(run.error?.message).toContain('It needs spring-context among its jars')
    expect(await stateAt(id, plain)).toBe('absent')
    const echo = await app.saveJob('plain', { processorInfo: processor('Echo'), designatedWorkers: plain.address })
    expect(await app.ended(await app.runJob(echo))).toMatchObject({ state: 'succeeded', worker: plain.address })
  })

  it('a jar that is no container is loaded by nobody, its job fails and says so, and other jobs go on', async ({
    expect,
  }) => {
    const { id, version: jar } = await store('broken', noContainer)
    await app.client.containers.deploy(id)
    const run = await runAt(one, id)
    expect(run).toMatchObject({ state: 'failed', attempts: 1 })
    expect(run.error?.message).toContain(`the worker has not loaded container ${id} "broken", version ${jar}`)
    expect(run.error?.message).toContain('oms-worker-container.properties')
    expect(await stateAt(id, one)).toBe('absent')
    expect(await stateAt(id, other)).toBe('absent')
    const echo = await app.saveJob('echo', { processorInfo: processor('Echo'), designatedWorkers: one.address })
    expect(await app.ended(await app.runJob(echo))).toMatchObject({ state: 'succeeded' })
    // it has been told, and tells with each heartbeat: later ones say no more
    await heard(id, 'absent', [one, other])
    // the same container with a jar that is one
    await store('broken', spring)
    await app.client.containers.deploy(id)
    await heard(id, 'loaded', [one, other])
    expect(await runAt(one, id)).toMatchObject({ state: 'succeeded', result: 'prices of spring for pears' })
  })
})
