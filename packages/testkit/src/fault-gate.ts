// A way to a server that passes fault points: it stands in the worker's own process, between the worker and the network.
import { createServer, request, type IncomingMessage, type Server } from 'node:http'
import { once } from 'node:events'
import type { FaultPoint, Faults } from './fault-points.ts'

interface Around {
  readonly before: FaultPoint
  readonly sent: FaultPoint
  readonly answered: FaultPoint
}

const calls: Readonly<Record<string, Around>> = {
  '/effects/begin': {
    before: 'once:before-intent',
    sent: 'once:intent-sent',
    answered: 'once:intent-answered',
  },
  '/effects/end': {
    before: 'once:before-outcome',
    sent: 'once:outcome-sent',
    answered: 'once:outcome-answered',
  },
  '/reports': { before: 'report:before', sent: 'report:sent', answered: 'report:answered' },
}

const aroundOf = (path: string): Around | undefined => {
  const [bare = ''] = path.split('?', 1)
  return Object.entries(calls).find(([end]) => bare.endsWith(`/worker${end}`))?.[1]
}

const bytesOf = async (stream: IncomingMessage): Promise<Buffer> => {
  const parts: Buffer[] = []
  stream.on('data', (part: Buffer) => parts.push(part))
  await once(stream, 'end')
  return Buffer.concat(parts)
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: Buffer
}

interface Way {
  readonly target: URL
  /** Aborts when the worker has gone. */
  readonly gone: AbortSignal
  /** Called when the last byte is with the kernel. */
  readonly sent: () => Promise<void>
}

const forward = async (asked: IncomingMessage, body: Buffer, { target, gone, sent }: Way): Promise<Answer> => {
  const outgoing = request(new URL(asked.url ?? '/', target), {
    method: asked.method ?? 'GET',
    headers: { ...asked.headers, host: target.host, connection: 'close' },
    agent: false,
    signal: gone,
  })
  const held = once(outgoing, 'finish').then(sent)
  outgoing.end(body)
  const [[response]]: [IncomingMessage[], void] = await Promise.all([once(outgoing, 'response'), held])
  if (response === undefined) throw new Error('an answer that is none')
  return {
    status: response.statusCode ?? 502,
    type: response.headers['content-type'] ?? 'application/json',
    body: await bytesOf(response),
  }
}

export interface FaultGate {
  /** The address to give to the worker. */
  readonly url: string
  close(): Promise<void>
}

const listen = async (server: Server): Promise<string> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the gate has no address')
  return `http://127.0.0.1:${address.port}`
}

/** Opens the way; an answer that did not come breaks the connection of the worker, as it would without the gate. */
export const openFaultGate = async (serverUrl: string, faults: Faults): Promise<FaultGate> => {
  const target = new URL(serverUrl)
  const server = createServer((asked, answer) => {
    const gone = new AbortController()
    answer.once('close', () => gone.abort())
    const pass = async (): Promise<void> => {
      const body = await bytesOf(asked)
      const around = aroundOf(asked.url ?? '')
      const visit = async (when: keyof Around): Promise<void> => {
        if (around !== undefined) await faults.visit(around[when])
      }
      await visit('before')
      const got = await forward(asked, body, { target, gone: gone.signal, sent: () => visit('sent') })
      await visit('answered')
      answer.writeHead(got.status, { 'content-type': got.type, 'content-length': got.body.length }).end(got.body)
    }
    pass().catch(() => answer.destroy())
  })
  // The worker keeps its polls open for as long as it likes.
  server.requestTimeout = 0
  server.keepAliveTimeout = 60_000
  const url = await listen(server)
  return {
    url,
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
