// The retry policy: what may be sent twice.
import { errors, type ErrorCode } from '@oncejob/protocol'
import { describe, expect, it } from 'vitest'
import { endOfAnswer, policy } from './policy.ts'

describe('the policy table', () => {
  it('sends a mutation again only when no server can have executed it', () => {
    const again = Object.entries(policy)
      .filter(([, row]) => row.mutation === 'again')
      .map(([end]) => end)
    expect(again).toEqual(['not-sent', 'nothing-done'])
  })

  it('never repeats what was refused, and gives a reason for every row', () => {
    expect(policy.refused).toMatchObject({ read: 'reject', mutation: 'reject' })
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
    const others = Object.entries(ends).filter(([code]) => errors[code as ErrorCode].retry !== 'same-key')
    expect(new Set(others.map(([, end]) => end))).toEqual(new Set(['refused']))
  })

  it('trusts no promise of an answer that is not a problem document', () => {
    expect(endOfAnswer(503, undefined)).toBe('stranger-broke')
    expect(endOfAnswer(404, undefined)).toBe('refused')
  })
})
