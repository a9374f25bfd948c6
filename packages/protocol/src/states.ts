// The life of a run as data: every state, every move, and who may make it. Everything else is derived from here.

/**
 * From each state the moves that leave it and the state they lead to.
 * A terminal state is left only by a retry that a person or a call asks for (I5).
 */
export const runMoves = {
  waiting: { claim: 'running', cancel: 'canceled', expire: 'failed', refuse: 'failed' },
  running: {
    succeed: 'succeeded',
    fail: 'failed',
    stop: 'stopped',
    retryLater: 'waiting',
    lose: 'waiting',
    handBack: 'waiting',
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
  'succeeded',
  'failed',
  'canceled',
  'stopped',
] as const satisfies RunState[]
export const openRunStates = ['waiting', 'running'] as const satisfies RunState[]
export const endedRunStates = ['succeeded', 'failed', 'canceled', 'stopped'] as const satisfies RunState[]
export type EndedRunState = (typeof endedRunStates)[number]

/** The states from which a move may start. */
export const sourcesOf = (move: RunMove): RunState[] => runStates.filter((state) => move in runMoves[state])

/** True when the run has reached a terminal state. */
export const isEnded = (state: RunState): state is EndedRunState => state !== 'waiting' && state !== 'running'

/** What a call may ask of a run, and the states in which that is possible; shared by server, CLI and docs. */
export const runActions = {
  cancel: ['waiting'],
  stop: ['waiting', 'running'],
  retry: ['succeeded', 'failed', 'canceled', 'stopped'],
} as const satisfies Record<string, readonly RunState[]>
export type RunAction = keyof typeof runActions

/** How one attempt ended. */
export const attemptOutcomes = ['succeeded', 'failed', 'timed-out', 'stopped', 'lost', 'handed-back'] as const
export type AttemptOutcome = (typeof attemptOutcomes)[number]

/** What became of one planned occurrence of a schedule. */
export const fireOutcomes = ['fired', 'skipped', 'coalesced', 'missed'] as const
export type FireOutcome = (typeof fireOutcomes)[number]

/** What asked for a run. */
export const runTriggers = ['schedule', 'call'] as const
export type RunTrigger = (typeof runTriggers)[number]
