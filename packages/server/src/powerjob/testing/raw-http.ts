// HTTP by hand on a socket, for tests that must see the very bytes of an answer.
import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  readonly status: number
  /** Header lines as they were sent, without the status line. */
  readonly lines: readonly string[]
  readonly body: string
}

/** One kept connection. Answers are read one after the other. */
export interface RawConnection {
  readonly socket: Socket
  send(bytes: string | Buffer): void
  /** The next whole answer; undefined when the connection ends before one has come. */
  answer(): Promise<RawAnswer | undefined>
  /** Resolves when the other side has closed. */
  readonly closed: Promise<void>
}

const lengthOf = (head: string): number => Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0)

/** Connects to a server of this machine. */
export const connectRaw = async (url: string): Promise<RawConnection> => {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  let parts: Buffer[] = []
  let length = 0
  // bytes below which no answer can be whole: a long body is put together once
  let wanted = 1
  let ended = false
  let wake = (): void => undefined
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      ended = true
      wake()
      resolve()
    })
  })
  socket.on('error', () => undefined)
  socket.on('data', (part) => {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part
    parts.push(bytes)
    length += bytes.length
    wake()
  })
  const take = (): RawAnswer | undefined => {
    if (length < wanted) return undefined
    const received = Buffer.concat(parts)
    parts = [received]
    wanted = length + 1
    const end = received.indexOf('\r\n\r\n')
    if (end < 0) return undefined
    const head = received.subarray(0, end).toString('latin1')
    const from = end + 4
    const to = from + lengthOf(head)
    if (length < to) {
      wanted = to
      return undefined
    }
    parts = [received.subarray(to)]
    length -= to
    wanted = 1
    const [status = '', ...lines] = head.split('\r\n')
    return { status: Number(status.split(' ')[1]), lines, body: received.subarray(from, to).toString('utf8') }
  }
  return {
    socket,
    closed,
    send: (bytes) => void socket.write(bytes),
    answer: async () => {
      for (;;) {
        const answer = take()
        if (answer !== undefined || ended) return answer
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
  }
}

/** The bytes of a request. */
export const rawRequest = (
  path: string,
  body: string | Buffer = '',
  headers: Readonly<Record<string, string>> = {},
  method = 'POST',
): Buffer => {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const lines = Object.entries({ Host: 'localhost', 'Content-Length': String(bytes.length), ...headers })
  const head = [`${method} ${path} HTTP/1.1`, ...lines.map(([name, value]) => `${name}: ${value}`), '', ''].join('\r\n')
  return Buffer.concat([Buffer.from(head), bytes])
}

/** One request on a connection of its own. */
export const once = async (url: string, bytes: Buffer | string): Promise<RawAnswer | undefined> => {
  const connection = await connectRaw(url)
  connection.send(bytes)
  const answer = await connection.answer()
  connection.socket.destroy()
  return answer
}
