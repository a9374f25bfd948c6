// One-time tokens on PostgreSQL and on Redis, three servers each.
import { describe, expect, it } from 'vitest'
import { onceTokensContract } from './once-tokens.contract.ts'
import { createOnceTokens } from './once-tokens.ts'
import { createRedisStore } from './store/redis.ts'
import { openTestRedis, postgresReachable, redisReachable, skipNote } from './testing/services.ts'
import { openPostgresStores, openRedisStores } from './testing/stores.ts'

const [postgres, redis] = [await postgresReachable(), await redisReachable()]

describe.skipIf(!postgres)(`one-time tokens on PostgreSQL${skipNote('PostgreSQL', postgres)}`, () => {
  onceTokensContract(openPostgresStores, {
    rounds: process.env['ONCEJOB_FULL'] === '1' ? 1_000 : 300,
    propertyRuns: 20,
  })
})

describe.skipIf(!redis)(`one-time tokens on Redis${skipNote('Redis', redis)}`, () => {
  onceTokensContract(openRedisStores, { rounds: 1_000, propertyRuns: 60 })

  it('the published demo got this wrong: 3: everything a script touches is in one slot of a cluster', async () => {
    const test = openTestRedis()
    try {
      const client = test.connect()
      const keyCounts: string[][] = []
      const watched = {
        eval: (script: string, count: number, ...rest: string[]) => {
          keyCounts.push(rest.slice(0, count))
          return client.eval(script, count, ...rest)
        },
        evalsha: () => Promise.reject(new Error('NOSCRIPT')),
      }
      const tokens = createOnceTokens({
        store: createRedisStore({ redis: watched, prefix: test.prefix }),
        secret: 'a secret of the test',
      })
      const mine = { account: 'a', operation: 'createOrder' }
      const { token } = await tokens.issue(mine)
      expect(await tokens.consume({ token, ...mine })).toBe('accepted')
      // The slot is that of what stands between the braces.
      const tags = keyCounts.map((keys) => new Set(keys.map((key) => /\{(.+?)\}/.exec(key)?.[1])))
      expect(tags).toHaveLength(2)
      for (const each of tags) expect([...each]).toEqual([expect.any(String)])
    } finally {
      await test.close()
    }
  })
})
