// The main job of this repository in one command: a server with its embedded database, a worker, three jobs, live results.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient, OnceJobError, type OnceJobClient } from '@oncejob/client'
import type { JobExport } from '@oncejob/protocol'
import { configFrom, StartFailure, startServer, type RunningServer } from '@oncejob/server'

const say = (text: string): void => void process.stdout.write(`${text}\n`)
const appName = 'quickstart'

/** The admin token: made at the first start, kept beside the embedded data for the same user. */
const findToken = (server: RunningServer, dataDir: string): string => {
  const kept = join(dataDir, 'admin-token')
  const token =
    process.env['ONCEJOB_ADMIN_TOKEN'] ??
    server.adminToken ??
    (existsSync(kept) ? readFileSync(kept, 'utf8').trim() : undefined)
  if (token === undefined)
    throw new StartFailure(`the admin token is not in ${kept}; set ONCEJOB_ADMIN_TOKEN to one of your choice`)
  return token
}

/** Makes the app and its jobs; at a later start they are there, and nothing changes. */
const prepare = async (client: OnceJobClient): Promise<void> => {
  try {
    await client.apps.create({ name: appName, title: 'Quickstart' })
  } catch (error) {
    if (!(error instanceof OnceJobError) || error.code !== 'NAME_TAKEN') throw error
  }
  // the file is ours, and the server checks it
  const file = JSON.parse(readFileSync(new URL('./jobs.json', import.meta.url), 'utf8')) as JobExport
  const { jobs } = await client.jobs.import(file)
  say(`jobs: ${jobs.map((job) => `${job.name} (${job.outcome})`).join(', ')}`)
}

/** A token for the worker that may only do what an app may; the one of the last start ends. */
const workerToken = async (client: OnceJobClient): Promise<string> => {
  const name = 'quickstart worker'
  for await (const old of client.tokens.list(appName))
    if (old.name === name) await client.tokens.delete(appName, old.id)
  return (await client.tokens.create(appName, { name })).token
}

interface Staff {
  end(): Promise<void>
}

/** Keeps one worker process: when it dies, another one is started, and takes over what the first had begun. */
const keepWorker = async (url: string, token: string): Promise<Staff> => {
  let ending = false
  const hire = async (): Promise<ChildProcess> => {
    const env = { ...process.env, ONCEJOB_URL: url, ONCEJOB_TOKEN: token }
    const worker = fork(new URL('./worker.ts', import.meta.url), { env })
    const gone = once(worker, 'exit').then(() => Promise.reject(new Error('the worker did not start')))
    await Promise.race([once(worker, 'message'), gone])
    gone.catch(() => undefined)
    worker.once('exit', (code, signal) => {
      if (ending) return
      say(
        `the worker is gone (${signal ?? code}): starting another; what it had begun comes back after lease and grace, 15 s`,
      )
      hire().then(
        (next) => (current = next),
        (error: unknown) => say(String(error)),
      )
    })
    return worker
  }
  let current = await hire()
  say(`worker process ${current.pid}: kill it with -9 and watch`)
  return {
    end: async () => {
      ending = true
      if (current.exitCode !== null || current.signalCode !== null) return
      const gone = once(current, 'exit')
      current.kill('SIGTERM')
      await gone
    },
  }
}

const main = async (): Promise<void> => {
  const config = configFrom({ ONCEJOB_LOG_LEVEL: 'warn', ...process.env })
  // listens before anything starts: Ctrl-C at any moment ends cleanly
  const interrupted = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve())
  })
  const server = await startServer(config)
  const token = findToken(server, config.dataDir)
  const client = createClient({ url: server.url, token, app: appName })
  let staff: Staff | undefined
  try {
    say(
      `OnceJob is up at ${server.url} (${server.database} database${server.database === 'embedded' ? ` in ${config.dataDir}` : ''}); reference at ${server.url}/docs`,
    )
    if (server.adminToken !== undefined) say(`admin token, shown once: ${server.adminToken}`)
    await prepare(client)
    staff = await keepWorker(server.url, await workerToken(client))
    say('press Ctrl-C to stop\n')
    const words = await client.run('count-words', { text: 'a call takes effect once' }).result({ timeoutMs: 60_000 })
    say(`             the call of count-words answered ${JSON.stringify(words)}`)
    await interrupted
    say('\nstopping: what runs is finished first')
  } finally {
    await staff?.end()
    client.close()
    await server.stop()
  }
  say('stopped')
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(
      `${error instanceof StartFailure ? `oncejob: ${error.message}` : error instanceof Error ? error.stack : String(error)}\n`,
    )
    process.exit(1)
  },
)
