// The life of a run as data: every state, every move, and who may make it. Everything else is derived from here.

/**
 * From each state the moves that leave it and the state they lead to.
 * A terminal state is left only by a retry that a person or a call asks for (I5). So is `unknown`: nobody knows what
 * became of the last attempt, and the server does not guess.
 */
export const runMoves = {
  waiting: { claim: 'running', cancel: 'canceled', expire: 'failed' },
  running: {
    succeed: 'succeeded',
    fail: 'failed',
    stop: 'stopped',
    retryLater: 'waiting',
    lose: 'waiting',
    handBack: 'waiting',
    loseTrack: 'unknown',
  },
  unknown: {
    resolveSucceeded: 'succeeded',
    resolveFailed: 'failed',
    resolveRetry: 'waiting',
    cancel: 'stopped',
    stop: 'stopped',
  },
  succeeded: { retryByHand: 'waiting' },
  failed: { retryByHand: 'waiting' },
  canceled: { retryByHand: 'waiting' },
  stopped: { retryByHand: 'waiting' },
} as const satisfies Record<string, Record<string, string>>

type Moves = typeof runMoves
type KeysOfUnion<T> = T extends unknown ? keyof T : never

export type RunState = keyof Moves
export type RunMove = KeysOfUnion<Moves[RunState]>
type Targets = { [S in RunState]: Moves[S][keyof Moves[S]] }[RunState]
true satisfies Targets extends RunState ? true : false

export const runStates = [
  'waiting',
  'running',
  'unknown',
  'succeeded',
  'failed',
  'canceled',
  'stopped',
] as const satisfies RunState[]
export const openRunStates = ['waiting', 'running', 'unknown'] as const satisfies RunState[]
export const endedRunStates = ['succeeded', 'failed', 'canceled', 'stopped'] as const satisfies RunState[]
export type EndedRunState = (typeof endedRunStates)[number]

/** The states from which a move may start. */
export const sourcesOf = (move: RunMove): RunState[] => runStates.filter((state) => move in runMoves[state])

/** True when the run has reached a terminal state. */
export const isEnded = (state: RunState): state is EndedRunState =>
  state !== 'waiting' && state !== 'running' && state !== 'unknown'

/** What a call may ask of a run, and the states in which that is possible; shared by server, CLI and docs. */
export const runActions = {
  cancel: ['waiting', 'unknown'],
  stop: ['waiting', 'running', 'unknown'],
  resolve: ['unknown'],
  retry: ['succeeded', 'failed', 'canceled', 'stopped'],
} as const satisfies Record<string, readonly RunState[]>
export type RunAction = keyof typeof runActions

/** How one attempt ended. */
export const attemptOutcomes = ['succeeded', 'failed', 'timed-out', 'stopped', 'lost', 'handed-back'] as const
export type AttemptOutcome = (typeof attemptOutcomes)[number]

/** What a job wants for attempts that got lost: run again, or leave the decision to a person or a call. */
export const guarantees = ['at-least-once', 'at-most-once'] as const
export type Guarantee = (typeof guarantees)[number]

/** Why the outcome of a run is unknown: its worker was lost, was deaf to a time-out, or found an effect unknown. */
export const unknownReasons = ['lost', 'timed-out', 'effect'] as const
export type UnknownReason = (typeof unknownReasons)[number]

/** What a person or a call can say about a run whose outcome is unknown. */
export const runDecisions = ['succeeded', 'failed', 'retry'] as const
export type RunDecision = (typeof runDecisions)[number]

/** What became of one planned occurrence of a schedule. */
export const fireOutcomes = ['fired', 'skipped', 'coalesced', 'missed'] as const
export type FireOutcome = (typeof fireOutcomes)[number]

/** What asked for a run. */
export const runTriggers = ['schedule', 'call'] as const
export type RunTrigger = (typeof runTriggers)[number]
