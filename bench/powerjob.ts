// A real PowerJob client 5.1.1 with 16 threads asks for runs, and a native worker executes them: what its users get.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { startJava, whyNoJava, type Opening, type Repeated } from '../interop/support/java.ts'
import { describeMachine } from './support/machine.ts'
import { appName, postgresAnswers, startSystem, type Kind, type System } from './support/processes.ts'
import { drained } from './throughput.ts'

const smoke = process.argv.includes('--smoke')
const calls = smoke ? 100 : 2_000
const rounds = smoke ? 1 : 5
const password = 'bench'

const setPassword = async ({ url, token }: System): Promise<void> => {
  const response = await fetch(`${url}/api/v1/apps/${appName}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ password }),
  })
  if (!response.ok) throw new Error(`the app got no password: ${await response.text()}`)
}

const measure = async (kind: Kind, system: System): Promise<void> => {
  await setPassword(system)
  const java = await startJava('5.1.1')
  try {
    const opening: Opening = { addresses: [new URL(system.url).host], app: appName, password }
    await java.open('c', opening)
    const job = await java.call<number>('c', 'saveJob', {
      jobName: 'empty',
      timeExpressionType: 'API',
      executeType: 'STANDALONE',
      processorType: 'BUILT_IN',
      processorInfo: 'empty',
    })
    const ask = (times: number, threads: number): Promise<Repeated> =>
      java.repeat('c', 'runJob', [job.data], { times, threads })
    await ask(calls, 16) // warm: a Java client is slow in its first thousand calls
    await drained(system)
    const figures: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      const startedMs = performance.now()
      const { results } = await ask(calls, 16)
      await drained(system)
      figures.push((calls * 1000) / (performance.now() - startedMs))
      const failed = results.filter(({ data }) => typeof data !== 'number').length
      if (failed > 0) throw new Error(`${failed} calls failed`)
    }
    const single = await ask(smoke ? 50 : 500, 1)
    const best = figures.toSorted((a, b) => a - b)
    console.log(
      `| ${kind} | ${Math.round(best[rounds >> 1] ?? 0)}/s (${best.map(Math.round).join(', ')}) | ${single.p50Ms.toFixed(1)} / ${single.p99Ms.toFixed(1)} ms |`,
    )
  } finally {
    await java.close()
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
    `| database | ${calls} runJob by 16 threads → all recorded | one runJob at a time p50 / p99 |\n| --- | --- | --- |`,
  )
  for (const kind of (await postgresAnswers()) ? (['postgres', 'embedded'] as const) : (['embedded'] as const)) {
    const system = await startSystem(kind)
    try {
      await measure(kind, system)
    } finally {
      await system.end()
    }
  }
  console.log(`\nmedian of ${rounds} rounds; ${describeMachine()}${smoke ? ', SMOKE: the figures mean nothing' : ''}`)
}
