// A run that was asked for: its id, its end, its result.
import { isEnded, type JobRunInput, type RunCreated, type RunDetail } from '@oncejob/protocol'
import type { CallOptions, MutationOptions } from './call.ts'
import { OnceJobError, RunFailed, RunNotEnded, ServerUnreachable } from './errors.ts'
import { pauseFor } from './pause.ts'
import type { RunsApi } from './runs.ts'

export interface WaitOptions {
  /** Give up after so long; for ever when left out. */
  timeoutMs?: number
  signal?: AbortSignal
  /** Look at the run at least so often while it goes on; default and maximum 30,000. */
  everyMs?: number
  /** Hears of the run each time it was looked at. */
  onUpdate?: (run: RunDetail) => void
}

/** Options of the run (delay, priority, run key …) and of the call. */
export type RunOptions = Omit<JobRunInput, 'params'> & MutationOptions

export interface RunHandle {
  id(): Promise<number>
  /** The answer to the call: with a run key it says whether the run is a new one, and which it replaces or waits for. */
  created(): Promise<RunCreated>
  /**
   * Resolves with the result when the run has succeeded, however long that takes.
   * Rejects with RunFailed when it has ended otherwise, with RunNotEnded when timeoutMs is over.
   */
  result(options?: WaitOptions): Promise<unknown>
  /** Resolves with the run when it has ended, or as it is when timeoutMs is over. */
  wait(options?: WaitOptions): Promise<RunDetail>
}

/** A handle that can be used at once; awaiting it gives the handle after the run was created. */
export interface PendingRun extends RunHandle, PromiseLike<RunHandle> {}

// A waiting caller is patient: an outage of all servers only delays the result.
const outagePauseMs = 1000
const longPollMaxMs = 30_000

const passes = (error: unknown): boolean =>
  error instanceof ServerUnreachable ||
  (error instanceof OnceJobError && (error.retry === 'same-key' || error.status >= 500))

/** Looks at a run by long-poll until it has ended or timeoutMs is over; outages in between are waited out. */
export const waitForRun = async (
  runs: Pick<RunsApi, 'get'>,
  id: number,
  options: WaitOptions = {},
): Promise<RunDetail> => {
  const { timeoutMs = Infinity, everyMs = longPollMaxMs, signal } = options
  const startedMs = performance.now()
  const leftMs = (): number => Math.max(0, timeoutMs - (performance.now() - startedMs))
  const call: CallOptions = signal === undefined ? {} : { signal }
  for (;;) {
    const waitMs = Math.floor(Math.min(longPollMaxMs, Math.max(1, everyMs), leftMs()))
    try {
      const run = await runs.get(id, { ...call, waitMs })
      options.onUpdate?.(run)
      if (isEnded(run.state) || leftMs() === 0) return run
    } catch (error) {
      if (!passes(error) || leftMs() === 0) throw error
      await pauseFor(Math.min(outagePauseMs, leftMs()), signal)
    }
  }
}

/** The handle of a run that is being created. */
export const createRunHandle = (runs: Pick<RunsApi, 'get'>, created: Promise<RunCreated>): PendingRun => {
  const handle: RunHandle = {
    id: async () => (await created).id,
    created: () => created,
    wait: async (options) => waitForRun(runs, (await created).id, options),
    result: async (options) => {
      const run = await handle.wait(options)
      if (run.state === 'succeeded') return run.result
      throw isEnded(run.state) ? new RunFailed(run) : new RunNotEnded(run, options?.timeoutMs ?? 0)
    },
  }
  return {
    ...handle,
    // oxlint-disable-next-line unicorn/no-thenable -- awaiting the call is the point
    then: (onFulfilled, onRejected) => created.then(() => handle).then(onFulfilled, onRejected),
  }
}
