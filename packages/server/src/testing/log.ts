// A log that a test reads.
import type { Log } from '../kernel/log.ts'

export interface LoggedLine {
  readonly level: keyof Log
  readonly facts: Readonly<Record<string, unknown>>
  readonly message: string
}

/** A log, and the lines that were written to it. */
export const notingLog = (): { readonly log: Log; readonly logged: LoggedLine[] } => {
  const logged: LoggedLine[] = []
  const write =
    (level: keyof Log): Log['info'] =>
    (facts, message) =>
      void logged.push({ level, facts, message })
  return { log: { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }, logged }
}
