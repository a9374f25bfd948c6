// All that goes wrong in a soak, one thing after the other until it is over.
import { below } from './chance.ts'
import type { Cluster } from './cluster.ts'
import type { DatabaseGap } from './database-gap.ts'
import type { Fleet, ServerProcess, WorkerProcess } from './fleet.ts'
import { startAgain } from './faults.ts'
import { onServer } from './places.ts'
import { pause, until } from './until.ts'
import type { SeededRandom } from '@oncejob/testkit'

export interface SoakScene {
  readonly fleet: Fleet
  readonly workers: readonly WorkerProcess[]
  readonly gap: DatabaseGap
  /** The database server, when it is the soak's own. */
  readonly cluster: Cluster | undefined
  readonly random: SeededRandom
  readonly over: AbortSignal
}

/** What happened how often; filled while it goes on. */
export type Happened = Map<string, number>

type Process = ServerProcess | WorkerProcess

/** Takes processes down and brings them back, at least one of each kind being left alone. */
class Victims<T extends Process> {
  readonly #up: Set<T>
  readonly #restarts = new Set<Promise<void>>()
  failure: Error | undefined

  constructor(all: readonly T[]) {
    this.#up = new Set(all)
  }

  async #take(random: SeededRandom, treat: (one: T) => Promise<void>): Promise<boolean> {
    const one = [...this.#up][below(random, this.#up.size)]
    if (one === undefined || this.#up.size < 2) return false
    this.#up.delete(one)
    const treated = treat(one).then(
      () => void this.#up.add(one),
      (error: Error) => void (this.failure ??= error),
    )
    this.#restarts.add(treated)
    void treated.finally(() => this.#restarts.delete(treated))
    return true
  }

  kill(random: SeededRandom): Promise<boolean> {
    return this.#take(random, async (one) => {
      await one.child().kill()
      await startAgain(one)
    })
  }

  freeze(random: SeededRandom, ms: number): Promise<boolean> {
    return this.#take(random, async (one) => {
      one.child().signal('SIGSTOP')
      await pause(ms)
      one.child().signal('SIGCONT')
    })
  }

  async allBack(): Promise<void> {
    await Promise.all(this.#restarts)
    if (this.failure !== undefined) throw this.failure
  }
}

const endSessions = async (url: string): Promise<boolean> => {
  const { rowCount } = await onServer(
    url,
    `select pg_terminate_backend(pid) from (
       select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
         and application_name <> 'oncejob-e2e' order by random() limit 5) chosen`,
  )
  return (rowCount ?? 0) > 0
}

/** Makes trouble until the soak is over; resolves when all that was taken down is back. */
export const makeTrouble = async (scene: SoakScene, happened: Happened): Promise<void> => {
  const { fleet, gap, cluster, random, over } = scene
  const servers = new Victims(fleet.servers)
  const workers = new Victims(scene.workers)
  const url = fleet.place.env['DATABASE_URL'] ?? ''
  const restart = async (of: Cluster): Promise<boolean> => {
    await of.restart(random.next() < 0.5 ? 'immediate' : 'fast')
    return true
  }
  const cut = async (): Promise<boolean> => {
    gap.cutFrom(0.2, random)
    await pause(1_000 + below(random, 3_000))
    gap.cutFrom(0, random)
    return true
  }
  const faults: readonly (readonly [name: string, weight: number, make: () => Promise<boolean>])[] = [
    ['servers killed', 5, () => servers.kill(random)],
    ['workers killed', 4, () => workers.kill(random)],
    ['workers frozen', 3, () => workers.freeze(random, 1_000 + below(random, 20_000))],
    ['servers frozen', 2, () => servers.freeze(random, 500 + below(random, 5_000))],
    ['times 5 database sessions ended', 4, () => endSessions(url)],
    ['times connections cut around COMMIT', 4, cut],
    ...(cluster === undefined ? [] : [['restarts of PostgreSQL', 1, () => restart(cluster)] as const]),
  ]
  const inVain = new Map<string, number>()
  const all = faults.reduce((sum, [, weight]) => sum + weight, 0)
  while (!over.aborted) {
    await pause(500 + below(random, 2_500))
    let left = random.next() * all
    const [name, , make] = faults.find(([, weight]) => (left -= weight) < 0) ?? faults[0]!
    try {
      if (await make()) happened.set(name, (happened.get(name) ?? 0) + 1)
    } catch (error) {
      // The database may be away just now: then this trouble does not happen. One that never does is a fault of the soak.
      const vain = (inVain.get(name) ?? 0) + 1
      inVain.set(name, vain)
      if (vain >= 10 && !happened.has(name)) throw new Error(`${name}: ${vain} times in vain`, { cause: error })
    }
    if (servers.failure !== undefined || workers.failure !== undefined) break
  }
  gap.cutFrom(0, random)
  await Promise.all([servers.allBack(), workers.allBack()])
  await until('the database answers', async () => (await onServer(url, 'select 1')).rowCount === 1)
}
