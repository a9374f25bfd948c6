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
      powerjob: {
        auth: true,
        zone: new Intl.DateTimeFormat().resolvedOptions().timeZone,
        tokenSeconds: 7 * 86_400,
      },
    })
  })
  test('of the wire of PowerJob clients can be set', () => {
    const env = {
      ONCEJOB_POWERJOB_AUTH: 'off',
      ONCEJOB_POWERJOB_ZONE: 'Asia/Shanghai',
      ONCEJOB_POWERJOB_TOKEN_SECONDS: '60',
    }
    expect(configFrom(env).powerjob).toMatchObject({ auth: false, zone: 'Asia/Shanghai', tokenSeconds: 60 })
    expect(configFrom(env, { powerjobAuth: 'on', powerjobZone: 'UTC' }).powerjob).toMatchObject({
      auth: true,
      zone: 'UTC',
    })
  })
  test('for Java workers have a port of their own, on the host of the web port unless another is named', () => {
    expect(configFrom({}).powerjob).toMatchObject({
      workerPort: 10_010,
      workerPortChosen: false,
      workerHost: '127.0.0.1',
      workerAddress: undefined,
    })
    const env = { ONCEJOB_HOST: '0.0.0.0', ONCEJOB_POWERJOB_PORT: 'off', ONCEJOB_POWERJOB_ADDRESS: 'jobs.example:80' }
    expect(configFrom(env).powerjob).toMatchObject({
      workerPort: null,
      workerHost: '0.0.0.0',
      workerAddress: 'jobs.example:80',
    })
    const flags = { powerjobPort: '7', powerjobHost: '10.0.0.1', powerjobAddress: '10.9.9.9' }
    expect(configFrom(env, flags).powerjob).toMatchObject({
      workerPort: 7,
      workerPortChosen: true,
      workerHost: '10.0.0.1',
      workerAddress: '10.9.9.9',
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
    [{ ONCEJOB_POWERJOB_AUTH: 'yes' }, {}, 'ONCEJOB_POWERJOB_AUTH is "yes"; it must be one of on, off'],
    [{}, { powerjobAuth: 'no' }, '--powerjob-auth is "no"'],
    [{ ONCEJOB_POWERJOB_ZONE: 'Mars/Base' }, {}, 'ONCEJOB_POWERJOB_ZONE is "Mars/Base"; it must be an IANA zone'],
    [{ ONCEJOB_POWERJOB_TOKEN_SECONDS: '0' }, {}, 'ONCEJOB_POWERJOB_TOKEN_SECONDS is "0"'],
    [{ ONCEJOB_POWERJOB_PORT: 'on' }, {}, 'ONCEJOB_POWERJOB_PORT is "on"'],
    [{}, { powerjobPort: '65536' }, '--powerjob-port is "65536"'],
    [{ ONCEJOB_POWERJOB_ADDRESS: 'http://jobs:1' }, {}, 'without http:// and not IPv6'],
    [{ ONCEJOB_POWERJOB_ADDRESS: 'jobs:0' }, {}, 'ONCEJOB_POWERJOB_ADDRESS is "jobs:0"'],
    [{}, { powerjobAddress: '[::1]:80' }, '--powerjob-address is "[::1]:80"'],
    [{ ONCEJOB_LOG_LEVEL: 'loud' }, {}, 'must be one of trace, debug, info, warn, error, silent'],
  ])('%j %j are refused with their name', (env, flags, says) => {
    expect(() => configFrom(env, flags)).toThrow(StartFailure)
    expect(() => configFrom(env, flags)).toThrow(says)
  })
})
