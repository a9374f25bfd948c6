// The log that production writes: pino's JSON lines on standard error, without secrets.
import { pino } from 'pino'
import type { Log } from './log.ts'

/** Creates the log. Standard output stays free for what commands print. */
export const createLog = (level: string): Log =>
  pino(
    {
      level,
      base: null,
      redact: ['token', 'password', 'authorization', '*.token', '*.password', '*.authorization'],
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: false }),
  )
