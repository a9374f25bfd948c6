// The effect ledger on the wire: an attempt says what it is about to do, and later what came of it.
import { Type, type Static } from 'typebox'
import { Id, Json } from './common.ts'

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
