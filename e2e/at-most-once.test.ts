// At most once: workers die of SIGKILL in the middle of attempts, no run is executed twice, every gap is `unknown` until it is decided.
import { join } from 'node:path'
import type { Run, RunState } from '@oncejob/protocol'
import { seededRandom, seedFromEnv, type SeededRandom } from '@oncejob/testkit'
import { afterEach, expect, it } from 'vitest'
import { below } from './support/chance.ts'
import { openFleet, type Fleet, type WorkerProcess, type WorkParams } from './support/fleet.ts'
import { ofKind } from './support/ledger.ts'
import { expectCleanAudit } from './support/proof.ts'
import { printTable, size } from './support/sizes.ts'
import { until } from './support/until.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

// Short, so that a killed worker is missed soon.
const times = { leaseMs: 2_000, graceMs: 1_000 }

const runsIn = async ({ client }: Fleet, state: readonly RunState[]): Promise<Run[]> => {
  const runs: Run[] = []
  for await (const run of client.runs.list({ state, limit: 500 })) runs.push(run)
  return runs
}

const isQuiet = async ({ client }: Fleet): Promise<boolean> =>
  (await client.runs.list({ state: ['waiting', 'running'], limit: 1 }).page()).items.length === 0

/** How often each run was executed, by what the workers themselves wrote: nothing there forbids a second line. */
const timesIn = ({ ledger }: Fleet, kind: 'start' | 'end' | 'effect'): Map<number, number> => {
  const counts = new Map<number, number>()
  for (const { runId } of ofKind(ledger(), kind)) counts.set(runId, (counts.get(runId) ?? 0) + 1)
  return counts
}

/** True while the process of now is in the middle of an attempt. */
const isAtWork = ({ ledger }: Fleet, worker: WorkerProcess): boolean => {
  const mine = ledger().filter((entry) => entry.pid === worker.child().pid)
  const ended = new Set(ofKind(mine, 'end').map((entry) => entry.lease))
  return ofKind(mine, 'start').some((entry) => !ended.has(entry.lease))
}

/** Kills workers in the middle of attempts, and a server once, until so many are killed or nothing is left to do. */
const killAll = async (at: Fleet, workers: readonly WorkerProcess[], kills: number, random: SeededRandom) => {
  let killed = 0
  for (let index = 0; index < kills; index += 1) {
    const worker = workers[below(random, workers.length)]!
    if (index === Math.floor(kills / 2)) {
      const [server] = at.servers
      await server!.child().kill()
      await server!.start()
    }
    const found = await until('a worker is at work, or all is done', async () => {
      if (isAtWork(at, worker)) return 'at work'
      return (await isQuiet(at)) ? 'all done' : undefined
    })
    if (found === 'all done') break
    await worker.child().kill()
    killed += 1
    await worker.start()
  }
  return killed
}

it('no run is executed twice, and every one that was cut short waits for a decision', async () => {
  const seed = seedFromEnv()
  process.stdout.write(`at most once with ONCEJOB_SEED=${seed}\n`)
  const random = seededRandom(seed)
  const at = (fleet = await openFleet(times))
  const { client, admin, addWorker } = at
  await client.jobs.create({ name: 'job', processor: 'work', guarantee: 'at-most-once', retry: { max: 5, delayMs: 0 } })
  const workers = await Promise.all(['a', 'b', 'c'].map((name) => addWorker(name, { concurrency: 3 })))
  const inputs = Array.from({ length: size(120, 600) }, () => {
    const params: WorkParams = { ms: 300 + below(random, 500) }
    return { job: 'job', params }
  })
  const { ids } = await client.runs.createBatch(inputs)
  const killed = await killAll(at, workers, size(6, 25), random)
  expect(killed).toBeGreaterThanOrEqual(3)
  await until('no run waits or runs', () => isQuiet(at), 180_000)

  // what the workers did: nothing twice, and what they did not report is unknown
  const [starts, ends] = [timesIn(at, 'start'), timesIn(at, 'end')]
  expect([...starts].filter(([, count]) => count > 1)).toEqual([])
  const unknown = await runsIn(at, ['unknown'])
  const succeeded = await runsIn(at, ['succeeded'])
  expect(unknown.length + succeeded.length).toBe(ids.length)
  expect(succeeded.filter((run) => ends.get(run.id) !== 1)).toEqual([])
  expect(ids.filter((id) => ends.get(id) === undefined && !unknown.some((run) => run.id === id))).toEqual([])
  for (const run of unknown.slice(0, 5))
    expect(await client.runs.get(run.id)).toMatchObject({
      state: 'unknown',
      guarantee: 'at-most-once',
      attemptHistory: [{ outcome: 'lost' }],
      why: [{ code: 'OUTCOME_UNKNOWN', cause: 'lost' }],
    })
  expect(await admin.metrics()).toContain(`oncejob_runs{state="unknown"} ${unknown.length}`)
  await expectCleanAudit(at)

  // a person looks at each and decides; the first that was cut short is executed again because that was decided
  const cut = unknown.filter((run) => starts.has(run.id) && !ends.has(run.id))
  const unbegun = unknown.filter((run) => !starts.has(run.id))
  const again = new Set([...cut.slice(0, 1), ...unbegun].map((run) => run.id))
  expect(cut.length).toBeGreaterThanOrEqual(1)
  for (const { id } of unknown) {
    const as = ends.has(id) ? 'succeeded' : again.has(id) ? 'retry' : 'failed'
    const answer = await client.runs.resolve(id, { as })
    expect(answer).toEqual({ id, state: as === 'retry' ? 'waiting' : as, changed: true })
  }
  await until('those that are executed again have ended', () => isQuiet(at))
  expect(await runsIn(at, ['unknown', 'waiting', 'running'])).toEqual([])
  const after = timesIn(at, 'start')
  for (const id of ids) expect(after.get(id) ?? 0).toBe(cut[0]?.id === id ? 2 : 1)
  for (const id of again)
    expect(await client.runs.get(id)).toMatchObject({ state: 'succeeded', attempts: 2, decidedBy: null })
  await expectCleanAudit(at)
  printTable(`at most once on ${at.place.kind}, seed ${seed}`, {
    runs: ids.length,
    'workers killed at work': killed,
    'executed twice': 0,
    'outcome unknown': unknown.length,
    '  cut short': cut.length,
    '  executed, not reported': unknown.length - cut.length - unbegun.length,
    '  not begun': unbegun.length,
  })
})

it('an effect that was cut short is not repeated until someone says whether it happened', async () => {
  const at = (fleet = await openFleet(times))
  const { client, addWorker, folder } = at
  const worker = await addWorker('first')
  await client.jobs.create({ name: 'job', processor: 'effect', guarantee: 'at-most-once' })
  // the deed is done, its record never comes
  const params: WorkParams = { gate: join(folder, 'gate-that-never-opens') }
  const [done, undone] = await Promise.all([client.run('job', params), client.run('job', params)])
  const ids = await Promise.all([done.id(), undone.id()])
  await until('both did it', () => timesIn(at, 'effect').size === 2)
  await worker.child().kill()
  await until('both are unknown', async () => (await runsIn(at, ['unknown'])).length === 2)

  await addWorker('second')
  for (const id of ids) await client.runs.resolve(id, { as: 'retry' })
  await until('their attempts find the effect unknown', async () => {
    const runs = await runsIn(at, ['unknown'])
    return runs.length === 2 && runs.every((run) => run.attempts === 2)
  })
  expect([...timesIn(at, 'effect').values()]).toEqual([1, 1])
  for (const id of ids) {
    expect((await client.runs.get(id)).why).toMatchObject([
      { code: 'OUTCOME_UNKNOWN', cause: 'effect', effect: 'deed' },
    ])
    expect((await client.runs.effects(id).page()).items).toMatchObject([{ name: 'deed', state: 'unknown', attempt: 1 }])
  }

  // of one it is said that it happened, and its outcome is the result of the next attempt; the other one is done again
  expect(await client.runs.resolveEffect(ids[0], 'deed', { done: true, outcome: 'seen in the log' })).toEqual({
    name: 'deed',
    done: true,
    changed: true,
  })
  await client.runs.resolveEffect(ids[1], 'deed', { done: false })
  await client.runs.resolve(ids[0], { as: 'retry' })
  expect(await done.result()).toBe('seen in the log')
  await client.runs.resolve(ids[1], { as: 'retry' })
  await until('the other one is done again', () => timesIn(at, 'effect').get(ids[1]) === 2)
  expect(timesIn(at, 'effect').get(ids[0])).toBe(1)
  await client.runs.stop(ids[1])
  await expectCleanAudit(at)
})
