// The retry policy: what may be sent twice.
import { errors, type ErrorCode } from '@oncejob/protocol'
import { describe, expect, it } from 'vitest'
import { endOfAnswer, policy } from './policy.ts'

describe('the policy table', () => {
  it('sends a mutation again exactly when it sends a read again', () => {
    for (const row of Object.values(policy)) expect(row.mutation).toBe(row.read)
  })

  it('leaves a doubt after every try that a server may have executed, and only then', () => {
    const having = (doubt: string) =>
      Object.entries(policy)
        .filter(([, row]) => row.doubt === doubt)
        .map(([end]) => end)
    expect(having('raises')).toEqual(['no-answer', 'broke', 'stranger-broke'])
    expect(having('ends')).toEqual(['refused'])
  })

  it('never repeats what was refused, and gives a reason for every row', () => {
    for (const end of ['refused', 'turned-away'] as const)
      expect(policy[end]).toMatchObject({ read: 'reject', mutation: 'reject' })
    for (const row of Object.values(policy)) expect(row.why.length).toBeGreaterThan(20)
  })

  it('knows a row for every code of the error table', () => {
    const ends = Object.fromEntries(
      Object.entries(errors).map(([code, spec]) => [code, endOfAnswer(spec.status, { code, retry: spec.retry })]),
    ) as Record<ErrorCode, string>
    expect(ends.SHUTTING_DOWN).toBe('nothing-done')
    // The connection to the database may have broken during the COMMIT.
    expect(ends.DATABASE_UNAVAILABLE).toBe('broke')
    const unavailable = { code: 'DATABASE_UNAVAILABLE', retry: 'same-key' }
    expect(endOfAnswer(503, { ...unavailable, executed: false })).toBe('nothing-done')
    expect(endOfAnswer(503, { ...unavailable, executed: true })).toBe('broke')
    expect(ends.BUG).toBe('broke')
    // Said of the first try, which goes on.
    expect(ends.IDEMPOTENCY_IN_PROGRESS).toBe('broke')
    const others = Object.entries(ends).filter(([code]) => errors[code as ErrorCode].retry !== 'same-key')
    expect(new Set(others.map(([, end]) => end))).toEqual(new Set(['refused', 'turned-away']))
  })

  it('believes a no that settles the call only from behind the look at the key', () => {
    const endOf = (code: ErrorCode) => endOfAnswer(errors[code].status, { code, retry: errors[code].retry })
    const settling = ['JOB_NOT_FOUND', 'NAME_TAKEN', 'RUN_ENDED', 'VERSION_CONFLICT', 'IDEMPOTENCY_KEY_REUSED'] as const
    for (const code of settling) expect(endOf(code)).toBe('refused')
    const before = [
      'TOKEN_INVALID',
      'READ_ONLY',
      'REQUEST_INVALID',
      'ROUTE_NOT_FOUND',
      'APP_NOT_FOUND',
      'BODY_TOO_LARGE',
      'IDEMPOTENCY_KEY_INVALID',
      'IDEMPOTENCY_KEY_EXPIRED',
    ] as const
    for (const code of before) expect(endOf(code)).toBe('turned-away')
  })

  it('trusts no promise of an answer that is not a problem document', () => {
    expect(endOfAnswer(503, undefined)).toBe('stranger-broke')
    expect(endOfAnswer(404, undefined)).toBe('turned-away')
  })
})
