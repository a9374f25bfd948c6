// The Redis store keeps the contract, with three connections as three servers have them.
import { describe, expect, it } from 'vitest'
import { openTestRedis, redisReachable, skipNote } from '../testing/services.ts'
import { openRedisStores } from '../testing/stores.ts'
import { createRedisStore } from './redis.ts'
import { storeContract } from './store.contract.ts'

const reachable = await redisReachable()

describe.skipIf(!reachable)(`the Redis store${skipNote('Redis', reachable)}`, () => {
  storeContract(openRedisStores, { rounds: 1_000, propertyRuns: 150, sweeps: false })

  it('keeps nothing for ever, and all keys of an account in one slot', async () => {
    const test = openTestRedis()
    try {
      const redis = test.connect()
      const store = createRedisStore({ redis, prefix: test.prefix })
      const limits = { perMinute: 10, outstanding: 10 }
      await store.issue({ key: { scope: 'account', id: 'x' }, bind: 'b', ttlMs: 300_000, limits })
      const keys = await test.keys()
      expect(keys).toHaveLength(3)
      for (const key of keys) {
        expect(await redis.pttl(key)).toBeGreaterThan(0)
        expect(/\{(.*)\}/.exec(key)?.[1]).toBe('account')
      }
    } finally {
      await test.close()
    }
  })

  it('sends a script again that the server has forgotten', async () => {
    const test = openTestRedis()
    try {
      const redis = test.connect()
      const store = createRedisStore({ redis, prefix: test.prefix })
      expect(await store.read({ scope: 'a', id: 'b' })).toBeUndefined()
      await redis.script('FLUSH')
      expect(await store.read({ scope: 'a', id: 'b' })).toBeUndefined()
    } finally {
      await test.close()
    }
  })
})
