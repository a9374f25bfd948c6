// The first command of the README, as a new user runs it: real results, a clean end, the same data at the next start.
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { killAll, startNode, type Child } from './support/children.ts'
import { stablePort } from './support/fleet.ts'
import { tempFolder } from './support/places.ts'

const program = fileURLToPath(new URL('../examples/quickstart/main.ts', import.meta.url))

let folder: ReturnType<typeof tempFolder>
beforeAll(() => {
  folder = tempFolder('quickstart')
})
afterEach(killAll)
afterAll(() => folder.remove())

const begin = async (): Promise<Child> =>
  startNode(program, [], { env: { ONCEJOB_PORT: String(await stablePort()), ONCEJOB_DATA: folder.path } })

describe('the quickstart', () => {
  test('prints real results of all three jobs, and ends cleanly at Ctrl-C', async () => {
    const first = await begin()
    await first.says(/jobs: server-latency \(created\), sum-sales \(created\), count-words \(created\)/)
    await first.says(/count-words +run \d+ +succeeded .*\{"words":5\}/)
    await first.says(/server-latency +run \d+ +succeeded .*"status":200/)
    await first.says(
      /sum-sales +run \d+ +succeeded .*\{"east":34239,"north":48413.7,"south":68539.35,"west":30985.05\}/,
    )
    expect(await first.endBy('SIGINT')).toEqual({ code: 0, signal: null })
    expect(first.stdout()).toContain('stopped')
    expect(first.stderr()).toBe('')
  })
  test('goes on with the same data at the next start, and with another worker when one is killed', async () => {
    const second = await begin()
    await second.says(/jobs: server-latency \(unchanged\), sum-sales \(unchanged\), count-words \(unchanged\)/)
    const [, runId] = await second.says(/count-words +run (\d+) +succeeded/)
    // ids go on where the first start left off
    expect(Number(runId)).toBeGreaterThan(3)
    const [, worker] = await second.says(/worker process (\d+)/)
    process.kill(Number(worker), 'SIGKILL')
    await second.says(/the worker is gone \(SIGKILL\): starting another[^]*succeeded/)
    expect(await second.endBy('SIGINT')).toEqual({ code: 0, signal: null })
  })
})
