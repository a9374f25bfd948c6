// Text for a terminal.
import { describe, expect, it } from 'vitest'
import { cut, padEnd, padStart, safe, widthOf } from './text.ts'

describe('text from others', () => {
  it('can not steer the terminal', () => {
    expect(safe('a\u001b[31mred\u001b[0m\u001b]0;title\u0007b')).toBe('aredb')
    expect(safe('\r\u0000\u009bK\u007f')).toBe('���')
  })

  it('stays on its line', () => {
    expect(safe('one\ntwo\tthree')).toBe('one⏎two three')
  })
})

describe('the width of text', () => {
  it.each([
    ['plain', 5],
    ['每日报表', 8],
    ['e\u0301', 1],
    ['🚀', 2],
    ['\u001b[31mred\u001b[0m', 3],
  ])('of %j is %i columns', (text, columns) => {
    expect(widthOf(text)).toBe(columns)
  })

  it('is kept when text is cut and filled up', () => {
    expect(cut('abcdef', 4)).toBe('abc…')
    expect(cut('abcd', 4)).toBe('abcd')
    expect(cut('每日报表', 5)).toBe('每日…')
    expect(cut('abc', 0)).toBe('')
    expect(padEnd('每日', 6)).toBe('每日  ')
    expect(padStart('7', 3)).toBe('  7')
  })
})
