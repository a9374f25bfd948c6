// A worker as a process of its own, for process.test.ts. Argument: the server's address.
import { setTimeout as sleep } from 'node:timers/promises'
import { createWorker } from '../index.ts'

const worker = createWorker({
  url: process.argv[2] ?? '',
  token: 'a-token',
  processors: {
    slow: async (ctx) => {
      await sleep(Number(ctx.params), undefined, { signal: ctx.signal })
      return 'slept'
    },
    reject: () => {
      void Promise.reject(new Error('nobody awaits this'))
    },
    throw: () => {
      setTimeout(() => {
        throw new Error('nobody catches this')
      }, 1)
    },
  },
})

await worker.start()
