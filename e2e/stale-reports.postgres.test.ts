// Leases shorter than the freezes of their workers: every run is completed once, by the holder of its lease, whoever wakes up late.
import { seededRandom, seedFromEnv } from '@oncejob/testkit'
import { afterEach, expect, it } from 'vitest'
import { makeCalls } from './support/calls.ts'
import { below } from './support/chance.ts'
import { openFleet, type Fleet, type WorkerProcess } from './support/fleet.ts'
import { ofKind, type Entry } from './support/ledger.ts'
import {
  expectCleanAudit,
  expectFinishedOnce,
  expectNothingStuck,
  expectOneLiveAttempt,
  readFacts,
  untilQuiet,
} from './support/proof.ts'
import { printTable, size } from './support/sizes.ts'
import { pause, until } from './support/until.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

// The shortest lease that a server takes. What a busy machine loses by it on top of the freezes is welcome.
const leaseMs = 500
const graceMs = 250
/** So long after its last sign a worker is surely missed: a held poll may renew once more, and the server looks every second. */
const missedMs = leaseMs / 3 + leaseMs + graceMs + 1_000
const concurrency = 20

/** Attempts of this worker that have begun, by what it wrote itself, and of which nobody has said that they are over. */
const inHand = (entries: readonly Entry[], pid: number): number[] => {
  const over = new Set(ofKind(entries, 'finished').map((entry) => entry.lease))
  return ofKind(entries, 'start')
    .filter((entry) => entry.pid === pid && !over.has(entry.lease))
    .map((entry) => entry.runId)
}

type Finished = ReturnType<typeof ofKind<'finished'>>[number]

/** A newer attempt of the run was at work when this report was answered: no look at the state could have refused it. */
const isUnderWay = (entries: readonly Entry[], { runId, lease, at }: Finished): boolean =>
  ofKind(entries, 'start').some((start) => {
    if (start.runId !== runId || start.lease <= lease || start.at > at) return false
    const end = ofKind(entries, 'end').find((entry) => entry.lease === start.lease)
    return end === undefined || end.at > at
  })

interface Hit {
  readonly frozen: Set<number>
  readonly killed: Set<number>
  freezes: number
  kills: number
}

/** Freezes and kills workers, both as many as it can be, until told that it is enough. */
const hitRuns = async (
  { ledger }: Fleet,
  workers: readonly WorkerProcess[],
  seed: string,
  isOver: (hit: Hit) => boolean,
): Promise<Hit> => {
  const random = seededRandom(seed)
  const hit: Hit = { frozen: new Set(), killed: new Set(), freezes: 0, kills: 0 }
  const up = new Set(workers)
  const under: Promise<void>[] = []
  const freeze = async (worker: WorkerProcess): Promise<void> => {
    const child = worker.child()
    child.signal('SIGSTOP')
    hit.freezes += 1
    for (const runId of inHand(ledger(), child.pid)) hit.frozen.add(runId)
    await pause(missedMs + below(random, 1_500))
    child.signal('SIGCONT')
  }
  const kill = async (worker: WorkerProcess): Promise<void> => {
    const { pid } = worker.child()
    await worker.child().kill()
    hit.kills += 1
    for (const runId of inHand(ledger(), pid)) hit.killed.add(runId)
    await worker.start()
  }
  while (!isOver(hit)) {
    await pause(50 + below(random, 250))
    // Half of them go on with the work, so that runs are taken over while their first worker sleeps.
    const target = up.size * 2 > workers.length ? [...up][below(random, up.size)] : undefined
    if (target === undefined) continue
    // three to two
    const act = hit.frozen.size * 2 <= hit.killed.size * 3 ? freeze : kill
    up.delete(target)
    const acting = act(target).finally(() => up.add(target))
    // awaited below
    acting.catch(() => undefined)
    under.push(acting)
  }
  await Promise.all(under)
  return hit
}

it(
  'three runs in ten frozen past their lease, two in ten killed: completions = runs, no stale report is accepted (T-18)',
  { timeout: size(300_000, 1_800_000) },
  async () => {
    const seed = seedFromEnv()
    process.stdout.write(`stale reports with ONCEJOB_SEED=${seed}\n`)
    const count = size(200, 2_000)
    const at = (fleet = await openFleet({ leaseMs, graceMs }))
    const job = { name: 'job', processor: 'work', retry: { maxLost: 1000, max: 1000, delayMs: 0 } }
    await at.client.jobs.create(job)
    const workers = await Promise.all(
      Array.from({ length: size(5, 8) }, (_, index) => at.addWorker(`worker-${index + 1}`, { concurrency })),
    )
    const random = seededRandom(`work ${seed}`)
    const enough = new AbortController()
    let submitted = 0
    // No faster than they are executed: a run that is taken back must start again at once, and not wait behind all others.
    const calls = makeCalls(at.client, {
      count: 10 * count,
      inFlight: 8,
      overMs: (10 * count * 1_000) / size(20, 30),
      input: () => {
        submitted += 1
        return { job: 'job', params: { ms: 500 + below(random, 3_500) } }
      },
      signal: enough.signal,
    })
    const wanted = { frozen: count * 0.3, killed: count * 0.2 }
    const hit = await hitRuns(at, workers, seed, (done) => {
      const isOver = submitted >= count && done.frozen.size >= wanted.frozen && done.killed.size >= wanted.killed
      return isOver || submitted >= 10 * count
    })
    enough.abort()
    const { acknowledged: runIds } = await calls
    await untilQuiet(at)
    // Those who woke up last still have to hear that their results are not wanted.
    const holding = (): number => workers.filter((worker) => inHand(at.ledger(), worker.child().pid).length > 0).length
    await until('every result is answered', () => holding() === 0)

    await expectCleanAudit(at)
    await expectNothingStuck(at)
    const facts = await readFacts(at)
    const entries = at.ledger()
    expect(facts.runs.map((run) => run.id).toSorted((a, b) => a - b)).toEqual(runIds.toSorted((a, b) => a - b))
    const completions = facts.attempts.filter((attempt) => attempt.outcome === 'succeeded')
    expect(completions).toHaveLength(runIds.length)
    expectFinishedOnce(facts, entries)
    expectOneLiveAttempt(facts, entries)
    // an accepted report is that of the newest lease: nobody had been given the run after it
    const newest = new Map<number, number>()
    for (const { run_id: runId, lease } of facts.attempts) newest.set(runId, Math.max(lease, newest.get(runId) ?? 0))
    expect(completions.filter((attempt) => newest.get(attempt.run_id) !== attempt.lease)).toEqual([])
    const accepted = ofKind(entries, 'finished').filter((entry) => entry.answer === 'accepted')
    expect(accepted.filter((entry) => newest.get(entry.runId) !== entry.lease)).toEqual([])
    const late = ofKind(entries, 'finished').filter((entry) => entry.answer === 'lost')
    const during = late.filter((entry) => isUnderWay(entries, entry))
    // without these it would not be a test
    expect(hit.frozen.size).toBeGreaterThanOrEqual(wanted.frozen)
    expect(hit.killed.size).toBeGreaterThanOrEqual(wanted.killed)
    expect(late.length).toBeGreaterThanOrEqual(size(20, 100))
    expect(during.length).toBeGreaterThanOrEqual(size(3, 30))
    printTable(`T-18, seed ${seed}`, {
      runs: runIds.length,
      'freezes, runs in hand': `${hit.freezes}, ${hit.frozen.size}`,
      'kills, runs in hand': `${hit.kills}, ${hit.killed.size}`,
      'executions begun': ofKind(entries, 'start').length,
      'attempts lost': facts.attempts.filter((attempt) => attempt.outcome === 'lost').length,
      'completions accepted': completions.length,
      'stale completions accepted': 0,
      'stale reports refused': late.length,
      '  while a newer attempt was under way': during.length,
    })
  },
)
