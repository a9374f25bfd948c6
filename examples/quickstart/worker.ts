// The quickstart's worker: three processors on real input, and one readable line for every run that ends.
import { readFile } from 'node:fs/promises'
import { createWorker, defineProcessors, processor, TerminalError, type RunFinished } from '@oncejob/worker'

const { ONCEJOB_URL: url = 'http://127.0.0.1:7700', ONCEJOB_TOKEN: token = '' } = process.env

const processors = defineProcessors({
  'server-latency': processor(async ({ signal }) => {
    const startedMs = performance.now()
    const answer = await fetch(`${url}/health/ready`, { signal })
    return { status: answer.status, latencyMs: Math.round((performance.now() - startedMs) * 10) / 10 }
  }),
  'sum-sales': processor<{ file: string }>(async ({ params, log }) => {
    const text = await readFile(new URL(`./data/${params.file}`, import.meta.url), 'utf8')
    const revenue: Record<string, number> = {}
    const lines = text.trim().split('\n').slice(1)
    for (const line of lines) {
      const [, region = '', , quantity = '', price = ''] = line.split(',')
      revenue[region] = (revenue[region] ?? 0) + Math.round(Number(quantity) * Number(price) * 100)
    }
    log.info(`read ${lines.length} sales`)
    return Object.fromEntries(Object.entries(revenue).map(([region, cents]) => [region, cents / 100]))
  }),
  'count-words': processor<{ text: string }>(({ params }) => {
    if (typeof params?.text !== 'string') throw new TerminalError('give the params {"text": "…"}')
    return { words: params.text.split(/\s+/).filter((word) => word !== '').length }
  }),
})

const line = (run: RunFinished): string => {
  const how =
    run.outcome === 'succeeded' ? JSON.stringify(run.result) : `${run.error?.code ?? ''} ${run.error?.message ?? ''}`
  const time = new Date().toISOString().slice(11, 23)
  return `${time}  ${run.job.padEnd(14)}  run ${String(run.runId).padEnd(6)} ${(run.outcome ?? 'lost').padEnd(9)}  ${Math.round(run.durationMs)} ms  ${how}\n`
}

const worker = createWorker({
  url,
  token,
  name: `quickstart-${process.pid}`,
  processors,
  drainMs: 5000,
  onEvent: (event) => {
    // only what the server has recorded is shown
    if (event.type === 'run-finished' && event.answer === 'accepted') process.stdout.write(line(event))
  },
})
// the process that started this one is gone: so is the quickstart
process.on('disconnect', () => void worker.stop().then(() => process.exit(0)))
// listening for that must not keep this process when its work is done
process.channel?.unref()
await worker.start()
process.send?.('ready')
