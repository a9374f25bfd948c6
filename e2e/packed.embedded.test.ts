// The packages as a user gets them: packed, installed in an empty folder by plain npm, type-checked, and a job run with them.
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const repository = process.cwd()
const home = mkdtempSync(join(tmpdir(), 'oncejob-packed-'))
const tarballs = join(home, 'tarballs')
const project = join(home, 'project')
// Two builds and an installation over the network, beside whatever else the machine does.
const preparationMaxMs = 600_000
const adminToken = 'a-token-for-this-test-only'

// A user's shell knows nothing of the npm script that this test runs in, but has a current Node.
const env: NodeJS.ProcessEnv = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(package|lifecycle|config_local_prefix|command)/.test(name)),
  ),
  PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter),
}

const execute = promisify(execFile)

/** Runs a program and resolves with its standard output; rejects with all that it said. */
const run = async (file: string, args: readonly string[], cwd = repository): Promise<string> => {
  try {
    return (await execute(file, args, { cwd, env, encoding: 'utf8' })).stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`${file} ${args.join(' ')} failed:\n${stdout}\n${stderr}`, { cause: error })
  }
}

const consumer = `
import { createClient, RunFailed } from '@oncejob/client'
import { createWorker, defineProcessors, processor } from '@oncejob/worker'

const [url = '', token = ''] = process.argv.slice(2)
// @ts-expect-error -- the types have arrived: a url is text
void (() => createClient({ url: 7700, token }))

const admin = createClient({ url, token })
await admin.apps.create({ name: 'shop' })
const { token: appToken } = await admin.tokens.create('shop', { name: 'consumer' })

const worker = createWorker({
  url,
  token: appToken,
  processors: defineProcessors({
    sum: processor<number[], number>(({ params }) => params.reduce((left, right) => left + right, 0)),
    broken: () => {
      throw new TypeError('no such order')
    },
  }),
})
await worker.start()
const client = createClient({ url, token: appToken })
await client.jobs.create({ name: 'add', processor: 'sum' })
await client.jobs.create({ name: 'break', processor: 'broken' })

const handle = await client.run('add', [19, 23])
const result: unknown = await handle.result()
const failure: unknown = await client.run('break').result().catch((error: unknown) => error)
const { undelivered } = await worker.stop()
console.log(JSON.stringify({ result, failed: failure instanceof RunFailed, undelivered }))
`

const tsconfig = {
  compilerOptions: {
    module: 'nodenext',
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    strict: true,
    typeRoots: [join(repository, 'node_modules/@types')],
    types: ['node'],
    outDir: 'out',
  },
  files: ['main.ts'],
}

const install = async (): Promise<void> => {
  const files = readdirSync(tarballs).map((name) => join(tarballs, name))
  const args = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', ...files]
  await run('npm', args, project)
}

/** Starts the installed command and resolves with the address that it prints; rejects with its words when it ends first. */
const startServer = (): Promise<{ server: ChildProcess; url: string }> =>
  new Promise((resolveStart, reject) => {
    const server = spawn(
      join(project, 'node_modules/.bin/oncejob'),
      ['start', '--port', '0', '--data', join(home, 'data')],
      {
        cwd: project,
        env: { ...env, ONCEJOB_ADMIN_TOKEN: adminToken },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let said = ''
    const hear = (text: string): void => {
      said += text
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0]
      if (url !== undefined) resolveStart({ server, url })
    }
    server.stdout.setEncoding('utf8').on('data', hear)
    server.stderr.setEncoding('utf8').on('data', hear)
    server.on('error', reject)
    server.on('exit', (code) => reject(new Error(`the server ended with ${code}:\n${said}`)))
  })

const exitOf = (server: ChildProcess): Promise<number | null> =>
  new Promise((resolveExit) => {
    if (server.exitCode === null && server.signalCode === null) server.once('exit', (code) => resolveExit(code))
    else resolveExit(server.exitCode)
  })

describe('the packed packages', () => {
  beforeAll(async () => {
    await run(process.execPath, ['scripts/build.ts'])
    await run(process.execPath, ['scripts/pack.ts', '--out', tarballs])
    mkdirSync(project)
    writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(tsconfig))
    writeFileSync(join(project, 'main.ts'), consumer)
    await install()
  }, preparationMaxMs)

  afterAll(() => rmSync(home, { recursive: true, force: true, maxRetries: 5 }))

  it('type-check in a strict project, library declarations included', async () => {
    const tsc = resolve(repository, 'node_modules/.bin/tsc')
    expect(await run(tsc, ['-p', project])).toBe('')
  })

  it('run a job: server from the command, worker and client from a script', async () => {
    const { server, url } = await startServer()
    try {
      const said = await run(process.execPath, ['out/main.js', url, adminToken], project)
      process.stdout.write(`packed consumer says ${said}`)
      expect(JSON.parse(said)).toEqual({ result: 42, failed: true, undelivered: 0 })
    } finally {
      server.kill('SIGTERM')
    }
    expect(await exitOf(server)).toBe(0)
  })

  it('contain no tests and nothing that points into the repository', async () => {
    const installed = readdirSync(join(project, 'node_modules/@oncejob'), { recursive: true, encoding: 'utf8' })
    expect(installed.filter((path) => /[.](test|contract)[.]|\/testing\/|\/src\//.test(path))).toEqual([])
  })
})
