// The `sql` tag: statements are written whole, values are always bound, only fragments nest.

/** A statement or a fragment of one. Only values and other fragments can enter it. */
export class Sql {
  readonly strings: readonly string[]
  readonly values: readonly unknown[]
  #query: { readonly text: string; readonly values: readonly unknown[] } | undefined

  constructor(strings: readonly string[], values: readonly unknown[]) {
    this.strings = strings
    this.values = values
  }

  /** The text with $1, $2 … and the values in that order. */
  toQuery(): { readonly text: string; readonly values: readonly unknown[] } {
    if (this.#query === undefined) {
      const values: unknown[] = []
      this.#query = { text: this.#render(values), values }
    }
    return this.#query
  }

  #render(out: unknown[]): string {
    return this.strings.reduce((text, part, i) => {
      const value = this.values[i - 1]
      return text + (value instanceof Sql ? value.#render(out) : `$${out.push(value)}`) + part
    })
  }
}

/** Builds a statement: sql`select … where id = ${id}`. */
export const sql = (strings: TemplateStringsArray, ...values: unknown[]): Sql => new Sql(strings, values)

/** A time of so many ms since the epoch. */
export const instant = (atMs: number): Sql => sql`(timestamptz 'epoch' + ${atMs}::bigint * interval '1 ms')`

/** Fragments joined with `and`; `true` when there are none. */
export const all = (conditions: readonly Sql[]): Sql =>
  conditions.length === 0 ? sql`true` : conditions.reduce((left, right) => sql`${left} and ${right}`)
