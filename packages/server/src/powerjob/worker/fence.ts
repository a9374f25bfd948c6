// Whether a report counts: the wire has no lease, so its sender, its start and its time must fit the live attempt (I4). Pure.
import type { WorkerReport } from './reading.ts'

/** What is known of the live attempt of a run. Times in ms, by the worker's clock. */
export interface LiveAttempt {
  readonly appId: number
  /** Where it was sent; null: a worker of the native protocol has it. */
  readonly address: string | null
  /** False: it waits to be sent, so nobody can report on it. */
  readonly sent: boolean
  /** When its worker began, and last reported; null: nothing was heard. */
  readonly startTime: number | null
  readonly reportTime: number | null
  /** When workers began with earlier attempts of the run. */
  readonly earlier: readonly number[]
}

/** `stop`: who says so works on what is not its own any more, and should hear of it. */
export type Verdict =
  | { readonly kind: 'accept' }
  | { readonly kind: 'ignore'; readonly why: Why; readonly stop: boolean }

export type Why = 'not-running' | 'other-app' | 'other-worker' | 'not-sent' | 'other-start' | 'earlier-start' | 'old'

/** No message is overtaken by so many ms: what seems to be that much older was said by a clock that was set back. */
export const setBackMs = 10_000

/** @param live undefined: the run has no live attempt, or there is no such run */
export const judge = (
  live: LiveAttempt | undefined,
  report: Pick<WorkerReport, 'appId' | 'address' | 'status' | 'startTime' | 'reportTime'>,
): Verdict => {
  const ignore = (why: Why, stop: boolean): Verdict => ({
    kind: 'ignore',
    why,
    stop: stop && report.status === 'running',
  })
  if (live === undefined) return ignore('not-running', true)
  // of whom another app speaks nothing may be changed, nor stopped
  if (report.appId !== null && report.appId !== live.appId) return ignore('other-app', false)
  if (report.address !== live.address) return ignore('other-worker', true)
  if (!live.sent) return ignore('not-sent', true)
  // what was under way when the worker began anew, or of an attempt that it still had when this one was sent. A stop now
  // would end the new beginning; whoever sends the run anew has told it to stop
  if (live.startTime !== null && report.startTime < live.startTime) return ignore('other-start', false)
  if (live.earlier.includes(report.startTime)) return ignore('earlier-start', false)
  // it has the run only once, so a later start is this attempt's, and the one before was an earlier one's
  if (report.startTime !== live.startTime || live.reportTime === null) return { kind: 'accept' }
  // two messages that overtook each other; nothing is newer than a result
  const lateMs = live.reportTime - report.reportTime
  if (report.status === 'running' && lateMs >= 0 && lateMs <= setBackMs) return ignore('old', false)
  return { kind: 'accept' }
}
