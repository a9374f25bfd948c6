// Looking into values whose type is not known, and making text safe to send.
import { inspect } from 'node:util'

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null

/**
 * Text that PostgreSQL can hold: no NUL, no half of a surrogate pair; at most `max` characters.
 * Callers in JavaScript may pass anything; what is not text is shown as the inspector shows it.
 */
export const storableText = (value: unknown, max: number): string => {
  const text = typeof value === 'string' ? value : inspect(value)
  return (text.length > max ? text.slice(0, max) : text).replaceAll('\u0000', '\uFFFD').toWellFormed()
}
