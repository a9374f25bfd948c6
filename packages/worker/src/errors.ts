// The errors that a processor throws to steer what follows, those it finds as the reason of its signal, and refusals.

/** Thrown by a processor: the run fails for good, whatever its retry policy says. `code` defaults to TERMINAL. */
export class TerminalError extends Error {
  override readonly name = 'TerminalError'
  readonly code: string

  constructor(message: string, options: { code?: string; cause?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = options.code ?? 'TERMINAL'
  }
}

/** Thrown by `ctx.once` with `onUnknown: 'ask'`: nobody knows whether the effect happened, and a person should look. */
export class EffectUnknown extends TerminalError {
  readonly effect: string

  constructor(effect: string) {
    super(
      `An earlier try began the effect "${effect}", and nobody has said how it ended. Find out whether it happened before it is tried again.`,
      { code: 'EFFECT_UNKNOWN' },
    )
    this.effect = effect
  }
}

/** Thrown by a processor: not now; try again after `afterMs` instead of after the delay of the retry policy. */
export class RetryLater extends Error {
  override readonly name = 'RetryLater'
  readonly code: string
  readonly afterMs: number

  constructor(message: string, options: { afterMs: number; code?: string; cause?: unknown }) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    if (!Number.isFinite(options.afterMs) || options.afterMs < 0) throw new RangeError('afterMs must be 0 or more')
    this.code = options.code ?? 'RETRY_LATER'
    this.afterMs = Math.ceil(options.afterMs)
  }
}

/** Reason of `ctx.signal`: someone asked the run to stop (`by: 'server'`), or this worker shuts down (`by: 'worker'`). */
export class StopRequested extends Error {
  override readonly name = 'StopRequested'
  readonly code: 'STOP_REQUESTED' | 'WORKER_STOPPED'
  readonly by: 'server' | 'worker'

  constructor(by: 'server' | 'worker') {
    super(by === 'server' ? 'The run was asked to stop' : 'The worker shut down before the run had ended')
    this.by = by
    this.code = by === 'server' ? 'STOP_REQUESTED' : 'WORKER_STOPPED'
  }
}

/** Reason of `ctx.signal`: the attempt (or the whole run) has used up its time. */
export class AttemptTimedOut extends Error {
  override readonly name = 'AttemptTimedOut'
  readonly code = 'ATTEMPT_TIMED_OUT'

  constructor(timeoutMs: number | null) {
    super(timeoutMs === null ? 'The run has used up its time' : `The attempt took longer than ${timeoutMs} ms`)
  }
}

const leaseLostBecause = {
  lost: 'The server has taken the run back; its result is not wanted any more',
  lapsed: 'The lease lapsed: no server answered in time, so another worker may have the run',
  'session-ended': 'The server has ended the session of this worker; the run is being taken back',
} as const

export type LeaseLostHow = keyof typeof leaseLostBecause

/**
 * Reason of `ctx.signal`: the run does not (`lost`), or may not (`lapsed`, `session-ended`), belong to this attempt
 * any more. Stop writing: another attempt may be running.
 */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost'
  readonly code = 'LEASE_LOST'
  readonly how: LeaseLostHow

  constructor(how: LeaseLostHow) {
    super(leaseLostBecause[how])
    this.how = how
  }
}

export type AbortReason = StopRequested | AttemptTimedOut | LeaseLost

/** A server said no: `code` is from the error table (or HTTP_<status> when the answer was none of ours). */
export class ServerRefused extends Error {
  override readonly name = 'ServerRefused'
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, detail: string) {
    super(`${code}: ${detail}`)
    this.status = status
    this.code = code
  }
}

/** No usable answer: the network failed, or the server broke (`status` is then 5xx, else 0). Trying again is right. */
export class Outage extends Error {
  override readonly name = 'Outage'
  readonly status: number

  constructor(message: string, status: number, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.status = status
  }
}
