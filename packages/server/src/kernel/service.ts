// What can be started and stopped: the contract of every duty, and how many are run together.
import type { Clock, Millis } from './clock.ts'
import type { Log } from './log.ts'

/**
 * `start` resolves when the service works; `stop` when it has stopped.
 * Stopping twice, or without a start, is fine.
 */
export interface Service {
  readonly name: string
  start(): Promise<void>
  stop(): Promise<void>
}

/** Starts in order; when one fails, those already started are stopped again. Stops in reverse. */
export const together = (name: string, services: readonly Service[]): Service => {
  const started: Service[] = []
  const stop = async (): Promise<void> => {
    for (let service = started.pop(); service !== undefined; service = started.pop()) await service.stop()
  }
  return {
    name,
    stop,
    start: async () => {
      for (const service of services) {
        try {
          await service.start()
          started.push(service)
        } catch (error) {
          await stop()
          throw error
        }
      }
    },
  }
}

export interface DutyOptions {
  readonly name: string
  readonly clock: Clock
  readonly log: Log
  /** Longest pause between two rounds, in ms. */
  readonly everyMs: Millis
  /**
   * One round. Returns how long to wait before the next, in ms; undefined means `everyMs`. A stop waits for it: one that may
   * take long should heed the signal.
   */
  readonly runOnce: (stopping: AbortSignal) => Promise<Millis | undefined | void>
  /** Told of a failed round, before it is logged. */
  readonly onError?: (error: unknown) => void
}

export interface Duty extends Service {
  /** Starts a round now, or right after the one under way. */
  wake(): void
}

/**
 * A loop that calls `runOnce` until it is stopped. A round that throws is logged and tried
 * again with a growing pause: a duty outlives any outage of the database.
 */
export const duty = (options: DutyOptions): Duty => {
  const { clock, log, everyMs } = options
  let stopping: AbortController | undefined
  let loop: Promise<void> | undefined
  let awake = false
  let rouse: (() => void) | undefined
  let failures = 0

  const round = async (signal: AbortSignal): Promise<Millis> => {
    try {
      const waitMs = await options.runOnce(signal)
      if (failures > 0) log.info({ duty: options.name, failures }, 'duty recovered')
      failures = 0
      return Math.min(waitMs ?? everyMs, everyMs)
    } catch (error) {
      // top of a loop: logged, retried
      options.onError?.(error)
      failures += 1
      if (failures === 1 || failures % 20 === 0) log.error({ duty: options.name, failures, err: error }, 'duty failed')
      return Math.min(100 * 2 ** Math.min(failures, 6), 5_000)
    }
  }
  const pause = async (ms: Millis, signal: AbortSignal): Promise<void> => {
    if (awake || ms <= 0) return
    const woken = new AbortController()
    rouse = () => woken.abort()
    await clock.sleep(ms, AbortSignal.any([signal, woken.signal]))
    rouse = undefined
  }
  const run = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      awake = false
      const waitMs = await round(signal)
      // after a failure a hint must not turn the loop into a hot one
      if (failures > 0) awake = false
      await pause(waitMs, signal)
    }
  }
  return {
    name: options.name,
    start: async () => {
      if (loop !== undefined) return
      stopping = new AbortController()
      loop = run(stopping.signal)
    },
    stop: async () => {
      stopping?.abort()
      await loop
      loop = undefined
    },
    wake: () => {
      awake = true
      rouse?.()
    },
  }
}
