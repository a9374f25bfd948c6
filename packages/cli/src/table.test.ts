// Tables for people.
import { describe, expect, it } from 'vitest'
import { renderTable, type Column } from './table.ts'
import { widthOf } from './text.ts'

interface Row {
  id: number
  name: string
}
const spec: Column<Row>[] = [
  { title: 'ID', cell: (row) => String(row.id), right: true },
  { title: 'NAME', cell: (row) => row.name, style: () => 'red' },
  { title: 'TAIL', cell: () => 'x' },
]
const plain = (text: string): string => text

describe('a table', () => {
  it('aligns its columns, numbers to the right', () => {
    const rows = [
      { id: 7, name: '每日' },
      { id: 1234, name: 'sum' },
    ]
    expect(renderTable(rows, spec, undefined, plain)).toBe('  ID  NAME  TAIL\n   7  每日  x\n1234  sum   x\n')
  })

  it('takes from the widest column until it fits the terminal', () => {
    const text = renderTable([{ id: 7, name: 'n'.repeat(200) }], spec, 40, plain)
    for (const line of text.trimEnd().split('\n')) expect(widthOf(line)).toBeLessThanOrEqual(40)
    expect(text).toContain('n…')
  })

  it('gets no narrower than it can be read', () => {
    expect(renderTable([{ id: 7, name: 'name' }], spec, 1, plain)).toBe('ID  NAME  TAIL\n 7  name  x\n')
  })

  it('paints what is padded, so that colours never move a column', () => {
    const text = renderTable([{ id: 7, name: 'a' }], spec, 80, (cell, style) => (style === 'red' ? `<${cell}>` : cell))
    expect(text).toBe('ID  NAME  TAIL\n 7  <a   >  x\n')
  })
})
