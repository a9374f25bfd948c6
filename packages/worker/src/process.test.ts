// What only a process of its own can show: errors that escape, signals, and an exit by itself.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FakeServer } from './testing/fake-server.ts'
import { until } from './testing/until.ts'

const program = fileURLToPath(new URL('testing/worker-process.ts', import.meta.url))

let server: FakeServer
let kill: () => void = () => undefined

beforeEach(async () => {
  server = await FakeServer.start()
})

afterEach(async () => {
  kill()
  await server.close()
})

const startProcess = () => {
  const child = spawn(process.execPath, [program, server.url], { stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { text: '' }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output.text += String(chunk)))
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.on('exit', (code, signal) => resolve({ code, signal }))
  })
  kill = () => child.kill('SIGKILL')
  return { child, output, ended }
}

test('errors that escape a processor are logged, kill nothing, and fail no other run', async () => {
  const { child, output, ended } = startProcess()
  server.add({ processor: 'slow', params: 200 })
  server.add({ processor: 'reject' })
  server.add({ processor: 'throw' })
  await until('all three are accepted', () => server.accepted.length === 3)
  expect(server.accepted.map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded', 'succeeded'])
  await until(
    'both are logged',
    () => output.text.includes('nobody handled it') && output.text.includes('outside of any promise'),
  )
  child.kill('SIGTERM')
  expect(await ended).toEqual({ code: 0, signal: null })
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} drains: the run ends, its result is delivered, the session is left, the process exits with 0`, async () => {
    const { child, ended } = startProcess()
    server.add({ processor: 'slow', params: 300 })
    await until('the run is under way', () => server.polls.some(({ held }) => held.length === 1))
    child.kill(signal)
    expect(await ended).toEqual({ code: 0, signal: null })
    expect(server.accepted).toMatchObject([{ outcome: 'succeeded' }])
    expect(server.left).toHaveLength(1)
  })
}

test('a second signal ends the process at once', async () => {
  const { child, ended } = startProcess()
  server.add({ processor: 'slow', params: 1_000_000 })
  await until('the run is under way', () => server.polls.some(({ held }) => held.length === 1))
  child.kill('SIGTERM')
  await until('the worker drains', () => server.polls.some(({ draining }) => draining === true))
  child.kill('SIGTERM')
  expect(await ended).toEqual({ code: null, signal: 'SIGTERM' })
})

test('a wrong token ends start() with a readable reason', async () => {
  server.intercept = () => ({ status: 401, body: { code: 'TOKEN_INVALID', detail: 'the token is unknown' } })
  const { output, ended } = startProcess()
  expect((await ended).code).toBe(1)
  expect(output.text).toContain('TOKEN_INVALID: the token is unknown')
})
