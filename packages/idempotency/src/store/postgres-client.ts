// What we need of `pg`, so that the package loads without it, and how its rows are read.

/** A `pg` Pool, Client or PoolClient. */
export interface PgQueryable {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: unknown[]; readonly rowCount: number | null }>
}

/** A `pg` Pool. */
export interface PgPool extends PgQueryable {
  connect(): Promise<PgQueryable & { release(error?: Error | boolean): void }>
}

const isRow = (row: unknown): row is Readonly<Record<string, unknown>> => typeof row === 'object' && row !== null

/** The columns of the first row; undefined when there is none. */
export const firstRow = (rows: unknown[]): Readonly<Record<string, unknown>> | undefined => {
  const [row] = rows
  return isRow(row) ? row : undefined
}

export const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)

/** A number; bigint and numeric columns come as text. */
export const numberOf = (value: unknown): number | undefined =>
  value === null || value === undefined ? undefined : Number(value)

export const bytesOf = (value: unknown): Uint8Array | undefined => (value instanceof Uint8Array ? value : undefined)

/** A jsonb column of texts. */
export const textsOf = (value: unknown): Record<string, string> =>
  isRow(value) ? Object.fromEntries(Object.entries(value).map(([name, text]) => [name, String(text)])) : {}
