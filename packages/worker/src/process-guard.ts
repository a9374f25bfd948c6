// Keeps the process alive when a processor lets an error escape, and turns signals of the system into a stop.
import type { Log } from './log.ts'

const list = new Map<string, string>([
  ['unhandledRejection', 'a promise was rejected and nobody handled it'],
  ['uncaughtException', 'an exception was thrown outside of any promise'],
])

/**
 * Logs what would otherwise end the process. Which run it came from can not be known, so no run is marked failed.
 * @returns a function that takes the handlers away
 */
export const guardProcess = (log: Log): (() => void) => {
  const handlers = [...list].map(([event, phrase]) => {
    const handle = (error: unknown): void => {
      log.error({ err: error }, `${phrase}; the worker goes on`)
    }
    process.on(event, handle)
    return () => process.off(event, handle)
  })
  return () => {
    for (const remove of handlers) remove()
  }
}

/**
 * Calls `stop` at the first SIGTERM or SIGINT. The second one ends the process at once, as without a handler.
 * @returns a function that takes the handlers away
 */
export const onSignals = (stop: (signal: string) => void): (() => void) => {
  const signals = ['SIGTERM', 'SIGINT'] as const
  const remove = (): void => {
    for (const signal of signals) process.off(signal, handle)
  }
  const handle = (signal: string): void => {
    remove()
    stop(signal)
  }
  for (const signal of signals) process.on(signal, handle)
  return remove
}
