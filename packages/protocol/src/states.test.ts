// The table of moves: what it promises about every state and every move.
import { describe, expect, test } from 'vitest'
import { endedRunStates, isEnded, openRunStates, runActions, runMoves, runStates, sourcesOf } from './states.ts'

describe('the life of a run', () => {
  test('has each state in the table, and each target is a state', () => {
    expect(Object.keys(runMoves)).toEqual([...runStates])
    for (const moves of Object.values(runMoves))
      for (const target of Object.values(moves)) expect(runStates).toContain(target)
  })
  test('leaves a terminal state only by a retry by hand (I5)', () => {
    for (const state of endedRunStates) expect(Object.keys(runMoves[state])).toEqual(['retryByHand'])
    expect(sourcesOf('retryByHand')).toEqual([...endedRunStates])
  })
  test('is open or ended, never both', () => {
    expect([...openRunStates, ...endedRunStates].toSorted()).toEqual([...runStates].toSorted())
    expect(runStates.filter(isEnded)).toEqual([...endedRunStates])
  })
  test('succeeds only from running, with a lease', () => {
    expect(sourcesOf('succeed')).toEqual(['running'])
  })
  test('allows what its moves allow', () => {
    expect(runActions.cancel).toEqual(sourcesOf('cancel'))
    expect(runActions.retry).toEqual(sourcesOf('retryByHand'))
    expect(runActions.resolve).toEqual(sourcesOf('resolveRetry'))
  })
  test('leaves unknown only by a decision', () => {
    expect(runMoves.unknown).toEqual({
      resolveSucceeded: 'succeeded',
      resolveFailed: 'failed',
      resolveRetry: 'waiting',
      cancel: 'stopped',
      stop: 'stopped',
    })
    expect(isEnded('unknown')).toBe(false)
  })
})
