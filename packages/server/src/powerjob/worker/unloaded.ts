// A worker that can not load what a run needs says so in one sentence for all causes: where it is a container, we know more.
import { containerOfJob } from '../../storage/containers.ts'
import type { Queries } from '../../storage/db.ts'
import type { WorkerReport } from './reading.ts'

// in the words of workers of every version when they could not make the processor, at once (contract 3.3) or in a distributed run
const words = 'fetch Processor failed'

/** Adds to a failed report which container its worker did not load, and why that may be. Others come back as they are. */
export const explainUnloaded = async (db: Queries, jobId: number, report: WorkerReport): Promise<WorkerReport> => {
  const { status, result } = report
  if (status !== 'failed' || result?.includes(words) !== true) return report
  const wanted = await containerOfJob(db, jobId)
  if (wanted === undefined) return report
  const { container, name, version } = wanted
  const why =
    name === null
      ? `the app has no container ${container}`
      : `the worker has not loaded container ${container} "${name}", version ${version}: deploy it, or see the worker's own log. ` +
        'It needs spring-context among its jars, and the container oms-worker-container.properties and oms-worker-container-spring-context.xml'
  // first what the container lacks: long texts are cut at their end
  return { ...report, result: `${why} (${result})` }
}
