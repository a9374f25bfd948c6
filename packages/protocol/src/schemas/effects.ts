// The effect ledger on the wire: an attempt says what it is about to do, and later what came of it.
import { Type, type Static } from 'typebox'
import { Id, Json, Time, nullable } from './common.ts'

export const EffectName = Type.String({
  minLength: 1,
  maxLength: 255,
  // what a text of PostgreSQL can not hold stays out
  pattern: '^[^\\u0000]*\\S[^\\u0000]*$',
  description: 'Name of the effect, unique within the run: not blank, at most 255 characters',
})

export const EffectBeginInput = Type.Object({ runId: Id, lease: Id, name: EffectName }, { additionalProperties: false })
export type EffectBeginInput = Static<typeof EffectBeginInput>

export const EffectBegun = Type.Object({
  state: Type.Enum(['new', 'done', 'unknown'], {
    description:
      'new: noted, go ahead. done: an attempt did it, do not do it again. unknown: an earlier attempt began it and nobody has said how it ended',
  }),
  outcome: Type.Optional(Json),
})
export type EffectBegun = Static<typeof EffectBegun>

export const EffectEndInput = Type.Object(
  { runId: Id, lease: Id, name: EffectName, outcome: Type.Optional(Json) },
  { additionalProperties: false },
)
export type EffectEndInput = Static<typeof EffectEndInput>

/** What is recorded: of a repeat, what the first call said. */
export const EffectEnded = Type.Object({ outcome: Type.Optional(Json) })
export type EffectEnded = Static<typeof EffectEnded>

/** An effect as people see it. */
export const RunEffect = Type.Object({
  name: Type.String(),
  state: Type.Enum(['intent', 'done', 'unknown'], {
    description:
      'intent: the live attempt is at it. unknown: an attempt that is over began it, and nobody has said how it ended',
  }),
  outcome: Type.Optional(Json),
  startedAt: Time,
  endedAt: nullable(Time),
  lease: Id,
  attempt: nullable(Type.Integer({ description: 'Number of the attempt that began it, or that recorded its outcome' })),
  decidedBy: nullable(Type.String({ description: 'Who said that it was done, when no attempt did' })),
})
export type RunEffect = Static<typeof RunEffect>

/** Says what became of an effect that is unknown. */
export const EffectResolution = Type.Object(
  {
    done: Type.Boolean({
      description: 'true: the next attempt gets the outcome. false: it did not happen, the next attempt executes it',
    }),
    outcome: Type.Optional(Json),
  },
  { additionalProperties: false, description: '`outcome` goes with done: true' },
)
export type EffectResolution = Static<typeof EffectResolution>

export const EffectChanged = Type.Object({ name: Type.String(), done: Type.Boolean(), changed: Type.Boolean() })
export type EffectChanged = Static<typeof EffectChanged>
