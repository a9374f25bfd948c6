// Sends calls over kept connections, and follows streams: undici's pools, with handlers that know what was sent.
import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { errors, Pool, type Dispatcher } from 'undici'
import {
  TransportFailure,
  type Origin,
  type Transport,
  type WireAnswer,
  type WireRequest,
  type WireStream,
} from './transport.ts'

// Calls that are answered at once need few connections. Calls that wait on purpose get their own, so that a thousand
// waiting results never keep a submit from leaving. A stream has a connection for as long as it is followed.
const connectionsMax = { quick: 128, slow: 1024, stream: null } as const
type Kind = keyof typeof connectionsMax

// A server may end an idle connection just as the next call is written to it, and then that call's outcome is unknown.
// So we leave first: well before the time the server names, or soon when it names none.
const leaveBeforeMs = 2000
const idleDefaultMs = 4000
const connectMaxMs = 10_000

const makePool = ({ secure, host }: Origin, kind: Kind): Pool =>
  new Pool(`${secure ? 'https' : 'http'}://${host}`, {
    connections: connectionsMax[kind],
    // One call at a time: a GET that waits behind another on a connection that breaks would be sent again by undici.
    pipelining: 1,
    // Over HTTP/2 many calls share a connection, and what is known of one that broke is less certain.
    allowH2: false,
    connectTimeout: connectMaxMs,
    keepAliveTimeout: idleDefaultMs,
    keepAliveTimeoutThreshold: leaveBeforeMs,
    // Each call brings its own limit.
    headersTimeout: 0,
    bodyTimeout: 0,
  })

const headerOf = (headers: IncomingHttpHeaders, name: string): string | undefined => {
  const value = headers[name.toLowerCase()]
  return Array.isArray(value) ? value.join(', ') : value
}

const messageOf = (error: Error): string =>
  // Several addresses were tried: the sum of their errors has no message of its own.
  error.message === '' && error instanceof AggregateError ? String(error.errors[0]) : error.message

const givenUp = new Error('given up')

/** One call on its way, from the line before the connections to its end. */
abstract class Exchange {
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = (): void => this.end(this.#signal?.reason)
  #controller: Dispatcher.DispatchController | undefined
  #over = false

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort)
  }

  /** Called by undici right before it writes the first byte: a call that ends sooner has reached no server. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    // The caller left while the call was in line. To throw keeps it from being written, and keeps the connection.
    if (this.#over) throw givenUp
    this.#controller = controller
  }

  onResponseError(_: Dispatcher.DispatchController | null, error: Error): void {
    // A request that undici refuses to make is a bug of ours, not of the network.
    const isBug = error instanceof errors.InvalidArgumentError
    this.end(isBug ? error : new TransportFailure(this.started, messageOf(error), error))
  }

  get started(): boolean {
    return this.#controller !== undefined
  }

  /** Ends the call without a whole answer, and its connection. */
  end(reason: unknown): void {
    if (!this.finish()) return
    this.onEnd(reason)
    this.#controller?.abort(givenUp)
  }

  /** True for the first to end the call. */
  protected finish(): boolean {
    if (this.#over) return false
    this.#over = true
    this.#signal?.removeEventListener('abort', this.#onAbort)
    return true
  }

  protected abstract onEnd(reason: unknown): void
}

class AnswerExchange extends Exchange {
  readonly #pool: Pool
  readonly #timeoutMs: number
  readonly #timer: NodeJS.Timeout
  readonly #onLeave: (() => void) | undefined
  readonly #settle = Promise.withResolvers<WireAnswer>()
  readonly #parts: Buffer[] = []
  #status = 0
  #headers: IncomingHttpHeaders = {}

  constructor(pool: Pool, { timeoutMs, signal, onLeave }: WireRequest) {
    super(signal)
    this.#pool = pool
    this.#onLeave = onLeave
    this.#timeoutMs = timeoutMs
    this.#timer = setTimeout(() => this.#onTimeout(), timeoutMs)
  }

  get answer(): Promise<WireAnswer> {
    return this.#settle.promise
  }

  override onRequestStart(controller: Dispatcher.DispatchController): void {
    super.onRequestStart(controller)
    this.#onLeave?.()
    this.#timer.refresh()
  }

  // Also called for 103 and the like; the last one counts.
  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    this.#status = status
    this.#headers = headers
  }

  onResponseData(_: Dispatcher.DispatchController, part: Buffer): void {
    this.#parts.push(part)
  }

  onResponseEnd(): void {
    if (!this.finish()) return
    clearTimeout(this.#timer)
    const headers = this.#headers
    const text = Buffer.concat(this.#parts).toString('utf8')
    this.#settle.resolve({ status: this.#status, text, header: (name) => headerOf(headers, name) })
  }

  protected override onEnd(reason: unknown): void {
    clearTimeout(this.#timer)
    this.#settle.reject(reason)
  }

  #onTimeout(): void {
    if (this.started) {
      this.end(new TransportFailure(true, `no answer within ${this.#timeoutMs} ms`))
    } else if (this.#pool.stats.connected === 0) {
      this.end(new TransportFailure(false, `no connection within ${this.#timeoutMs} ms`))
    } else {
      // The server is there, and others are in front. Leaving would only mean to come back at the end of the line.
      this.#timer.refresh()
    }
  }
}

class StreamExchange extends Exchange {
  readonly #settle = Promise.withResolvers<WireStream>()
  readonly #signal: AbortSignal | undefined
  #body: Readable | undefined

  constructor(signal: AbortSignal | undefined) {
    super(signal)
    this.#signal = signal
  }

  get stream(): Promise<WireStream> {
    return this.#settle.promise
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return
    const body = new Readable({
      read: () => controller.resume(),
      destroy: (error, done) => {
        this.end(error)
        done(error)
      },
    })
    // Its reader hears of a failure when it reads; one that has not begun yet must not bring the process down.
    body.on('error', () => {})
    this.#body = body
    this.#settle.resolve({
      status,
      header: (name) => headerOf(headers, name),
      chunks: this.#textOf(body),
      async [Symbol.asyncDispose]() {
        body.destroy()
      },
    })
  }

  onResponseData(controller: Dispatcher.DispatchController, part: Buffer): void {
    if (this.#body?.push(part) === false) controller.pause()
  }

  onResponseEnd(): void {
    if (this.finish()) this.#body?.push(null)
  }

  protected override onEnd(reason: unknown): void {
    if (this.#body === undefined) this.#settle.reject(reason)
    else this.#body.destroy(reason instanceof Error ? reason : givenUp)
  }

  async *#textOf(body: Readable): AsyncGenerator<string> {
    body.setEncoding('utf8')
    try {
      for await (const chunk of body) yield String(chunk)
    } catch (error) {
      if (this.#signal?.aborted) throw this.#signal.reason
      throw error
    }
  }
}

const optionsOf = ({ basePath }: Origin, { method, path, headers, body }: WireRequest): Dispatcher.DispatchOptions => ({
  method,
  path: basePath + path,
  headers,
  ...(body === undefined ? {} : { body }),
})

/** The transport of a client that names no other. */
export const createUndiciTransport = (): Transport => {
  const pools = new Map<string, Pool>()
  let closed = false

  const poolFor = (origin: Origin, kind: Kind, signal: AbortSignal | undefined): Pool => {
    if (closed) throw new TransportFailure(false, 'the client was closed')
    signal?.throwIfAborted()
    const name = `${kind} ${origin.url}`
    let pool = pools.get(name)
    if (pool === undefined) {
      pool = makePool(origin, kind)
      pools.set(name, pool)
    }
    return pool
  }

  return {
    async send(origin, request) {
      const pool = poolFor(origin, request.slow === true ? 'slow' : 'quick', request.signal)
      const exchange = new AnswerExchange(pool, request)
      pool.dispatch(optionsOf(origin, request), exchange)
      return exchange.answer
    },
    async stream(origin, request) {
      const pool = poolFor(origin, 'stream', request.signal)
      const exchange = new StreamExchange(request.signal)
      // undici's limits are what a stream needs: the silence before its head, and between its chunks.
      const limits = { headersTimeout: request.timeoutMs, bodyTimeout: request.timeoutMs, reset: true }
      pool.dispatch({ ...optionsOf(origin, request), ...limits }, exchange)
      return exchange.stream
    },
    close() {
      closed = true
      for (const pool of pools.values()) pool.destroy(new Error('the client was closed'), () => {})
    },
  }
}
