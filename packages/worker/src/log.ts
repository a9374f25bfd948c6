// The worker's own log: a phrase and facts, in pino's shape, so that a pino logger can be passed as it is.

type Write = (facts: Readonly<Record<string, unknown>>, message: string) => void

/** Facts are fields, the message is a constant phrase in the past tense. */
export interface Log {
  readonly debug: Write
  readonly info: Write
  readonly warn: Write
  readonly error: Write
}

const nothing: Write = () => undefined

const factText = (value: unknown): string | undefined => {
  if (value instanceof Error) return value.message
  return typeof value === 'string' ? value : JSON.stringify(value)
}

const toStderr =
  (level: string): Write =>
  (facts, message) => {
    const words = Object.entries(facts).map(([name, value]) => `${name}=${factText(value)}`)
    process.stderr.write(`oncejob worker ${level}: ${[message, ...words].join(' ')}\n`)
  }

/** The default: warnings and errors as lines on stderr, nothing else. */
export const stderrLog: Log = { debug: nothing, info: nothing, warn: toStderr('warn'), error: toStderr('error') }

export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing }
