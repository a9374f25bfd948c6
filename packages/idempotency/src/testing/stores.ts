// How the suites open a store: several instances over the same records, as several server processes have them.
import { createMemoryStore } from '../store/memory.ts'
import { createPostgresStore } from '../store/postgres.ts'
import { createRedisStore } from '../store/redis.ts'
import type { Store } from '../store/store.ts'
import { openTestPostgres, openTestRedis } from './services.ts'

export interface OpenStores {
  /** Instances over the same records. */
  readonly stores: readonly [Store, Store, Store]
  /** Moves the clock that the stores are given. */
  advance(byMs: number): void
  /** Everything that can be read in the database, as one text. */
  contents(): Promise<string>
  close(): Promise<void>
}

const handClock = () => {
  let atMs = Date.now()
  return {
    now: () => atMs,
    advance: (byMs: number) => {
      atMs += byMs
    },
  }
}

export const openMemory = (): Promise<OpenStores> => {
  const { now, advance } = handClock()
  const keys = new Set<string>()
  const inner = createMemoryStore({ now })
  // What the store is given is what it keeps.
  const store = new Proxy(inner, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...args: unknown[]): unknown => {
        keys.add(JSON.stringify(args))
        return Reflect.apply(value, target, args)
      }
    },
  })
  return Promise.resolve({
    stores: [store, store, store],
    advance,
    contents: () => Promise.resolve([...keys].join('\n')),
    close: () => Promise.resolve(),
  })
}

export const openPostgresStores = async (): Promise<OpenStores> => {
  const { now, advance } = handClock()
  const database = await openTestPostgres()
  const on = (pool: typeof database.pool): Store => createPostgresStore({ pool, now })
  return {
    stores: [on(database.pool), on(database.anotherPool()), on(database.anotherPool())],
    advance,
    contents: async () => {
      const { rows } = await database.pool.query('SELECT r::text AS row FROM oncejob_idempotency r')
      return JSON.stringify(rows)
    },
    close: () => database.close(),
  }
}

export const openRedisStores = (): Promise<OpenStores> => {
  const { now, advance } = handClock()
  const { prefix, connect, keys, close } = openTestRedis()
  const reader = connect()
  const on = (): Store => createRedisStore({ redis: connect(), prefix, now })
  return Promise.resolve({
    stores: [on(), on(), on()],
    advance,
    contents: async () => {
      const texts = (await keys()).map(async (key) =>
        key.includes('#')
          ? `${key} ${(await reader.zrange(key, '0', '-1')).join(' ')}`
          : `${key} ${JSON.stringify(await reader.hgetall(key))}`,
      )
      return (await Promise.all(texts)).join('\n')
    },
    close,
  })
}
