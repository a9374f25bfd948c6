// Text for a terminal: safe, as wide as it looks, and cut to fit.
import { stripVTControlCharacters } from 'node:util'

/** Names and log lines come from others: nothing in them may steer the terminal. */
export const safe = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- they are what is searched
  stripVTControlCharacters(text).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (char) =>
    char === '\n' ? '⏎' : char === '\t' ? ' ' : '�',
  )

const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\p{Emoji_Presentation}]/u
const invisible = /\p{Mn}|\p{Me}|[\u200b-\u200d]/u

const widthOfChar = (char: string): number => (invisible.test(char) ? 0 : wide.test(char) ? 2 : 1)

/** Columns that the text takes on a terminal; colours take none. */
export const widthOf = (text: string): number => {
  let width = 0
  for (const char of stripVTControlCharacters(text)) width += widthOfChar(char)
  return width
}

/** The text, cut to that many columns; what is cut shows as `…`. Plain text only. */
export const cut = (text: string, columns: number): string => {
  if (widthOf(text) <= columns) return text
  let kept = ''
  let width = 0
  for (const char of text) {
    width += widthOfChar(char)
    if (width > columns - 1) break
    kept += char
  }
  return columns < 1 ? '' : `${kept}…`
}

export const padEnd = (text: string, columns: number): string => text + ' '.repeat(Math.max(0, columns - widthOf(text)))
export const padStart = (text: string, columns: number): string =>
  ' '.repeat(Math.max(0, columns - widthOf(text))) + text
