// Shapes that several schemas share.
import { Type, type Static, type TSchema } from 'typebox'

/** Largest id: JavaScript keeps integers up to here exact. */
export const maxId = Number.MAX_SAFE_INTEGER

/** A hundred years: no date of ours gets near the end of what clocks can show. */
export const longestMs = 3_153_600_000_000

export const Id = Type.Integer({ minimum: 1, maximum: maxId, description: 'A positive integer below 2^53' })
export const Time = Type.String({
  description: 'RFC 3339 with milliseconds, UTC',
  examples: ['2026-11-25T09:30:00.000Z'],
})
/** A time as input: RFC 3339 with offset or Z. */
export const TimeInput = Type.String({ minLength: 10, maxLength: 40, description: 'RFC 3339 with an offset or Z' })
export const Name = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '\\S',
  description: 'Not blank, at most 255 characters',
})
/** Any JSON value; text is a JSON string. */
export const Json = Type.Unknown({ description: 'Any JSON value; plain text is a JSON string' })
export const Ms = Type.Integer({ minimum: 0, maximum: maxId, description: 'Milliseconds' })

export const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])

/** One page of a list and the cursor of the next; `next` is null on the last page. */
export const pageOf = <T extends TSchema>(item: T) =>
  Type.Object({ items: Type.Array(item), next: nullable(Type.String()) }, { additionalProperties: false })

export interface Page<T> {
  items: T[]
  next: string | null
}

export const pageQuery = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 50 })),
  cursor: Type.Optional(Type.String({ maxLength: 500 })),
}

/** RFC 9457 problem document; `code` is from the error table. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String(),
    detail: Type.String(),
    retry: Type.String({ description: 'never, same-key or after-auth' }),
    instance: Type.Optional(Type.String({ description: 'Id of the request, as in the server log' })),
  },
  { additionalProperties: true },
)
export type Problem = Static<typeof Problem>
