// What a run key means for a call: its policies, what the key stands for, and the decision table of I8. Pure.
import { hash } from 'node:crypto'
import {
  runKeyTtlMs,
  type EndedRunState,
  type KeyPolicy,
  type OnClosed,
  type OnInputMismatch,
  type OnOpen,
  type RunKeyScope,
  type RunState,
} from '@oncejob/protocol'
import { jsonValue } from '../kernel/json.ts'
import { canonicalJson } from './job-changes.ts'

/** A run key and what the caller wants when it has a run already. */
export interface RunKeyWish {
  readonly key: string
  readonly scope: RunKeyScope
  readonly onOpen: OnOpen
  readonly onClosed: OnClosed
  /** How long the key lives after the end of the run that this call makes, in ms; 0: until its end, null: for ever. */
  readonly ttlMs: number | null
  readonly onInputMismatch: OnInputMismatch
}

/** The wish of a call; what the policy leaves out is the default. */
export const wishOf = (key: string, policy: KeyPolicy = {}): RunKeyWish => ({
  key,
  scope: policy.scope ?? 'job',
  onOpen: policy.onOpen ?? 'return',
  onClosed: policy.onClosed ?? 'allowIfFailed',
  ttlMs: policy.ttlMs === undefined ? runKeyTtlMs : policy.ttlMs,
  onInputMismatch: policy.onInputMismatch ?? 'reject',
})

/**
 * What a run is asked to do, as a hash: it may hold secrets.
 * @param params JSON text, or null
 * @param jobId with scope app, where the key does not say which job; null with scope job
 */
export const inputHashOf = (params: string | null, jobId: number | null): string => {
  return hash('sha256', `${jobId ?? ''}\n${canonicalJson(jsonValue(params))}`, 'base64url')
}

type OpenState = Exclude<RunState, EndedRunState>

/** An open run of a key that others may have to wait for. */
export interface Predecessor {
  readonly runId: number
  readonly state: OpenState
  readonly inputHash: string
  /** The key was freed by force while this run was stopping: it is waited for, and the key never goes back to it. */
  readonly freed: boolean
}

/** What the row of a key says. */
export interface KeyFacts {
  /** The newest run of the key. */
  readonly runId: number
  readonly state: RunState
  readonly inputHash: string
  /** The run that the newest one waits for, while it is open. */
  readonly before: Predecessor | null
  /** The time after the end is over; false while the run is open. */
  readonly expired: boolean
  /** Freed by force, and nothing was asked for since; then `before` is the run that is still stopping. */
  readonly vacant: boolean
}

/** What a key stands for. `behind`: an open run that whatever comes next has to wait for. */
export type KeyStanding =
  | { readonly kind: 'free'; readonly behind: Predecessor | null }
  | { readonly kind: 'open'; readonly run: Predecessor; readonly behind: Predecessor | null }
  | { readonly kind: 'closed'; readonly runId: number; readonly state: EndedRunState; readonly inputHash: string }

/** Reads a row; undefined: there is none. At most two runs of a key are open, and then the newest waits for the other. */
export const standingOf = (facts: KeyFacts | undefined): KeyStanding => {
  if (facts === undefined) return { kind: 'free', behind: null }
  const { runId, state, inputHash, before, expired, vacant } = facts
  if (vacant) return { kind: 'free', behind: before }
  if (state === 'waiting' || state === 'running' || state === 'unknown')
    return { kind: 'open', run: { runId, state, inputHash, freed: false }, behind: before }
  // the newest was canceled while it waited: the key goes back to the one before
  if (before !== null)
    return before.freed ? { kind: 'free', behind: before } : { kind: 'open', run: before, behind: null }
  return expired ? { kind: 'free', behind: null } : { kind: 'closed', runId, state, inputHash }
}

/** What to do with a call. `aside`: runs to cancel or stop first, in this order. */
export type KeyDecision =
  | {
      readonly kind: 'make'
      readonly aside: readonly Predecessor[]
      /** Wait for the end of this one; those put aside that do not end at once are waited for anyway. */
      readonly behind: Predecessor | null
      /** The run that the key stood for and that gives way. */
      readonly replaces: number | null
    }
  | { readonly kind: 'return'; readonly runId: number }
  | {
      readonly kind: 'refuse'
      readonly code: 'RUN_KEY_CONFLICT' | 'RUN_KEY_INPUT_MISMATCH'
      readonly existing: { readonly runId: number; readonly state: RunState; readonly inputHash: string }
    }

const make = (behind: Predecessor | null): KeyDecision => ({ kind: 'make', aside: [], behind, replaces: null })

const whenOpen = ({ run, behind }: Extract<KeyStanding, { kind: 'open' }>, onOpen: OnOpen): KeyDecision => {
  switch (onOpen) {
    case 'return':
      return { kind: 'return', runId: run.runId }
    case 'reject':
      return { kind: 'refuse', code: 'RUN_KEY_CONFLICT', existing: run }
    case 'replace': {
      const aside = behind === null ? [run] : [run, behind]
      return { kind: 'make', aside, behind: null, replaces: run.runId }
    }
    case 'after':
      // one waits at most: the latest, and the former one makes way
      return behind === null ? make(run) : { kind: 'make', aside: [run], behind, replaces: null }
  }
}

const whenClosed = (closed: Extract<KeyStanding, { kind: 'closed' }>, onClosed: OnClosed): KeyDecision => {
  switch (onClosed) {
    case 'return':
      return { kind: 'return', runId: closed.runId }
    case 'reject':
      return { kind: 'refuse', code: 'RUN_KEY_CONFLICT', existing: closed }
    case 'allow':
      return make(null)
    case 'allowIfFailed':
      return closed.state === 'succeeded' ? { kind: 'return', runId: closed.runId } : make(null)
  }
}

/** The decision table of I8. Other input is refused before any policy is asked. */
export const decideKey = (standing: KeyStanding, wish: RunKeyWish, inputHash: string): KeyDecision => {
  if (standing.kind === 'free') return make(standing.behind)
  const existing = standing.kind === 'open' ? standing.run : standing
  if (wish.onInputMismatch === 'reject' && existing.inputHash !== inputHash)
    return { kind: 'refuse', code: 'RUN_KEY_INPUT_MISMATCH', existing }
  return standing.kind === 'open' ? whenOpen(standing, wish.onOpen) : whenClosed(standing, wish.onClosed)
}
