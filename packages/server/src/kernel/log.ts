// The log as everyone else sees it: a phrase and facts, in pino's shape.

type Write = (facts: Readonly<Record<string, unknown>>, message: string) => void

/** One line per state change; facts are fields, the message is a constant phrase in the past tense. */
export interface Log {
  readonly debug: Write
  readonly info: Write
  readonly warn: Write
  readonly error: Write
}

const nothing: Write = () => undefined

/** For tests and tools that do not look at the log. */
export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing }
