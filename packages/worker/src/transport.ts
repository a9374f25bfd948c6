// One HTTP exchange over kept-alive connections. node:http costs less CPU per call than fetch, and polls are the hot path.
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { Clock } from './clock.ts'

export interface Exchange {
  readonly method: 'POST' | 'DELETE'
  /** Path with query, appended to the path of the server's address. */
  readonly path: string
  /** JSON text. */
  readonly body?: string
  /** Without an answer in this time the exchange fails. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

export interface RawAnswer {
  readonly status: number
  readonly text: string
}

const readText = (response: IncomingMessage, done: (text: string) => void): void => {
  const chunks: Buffer[] = []
  response.on('data', (chunk: Buffer) => chunks.push(chunk))
  response.on('end', () => {
    const [first] = chunks
    done(chunks.length === 1 && first !== undefined ? first.toString('utf8') : Buffer.concat(chunks).toString('utf8'))
  })
}

/** Sends requests; `close` ends the idle connections and those in use, so that the process can exit. */
export class Transport {
  readonly #clock: Clock
  readonly #token: string
  readonly #http = new HttpAgent({ keepAlive: true })
  readonly #https = new HttpsAgent({ keepAlive: true })

  constructor(clock: Clock, token: string) {
    this.#clock = clock
    this.#token = token
  }

  /** Rejects when no whole answer came: network error, timeout, or `signal` aborted. */
  async send(server: URL, exchange: Exchange): Promise<RawAnswer> {
    try {
      return await this.#once(server, exchange)
    } catch (error) {
      // The server closed an idle connection at the very moment we used it: not a failure of the server.
      if (error instanceof StaleConnection && exchange.signal?.aborted !== true) return this.#once(server, exchange)
      throw error
    }
  }

  close(): void {
    this.#http.destroy()
    this.#https.destroy()
  }

  #open(server: URL, exchange: Exchange): ClientRequest {
    const headers: Record<string, string | number> = { authorization: `Bearer ${this.#token}` }
    if (exchange.body !== undefined) {
      headers['content-type'] = 'application/json'
      headers['content-length'] = Buffer.byteLength(exchange.body)
    }
    const secure = server.protocol === 'https:'
    return (secure ? httpsRequest : httpRequest)({
      agent: secure ? this.#https : this.#http,
      // An IPv6 address stands in brackets in a URL and without them everywhere else.
      hostname: server.hostname.replace(/^\[(.*)\]$/, '$1'),
      ...(server.port === '' ? {} : { port: server.port }),
      path: server.pathname.replace(/\/$/, '') + exchange.path,
      method: exchange.method,
      headers,
    })
  }

  #once(server: URL, exchange: Exchange): Promise<RawAnswer> {
    return new Promise((resolve, reject) => {
      const request = this.#open(server, exchange)
      const { signal, timeoutMs } = exchange
      const abort = (): void => {
        request.destroy(new Error('called off'))
      }
      const callOff = this.#clock.after(timeoutMs, () => {
        request.destroy(new Error(`no answer within ${timeoutMs} ms`))
      })
      const clean = (): void => {
        callOff()
        signal?.removeEventListener('abort', abort)
      }
      const fail = (error: Error): void => {
        clean()
        const broken = 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
        reject(request.reusedSocket && broken ? new StaleConnection(error) : error)
      }
      request.on('error', fail)
      request.on('response', (response) => {
        response.on('error', fail)
        readText(response, (text) => {
          clean()
          resolve({ status: response.statusCode ?? 0, text })
        })
      })
      if (signal?.aborted === true) abort()
      signal?.addEventListener('abort', abort, { once: true })
      request.end(exchange.body)
    })
  }
}

class StaleConnection extends Error {
  constructor(cause: Error) {
    super(cause.message, { cause })
  }
}
