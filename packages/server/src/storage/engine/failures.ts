// Turns what drivers throw into the two kinds of failure that the rest of the server knows.
import { DatabaseError, Outage } from '../../kernel/errors.ts'

/** What PostgreSQL says about a failure, as both drivers carry it. */
interface Report {
  readonly sqlState: string
  readonly constraint: string | undefined
}

// Classes 08 (connection) and 53 (disk, memory, connections used up), a server that is going down, starting up
// or has become a standby, and a statement that ran out of time: all pass by themselves.
const passing = /^(?:08|53)|^(?:57P01|57P02|57P03|57P05|57014|25006)$/

// What Node and pg say when a socket dies, as codes and, where pg gives none, as text.
const socketCodes =
  /^(?:E(?:CONN\w+|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|HOSTDOWN|NETDOWN|AI_AGAIN|NOTFOUND|MFILE|NFILE)|ENOENT|EACCES|ERR_SOCKET\w*|ERR_STREAM\w*|ERR_SSL\w*)$/
const socketTexts =
  /^(?:Connection terminated|Connection ended|Client has encountered a connection error|Client was closed|Query read timeout|timeout e(?:xceeded|xpired)|The server does not support SSL|Cannot use a pool after)/

const stringField = (value: unknown, field: string): string | undefined => {
  if (typeof value !== 'object' || value === null) return undefined
  const found: unknown = Reflect.get(value, field)
  return typeof found === 'string' ? found : undefined
}

/** What the database itself said, or undefined when the failure is not an answer of the database. */
export const reportOf = (error: unknown): Report | undefined => {
  const code = stringField(error, 'code')
  if (code === undefined || !/^[0-9A-Z]{5}$/.test(code) || stringField(error, 'severity') === undefined)
    return undefined
  return { sqlState: code, constraint: stringField(error, 'constraint') }
}

const isSocketFailure = (error: unknown): boolean => {
  if (error instanceof AggregateError) return error.errors.some(isSocketFailure)
  return (
    error instanceof Error && (socketCodes.test(stringField(error, 'code') ?? '') || socketTexts.test(error.message))
  )
}

/**
 * The failure to throw instead of a driver's: an Outage when trying later may work, a DatabaseError
 * when the database refused; anything else is returned as it came, because it is a bug.
 */
export const failureOf = (error: unknown): unknown => {
  const report = reportOf(error)
  const message = error instanceof Error ? error.message : String(error)
  if (report !== undefined) {
    if (passing.test(report.sqlState)) return new Outage(`database: ${message} (${report.sqlState})`, { cause: error })
    return new DatabaseError(message, { ...report, cause: error })
  }
  // an AggregateError (several addresses tried) has no message of its own
  const cause: unknown = error instanceof AggregateError ? error.errors[0] : error
  const text = cause instanceof Error ? cause.message : String(cause)
  return isSocketFailure(error) ? new Outage(`database: ${text}`, { cause: error }) : error
}
