// Run keys: the business identity of a run, what a call wants when its key has a run already, and what a key stands for.
import { Type, type Static } from 'typebox'
import { Id, Time, longestMs, nullable } from './common.ts'
import { runStates, type RunState } from '../states.ts'

/** What a run is about, in the caller's own words: "order-4711". */
export const RunKey = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]+$',
  description: 'Business identity of the run: 1 to 255 characters without control characters',
})

export const runKeyScopes = ['job', 'app'] as const
export type RunKeyScope = (typeof runKeyScopes)[number]
export const onOpenPolicies = ['return', 'reject', 'replace', 'after'] as const
export type OnOpen = (typeof onOpenPolicies)[number]
export const onClosedPolicies = ['return', 'reject', 'allow', 'allowIfFailed'] as const
export type OnClosed = (typeof onClosedPolicies)[number]
export const onInputMismatchPolicies = ['reject', 'ignore'] as const
export type OnInputMismatch = (typeof onInputMismatchPolicies)[number]

/** How long a key lives after the end of its run when the call says nothing: 30 days. */
export const runKeyTtlMs = 30 * 86_400_000

/** What a call with a run key wants; every member may be left out. */
export const KeyPolicy = Type.Object(
  {
    scope: Type.Optional(
      Type.Enum(runKeyScopes, { default: 'job', description: 'job: a key of this job. app: one key over all jobs' }),
    ),
    onOpen: Type.Optional(
      Type.Enum(onOpenPolicies, {
        default: 'return',
        description:
          'While the run of the key is open. return: that run is the answer. reject: refuse. replace: it is canceled or stopped, and the new run starts when it has ended. after: the new run starts when it has ended, and of several such runs the latest',
      }),
    ),
    onClosed: Type.Optional(
      Type.Enum(onClosedPolicies, {
        default: 'allowIfFailed',
        description:
          'When the run of the key has ended and the key still lives. return: that run is the answer. reject: refuse. allow: a new run. allowIfFailed: a new run unless it succeeded, else that run',
      }),
    ),
    ttlMs: Type.Optional(
      Type.Union([Type.Integer({ minimum: 0, maximum: longestMs }), Type.Null()], {
        default: runKeyTtlMs,
        description:
          'How long the key lives after the end of the run that this call makes; 0: until its end, null: for ever',
      }),
    ),
    onInputMismatch: Type.Optional(
      Type.Enum(onInputMismatchPolicies, {
        default: 'reject',
        description: 'When the run of the key has other params (with scope app: or is of another job)',
      }),
    ),
  },
  { additionalProperties: false, description: 'Only together with key' },
)
export type KeyPolicy = Static<typeof KeyPolicy>

/** What a run key stands for. */
export const RunKeyState = Type.Object({
  key: Type.String(),
  scope: Type.Enum(runKeyScopes),
  runId: Id,
  state: Type.Enum(runStates, { description: 'Of the run' }),
  inputHash: Type.String({ description: 'Of the params of the run, and with scope app of its job' }),
  after: nullable(Type.Integer({ description: 'The run that this one waits for' })),
  endedAt: nullable(Time),
  expiresAt: nullable(Type.String({ description: 'Null: the run is open, or the key lives for ever' })),
  ttlMs: nullable(Type.Integer()),
})
export interface RunKeyState {
  key: string
  scope: RunKeyScope
  runId: number
  state: RunState
  inputHash: string
  after: number | null
  endedAt: string | null
  expiresAt: string | null
  ttlMs: number | null
}

/** The key is free; with force its run was ended, or asked to stop, first. */
export const RunKeyReset = Type.Object({
  key: Type.String(),
  runId: Id,
  state: Type.Enum(runStates, { description: 'Of the run that the key stood for, after the reset' }),
})
export interface RunKeyReset {
  key: string
  runId: number
  state: RunState
}
