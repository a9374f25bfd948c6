// Stands between a client and a server, counts at the socket how often each OpenAPI path was asked for.
import { connect, createServer, type Socket } from 'node:net'

export interface CountingProxy {
  readonly address: string
  /** Requests since the last call, by path below /openApi. */
  take(): Record<string, number>
  close(): Promise<void>
}

const requestLine = /(?:^|\n)?POST \/openApi(\/[A-Za-z]+)[^\r\n]* HTTP\/1\.1\r\n/g

/** @param targetPort of the server on this machine */
export const startCountingProxy = async (targetPort: number): Promise<CountingProxy> => {
  let counts: Record<string, number> = {}
  const sockets = new Set<Socket>()
  const server = createServer((inside) => {
    const outside = connect(targetPort, '127.0.0.1')
    for (const socket of [inside, outside]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('close', () => sockets.delete(socket))
    }
    inside.on('error', () => outside.destroy()).on('close', () => outside.destroy())
    outside.on('error', () => inside.destroy()).on('close', () => inside.destroy())
    // a request line may be cut by the end of a packet
    let rest = ''
    inside.on('data', (bytes) => {
      const text = rest + bytes.toString('latin1')
      let end = 0
      for (const match of text.matchAll(requestLine)) {
        const path = match[1] ?? ''
        counts[path] = (counts[path] ?? 0) + 1
        end = match.index + match[0].length
      }
      rest = text.slice(end).slice(-200)
      outside.write(bytes)
    })
    outside.pipe(inside)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('the proxy has no port')
  return {
    address: `127.0.0.1:${bound.port}`,
    take: () => {
      const taken = counts
      counts = {}
      return taken
    },
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}
