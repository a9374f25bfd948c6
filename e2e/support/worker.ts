// A worker as a process of its own: one processor that does what the run's parameters say, and a ledger of all it did.
import { existsSync } from 'node:fs'
import { createWorker, defineProcessors, LeaseLost, silentLog, type RunContext } from '@oncejob/worker'
import { ledgerWriter } from './ledger.ts'
import { pause, until } from './until.ts'
import type { WorkerSettings, WorkParams } from './fleet.ts'

// Whoever started this holds the other end: a worker must not outlive its test.
process.stdin.on('end', () => process.exit(9)).resume()

const settings = JSON.parse(process.env['E2E_WORKER'] ?? '{}') as WorkerSettings
const write = ledgerWriter(settings.ledger, settings.name)

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

const work = async (ctx: RunContext): Promise<unknown> => {
  const { runId, lease, attempt, signal } = ctx
  const { ms = 0, gate, untilAborted, says } = (ctx.params ?? {}) as WorkParams
  write({ kind: 'start', runId, lease, attempt })
  signal.addEventListener(
    'abort',
    () => {
      const reason = signal.reason as { code: string }
      write({ kind: 'abort', runId, lease, code: reason.code, how: reason instanceof LeaseLost ? reason.how : null })
    },
    { once: true },
  )
  if (says !== undefined) for (const line of says) ctx.log.info(line)
  if (ms > 0) await pause(ms)
  if (gate !== undefined) await until('the gate opens', () => existsSync(gate), 600_000)
  if (untilAborted === settings.name) await aborted(signal)
  write({ kind: 'end', runId, lease })
  return { runId, lease, worker: settings.name }
}

/** The same work as one effect, which takes its time between the deed and its record. */
const effect = (ctx: RunContext): Promise<unknown> =>
  ctx.once('deed', async () => {
    const { runId, lease } = ctx
    write({ kind: 'effect', runId, lease })
    return work(ctx)
  })

const worker = createWorker({
  urls: settings.urls,
  token: settings.token,
  name: settings.name,
  concurrency: settings.concurrency ?? 10,
  labels: settings.labels ?? {},
  drainMs: settings.drainMs ?? 60_000,
  log: silentLog,
  processors: defineProcessors({
    work,
    effect,
    broken: () => {
      throw new TypeError('no such order')
    },
  }),
  onEvent: (event) => {
    if (event.type === 'run-finished') {
      const { runId, lease, outcome, answer } = event
      write({ kind: 'finished', runId, lease, outcome, answer })
    } else if (event.type !== 'run-started') write({ kind: 'event', type: event.type })
  },
})
await worker.start()
process.stdout.write('READY\n')
// After a stop nothing but the tie to the test keeps this process.
process.stdin.unref()
