// Request keys: what a header may say, and what our own keys carry.
import { describe, expect, test } from 'vitest'
import { makeRequestKey, readRequestKey, ulid } from './request-key.ts'

describe('a request key', () => {
  test('is the same in the quoted form of the draft and in the bare one', () => {
    expect(readRequestKey('"order-4711"')).toBe('order-4711')
    expect(readRequestKey('order-4711')).toBe('order-4711')
  })
  test.each([
    '',
    'short',
    'with space 123',
    'with,comma123',
    'with"quote123',
    '"unbalanced123',
    'ümlaut-4711',
    'x'.repeat(256),
  ])('%j is refused', (header) => {
    expect(readRequestKey(header)).toBeUndefined()
  })
  test('of ours is valid, never the same twice, and sorts by its time', () => {
    const keys = new Set(Array.from({ length: 10_000 }, makeRequestKey))
    expect(keys.size).toBe(10_000)
    for (const key of keys) expect(readRequestKey(key)).toBe(key)
    const chance = new Uint8Array(16)
    expect(ulid(1_000, chance) < ulid(1_001, chance)).toBe(true)
    expect(ulid(0, chance)).toHaveLength(26)
  })
})
