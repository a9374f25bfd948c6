// A real PowerJob client 5.1.1 asks for runs, and a real PowerJob worker 5.1.1 executes them: what moving only the server brings.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { killAll } from '../e2e/support/children.ts'
import { tempFolder } from '../e2e/support/places.ts'
import { until } from '../e2e/support/until.ts'
import { javaWorker, processor, readJavaLedgers } from '../interop/support/java-worker.ts'
import { startJava, whyNoJava, type JavaClient, type Repeated } from '../interop/support/java.ts'
import { spreadOf, type Spread } from './latency.ts'
import { describeMachine } from './support/machine.ts'
import { appName, postgresAnswers, startSystem, type Kind, type System } from './support/processes.ts'
import { drained } from './throughput.ts'

const smoke = process.argv.includes('--smoke')
const calls = smoke ? 100 : 2_000
const rounds = smoke ? 1 : 5
const singles = smoke ? 20 : 300
const crons = smoke ? 20 : 300
const seconds = smoke ? 1 : 5
const password = 'bench'
// the expressions below are in UTC; the port is one that is free
process.env['ONCEJOB_POWERJOB_ZONE'] = 'UTC'
process.env['ONCEJOB_POWERJOB_PORT'] = '0'

const setPassword = async ({ url, token }: System): Promise<void> => {
  const response = await fetch(`${url}/api/v1/apps/${appName}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ password }),
  })
  if (!response.ok) throw new Error(`the app got no password: ${await response.text()}`)
}

/** The wall clock as it begins a new ms, which it waits for: the clock of this process drifts from that of Java's. */
const now = (): number => {
  const before = Date.now()
  let atMs = before
  while (atMs === before) atMs = Date.now()
  return atMs
}
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

interface Bench {
  readonly system: System
  readonly java: JavaClient
  readonly ledgers: string
}

const saveJob = async ({ java }: Bench, jobName: string, more: object): Promise<number> => {
  const saved = await java.call<number>('c', 'saveJob', {
    jobName,
    executeType: 'STANDALONE',
    processorType: 'BUILT_IN',
    processorInfo: processor('Echo'),
    ...more,
  })
  if (saved.data === null) throw new Error(`${jobName} was not saved: ${saved.message}`)
  return saved.data
}

/** When the processor of each run was entered, ms since the epoch. */
const startsIn = (ledgers: string): Map<number, number> =>
  new Map(
    readJavaLedgers(ledgers)
      .filter(({ kind }) => kind === 'start')
      .map(({ instanceId, at }) => [instanceId, at]),
  )

/** Runs per second from the first call until the last end is recorded, one figure for each round. */
const throughput = async ({ system, java }: Bench, jobId: number): Promise<number[]> => {
  const ask = (): Promise<Repeated> => java.repeat('c', 'runJob', [jobId], { times: calls, threads: 16 })
  await ask() // warm: two Java programs are slow in their first thousands
  await drained(system)
  const figures: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const startedMs = performance.now()
    const { results } = await ask()
    await drained(system)
    figures.push((calls * 1000) / (performance.now() - startedMs))
    const failed = results.filter(({ data }) => typeof data !== 'number').length
    if (failed > 0) throw new Error(`${failed} calls failed`)
  }
  return figures.toSorted((a, b) => a - b)
}

/** From before the call to the first line of the processor, one call at a time; the way to the client's process is in it. */
const submitToStart = async ({ java, ledgers }: Bench, jobId: number): Promise<Spread> => {
  const called = new Map<number, number>()
  for (let i = 0; i < singles; i += 1) {
    const calledAt = now()
    const { data } = await java.call<number>('c', 'runJob', jobId)
    called.set(Number(data), calledAt)
    await pause(10)
  }
  const starts = await until('all were executed', () => {
    const found = startsIn(ledgers)
    return [...called.keys()].every((id) => found.has(id)) && found
  })
  return spreadOf([...called].map(([id, calledAt]) => (starts.get(id) ?? Number.NaN) - calledAt))
}

/** How late the processors of crons start that are due in the same second; several seconds, the first one of new jobs. */
const cronLateness = async (bench: Bench): Promise<Spread[]> => {
  const { system, ledgers } = bench
  const everyMs = 10_000
  const first = Math.ceil((now() + 10_000 + crons * 40) / 1000) * 1000
  const timeExpression = `${new Date(first).getUTCSeconds() % 10}/10 * * * * ?`
  for (let i = 0; i < crons; i += 1) await saveJob(bench, `cron ${i}`, { timeExpressionType: 'CRON', timeExpression })
  const lateAt = async (dueMs: number): Promise<Spread | false> => {
    const starts = startsIn(ledgers)
    const late: number[] = []
    for await (const { id, fireAt } of system.client.runs.list({ trigger: 'schedule', limit: 500 })) {
      const startedAt = starts.get(id)
      if (startedAt !== undefined && Date.parse(fireAt ?? '') === dueMs) late.push(startedAt - dueMs)
    }
    return late.length === crons && spreadOf(late)
  }
  // stored while the second before was under way: all of them are there from the next one on
  const firstWhole = first + everyMs * Math.max(0, Math.ceil((now() + 1000 - first) / everyMs))
  const spreads: Spread[] = []
  for (let dueMs = firstWhole; spreads.length < seconds; dueMs += everyMs) {
    await pause(dueMs - now() + 2000)
    spreads.push(await until('all crons were executed', () => lateAt(dueMs)))
  }
  return spreads.toSorted((a, b) => a.p50 - b.p50)
}

const measure = async (kind: Kind): Promise<void> => {
  const system = await startSystem(kind, 0)
  const folder = tempFolder('java-bench')
  try {
    await setPassword(system)
    const servers = [new URL(system.url).host]
    const settings = {
      version: '5.1.1',
      app: appName,
      servers,
      ledgers: folder.path,
      pace: 'usual',
      flags: ['-Xmx512m'],
    } as const
    await (await javaWorker(settings)).start()
    const java = await startJava('5.1.1')
    try {
      await java.open('c', { addresses: servers, app: appName, password })
      await until('the worker is heard', async () => (await system.client.workers.list().page()).items.length > 0)
      const bench = { system, java, ledgers: folder.path }
      const jobId = await saveJob(bench, 'empty', { timeExpressionType: 'API' })
      const figures = await throughput(bench, jobId)
      const start = await submitToStart(bench, jobId)
      const late = await cronLateness(bench)
      console.log(
        `| ${kind} | ${Math.round(figures[rounds >> 1] ?? 0)}/s (${figures.map(Math.round).join(', ')}) ` +
          `| ${start.p50.toFixed(1)} / ${start.p99.toFixed(1)} ms ` +
          `| ${late[seconds >> 1]?.p50.toFixed(0)} ms (${late.map(({ p50 }) => p50.toFixed(0)).join(', ')}; latest ${Math.max(...late.map(({ max }) => max)).toFixed(0)}) |`,
      )
    } finally {
      await java.close()
    }
  } finally {
    // the worker last: a server would tell of its loss
    await system.end()
    await killAll()
    folder.remove()
  }
}

const missing = whyNoJava()
if (missing !== undefined) console.log(`skipped: ${missing}`)
else {
  execFileSync('mvn', ['-q', '-B', 'package'], {
    cwd: fileURLToPath(new URL('../interop/java', import.meta.url)),
    stdio: 'inherit',
  })
  console.log(
    `| database | ${calls} runJob by 16 threads → all executed and recorded | submit → processor p50 / p99 | ${crons} crons in one second, lateness p50, ${seconds} times |\n| --- | --- | --- | --- |`,
  )
  for (const kind of (await postgresAnswers()) ? (['postgres', 'embedded'] as const) : (['embedded'] as const))
    await measure(kind)
  console.log(`\nmedian of ${rounds} rounds; ${describeMachine()}${smoke ? ', SMOKE: the figures mean nothing' : ''}`)
}
