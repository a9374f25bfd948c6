// The example in the README runs as it stands there.
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FakeServer } from './testing/fake-server.ts'
import { until } from './testing/until.ts'

const packageFolder = fileURLToPath(new URL('..', import.meta.url))

let server: FakeServer
beforeEach(async () => {
  server = await FakeServer.start()
})
afterEach(() => server.close())

test('the example in the README runs, sums its file and stops', async () => {
  const readme = await readFile(`${packageFolder}/README.md`, 'utf8')
  const example = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? ''
  expect(example).toContain('createWorker')
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', example], {
    cwd: packageFolder,
    env: { ...process.env, ONCEJOB_URL: server.url, ONCEJOB_TOKEN: 'a-token' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ended = new Promise((resolve) => {
    child.on('exit', resolve)
  })
  const errors = { text: '' }
  child.stderr.on('data', (chunk) => (errors.text += String(chunk)))
  try {
    server.add({ processor: 'hello' })
    server.add({ processor: 'count-lines', params: { file: 'package.json' } })
    server.add({ processor: 'count-lines', params: { file: 'no-such-file' } })
    await until(`all runs are answered: ${errors.text}`, () => server.accepted.length === 3)
    const byRun = server.accepted.toSorted((a, b) => a.runId - b.runId)
    const lines = (await readFile(`${packageFolder}/package.json`, 'utf8')).trimEnd().split('\n').length
    expect(byRun).toMatchObject([
      { outcome: 'succeeded' },
      { outcome: 'succeeded', result: { lines } },
      { outcome: 'failed', terminal: true, error: { code: 'NO_SUCH_FILE' } },
    ])
    child.kill('SIGTERM')
    expect(await ended).toBe(0)
  } finally {
    child.kill('SIGKILL')
  }
})
