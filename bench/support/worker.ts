// A worker in a process of its own: an empty processor, and one that tells when it started.
import { createWorker } from '@oncejob/worker'

const { BENCH_URL: url = '', BENCH_TOKEN: token = '', BENCH_APP: app = '', BENCH_SLOTS: slots = '64' } = process.env
const worker = createWorker({
  url,
  token,
  app,
  concurrency: Number(slots),
  signals: false,
  processors: {
    empty: async () => null,
    // both processes read the same machine's clock
    stamp: async () => performance.timeOrigin + performance.now(),
  },
})
await worker.start()
process.send?.({ kind: 'ready' })
process.on('SIGTERM', () => void worker.stop().then(() => process.exit(0)))
process.on('disconnect', () => process.exit(1))
