// Fault points: where they are, in which order they are passed, and that a process that dies there is dead.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openFaultGate } from './fault-gate.ts'
import { createFaults, faultPoints, faultSettings, type FaultPoint, type Faults } from './fault-points.ts'
import { faultPool } from './fault-pool.ts'

const recording = (): { faults: Faults; seen: FaultPoint[] } => {
  const seen: FaultPoint[] = []
  return { seen, faults: { visit: async (point) => void seen.push(point) } }
}

test('each point has one name, and settings name one of them', () => {
  expect(new Set(faultPoints).size).toBe(faultPoints.length)
  expect(faultSettings({}).at).toBeUndefined()
  expect(faultSettings({ ONCEJOB_TEST_FAULT: 'once:after' }).at).toEqual({ point: 'once:after', passage: 1 })
  expect(faultSettings({ ONCEJOB_TEST_FAULT: 'report:sent#3', ONCEJOB_TEST_FAULT_LOG: 'x' })).toEqual({
    at: { point: 'report:sent', passage: 3 },
    log: 'x',
  })
})

test.each(['once:afterwards', 'once:after#0', 'once:after#x', 'once:after#1#2', '#2'])('%j is refused', (fault) => {
  expect(() => faultSettings({ ONCEJOB_TEST_FAULT: fault })).toThrow(RangeError)
})

test('the n-th passage is the deadly one, and those before it are held', async () => {
  let deaths = 0
  const faults = createFaults({ at: { point: 'once:after', passage: 3 }, log: undefined }, () => (deaths += 1))
  const passed: number[] = []
  const pass = (n: number, point: FaultPoint): void => void faults.visit(point).then(() => passed.push(n))
  pass(1, 'once:after')
  pass(2, 'once:before-effect')
  pass(3, 'once:after')
  await Promise.resolve()
  expect([deaths, passed]).toEqual([0, [2]])
  pass(4, 'once:after')
  await Promise.resolve()
  expect([deaths, passed]).toEqual([1, [2]])
})

test('a process dies by SIGKILL, says which points it passed, and does nothing behind the deadly one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'oncejob-faults-'))
  const log = join(folder, 'visits')
  const module = new URL('fault-points.ts', import.meta.url).href
  const program = `import { createFaults, faultSettings } from '${module}'
const faults = createFaults(faultSettings(process.env))
process.on('exit', () => process.stdout.write('exit'))
await faults.visit('once:before-effect')
process.stdout.write('alive ')
await faults.visit('once:after-effect')
process.stdout.write('undead')`
  try {
    const { signal, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      env: { ONCEJOB_TEST_FAULT: 'once:after-effect', ONCEJOB_TEST_FAULT_LOG: log },
      encoding: 'utf8',
    })
    expect([signal, stdout]).toEqual(['SIGKILL', 'alive '])
    expect(readFileSync(log, 'utf8')).toBe('once:before-effect\nonce:after-effect\n')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a pool passes its points in the order of the statements, the user’s own between them', async () => {
  const { faults, seen } = recording()
  const texts: string[] = []
  const client = {
    query: async (text: string) => {
      texts.push(text)
      return { rows: [], rowCount: 0 }
    },
    release: () => undefined,
  }
  const borrowed = await faultPool({ connect: async () => client }, faults).connect()
  const statements = [
    'INSERT INTO oncejob_fence (run_id',
    'BEGIN',
    'SELECT 1 FROM oncejob_fence WHERE',
    'INSERT INTO oncejob_effect (run_id',
    'INSERT INTO payment',
    'UPDATE oncejob_effect SET',
    'COMMIT',
  ]
  for (const text of statements) await borrowed.query(text)
  expect(texts).toEqual(statements)
  expect(seen).toEqual([
    'transaction:before',
    'transaction:fence-sent',
    'transaction:before-begin',
    'transaction:begun',
    'transaction:fence-held',
    'transaction:effect-noted',
    'transaction:written',
    'transaction:before-commit',
    'transaction:commit-sent',
    'transaction:committed',
  ])
})

test('a gate passes its points around the calls that have some, and changes nothing in them', async () => {
  const { faults, seen } = recording()
  const got: string[] = []
  const server = createServer((asked, answer) => {
    const parts: Buffer[] = []
    asked.on('data', (part: Buffer) => parts.push(part))
    asked.on('end', () => {
      got.push(`${asked.method} ${asked.url} ${asked.headers.authorization} ${Buffer.concat(parts).toString()}`)
      answer.writeHead(asked.url?.includes('begin') === true ? 409 : 200).end('{"said":1}')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const gate = await openFaultGate(`http://127.0.0.1:${port}`, faults)
  try {
    const call = async (path: string): Promise<unknown> => {
      const answer = await fetch(`${gate.url}${path}`, {
        method: 'POST',
        headers: { authorization: 'Bearer t' },
        body: 'x',
      })
      return [answer.status, await answer.json()]
    }
    expect(await call('/api/v1/worker/sessions/1/poll')).toEqual([200, { said: 1 }])
    expect(seen).toEqual([])
    expect(await call('/api/v1/worker/effects/begin?app=a')).toEqual([409, { said: 1 }])
    expect(await call('/api/v1/worker/effects/end')).toEqual([200, { said: 1 }])
    expect(await call('/api/v1/worker/reports')).toEqual([200, { said: 1 }])
    expect(seen).toEqual([
      'once:before-intent',
      'once:intent-sent',
      'once:intent-answered',
      'once:before-outcome',
      'once:outcome-sent',
      'once:outcome-answered',
      'report:before',
      'report:sent',
      'report:answered',
    ])
    expect(got[1]).toBe('POST /api/v1/worker/effects/begin?app=a Bearer t x')
  } finally {
    await gate.close()
    server.close()
    server.closeAllConnections()
  }
  // whoever comes when nobody answers behind it has a broken connection, not an answer
  const lonely = await openFaultGate(`http://127.0.0.1:${port}`, faults)
  await expect(fetch(`${lonely.url}/api/v1/worker/reports`, { method: 'POST', body: 'x' })).rejects.toThrow(
    'fetch failed',
  )
  await lonely.close()
})
