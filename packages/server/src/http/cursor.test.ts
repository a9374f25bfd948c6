// Cursors: they come back as they were, and only to their own list.
import { expect, it } from 'vitest'
import { readCursor, writeCursor } from './cursor.ts'

it('comes back with the same keys', () => {
  const cursor = writeCursor('jobs:name', ['naïve "x"', null, 42])
  expect(cursor).toMatch(/^[\w-]+$/)
  expect(readCursor('jobs:name', cursor, ['string', 'string?', 'number'])).toEqual(['naïve "x"', null, 42])
  expect(readCursor('jobs:name', undefined, ['number'])).toBeUndefined()
})

it('is refused by another list, with other keys, and when it was made up', () => {
  const cursor = writeCursor('jobs:name', ['a', 1])
  const refused = { code: 'CURSOR_INVALID' }
  expect(() => readCursor('jobs:-name', cursor, ['string', 'number'])).toThrow(expect.objectContaining(refused))
  expect(() => readCursor('jobs:name', cursor, ['string', 'string'])).toThrow(expect.objectContaining(refused))
  expect(() => readCursor('jobs:name', cursor, ['string'])).toThrow(expect.objectContaining(refused))
  for (const text of ['', '!', 'bnVsbA', 'W10', Buffer.from('["jobs:name",1.5]').toString('base64url')]) {
    expect(() => readCursor('jobs:name', text, ['number']), text).toThrow(expect.objectContaining(refused))
  }
})
