// Where a command writes: tables for people, the API's own objects for machines.
import type { Page } from '@oncejob/protocol'
import { renderTable, type Column } from './table.ts'
import { padEnd, safe } from './text.ts'

/** The process around a command. */
export interface Streams {
  readonly env: Readonly<Record<string, string | undefined>>
  stdout(text: string): void
  stderr(text: string): void
  readonly stdoutIsTty: boolean
  readonly stderrIsTty: boolean
  readonly columns: number | undefined
  nowMs(): number
}

const styles = { dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const
export type Style = keyof typeof styles

export class Output {
  readonly #streams: Streams
  /** Whether answers go out as JSON. */
  readonly json: boolean
  readonly #colours: boolean
  #progressShown = false
  #lastProgress = ''

  constructor(streams: Streams, json: boolean) {
    this.#streams = streams
    this.json = json
    // https://no-color.org: any value but the empty one.
    this.#colours = streams.stdoutIsTty && (streams.env['NO_COLOR'] ?? '') === ''
  }

  get nowMs(): number {
    return this.#streams.nowMs()
  }

  paint(text: string, style: Style | undefined): string {
    return this.#colours && style !== undefined ? `\u001b[${styles[style]}m${text}\u001b[0m` : text
  }

  /** Writes one line of plain text, made safe. */
  line(text: string, style?: Style): void {
    this.endProgress()
    this.#streams.stdout(`${this.paint(safe(text), style)}\n`)
  }

  /** Writes text that goes out as it is, e.g. to a file. */
  raw(text: string): void {
    this.endProgress()
    this.#streams.stdout(text)
  }

  /** Writes one answer of the API: as JSON, or the way people read it. */
  answer(value: unknown, forPeople: () => void): void {
    if (this.json) this.raw(`${JSON.stringify(value, null, 2)}\n`)
    else forPeople()
  }

  table<T>(rows: readonly T[], columns: readonly Column<T>[], none: string): void {
    if (rows.length === 0) this.note(none)
    else {
      const width = this.#streams.stdoutIsTty ? this.#streams.columns : undefined
      this.raw(renderTable(rows, columns, width, (text, style) => this.paint(text, style)))
    }
  }

  /** One page of a list: as JSON, or as a table. `more`: how to see the rest of a longer list. */
  page<T>(page: Page<T>, columns: readonly Column<T>[], none: string, more?: string): void {
    this.answer(page, () => {
      this.table(page.items, columns, none)
      if (more !== undefined && page.next !== null) this.note(`there are more: ${more}`)
    })
  }

  /** Facts about one thing, a line each. */
  facts(facts: readonly (readonly [string, string, Style?])[]): void {
    const width = Math.max(...facts.map(([name]) => name.length)) + 2
    for (const [name, value, style] of facts) {
      this.raw(`${this.paint(padEnd(name, width), 'dim')}${this.paint(safe(value), style)}\n`)
    }
  }

  /** Says something beside the answer, on stderr. */
  note(text: string): void {
    this.endProgress()
    this.#streams.stderr(`${safe(text)}\n`)
  }

  /** What goes on while a command waits: one line that changes on a terminal, elsewhere a line per change of `key`. */
  progress(key: string, text: string): void {
    if (this.#streams.stderrIsTty) {
      this.#streams.stderr(`\r\u001b[K${safe(text)}`)
      this.#progressShown = true
    } else if (key !== this.#lastProgress) this.#streams.stderr(`${safe(text)}\n`)
    this.#lastProgress = key
  }

  endProgress(): void {
    if (this.#progressShown) this.#streams.stderr('\r\u001b[K')
    this.#progressShown = false
  }
}
