// A server that can not start, and one that is told to end: one readable line, no stack, an exit code that says it.
import { writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { sql } from '@oncejob/server/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { killAll, type Child } from './support/children.ts'
import { oncejob } from './support/command.ts'
import { openPlace, placeKind, tempFolder, type Place } from './support/places.ts'
import { within } from './support/until.ts'

let folder: ReturnType<typeof tempFolder>
let place: Place
beforeEach(async () => {
  folder = tempFolder('start')
  place = await openPlace()
})
afterEach(async () => {
  await killAll()
  await place.remove()
  folder.remove()
})

/** Starts the command with a database of its own unless the settings name another. */
const startServer = (args: readonly string[] = [], env: Readonly<Record<string, string>> = place.env): Child =>
  oncejob(['start', '--log-level', 'warn', '--port', '0', ...args], { env })

const ready = /oncejob listens on (http:\S+)/

/** It starts, to the point where it answers. */
const isUp = async (server: Child): Promise<string> => (await server.tells(ready))[1]!

/** It ends by itself with 1 and exactly one line, which it returns. */
const refusal = async (server: Child): Promise<string> => {
  const ending = await within('the end of a server that can not start', server.ended)
  const lines = server.stderr().trimEnd().split('\n')
  expect(lines, server.stderr()).toHaveLength(1)
  expect(server.stdout()).toBe('')
  expect(lines[0]).not.toMatch(/\bat .*:\d+:\d+|node:internal|Error:/)
  expect(ending).toEqual({ code: 1, signal: null })
  return lines[0]!
}

it('a port that is taken', async () => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const { port } = other.address() as AddressInfo
  try {
    const line = await refusal(startServer(['--port', String(port)]))
    expect(line).toMatch(new RegExp(`port ${port} .*taken`))
  } finally {
    other.close()
  }
})

it('an address that this machine does not have', async () => {
  expect(await refusal(startServer(['--host', '192.0.2.1']))).toMatch(/192\.0\.2\.1/)
})

it('an unreachable database: its password is not shown', async () => {
  const free = createServer()
  await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve))
  const { port } = free.address() as AddressInfo
  await new Promise((resolve) => free.close(resolve))
  const line = await refusal(startServer(['--database-url', `postgres://user:s3cret@127.0.0.1:${port}/jobs`]))
  expect(line).toMatch(new RegExp(`127\\.0\\.0\\.1:${port}`))
  expect(line).not.toContain('s3cret')
})

it('a database on a host that does not exist: its password is not shown', async () => {
  const line = await refusal(startServer([], { DATABASE_URL: 'postgres://user:s3cret@no-such-host.invalid/jobs' }))
  expect(line).toMatch(/no-such-host\.invalid/)
  expect(line).not.toContain('s3cret')
})

describe('settings that can not be used are named, with what they may be', () => {
  it.each([
    [['--port', '70000'], {}, /--port .*65535/],
    [['--port', 'http'], {}, /--port/],
    [['--log-level', 'loud'], {}, /--log-level.*warn/],
    [['--database-url', 'mysql://127.0.0.1/jobs'], {}, /--database-url.*postgres:/],
    [[], { ONCEJOB_LEASE_MS: '10s' }, /ONCEJOB_LEASE_MS/],
    [[], { ONCEJOB_GRACE_MS: '-1' }, /ONCEJOB_GRACE_MS/],
    [[], { ONCEJOB_ADMIN_TOKEN: 'short' }, /ONCEJOB_ADMIN_TOKEN.*16/],
  ])('%j %j', async (args, env, says) => {
    expect(await refusal(startServer(args, { ...place.env, ...env }))).toMatch(says)
  })
})

it('a database that is newer than the server is left alone', async () => {
  const first = startServer()
  await isUp(first)
  expect(await first.endBy('SIGTERM')).toEqual({ code: 0, signal: null })
  await place.look((queries) =>
    queries.query(sql`insert into oncejob.migration (version, name, checksum) values (999999, 'from_the_future', 'x')`),
  )
  expect(await refusal(startServer())).toMatch(/999999.*newer server/)
})

it('Ctrl-C ends an idle server with 0 within ten seconds', async () => {
  const server = startServer()
  await isUp(server)
  expect(await server.endBy('SIGINT', 10_000)).toEqual({ code: 0, signal: null })
  expect(server.stderr()).not.toMatch(/\bat .*:\d+:\d+/)
})

describe.skipIf(placeKind() === 'postgres')('the data folder', () => {
  it('in use by a living server: refused, and let in right after its SIGKILL', async () => {
    const data = join(folder.path, 'data')
    const owner = startServer(['--data', data], {})
    await isUp(owner)
    const line = await refusal(startServer(['--data', data], {}))
    expect(line).toContain(data)
    expect(line).toMatch(new RegExp(`in use.*${owner.pid}`))
    expect(owner.isAlive()).toBe(true)

    await owner.kill()
    const next = startServer(['--data', data], {})
    await isUp(next)
    expect(await next.endBy('SIGTERM')).toEqual({ code: 0, signal: null })
  })

  it('is a file', async () => {
    const file = join(folder.path, 'data')
    writeFileSync(file, 'notes of someone')
    expect(await refusal(startServer(['--data', file], {}))).toContain(file)
  })

  it('is inside of a file', async () => {
    const file = join(folder.path, 'file')
    writeFileSync(file, 'notes of someone')
    expect(await refusal(startServer(['--data', join(file, 'data')], {}))).toContain(file)
  })
})
