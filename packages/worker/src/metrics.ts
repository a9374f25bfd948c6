// What the machine has left, as polls tell it: read at most every few seconds.
import { statfs } from 'node:fs/promises'
import { availableParallelism, freemem, loadavg, platform } from 'node:os'
import type { WorkerMetrics } from '@oncejob/protocol'
import type { Clock } from './clock.ts'

const refreshMs = 5000
const bytesPerGb = 1024 ** 3

const freeDiskBytes = async (): Promise<number> => {
  try {
    const { bavail, bsize } = await statfs(process.cwd())
    return bavail * bsize
  } catch {
    // A file system that does not tell, or a working directory that is gone: no disk is promised.
    return 0
  }
}

/** The machine's own figures; `cpuLoad` is negative where the system has no load average. */
export const readMachine = async (): Promise<WorkerMetrics> => ({
  cpuCores: availableParallelism(),
  cpuLoad: platform() === 'win32' ? -1 : (loadavg()[0] ?? -1),
  freeMemoryGb: freemem() / bytesPerGb,
  freeDiskGb: (await freeDiskBytes()) / bytesPerGb,
})

export type ReadMetrics = () => Promise<WorkerMetrics> | WorkerMetrics

/** Gives the figures when they are due again, else undefined: a poll without them leaves the earlier ones as they are. */
export class Metrics {
  readonly #read: ReadMetrics
  readonly #clock: Clock
  #dueAtMs = Number.NEGATIVE_INFINITY

  constructor(clock: Clock, read: ReadMetrics) {
    this.#clock = clock
    this.#read = read
  }

  async ifDue(): Promise<WorkerMetrics | undefined> {
    if (this.#clock.monotonic() < this.#dueAtMs) return undefined
    this.#dueAtMs = this.#clock.monotonic() + refreshMs
    return this.#read()
  }
}
