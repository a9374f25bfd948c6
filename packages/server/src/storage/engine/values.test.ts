// Values on their way to and from the database; what engines do with them is in the contract.
import { expect, test } from 'vitest'
import { parameterOf, readerOf } from './values.ts'

test('an invalid Date, a function and a symbol are refused as parameters', () => {
  for (const value of [new Date(Number.NaN), () => 1, Symbol('x'), [() => 1]])
    expect(() => parameterOf(value)).toThrow(/time value|cannot be a parameter/)
})

test('nested arrays and bytes inside arrays are written as PostgreSQL reads them', () => {
  expect(
    parameterOf([
      [1, 2],
      [3, null],
    ]),
  ).toBe('{{1,2},{3,NULL}}')
  expect(parameterOf([Uint8Array.from([1, 255])])).toBe('{"\\\\x01ff"}')
  expect(parameterOf([])).toBe('{}')
})

test('a type that is not known is read as text', () => {
  expect(readerOf(999_999)('anything')).toBe('anything')
})
