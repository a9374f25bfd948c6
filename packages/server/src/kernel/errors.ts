// The three kinds of failure: a refusal is expected, an outage passes, a bug is ours.
export { Refusal } from '@oncejob/protocol'

/** Something we need cannot be reached or did not answer; trying again later may work. */
export class Outage extends Error {
  override readonly name = 'Outage'
}

/** The database refused a statement. `sqlState` is PostgreSQL's five-letter code. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError'
  readonly sqlState: string
  readonly constraint: string | undefined
  constructor(message: string, options: { sqlState: string; constraint: string | undefined; cause: unknown }) {
    super(message, { cause: options.cause })
    this.sqlState = options.sqlState
    this.constraint = options.constraint
  }
}

/** A start-up failure that an operator can mend: shown as one line, without a stack. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure'
}

/** Throws when something that must hold does not: a bug of ours, never swallowed. */
export function invariant(holds: unknown, says: string): asserts holds {
  if (!holds) throw new Error(`invariant broken: ${says}`)
}
