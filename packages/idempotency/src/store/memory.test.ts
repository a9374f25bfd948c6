// The memory store keeps the contract, and refuses to run where records would be split.
import { afterEach, describe, expect, it, vi } from 'vitest'
import { openMemory } from '../testing/stores.ts'
import { createMemoryStore } from './memory.ts'
import { storeContract } from './store.contract.ts'

describe('the memory store', () => {
  storeContract(openMemory, { rounds: 1_000, propertyRuns: 2_000, sweeps: true })
})

describe('in production', () => {
  afterEach(() => {
    vi.unstubAllEnvs()
  })

  it('the memory store does not start unless it is told that there is one process', () => {
    vi.stubEnv('NODE_ENV', 'production')
    expect(() => createMemoryStore()).toThrow('allowInProduction')
    expect(createMemoryStore({ allowInProduction: true }).name).toBe('memory')
  })
})

it('memory does not grow with what has expired', async () => {
  let atMs = 0
  const store = createMemoryStore({ now: () => atMs })
  const limits = { perMinute: 1_000_000, outstanding: 1_000_000 }
  for (let at = 0; at < 1_000; at += 1) {
    atMs += 1_000
    await store.issue({ key: { scope: `account ${at}`, id: 'a' }, bind: 'b', ttlMs: 10_000, limits })
  }
  // Swept on the way: what is left to sweep is what expired since.
  atMs += 10_000
  expect(await store.sweep()).toBeLessThanOrEqual(41)
})
