// A native worker that executes the jobs of real PowerJob clients, also beside Java workers; what a run does is said by its job's parameters.
import { appendFileSync } from 'node:fs'
import { createWorker, defineProcessors, silentLog, type RunContext } from '@oncejob/worker'

// Whoever started this holds the other end: a worker must not outlive its test.
process.stdin.on('end', () => process.exit(9)).resume()

const { urls, token, ledger } = JSON.parse(process.env['INTEROP_WORKER'] ?? '{}') as {
  readonly urls: readonly string[]
  readonly token: string
  readonly ledger: string
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

const echo = async ({ runId, jobParams, runParams, signal }: RunContext): Promise<unknown> => {
  appendFileSync(ledger, `${runId}\n`)
  if (jobParams === 'hang') await aborted(signal)
  signal.throwIfAborted()
  if (jobParams === 'fail') throw new Error('the job says fail')
  return `did ${typeof runParams === 'string' ? runParams : 'nothing'}`
}

const worker = createWorker({
  urls,
  token,
  name: 'interop',
  concurrency: 64,
  log: silentLog,
  processors: defineProcessors({ 'com.example.Echo': echo, 'oncejob.interop.worker.Echo': echo }),
})
await worker.start()
process.stdout.write('READY\n')
process.stdin.unref()
