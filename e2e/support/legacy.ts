// A fleet that PowerJob's clients call, and what they did to it.
import { connectLegacyClient, type LegacyClient, type LegacyClientOptions } from '@oncejob/testkit'
import { appName, openFleet, type Fleet, type FleetOptions } from './fleet.ts'

export const password = 'a password for e2e'

export interface LegacyFleet {
  readonly fleet: Fleet
  /** A client as the Java ones are; closed with the fleet unless it is closed before. */
  connect(urls: readonly string[], over?: Partial<LegacyClientOptions>): Promise<LegacyClient>
  /** Makes jobs that only calls start; returns their ids. */
  makeJobs(count: number): Promise<number[]>
  /** How many runs the job has. */
  runsOf(jobId: number): Promise<number>
  runIdsOf(jobId: number): Promise<Set<number>>
  /** How many calls were recognised as sent again, at all servers together. */
  collapses(): Promise<number>
  close(): Promise<void>
}

let jobs = 0

/** Starts servers with an app that PowerJob's clients can enter. */
export const openLegacyFleet = async (options: FleetOptions = {}): Promise<LegacyFleet> => {
  const fleet = await openFleet(options)
  const clients: LegacyClient[] = []
  await fleet.admin.apps.patch(appName, { password, powerjob: { tokenless: true } })
  const runIdsOf = async (jobId: number): Promise<Set<number>> => {
    const ids = new Set<number>()
    for await (const run of fleet.client.runs.list({ job: jobId, limit: 500 })) ids.add(run.id)
    return ids
  }
  const collapsesAt = async (url: string): Promise<number> => {
    const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${fleet.adminToken}` } })
    const lines = (await answer.text()).split('\n').filter((line) => line.startsWith('legacy_resend_total{'))
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
  }
  return {
    fleet,
    connect: async (urls, over = {}) => {
      const client = await connectLegacyClient({ version: '5.1.1', urls, appName, password, ...over })
      clients.push(client)
      return client
    },
    makeJobs: async (count) => {
      const made: number[] = []
      for (let index = 0; index < count; index += 1) {
        const job = await fleet.client.jobs.create({ name: `legacy-${(jobs += 1)}`, processor: 'nobody' })
        made.push(job.id)
      }
      return made
    },
    runIdsOf,
    runsOf: async (jobId) => (await runIdsOf(jobId)).size,
    collapses: async () => {
      const counts = await Promise.all(fleet.urls.map(collapsesAt))
      return counts.reduce((sum, count) => sum + count, 0)
    },
    close: async () => {
      for (const client of clients) client.close()
      await fleet.close()
    },
  }
}

export interface Burst {
  readonly calls: number
  /** Calls at once. */
  readonly threads: number
  readonly jobIds: readonly number[]
  /** The client of a call. */
  readonly clientOf: () => Promise<LegacyClient>
  /** What to do with it after the call. */
  readonly leave?: (client: LegacyClient) => void
}

export interface BurstResult {
  /** Ids of the runs that the callers were told, by job. */
  readonly told: ReadonlyMap<number, number[]>
  readonly calls: ReadonlyMap<number, number>
  readonly failures: readonly string[]
}

/** Calls runJob for the jobs in turn. */
export const callRuns = async ({ calls, threads, jobIds, clientOf, leave }: Burst): Promise<BurstResult> => {
  const told = new Map(jobIds.map((id): [number, number[]] => [id, []]))
  const called = new Map(jobIds.map((id) => [id, 0]))
  const failures: string[] = []
  let next = 0
  const thread = async (): Promise<void> => {
    while (next < calls) {
      const jobId = jobIds[next % jobIds.length] ?? 0
      next += 1
      called.set(jobId, (called.get(jobId) ?? 0) + 1)
      try {
        const client = await clientOf()
        told.get(jobId)?.push(await client.runJob(jobId))
        leave?.(client)
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error))
      }
    }
  }
  await Promise.all(Array.from({ length: threads }, thread))
  return { told, calls: called, failures }
}
