// One-time tokens in memory, and what they refuse to be set up with.
import { expect, it, describe } from 'vitest'
import { onceTokensContract } from './once-tokens.contract.ts'
import { createOnceTokens } from './once-tokens.ts'
import { createRequestKeys } from './request-keys.ts'
import { createMemoryStore } from './store/memory.ts'
import { openMemory } from './testing/stores.ts'

describe('one-time tokens in memory', () => {
  onceTokensContract(openMemory, { rounds: 1_000, propertyRuns: 500 })
})

it.each([9_999, 3_600_001, Number.NaN])('a life of %d ms is out of bounds (S-07)', (ttlMs) => {
  expect(() => createOnceTokens({ store: createMemoryStore(), secret: 'long enough, this secret', ttlMs })).toThrow(
    RangeError,
  )
})

it('the published demo got this wrong: 8: a time in the wrong unit, or under an old name, is refused and not taken', () => {
  const store = createMemoryStore()
  const secret = 'long enough, this secret'
  // Seconds where milliseconds are meant.
  expect(() => createOnceTokens({ store, secret, ttlMs: 300 })).toThrow('ttlMs must be from 10000 to 3600000')
  expect(() => createRequestKeys({ store, retentionMs: 259_200 })).toThrow('retentionMs must be from 3600000')
  // @ts-expect-error -- a name that does not exist must not compile
  createOnceTokens({ store, secret, ttl: 300_000 })
})

it.each([['short'], [[]], [['a secret that is long enough', 'short']]])('the secret %j is refused', (secret) => {
  expect(() => createOnceTokens({ store: createMemoryStore(), secret })).toThrow('at least 16')
})
