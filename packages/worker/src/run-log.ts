// ctx.log: turns calls into lines of the run's log, from the job's level up.
import type { LogEntry } from './log-shipper.ts'
import { storableText } from './json.ts'

type Say = (text: string, facts?: Readonly<Record<string, unknown>>) => void

/** `facts` are appended to the text as JSON. */
export interface RunLog {
  readonly debug: Say
  readonly info: Say
  readonly warn: Say
  readonly error: Say
}

const levels = ['debug', 'info', 'warn', 'error'] as const
export type LineLevel = (typeof levels)[number]

const longestText = 65_536

const withFacts = (text: string, facts: Readonly<Record<string, unknown>> | undefined): string => {
  if (facts === undefined) return text
  try {
    return `${text} ${JSON.stringify(facts, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`
  } catch (error) {
    return `${text} (facts could not be written: ${String(error)})`
  }
}

/**
 * @param minimum the job's level; 'off' (or one we do not know of later servers: 'info')
 * @param put takes a line; never throws
 */
export const createRunLog = (
  run: { readonly runId: number; readonly lease: number; readonly minimum: string },
  now: () => number,
  put: (entry: LogEntry) => void,
): RunLog => {
  const known = levels.findIndex((level) => level === run.minimum)
  const from = run.minimum === 'off' ? levels.length : known === -1 ? 1 : known
  const sayer = (level: LineLevel): Say =>
    levels.indexOf(level) < from
      ? () => undefined
      : (text, facts) => {
          const full = storableText(withFacts(text, facts), longestText)
          put({ runId: run.runId, lease: run.lease, at: Math.floor(now()), level, text: full })
        }
  return { debug: sayer('debug'), info: sayer('info'), warn: sayer('warn'), error: sayer('error') }
}
