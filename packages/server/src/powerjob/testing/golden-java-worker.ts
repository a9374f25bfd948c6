// The Java worker of the recording: notes every message byte for byte, with how it came, and answers each as it did there.
// What it was not asked there, whether it still has a run, it answers as one that has let go of it.
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A message of the server, as it arrived. */
export interface Told {
  readonly method: string
  /** With the query, if it had one. */
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly text: string
  readonly body: Readonly<Record<string, unknown>>
}

export interface GoldenJavaWorker {
  readonly address: string
  /** What no `take` has taken yet, in the order in which it came. */
  readonly left: readonly Told[]
  /** Waits for a message, and takes it. */
  take(fits: (told: Told) => boolean, what: string): Promise<Told>
  stop(): Promise<void>
}

const patienceMs = 20_000

const textOf = async (request: IncomingMessage): Promise<string> => {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

const hasNone = JSON.stringify({ success: false, message: "can't find TaskTracker" })

/** Starts it on a free port. Every message of the recording was answered with 200 and nothing. */
export const startGoldenJavaWorker = async (): Promise<GoldenJavaWorker> => {
  const left: Told[] = []
  const waiting = new Set<() => void>()
  const server = createServer((request, response) => {
    void (async () => {
      const text = await textOf(request)
      const { method = '', url: path = '', headers } = request
      left.push({ method, path, headers, text, body: JSON.parse(text) as Told['body'] })
      response.end(path === '/worker/queryInstanceStatus' ? hasNone : '')
      for (const look of waiting) look()
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    address,
    left,
    take: (fits, what) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          waiting.delete(look)
          reject(new Error(`the worker was not told of ${what}; it was told ${JSON.stringify(left)}`))
        }, patienceMs)
        const look = (): void => {
          const at = left.findIndex(fits)
          const [told] = at < 0 ? [] : left.splice(at, 1)
          if (told === undefined) return
          clearTimeout(late)
          waiting.delete(look)
          resolve(told)
        }
        waiting.add(look)
        look()
      }),
    stop: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
