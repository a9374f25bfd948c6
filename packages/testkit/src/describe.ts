// Asks a database what a statement takes and returns, without running it.
import type { EmbeddedDb } from '@oncejob/server/testing'
import pg from 'pg'

export interface Description {
  /** Type of each parameter, $1 first, as an OID. */
  readonly params: readonly number[]
  readonly columns: readonly { readonly name: string; readonly typeOid: number }[]
}

type Engine = Parameters<Parameters<EmbeddedDb['withEngine']>[0]>[0]

export const describeEmbedded = async (engine: Engine, text: string): Promise<Description> => {
  const { queryParams, resultFields } = await engine.describeQuery(text)
  return {
    params: queryParams.map((param) => param.dataTypeID),
    columns: resultFields.map((field) => ({ name: field.name, typeOid: field.dataTypeID })),
  }
}

/** A query object for pg that only describes. */
class Describe {
  readonly done: Promise<Description>
  readonly #text: string
  readonly #resolve: (description: Description) => void
  readonly #reject: (error: Error) => void
  #params: readonly number[] = []
  #columns: Description['columns'] = []

  constructor(text: string) {
    const { promise, resolve, reject } = Promise.withResolvers<Description>()
    this.done = promise
    this.#text = text
    this.#resolve = resolve
    this.#reject = reject
  }

  submit(wire: pg.Connection): void {
    wire.on('parameterDescription', (message: { readonly dataTypeIDs: number[] }) => {
      this.#params = message.dataTypeIDs
    })
    wire.parse({ name: '', text: this.#text, types: [] }, true)
    wire.describe({ type: 'S', name: '' }, true)
    wire.sync()
  }

  handleRowDescription(message: {
    readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[]
  }): void {
    this.#columns = message.fields.map((field) => ({ name: field.name, typeOid: field.dataTypeID }))
  }

  handleError(error: Error): void {
    this.#reject(error)
  }

  handleReadyForQuery(): void {
    this.#resolve({ params: this.#params, columns: this.#columns })
  }

  handleNoData(): void {}
  handleCommandComplete(): void {}
  handlePortalSuspended(): void {}
  handleEmptyQuery(): void {}
  handleDataRow(): void {}
}

export const describePostgres = async (url: string, text: string): Promise<Description> => {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  await client.connect()
  try {
    const describe = new Describe(text)
    client.query(describe)
    return await describe.done
  } finally {
    await client.end()
  }
}

/** What a statement takes and returns on a test database. */
export const describeStatement = (
  on: { readonly describe: (text: string) => Promise<Description> },
  text: string,
): Promise<Description> => on.describe(text)
