// Aligned columns that fit the terminal.
import type { Style } from './output.ts'
import { cut, padEnd, padStart, safe, widthOf } from './text.ts'

export interface Column<T> {
  readonly title: string
  cell(row: T): string
  readonly right?: boolean
  style?(row: T): Style | undefined
}

const gap = 2
const narrowestColumns = 4

/** Takes columns from the widest until all fit; a column never gets narrower than its minimum. */
const fit = (widths: readonly number[], columns: number): number[] => {
  const fitted = [...widths]
  let excess = fitted.reduce((sum, width) => sum + width, gap * (fitted.length - 1)) - columns
  while (excess > 0) {
    const widest = Math.max(...fitted)
    if (widest <= narrowestColumns) break
    fitted[fitted.indexOf(widest)] = widest - 1
    excess -= 1
  }
  return fitted
}

/**
 * A table with a line of titles. Cells are made safe, and cut when a width is given.
 * @param columns width of the terminal; undefined: nothing is cut
 * @param paint gives text a style
 */
export const renderTable = <T>(
  rows: readonly T[],
  spec: readonly Column<T>[],
  columns: number | undefined,
  paint: (text: string, style: Style | undefined) => string,
): string => {
  const cells = rows.map((row) => spec.map((column) => safe(column.cell(row))))
  const natural = spec.map(({ title }, i) => Math.max(widthOf(title), ...cells.map((line) => widthOf(line[i] ?? ''))))
  const widths = columns === undefined ? natural : fit(natural, columns)
  const lineOf = (texts: readonly string[], styleOf: (i: number) => Style | undefined): string =>
    texts
      .map((text, i) => {
        const width = widths[i] ?? 0
        const short = cut(text, width)
        // The last column needs no spaces after it.
        const padded =
          spec[i]?.right === true ? padStart(short, width) : i === texts.length - 1 ? short : padEnd(short, width)
        return paint(padded, styleOf(i))
      })
      .join(' '.repeat(gap))
      .trimEnd()
  const titles = lineOf(
    spec.map(({ title }) => title),
    () => 'dim',
  )
  const lines = rows.map((row, at) => lineOf(cells[at] ?? [], (i) => spec[i]?.style?.(row)))
  return `${[titles, ...lines].join('\n')}\n`
}
