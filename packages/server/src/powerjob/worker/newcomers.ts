// Deployed containers for workers that come later: where the wire is HTTP, a worker can not fetch one itself in the middle of a distributed run.
import { batcher } from '../../kernel/batch.ts'
import { briefly } from '../../kernel/briefly.ts'
import { within, type Clock, type Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { deployedContainers, type ContainerRow } from '../../storage/containers.ts'
import type { Queries } from '../../storage/db.ts'
import type { JavaWorker, JavaWorkers } from './api.ts'

interface Needs {
  readonly db: Queries
  readonly clock: Clock
  readonly log: Log
  readonly workers: Pick<JavaWorkers, 'tell'>
  /** What a worker is told to load. */
  readonly requestFor: (container: ContainerRow) => Promise<object>
  readonly ending: AbortSignal
}

// a whole application may be restarted at once, and each of its workers downloads
const atOnce = 50
// one that takes longer is loading, or hangs: the next may go on beside it
const patientMs: Millis = 30_000

/** Creates what tells a worker, when it is seen, to load the deployed containers of its app that it does not have in any version. */
export const createWelcome = ({ db, clock, log, workers, requestFor, ending }: Needs) => {
  const deployedOf = briefly(clock, (appId: number) => deployedContainers(db, appId))
  const welcomeOne = async ({ appId, address, containers }: JavaWorker): Promise<void> => {
    const has = new Set(containers.map(({ containerId }) => containerId))
    for (const container of await deployedOf.get(appId)) {
      if (has.has(container.id)) continue
      if (ending.aborted) return
      const outcome = await workers.tell(address, '/worker/deployContainer', await requestFor(container))
      log.info({ container: container.id, worker: address, outcome }, 'new worker told of a container')
      if (outcome === 'refused') return
    }
  }
  const together = batcher<JavaWorker, void>({
    maxSize: atOnce,
    run: async (newcomers) => {
      const told = newcomers.map((worker) =>
        welcomeOne(worker).catch((error: unknown) =>
          // bounded: it fetches the container when a run needs it, or is told by the next deployment
          log.warn({ err: error }, 'new worker could not be told of containers'),
        ),
      )
      await within(clock, patientMs, Promise.all(told))
      return newcomers.map(() => undefined)
    },
  })
  return (worker: JavaWorker): Promise<void> => together(worker)
}
