// Latency on an idle system: from the call to the first line of the processor, and of crons that are due together.
import type { System } from './support/processes.ts'

export interface Spread {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/** Percentiles of `values`, in ms. */
export const spreadOf = (values: readonly number[]): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: sorted.at(-1) ?? Number.NaN }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const now = (): number => performance.timeOrigin + performance.now()

/** One call after another; the processor answers the time at which it was entered. */
export const submitToStart = async (system: System, jobId: number, runs: number): Promise<Spread> => {
  const values: number[] = []
  for (let i = 0; i < runs; i += 1) {
    const calledAt = now()
    const result = await system.client.run(jobId).result()
    values.push(Number(result) - calledAt)
    await sleep(5)
  }
  return spreadOf(values)
}

/** Jobs with a cron that is due once a day at this moment. */
export const cronJobs = (prefix: string, count: number, at: Date) =>
  Array.from({ length: count }, (_, i) => ({
    name: `${prefix}-${i}`,
    processor: 'stamp',
    schedule: {
      trigger: {
        kind: 'cron' as const,
        expression: `${at.getUTCSeconds()} ${at.getUTCMinutes()} ${at.getUTCHours()} * * ?`,
      },
    },
  }))

/** Stores jobs through the API, 500 at a time. */
export const storeJobs = async (system: System, jobs: ReturnType<typeof cronJobs>): Promise<void> => {
  for (let from = 0; from < jobs.length; from += 500) {
    await system.client.jobs.import({ format: 'oncejob.jobs/1', jobs: jobs.slice(from, from + 500) })
  }
}

/** How late the processors of `count` crons start that are due in the same second. */
export const cronLateness = async (system: System, count: number): Promise<Spread> => {
  // far enough that all are stored before
  const due = new Date(Math.ceil((now() + 10_000 + count * 20) / 1000) * 1000)
  await storeJobs(system, cronJobs(`due-${due.getTime()}`, count, due))
  if (now() > due.getTime() - 1000)
    throw new Error('the machine is too slow: the crons were due before they were stored')
  await sleep(due.getTime() - now() + 2000)
  const values: number[] = []
  const giveUpAt = now() + 60_000
  while (values.length < count) {
    values.length = 0
    for await (const run of system.client.runs.list({
      trigger: 'schedule',
      from: new Date(due.getTime() - 1000).toISOString(),
    })) {
      if (run.fireAt !== null && Date.parse(run.fireAt) === due.getTime() && run.state === 'succeeded')
        values.push(Number(run.result) - due.getTime())
    }
    if (now() > giveUpAt) throw new Error(`only ${values.length} of ${count} crons were executed`)
    await sleep(500)
  }
  return spreadOf(values)
}
