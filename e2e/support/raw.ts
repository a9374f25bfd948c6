// HTTP by hand: what no client of ours would send, and the answer as it came.
import { request } from 'node:http'

export interface RawRequest {
  readonly method: string
  readonly path: string
  readonly token?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly json?: unknown
  /** Sent as it is. */
  readonly bytes?: Uint8Array
  /** Sent in pieces, without a length. */
  readonly chunked?: boolean
}

export interface RawAnswer {
  readonly status: number
  readonly type: string
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: Record<string, unknown>
}

/** Sends one request on a connection of its own. An answer that comes before all was sent is an answer. */
export const send = (origin: string, asked: RawRequest): Promise<RawAnswer> =>
  new Promise((resolve, reject) => {
    const bytes = asked.bytes ?? (asked.json === undefined ? undefined : Buffer.from(JSON.stringify(asked.json)))
    let answered = false
    const outgoing = request(new URL(asked.path, origin), {
      method: asked.method,
      agent: false,
      headers: {
        ...(asked.token === undefined ? {} : { authorization: `Bearer ${asked.token}` }),
        ...(bytes === undefined ? {} : { 'content-type': 'application/json' }),
        ...(bytes === undefined || asked.chunked === true ? {} : { 'content-length': String(bytes.length) }),
        ...asked.headers,
      },
    })
    outgoing.on('response', (incoming) => {
      answered = true
      const parts: Buffer[] = []
      incoming.on('data', (part: Buffer) => parts.push(part))
      incoming.on('error', reject)
      incoming.on('end', () => {
        const text = Buffer.concat(parts).toString()
        const { statusCode = 0, headers } = incoming
        const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
        resolve({ status: statusCode, type: headers['content-type'] ?? '', headers, body })
      })
    })
    outgoing.on('error', (error) => {
      if (!answered) reject(error)
    })
    outgoing.end(bytes)
  })
