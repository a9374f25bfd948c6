// The oncejob command as a user types it, from an empty folder to a result and the end of the server.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { killAll, startNode, type Child } from './support/children.ts'
import { oncejob, runOncejob, type Said } from './support/command.ts'
import type { WorkerSettings } from './support/fleet.ts'
import { openPlace, tempFolder, type Place } from './support/places.ts'
import { until } from './support/until.ts'
import { fileURLToPath } from 'node:url'

const folder = tempFolder('cli')
let place: Place
let server: Child
let env: Record<string, string> = {}

const run = (...args: string[]): Promise<Said> => runOncejob(args, { env, cwd: folder.path })

/** Runs it, wants exit code 0 and returns what it printed. */
const good = async (...args: string[]): Promise<string> => {
  const said = await run(...args)
  expect(said, args.join(' ')).toMatchObject({ code: 0 })
  return said.stdout
}

const json = async (...args: string[]): Promise<Record<string, unknown>> =>
  JSON.parse(await good(...args, '--json')) as Record<string, unknown>

const startWorker = async (url: string, token: string): Promise<Child> => {
  const settings: WorkerSettings = { urls: [url], token, name: 'cli-worker', ledger: join(folder.path, 'ledger') }
  const worker = startNode(fileURLToPath(new URL('./support/worker.ts', import.meta.url)), [], {
    tied: true,
    env: { E2E_WORKER: JSON.stringify(settings) },
  })
  await worker.says(/^READY$/m)
  return worker
}

beforeAll(async () => {
  place = await openPlace()
  server = oncejob(['start', '--port', '0'], { env: { ...place.env, ONCEJOB_LOG_LEVEL: 'warn' }, cwd: folder.path })
  const url = (await server.tells(/listens on (http:\S+)/))[1]!
  const token = (await server.tells(/admin token\D+?: (oj_\S+)/))[1]!
  env = { ONCEJOB_URL: url, ONCEJOB_TOKEN: token, ONCEJOB_APP: 'shop' }
})
afterAll(async () => {
  await killAll()
  await place.remove()
  folder.remove()
})

// One user's morning: the tests build on each other and run in this order.
it('makes an app and a token', async () => {
  expect(await good('apps', 'create', 'shop')).toMatch(/app shop was created/)
  const token = (await good('apps', 'token', 'shop')).trim()
  expect(token).toMatch(/^oj_\S+$/)
  expect(await good('apps')).toMatch(/shop/)
})

it('applies jobs from a file, and applying it again changes nothing', async () => {
  const jobs = [
    { name: 'greet', processor: 'work', retry: { max: 0 } },
    { name: 'break', processor: 'broken', retry: { max: 0 } },
    { name: 'needs-gpu', processor: 'work', workers: { labels: { gpu: 'yes' } } },
    { name: 'tick', processor: 'work', schedule: { trigger: { kind: 'cron', expression: '* * * * * *' } } },
  ]
  writeFileSync(join(folder.path, 'jobs.json'), JSON.stringify({ format: 'oncejob.jobs/1', jobs }))
  expect((await good('jobs', 'apply', 'jobs.json')).match(/created/g)).toHaveLength(4)
  expect((await good('jobs', 'apply', 'jobs.json')).match(/unchanged/g)).toHaveLength(4)
  expect(await good('jobs')).toMatch(/greet[\s\S]*needs-gpu/)
  const exported = JSON.parse(await good('jobs', 'export')) as { jobs: { name: string }[] }
  expect(exported.jobs.map((job) => job.name).toSorted()).toEqual(['break', 'greet', 'needs-gpu', 'tick'])
})

it('says why a run waits', async () => {
  const { id } = await json('run', 'greet')
  expect(await good('run', 'show', String(id))).toMatch(/waiting[\s\S]*waits because.*NO_WORKER/)
  await good('run', 'cancel', String(id))
  expect(await good('run', 'show', String(id))).toMatch(/canceled/)
})

it('runs a job, waits for it, and prints the result', async () => {
  const token = (await good('apps', 'token', 'shop')).trim()
  await startWorker(env['ONCEJOB_URL']!, token)
  expect(await good('workers')).toMatch(/cli-worker/)
  const said = await run('run', 'greet', '--wait', '--params', '{"says":["good morning"]}')
  expect(said).toMatchObject({ code: 0, stdout: expect.stringMatching(/succeeded[\s\S]*cli-worker/) })
  expect(await good('runs', '--job', 'greet', '--state', 'succeeded')).toMatch(/greet/)
})

it('says with its exit code how a run ended', async () => {
  const said = await run('run', 'break', '--wait')
  expect(said.code).toBe(10)
  expect(said.stdout).toMatch(/failed[\s\S]*no such order/)
  const waiting = await run('run', 'needs-gpu', '--wait', '--timeout', '1s')
  expect(waiting.code).toBe(13)
  const id = /run (\d+)/.exec(waiting.stdout)![1]!
  expect(await good('run', 'show', id)).toMatch(/waits because.*gpu.*NO_WORKER_WITH_LABEL/)
})

it('follows a log until the run has ended', async () => {
  const gate = join(folder.path, 'gate')
  const { id } = await json('run', 'greet', '--params', JSON.stringify({ says: ['first line', 'second line'], gate }))
  const follower = oncejob(['logs', String(id), '-f'], { env, cwd: folder.path })
  await follower.says(/second line/)
  expect(follower.isAlive()).toBe(true)
  writeFileSync(gate, '')
  expect(await follower.ended).toEqual({ code: 0, signal: null })
  expect(follower.stdout()).toMatch(/first line[\s\S]*second line/)
  expect(await good('logs', String(id))).toMatch(/info +first line\n.*info +second line/)
})

it('lists the fires of a schedule', async () => {
  await until('a fire', async () => /fired/.test(await good('fires', '--job', 'tick')))
  await good('jobs', 'disable', 'tick')
  expect(await json('fires', '--job', 'tick')).toMatchObject({
    items: expect.arrayContaining([expect.objectContaining({ outcome: 'fired' })]),
  })
})

it('audits and examines the server', async () => {
  expect(await good('audit')).toMatch(/I2[\s\S]*I7/)
  const doctor = await run('doctor')
  expect([0, 21]).toContain(doctor.code)
  expect(doctor.stdout).toMatch(/database/i)
})

it('tells mistakes apart by exit code, each in a readable line', async () => {
  const mistakes: [string[], number, RegExp][] = [
    [['jubs'], 2, /jobs/],
    [['run'], 2, /name a job/],
    [['runs', '--limit', 'many'], 2, /limit/],
    [['run', 'greet', '--params', '{'], 2, /JSON/],
    [['run', 'nobody-knows'], 5, /JOB_NOT_FOUND/],
    [['run', 'show', '999999999'], 5, /RUN_NOT_FOUND/],
    [['me', '--token', 'oj_nobody'], 4, /TOKEN_INVALID/],
  ]
  for (const [args, code, says] of mistakes) {
    const said = await run(...args)
    expect(said, args.join(' ')).toMatchObject({ code, stderr: expect.stringMatching(says) })
    expect(said.stderr).not.toMatch(/\bat .*:\d+:\d+/)
  }
})

it('ends with 0 at Ctrl-C, and says 3 when no server answers', async () => {
  expect(await server.endBy('SIGINT')).toEqual({ code: 0, signal: null })
  expect(await run('me')).toMatchObject({ code: 3, stderr: expect.stringMatching(/no server answers/) })
})
