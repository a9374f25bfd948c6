// Promises of the reader of this wire: what PowerJob's mappers coerce is coerced, what they refuse is refused (contract 1.2).
import { describe, expect, it, test } from 'vitest'
import { WireError, type WireCall } from './call.ts'
import {
  dispatchStrategies,
  executeTypes,
  instanceStatuses,
  processorTypes,
  switchableStatuses,
  timeExpressionTypes,
} from './codes.ts'
import {
  asBoolean,
  asDate,
  asDouble,
  asEnum,
  asInt,
  asList,
  asLong,
  asObject,
  asText,
  bodyFields,
  field,
  formLong,
  isoText,
} from './jackson.ts'

const call = (body: unknown, fields: Record<string, string> = {}): WireCall => ({
  path: '/x',
  appId: 1,
  actor: 't',
  settings: { tokenless: false, copyEnabled: false, collapse: 'off' },
  zone: 'UTC',
  fields: new Map(Object.entries(fields)),
  body,
  keyed: null,
})
const says = (work: () => unknown): string => {
  try {
    return JSON.stringify(work()) ?? 'undefined'
  } catch (error) {
    if (error instanceof WireError) return `${error.javaClass}`
    throw error
  }
}
const unreadable = 'HttpMessageNotReadableException'

describe('enums', () => {
  test.each([
    [timeExpressionTypes, 'API 1, CRON 2, FIXED_RATE 3, FIXED_DELAY 4, WORKFLOW 5, DAILY_TIME_INTERVAL 11'],
    [executeTypes, 'STANDALONE 1, BROADCAST 2, MAP_REDUCE 3, MAP 4'],
    [processorTypes, 'BUILT_IN 1, EXTERNAL 4, SHELL 2, PYTHON 3'],
    [dispatchStrategies, 'HEALTH_FIRST 1, RANDOM 2, SPECIFY 11'],
    [
      instanceStatuses,
      'WAITING_DISPATCH 1, WAITING_WORKER_RECEIVE 2, RUNNING 3, FAILED 4, SUCCEED 5, CANCELED 9, STOPPED 10',
    ],
    [switchableStatuses, 'ENABLE 1, DISABLE 2, DELETED 99'],
  ])('have the names, codes and order of the contract', (codes, expected) => {
    const { names } = codes
    expect(names.map((name) => `${name} ${codes.codeOf(name as never)}`).join(', ')).toBe(expected)
    for (const name of names) expect(codes.nameOf(codes.codeOf(name as never))).toBe(name)
  })

  const read = asEnum(timeExpressionTypes.names)
  it.each<[unknown, string]>([
    ['CRON', '"CRON"'],
    [' CRON ', '"CRON"'],
    // the place of declaration, not the code, which would be CRON
    [2, '"FIXED_RATE"'],
    ['2', '"FIXED_RATE"'],
    [0, '"API"'],
    [5, '"DAILY_TIME_INTERVAL"'],
    [6, unreadable],
    [11, unreadable],
    [-1, unreadable],
    [1.5, unreadable],
    ['cron', unreadable],
    ['', unreadable],
    ['NOPE', unreadable],
    [true, unreadable],
    [{}, unreadable],
    [null, 'null'],
    [undefined, 'null'],
  ])('%j is read as %s', (value, expected) => {
    expect(says(() => read(value, 'timeExpressionType'))).toBe(expected)
  })
})

describe('values', () => {
  const reads = {
    text: asText,
    int: asInt,
    long: asLong,
    double: asDouble,
    flag: asBoolean(true),
    date: asDate,
    ints: asList(asInt),
    object: asObject,
  }
  it.each<[keyof typeof reads, unknown, string]>([
    ['text', 'a', '"a"'],
    ['text', 1.5, '"1.5"'],
    ['text', true, '"true"'],
    ['text', null, 'null'],
    ['text', undefined, 'null'],
    ['text', {}, unreadable],
    ['text', [], unreadable],
    ['int', 5, '5'],
    ['int', '5', '5'],
    ['int', ' -5 ', '-5'],
    ['int', 5.9, '5'],
    ['int', -0.5, '0'],
    ['int', '', 'null'],
    ['int', null, 'null'],
    ['int', '5.5', unreadable],
    ['int', 'x', unreadable],
    ['int', true, unreadable],
    ['int', 2_147_483_648, unreadable],
    ['int', -2_147_483_648, '-2147483648'],
    ['long', '889273645123456789', '9007199254740991'],
    ['long', '9223372036854775807', '9007199254740991'],
    ['long', '19223372036854775807', unreadable],
    ['long', 1e300, unreadable],
    ['double', 1, '1'],
    ['double', '1.25', '1.25'],
    ['double', '-.5e1', '-5'],
    ['double', null, '0'],
    ['double', undefined, '0'],
    ['double', 'NaN', unreadable],
    ['double', 'Infinity', unreadable],
    ['double', false, unreadable],
    // absent means true, null means false
    ['flag', undefined, 'true'],
    ['flag', null, 'false'],
    ['flag', true, 'true'],
    ['flag', 'FALSE', 'false'],
    ['flag', 'True', 'true'],
    ['flag', 'yes', unreadable],
    ['flag', 0, 'false'],
    ['flag', 7, 'true'],
    ['flag', 0.5, unreadable],
    ['date', 1_700_000_000_123, '1700000000123'],
    ['date', '1700000000123', '1700000000123'],
    ['date', '2023-11-14T22:13:20.123+00:00', '1700000000123'],
    ['date', '2023-11-14T22:13:20.123Z', '1700000000123'],
    ['date', '2023-11-14T23:13:20.123+0100', '1700000000123'],
    ['date', '2023-11-14T23:13:20+01', '1700000000000'],
    ['date', '2023-11-14', '1699920000000'],
    ['date', '2023-11-14T22:13', '1699999980000'],
    ['date', '2024-02-29T00:00:00Z', '1709164800000'],
    ['date', '1969-12-31T23:59:59.999Z', '-1'],
    ['date', '2023-02-29', unreadable],
    ['date', '2023-11-14T24:00:00Z', unreadable],
    ['date', '2023-11-14T22:60:00Z', unreadable],
    ['date', '2023-11-14 22:13:20', unreadable],
    ['date', '2023-13-14T00:00:00Z', unreadable],
    ['date', 'yesterday', unreadable],
    ['date', '', 'null'],
    ['date', '9223372036854775807', '8640000000000000'],
    ['date', '-9223372036854775808', '-62135596800000'],
    ['ints', [1, '2', null], '[1,2,null]'],
    ['ints', [], '[]'],
    ['ints', 1, unreadable],
    ['ints', [[]], unreadable],
    ['object', {}, '{}'],
    ['object', [], unreadable],
    ['object', 'x', unreadable],
  ])('%s: %j is read as %s', (kind, value, expected) => {
    expect(says(() => reads[kind](value, 'f'))).toBe(expected)
  })

  it('inherited names are no members', () => {
    expect(field(JSON.parse('{}'), 'constructor', asText)).toBeNull()
    expect(field(JSON.parse('{"toString":"x"}'), 'toString', asText)).toBe('x')
  })
})

describe('bodies and forms', () => {
  it('a body that is missing or no object is not readable', () => {
    for (const body of [undefined, null, [], 'x', 1]) expect(says(() => bodyFields(call(body)))).toBe(unreadable)
    expect(bodyFields(call({ a: 1 }))).toEqual({ a: 1 })
  })

  it.each([
    ['12', '12'],
    [' 12 ', '12'],
    ['+12', '12'],
    ['', 'null'],
    ['abc', 'MethodArgumentTypeMismatchException'],
    ['1.5', 'MethodArgumentTypeMismatchException'],
    ['99999999999999999999', 'MethodArgumentTypeMismatchException'],
  ])('a number of a form that is "%s" is read as %s', (text, expected) => {
    expect(says(() => formLong(call(undefined, { jobId: text }), 'jobId'))).toBe(expected)
  })

  it('a missing number of a form is null, and a wrong one is told with its text', () => {
    expect(formLong(call(undefined), 'jobId')).toBeNull()
    expect(() => formLong(call(undefined, { jobId: 'abc' }), 'jobId')).toThrow('For input string: "abc"')
  })

  it('dates are written with milliseconds and an offset in digits', () => {
    expect(isoText(new Date(1_700_000_000_120))).toBe('2023-11-14T22:13:20.120+00:00')
    expect(isoText(new Date(0))).toBe('1970-01-01T00:00:00.000+00:00')
  })
})
