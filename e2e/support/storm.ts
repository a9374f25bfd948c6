// The storm: schedules that fire every second, calls, and SIGKILL at random for servers and workers. Then everything is counted.
import { below } from './chance.ts'
import { makeCalls, sayCalls } from './calls.ts'
import { openFleet, type Fleet, type ServerProcess, type WorkerProcess } from './fleet.ts'
import { ofKind } from './ledger.ts'
import { expectFiresWhole, proveCalls } from './proof.ts'
import { printTable } from './sizes.ts'
import { pause, until } from './until.ts'
import { seededRandom, type SeededRandom } from '@oncejob/testkit'

export interface Storm {
  readonly seed: string
  readonly servers: number
  readonly workers: number
  readonly schedules: number
  readonly seconds: number
  readonly calls: number
  readonly kills: number
  /** By how much the clock of each server is wrong, in ms. */
  readonly skewsMs?: readonly number[]
}

// Short, so that a killed worker's runs come back while the storm goes on; every start of a process takes a second.
const leaseMs = 2_000
const graceMs = 1_000

const everySecond = (startMs: number, seconds: number) => ({
  trigger: { kind: 'cron' as const, expression: '* * * * * *' },
  startAt: new Date(startMs - 500).toISOString(),
  endAt: new Date(startMs + seconds * 1000 - 500).toISOString(),
  misfire: { policy: 'run-all' as const, maxRuns: 1000 },
})

/** Stores the jobs and returns the first second of their schedules, which is still to come. */
const defineJobs = async (fleet: Fleet, storm: Storm): Promise<number> => {
  const job = { processor: 'work', retry: { maxLost: 1000, max: 1000, delayMs: 0 } }
  const names = Array.from({ length: storm.schedules }, (_, index) => `tick-${index}`)
  const format = 'oncejob.jobs/1' as const
  const beganMs = Date.now()
  // First without schedules: this shows how long it takes to give them theirs on this machine, now.
  await fleet.client.jobs.import({ format, jobs: ['called', ...names].map((name) => ({ name, ...job })) })
  const tookMs = Date.now() - beganMs
  const startMs = Math.ceil((Date.now() + 5_000 + 5 * tookMs) / 1000) * 1000
  const schedule = everySecond(startMs, storm.seconds)
  // Long enough that a kill hits runs that are under way.
  const params = { ms: 150 }
  await fleet.client.jobs.import({ format, jobs: names.map((name) => ({ name, ...job, params, schedule })) })
  if (Date.now() >= startMs) throw new Error('the machine was too slow: the schedules were stored after their start')
  return startMs
}

/** Kills one process after the other, whatever the others are just doing, and starts each again at once. */
const killAtRandom = async (fleet: Fleet, workers: readonly WorkerProcess[], storm: Storm, random: SeededRandom) => {
  const killed = { servers: 0, workers: 0 }
  const up = new Set<ServerProcess | WorkerProcess>([...fleet.servers, ...workers])
  const restarts: Promise<void>[] = []
  const restart = async (target: ServerProcess | WorkerProcess): Promise<void> => {
    up.delete(target)
    await target.child().kill()
    await target.start()
    up.add(target)
  }
  const startedMs = performance.now()
  for (let index = 0; index < storm.kills; index += 1) {
    const dueMs = (storm.seconds * 1000 * (index + random.next())) / storm.kills
    await pause(Math.max(0, dueMs - (performance.now() - startedMs)))
    // Kills that are late come one by one too: a server killed again before any worker has found it would be no storm, only night.
    await until('most processes are up', () => up.size * 2 > fleet.servers.length + workers.length)
    const target = [...up][below(random, up.size)]!
    if ('url' in target) killed.servers += 1
    else killed.workers += 1
    const restarting = restart(target)
    // Awaited below, with all the others.
    restarting.catch(() => undefined)
    restarts.push(restarting)
  }
  await Promise.all(restarts)
  return killed
}

/** Runs a storm and checks I2 to I7; prints the counts. */
export const runStorm = async (storm: Storm): Promise<void> => {
  process.stdout.write(`storm with ONCEJOB_SEED=${storm.seed}\n`)
  const random = seededRandom(storm.seed)
  const fleet = await openFleet({
    servers: storm.servers,
    leaseMs,
    graceMs,
    ...(storm.skewsMs === undefined ? {} : { skewsMs: storm.skewsMs }),
  })
  try {
    const workers = await Promise.all(
      Array.from({ length: storm.workers }, (_, index) => fleet.addWorker(`worker-${index + 1}`, { concurrency: 20 })),
    )
    const startMs = await defineJobs(fleet, storm)
    await pause(startMs - Date.now())
    const [called, killed] = await Promise.all([
      makeCalls(fleet.client, {
        count: storm.calls,
        inFlight: 16,
        overMs: storm.seconds * 1000,
        input: (index) => ({ job: 'called', params: { ms: index % 10 === 0 ? 500 : 10 } }),
      }),
      killAtRandom(fleet, workers, storm, random),
    ])
    const { facts, entries, unknownDone } = await proveCalls(fleet, called)
    const dueAt = Array.from({ length: storm.seconds }, (_, second) => new Date(startMs + second * 1000).toISOString())
    expectFiresWhole(facts, storm.schedules, dueAt)
    printTable(`runs-once on ${fleet.place.kind}, seed ${storm.seed}`, {
      'servers killed': killed.servers,
      'workers killed': killed.workers,
      'fires due': storm.schedules * storm.seconds,
      'rows in fire': facts.fires.length,
      'runs of fires': facts.runs.filter((run) => run.schedule_id !== null).length,
      ...sayCalls(called, unknownDone),
      'executions begun': ofKind(entries, 'start').length,
      'completions accepted': facts.attempts.filter((attempt) => attempt.outcome === 'succeeded').length,
      'attempts lost': facts.attempts.filter((attempt) => attempt.outcome === 'lost').length,
      'late reports refused': ofKind(entries, 'finished').filter((entry) => entry.answer === 'lost').length,
      'leases live twice': 0,
      'runs left open': 0,
    })
  } catch (error) {
    process.stdout.write(`${fleet.words()}\n`)
    throw error
  } finally {
    await fleet.close()
  }
}
