// Passwords stay out of what is shown.
import { expect, test } from 'vitest'
import { withoutPassword } from './postgres-url.ts'

test.each([
  ['postgres://user:secret@host:5432/db', 'postgres://user@host:5432/db'],
  ['postgresql://user:se:cr@t@host/db?sslmode=require', 'postgresql://user@host/db?sslmode=require'],
  ['postgres://:secret@host/db', 'postgres://@host/db'],
  ['postgres://user@host/db', 'postgres://user@host/db'],
  ['postgres://host/db?user=me&password=secret&x=1', 'postgres://host/db?user=me&password=…&x=1'],
  ['postgres://host/a@b:c', 'postgres://host/a@b:c'],
])('%s is shown as %s', (url, shown) => {
  expect(withoutPassword(url)).toBe(shown)
})
