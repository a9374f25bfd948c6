// How drivers' failures are told apart.
import { expect, test } from 'vitest'
import { DatabaseError, Outage } from '../../kernel/errors.ts'
import { failureOf } from './failures.ts'

const refusal = (code: string, constraint?: string): Error =>
  Object.assign(new Error('says the database'), { code, severity: 'ERROR', constraint })

test.each(['23505', '42P01', '40001', '40P01', '55P03', '22012', '25P02'])(
  '%s is a refusal of the database',
  (code) => {
    const failure = failureOf(refusal(code, 'job_name_key'))
    expect(failure).toBeInstanceOf(DatabaseError)
    expect(failure).toMatchObject({ sqlState: code, constraint: 'job_name_key', message: 'says the database' })
  },
)

test.each(['08006', '08P01', '53300', '53100', '57P01', '57P02', '57P03', '57P05', '57014', '25006'])(
  '%s is an outage',
  (code) => {
    const cause = refusal(code)
    expect(failureOf(cause)).toBeInstanceOf(Outage)
    expect(failureOf(cause)).toMatchObject({ cause, message: `database: says the database (${code})` })
  },
)

test.each(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'ENOENT'])(
  '%s is an outage',
  (code) => {
    expect(failureOf(Object.assign(new Error('socket'), { code }))).toBeInstanceOf(Outage)
  },
)

test.each([
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'Connection terminated',
  'Client has encountered a connection error and is not queryable',
  'Query read timeout',
  'timeout exceeded when trying to connect',
  'Cannot use a pool after calling end on the pool',
])('«%s» is an outage', (message) => {
  expect(failureOf(new Error(message))).toBeInstanceOf(Outage)
})

test('an outage of all addresses of a host is one outage with a message', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED ::1:5432'), { code: 'ECONNREFUSED' })
  const failure = failureOf(new AggregateError([refused, refused]))
  expect(failure).toBeInstanceOf(Outage)
  expect(String(failure)).toContain('connect ECONNREFUSED ::1:5432')
})

test('a bug stays what it is', () => {
  const bug = new TypeError('undefined is not a function')
  expect(failureOf(bug)).toBe(bug)
  const known = new Outage('translated before')
  expect(failureOf(known)).toBe(known)
  expect(failureOf('text')).toBe('text')
})
