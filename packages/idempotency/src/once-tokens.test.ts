// One-time tokens in memory, and what they refuse to be set up with.
import { expect, it, describe } from 'vitest'
import { onceTokensContract } from './once-tokens.contract.ts'
import { createOnceTokens } from './once-tokens.ts'
import { createMemoryStore } from './store/memory.ts'
import { openMemory } from './testing/stores.ts'

describe('one-time tokens in memory', () => {
  onceTokensContract(openMemory, { rounds: 1_000, propertyRuns: 500 })
})

it.each([9_999, 3_600_001, Number.NaN])('a life of %d ms is out of bounds (S-07)', (ttlMs) => {
  expect(() => createOnceTokens({ store: createMemoryStore(), secret: 'long enough, this secret', ttlMs })).toThrow(RangeError)
})

it.each([['short'], [[]], [['a secret that is long enough', 'short']]])('the secret %j is refused', (secret) => {
  expect(() => createOnceTokens({ store: createMemoryStore(), secret })).toThrow('at least 16')
})
