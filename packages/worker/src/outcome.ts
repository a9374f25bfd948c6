// From what a processor returned or threw to the report that the server gets.
import { inspect } from 'node:util'
import type { Report, RunError } from '@oncejob/protocol'
import { EffectUnknown, RetryLater, TerminalError, type AbortReason } from './errors.ts'
import { isRecord, storableText } from './json.ts'

/** How a processor ended. */
export type Ended =
  | { readonly kind: 'returned'; readonly value: unknown }
  | { readonly kind: 'threw'; readonly error: unknown }

interface Hand {
  readonly runId: number
  readonly lease: number
}

const safely = <T>(read: () => T, otherwise: T): T => {
  try {
    return read()
  } catch {
    // A getter or a proxy of the thrown value threw by itself.
    return otherwise
  }
}

const asError = (thrown: unknown): Error | undefined =>
  safely(() => (thrown instanceof Error ? thrown : undefined), undefined)

const textIn = (value: unknown, name: string): string | undefined =>
  safely(() => {
    const text = isRecord(value) ? value[name] : undefined
    return typeof text === 'string' && text !== '' ? text : undefined
  }, undefined)

const stackOf = (error: Error): string => {
  const own = textIn(error, 'stack') ?? ''
  const cause = safely(() => error.cause, undefined)
  return cause === undefined
    ? own
    : `${own}\nCaused by: ${safely(() => inspect(cause, { depth: 2 }), 'something unreadable')}`
}

const runError = (code: string, message: string, stack?: string): RunError => ({
  code: storableText(code, 100),
  message: storableText(message, 8192),
  ...(stack === undefined || stack === '' ? {} : { stack: storableText(stack, 16_384) }),
})

/**
 * Puts whatever was thrown into words. The code is the error's own `code` when that is a string, else its name;
 * what is not an Error at all gets NOT_AN_ERROR.
 */
export const describeError = (thrown: unknown): RunError => {
  const error = asError(thrown)
  if (error !== undefined) {
    const name = textIn(error, 'name') ?? 'Error'
    return runError(textIn(error, 'code') ?? name, textIn(error, 'message') ?? name, stackOf(error))
  }
  const words =
    typeof thrown === 'string' ? thrown : safely(() => inspect(thrown, { depth: 3 }), 'something unreadable')
  return runError('NOT_AN_ERROR', `The processor threw what is not an Error: ${words}`)
}

const reasonError = (reason: AbortReason): RunError => runError(reason.code, reason.message)

/** The longest beginning of `text` that takes at most `maxBytes` as a JSON string. */
const cutText = (text: string, maxBytes: number): string => {
  const bytes = Buffer.from(text, 'utf8')
  let keep = Math.min(bytes.length, maxBytes - 2)
  for (;;) {
    // The last character may be cut in the middle; what is left of it decodes to U+FFFD and is dropped.
    const kept = bytes
      .subarray(0, keep)
      .toString('utf8')
      .replace(/\uFFFD+$/, '')
    const size = Buffer.byteLength(JSON.stringify(kept))
    if (size <= maxBytes || keep <= 0) return kept
    keep = Math.floor(keep * (maxBytes / size)) - 1
  }
}

const succeeded = (hand: Hand, value: unknown, maxResultBytes: number): Report => {
  let json: string | undefined
  try {
    json = JSON.stringify(value)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const said = runError('RESULT_NOT_JSON', `The processor returned what JSON can not express: ${why}`)
    return { ...hand, outcome: 'failed', error: said }
  }
  if (json === undefined) return { ...hand, outcome: 'succeeded' }
  // A UTF-16 unit takes at most 3 bytes: most results need no counting.
  if (json.length * 3 > maxResultBytes && Buffer.byteLength(json) > maxResultBytes) {
    const result = cutText(typeof value === 'string' ? value : json, Math.max(2, maxResultBytes))
    return { ...hand, outcome: 'succeeded', result, resultTruncated: true }
  }
  return { ...hand, outcome: 'succeeded', result: value }
}

const failed = (hand: Hand, thrown: unknown): Report => {
  const report: Report = { ...hand, outcome: 'failed', error: describeError(thrown) }
  const error = asError(thrown)
  if (error instanceof EffectUnknown) return { ...report, terminal: true, effect: error.effect }
  if (error instanceof TerminalError) return { ...report, terminal: true }
  if (error instanceof RetryLater) return { ...report, retryAfterMs: error.afterMs }
  return report
}

/**
 * What follows from an attempt: a report, or none. `dropped`: the server has already taken the run, or is doing so.
 * `left`: the attempt was cut short by an outage or a shut-down, which is no failure of the run. The server is to take
 * it back with the session, as from a worker that died: that does not use up the run's retries.
 */
export type Verdict = Report | 'dropped' | 'left'

/** The verdict on an attempt that was cut short, without waiting for the processor. */
export const cutShort = (hand: Hand, reason: AbortReason): Verdict => {
  switch (reason.code) {
    case 'STOP_REQUESTED':
      return { ...hand, outcome: 'stopped', error: reasonError(reason) }
    case 'ATTEMPT_TIMED_OUT':
      return { ...hand, outcome: 'timed-out', error: reasonError(reason) }
    case 'WORKER_STOPPED':
      return 'left'
    case 'LEASE_LOST':
      return reason.how === 'lapsed' ? 'left' : 'dropped'
  }
}

/**
 * The verdict on an attempt whose processor has ended.
 * - A time-out stays one, however the processor ended.
 * - Having returned means that the work is done: `succeeded`, even after a stop or a lapsed lease.
 * - Having thrown after an abort means that it was cut short, unless the error is a TerminalError.
 */
export const verdictOn = (
  hand: Hand,
  ended: Ended,
  reason: AbortReason | undefined,
  maxResultBytes: number,
): Verdict => {
  if (reason === undefined) {
    return ended.kind === 'returned' ? succeeded(hand, ended.value, maxResultBytes) : failed(hand, ended.error)
  }
  if (reason.code === 'ATTEMPT_TIMED_OUT') return cutShort(hand, reason)
  if (reason.code === 'LEASE_LOST' && reason.how === 'lost') return 'dropped'
  if (ended.kind === 'returned') return succeeded(hand, ended.value, maxResultBytes)
  if (asError(ended.error) instanceof TerminalError) return failed(hand, ended.error)
  return cutShort(hand, reason)
}
