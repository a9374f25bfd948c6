// What is wrong with a request, in words: one sentence per mistake, at the place where it was made.
import { expect, it } from 'vitest'
import { JobInput, ReportInput, RunInput, TokenInput } from '@oncejob/protocol'
import type { TSchema } from 'typebox'
import { issuesOf } from './issues.ts'
import { compileSchema, SchemaMismatch } from './validation.ts'

const issues = (schema: TSchema, body: unknown): Record<string, string> => {
  const check = compileSchema({ schema, httpPart: 'body', method: 'POST', url: '/' })
  const { error } = check(body) as { error?: Error }
  if (!(error instanceof SchemaMismatch)) throw new Error('it fits')
  return Object.fromEntries(issuesOf(error.findings).map(({ path, says }) => [path, says]))
}
const job = (over: object): object => ({ name: 'a', processor: 'b', ...over })
const trigger = (value: unknown): object => job({ schedule: { trigger: value } })

it('names the field, not the branch of the union', () => {
  expect(issues(JobInput, trigger({ kind: 'cron' }))).toEqual({ '/schedule/trigger/expression': 'is missing' })
  expect(issues(JobInput, trigger({ kind: 'corn', expression: '* * * * *' }))).toEqual({
    '/schedule/trigger/kind': 'must be one of "none", "cron", "fixed-rate", "fixed-delay", "daily", "once"',
  })
  expect(issues(JobInput, trigger({}))).toEqual({ '/schedule/trigger/kind': 'is missing' })
  expect(issues(JobInput, trigger('cron'))).toEqual({ '/schedule/trigger': 'must be an object' })
  expect(issues(JobInput, trigger({ kind: 'fixed-rate', everyMs: 10, evryMs: 3 }))).toEqual({
    '/schedule/trigger/everyMs': 'must be at least 50',
    '/schedule/trigger/evryMs': 'is not a field here',
  })
})

it('says what a value may be', () => {
  expect(issues(JobInput, job({ description: 4, queueTimeoutMs: -1, enabled: 'yes' }))).toEqual({
    '/description': 'must be a text or null',
    '/queueTimeoutMs': 'must be at least 0',
    '/enabled': 'must be true or false',
  })
  expect(issues(TokenInput, { name: 'x', scope: 'admin' })).toEqual({ '/scope': 'must be one of "app", "read"' })
  expect(issues(RunInput, { job: true })).toEqual({ '/job': 'must be a whole number or a text' })
  expect(issues(RunInput, { job: ' ' })).toEqual({ '/job': 'must not be blank' })
  expect(issues(RunInput, null)).toEqual({ '': 'must be an object' })
})

it('points into lists, and escapes names as JSON pointers do', () => {
  const reports = [
    { runId: 1, lease: 1, outcome: 'succeeded' },
    { runId: 0, lease: 2, outcome: 'handed-back' },
  ]
  expect(issues(ReportInput, { reports })).toEqual({ '/reports/1/runId': 'must be at least 1' })
  expect(issues(RunInput, { job: 'x', 'a/b~c': 1 })).toEqual({ '/a~1b~0c': 'is not a field here' })
})

it('answers at most 50 sentences, however much is wrong', () => {
  const body = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`field${i}`, i]))
  expect(Object.keys(issues(RunInput, body))).toHaveLength(50)
})
