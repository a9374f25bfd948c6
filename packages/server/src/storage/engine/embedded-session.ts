// One conversation with PGlite in PostgreSQL's wire protocol: a whole statement per call, not PGlite's five.
import { messages as protocolMessages, protocol } from '@electric-sql/pglite'
import type { PGlite } from '@electric-sql/pglite'
import { Outage } from '../../kernel/errors.ts'
import type { Row } from '../db.ts'
import { failureOf } from './failures.ts'
import type { Read } from './values.ts'
import { parameterOf, readerOf } from './values.ts'

const { serialize } = protocol
const { CommandCompleteMessage, DataRowMessage, DatabaseError, ReadyForQueryMessage, RowDescriptionMessage } =
  protocolMessages

type Messages = Awaited<ReturnType<PGlite['execProtocolStream']>>

export interface Result {
  readonly rows: Row[]
  /** The command's tag, for example `COMMIT` or `UPDATE 3`. */
  readonly tag: string
}

const readResult = (messages: Messages): Result => {
  const rows: Row[] = []
  let columns: { readonly name: string; readonly read: Read }[] = []
  let tag = ''
  for (const message of messages) {
    if (message instanceof RowDescriptionMessage) {
      columns = message.fields.map((field) => ({ name: field.name, read: readerOf(field.dataTypeID) }))
    } else if (message instanceof DataRowMessage) {
      const row: Record<string, unknown> = {}
      columns.forEach((column, i) => {
        const text = message.fields[i] ?? null
        row[column.name] = text === null ? null : column.read(text)
      })
      rows.push(row)
    } else if (message instanceof CommandCompleteMessage) tag = message.text
  }
  return { rows, tag }
}

export interface EmbeddedSessionNeeds {
  readonly pglite: PGlite
  /** Why a sync has failed, if one has. */
  readonly diskFailure: () => unknown
  /** Called when the engine has broken down; there is no way back but a new start. */
  readonly stopped: (cause: unknown) => void
}

/**
 * Whether the engine has answered to the end. PGlite swallows exceptions that come out of the engine and goes on,
 * so a statement without its completion has broken down, even when the next message is answered.
 */
const isWhole = (messages: Messages): boolean =>
  messages.some((message) => message instanceof ReadyForQueryMessage) &&
  messages.some(
    (message) =>
      message instanceof CommandCompleteMessage || message instanceof DatabaseError || message.name === 'emptyQuery',
  )

/** Runs statements one after another; the caller sees to it that calls do not overlap. */
export class EmbeddedSession {
  readonly #pglite: PGlite
  readonly #prepared = new Map<string, string>()
  readonly #diskFailure: () => unknown
  readonly #stopped: (cause: unknown) => void
  #statements = 0
  #dead = false

  constructor({ pglite, diskFailure, stopped }: EmbeddedSessionNeeds) {
    this.#pglite = pglite
    this.#diskFailure = diskFailure
    this.#stopped = stopped
  }

  /** Whether the engine has broken down. */
  get dead(): boolean {
    return this.#dead
  }

  /** How many statements and scripts have been run. */
  get statements(): number {
    return this.#statements
  }

  /** One statement with parameters; prepared once when it has a name. */
  async execute(text: string, values: readonly unknown[], name = ''): Promise<Result> {
    const known = name === '' ? undefined : this.#prepared.get(name)
    if (known !== undefined && known !== text) throw new Error(`prepared statement ${name} has two texts`)
    const messages = await this.#exchange([
      ...(known === undefined ? [serialize.parse({ name, text })] : []),
      serialize.bind({ statement: name, values: values.map(parameterOf) }),
      serialize.describe({ type: 'P' }),
      serialize.execute({}),
      serialize.sync(),
    ])
    // known from the first success on: a failed one may not have been prepared, and then comes again with its text
    if (name !== '') this.#prepared.set(name, text)
    return readResult(messages)
  }

  /** A script of statements without parameters. Without a BEGIN of its own it is one transaction. */
  async script(text: string): Promise<Result> {
    return readResult(await this.#exchange([serialize.query(text)]))
  }

  async #exchange(parts: readonly Uint8Array[]): Promise<Messages> {
    if (this.#dead) throw new Outage('the embedded database has stopped')
    this.#statements += 1
    const messages = await this.#pglite.execProtocolStream(Buffer.concat(parts), {
      syncToFs: false,
      throwOnError: false,
    })
    const refusal = messages.find((message) => message instanceof DatabaseError)
    const cause = this.#diskFailure() ?? refusal
    if (this.#diskFailure() !== undefined || !isWhole(messages)) {
      this.#dead = true
      this.#stopped(cause)
      throw new Outage('the embedded database has stopped', { cause })
    }
    if (refusal !== undefined) throw failureOf(refusal)
    return messages
  }
}
