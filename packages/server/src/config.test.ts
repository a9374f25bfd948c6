// Settings: defaults that work, and one readable line for each that is wrong.
import { describe, expect, test } from 'vitest'
import { configFrom } from './config.ts'
import { StartFailure } from './kernel/errors.ts'

describe('the settings', () => {
  test('have defaults that start a server with the embedded database', () => {
    expect(configFrom({})).toMatchObject({
      host: '127.0.0.1',
      port: 7700,
      databaseUrl: undefined,
      dataDir: './data',
      leaseMs: 10_000,
      graceMs: 5_000,
    })
  })
  test('of a flag win over those of the environment', () => {
    expect(
      configFrom({ ONCEJOB_PORT: '1', DATABASE_URL: 'postgres://a/b' }, { port: '2', databaseUrl: 'postgresql://c/d' }),
    ).toMatchObject({
      port: 2,
      databaseUrl: 'postgresql://c/d',
    })
  })
  test.each([
    [{ ONCEJOB_PORT: 'http' }, {}, 'ONCEJOB_PORT is "http"; it must be a whole number from 0 to 65535'],
    [{}, { port: '99999' }, '--port is "99999"'],
    [{ ONCEJOB_LEASE_MS: '5' }, {}, 'ONCEJOB_LEASE_MS is "5"'],
    [{ DATABASE_URL: 'mysql://localhost/db' }, {}, 'DATABASE_URL must start with postgres://'],
    [{ ONCEJOB_LOG_LEVEL: 'loud' }, {}, 'must be one of trace, debug, info, warn, error, silent'],
  ])('%j %j are refused with their name', (env, flags, says) => {
    expect(() => configFrom(env, flags)).toThrow(StartFailure)
    expect(() => configFrom(env, flags)).toThrow(says)
  })
})
