// Throughput: from the call to the recorded end of a run, with an empty processor.
import type { OnceJobClient } from '@oncejob/client'
import type { System } from './support/processes.ts'

/** Waits until no run of the app is open. */
export const drained = async (system: System): Promise<void> => {
  for (;;) {
    const page = await system.client.runs.list({ state: ['waiting', 'running'], limit: 1 }).page()
    if (page.items.length === 0) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Calls per second of a route that does nothing: what client and HTTP cost on this machine. */
export const emptyCalls = async (client: OnceJobClient, inFlight: number, calls: number): Promise<number> => {
  let next = 0
  const startedMs = performance.now()
  const caller = async (): Promise<void> => {
    while (next < calls) {
      next += 1
      await client.runs.create({ job: 1 })
    }
  }
  await Promise.all(Array.from({ length: inFlight }, caller))
  return (calls * 1000) / (performance.now() - startedMs)
}

/** Runs per second, submitted one by one with `inFlight` calls at once, until the last is recorded. */
export const singleCalls = async (system: System, jobId: number, inFlight: number, runs: number): Promise<number> => {
  let next = 0
  const startedMs = performance.now()
  const caller = async (): Promise<void> => {
    while (next < runs) {
      next += 1
      await system.client.runs.create({ job: jobId })
    }
  }
  await Promise.all(Array.from({ length: inFlight }, caller))
  await drained(system)
  return (runs * 1000) / (performance.now() - startedMs)
}

/** Runs per second, submitted in batches of 500 with two calls at once, until the last is recorded. */
export const batchCalls = async (system: System, jobId: number, runs: number): Promise<number> => {
  const size = 500
  let next = 0
  const startedMs = performance.now()
  const caller = async (): Promise<void> => {
    while (next < runs) {
      next += size
      await system.client.runs.createBatch(Array.from({ length: size }, () => ({ job: jobId })))
    }
  }
  await Promise.all([caller(), caller()])
  await drained(system)
  return (runs * 1000) / (performance.now() - startedMs)
}
