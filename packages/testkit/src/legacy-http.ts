// HTTP as OkHttp 3.14 does it for PowerJob's clients: kept connections, one silent repeat, names of headers as received.
import { Agent, request as send } from 'node:http'
import { connect, type ClientHttp2Session } from 'node:http2'

export interface LegacyRequest {
  readonly url: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly signal: AbortSignal
}

export interface LegacyResponse {
  readonly status: number
  /** By the name as it was received; the last of a name counts. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
}

/** No whole answer came. */
export class LegacyIoError extends Error {
  override readonly name = 'LegacyIoError'
}

export interface LegacyHttp {
  post(asked: LegacyRequest): Promise<LegacyResponse>
  close(): void
}

const ioError = (message: string, cause?: unknown): LegacyIoError => new LegacyIoError(message, { cause })

/** The connection had answered before, and ended without an answer to this request. */
class StaleConnection extends LegacyIoError {}

const postOnce = (agent: Agent, asked: LegacyRequest): Promise<LegacyResponse> =>
  new Promise((resolve, reject) => {
    const bytes = Buffer.from(asked.body)
    let begun = false
    const outgoing = send(new URL(asked.path, asked.url), {
      method: 'POST',
      agent,
      signal: asked.signal,
      headers: { ...asked.headers, 'Content-Length': String(bytes.length), 'User-Agent': 'okhttp/3.14.9' },
    })
    outgoing.on('response', (incoming) => {
      begun = true
      const parts: Buffer[] = []
      incoming.on('data', (part: Buffer) => parts.push(part))
      incoming.on('error', (error) => reject(ioError('unexpected end of stream', error)))
      incoming.on('end', () => {
        const headers = new Map<string, string>()
        const { rawHeaders } = incoming
        for (let at = 0; at + 1 < rawHeaders.length; at += 2)
          headers.set(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '')
        resolve({ status: incoming.statusCode ?? 0, headers, body: Buffer.concat(parts).toString() })
      })
    })
    outgoing.on('error', (error) => {
      const stale = outgoing.reusedSocket && !begun && !asked.signal.aborted
      reject(
        stale ? new StaleConnection(error.message) : ioError(asked.signal.aborted ? 'timeout' : error.message, error),
      )
    })
    outgoing.end(bytes)
  })

/** Connections of HTTP/1.1, kept for five minutes as OkHttp's pool does. */
export const legacyHttp1 = (): LegacyHttp => {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 5, keepAliveMsecs: 300_000 })
  const again = (asked: LegacyRequest): Promise<LegacyResponse> => {
    // the repeat goes over a connection of its own
    const own = new Agent({ keepAlive: false })
    return postOnce(own, asked)
  }
  return {
    post: async (asked) => {
      let response: LegacyResponse
      try {
        response = await postOnce(agent, asked)
      } catch (error) {
        if (!(error instanceof StaleConnection)) throw error
        return again(asked)
      }
      const { status, headers } = response
      const repeats = status === 408 || (status === 503 && headers.get('Retry-After') === '0')
      return repeats ? again(asked) : response
    },
    close: () => agent.destroy(),
  }
}

/** One connection of HTTP/2 per address, without TLS; names of headers are lower-case there. */
export const legacyHttp2 = (): LegacyHttp => {
  const sessions = new Map<string, ClientHttp2Session>()
  const sessionOf = (url: string): ClientHttp2Session => {
    const known = sessions.get(url)
    if (known !== undefined && !known.closed && !known.destroyed) return known
    const session = connect(url)
    session.on('error', () => session.destroy())
    sessions.set(url, session)
    return session
  }
  return {
    post: ({ url, path, headers, body, signal }) =>
      new Promise((resolve, reject) => {
        const stream = sessionOf(url).request({ ':method': 'POST', ':path': path, ...headers }, { signal })
        let status = 0
        const received = new Map<string, string>()
        const parts: Buffer[] = []
        stream.on('response', (fields) => {
          status = fields[':status'] ?? 0
          for (const [name, value] of Object.entries(fields)) received.set(name, String(value))
        })
        stream.on('data', (part: Buffer) => parts.push(part))
        stream.on('error', (error) => reject(ioError(signal.aborted ? 'timeout' : error.message, error)))
        stream.on('end', () => {
          if (status === 0) reject(ioError('stream ended without an answer'))
          else resolve({ status, headers: received, body: Buffer.concat(parts).toString() })
        })
        stream.end(body)
      }),
    close: () => {
      for (const session of sessions.values()) session.destroy()
    },
  }
}
