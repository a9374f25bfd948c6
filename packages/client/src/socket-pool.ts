// Kept connections to one server: each carries one call at a time and is used again.
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { AnswerReader } from './http1.ts'
import { TransportFailure, type Origin, type WireAnswer } from './transport.ts'

/** One call on its way. */
export interface Exchange {
  readonly bytes: string
  readonly timeoutMs: number
  resolve(answer: WireAnswer): void
  reject(reason: unknown): void
}

// A server may end an idle connection just as the next call is written to it, and then that call's outcome is unknown.
// So we leave first: well before the time the server names, or soon when it names none.
const leaveBeforeMs = 2000
const idleDefaultMs = 4000
const connectMaxMs = 10_000

const messageOf = (error: Error): string =>
  // Several addresses were tried: the sum of their errors has no message of its own.
  error.message === '' && error instanceof AggregateError ? String(error.errors[0]) : error.message

class Connection {
  readonly #socket: Socket
  readonly #pool: SocketPool
  #exchange: Exchange | undefined
  #reader = new AnswerReader()
  #timer: NodeJS.Timeout | undefined
  #connected = false
  #failure: Error | undefined
  #usableUntilMs = 0

  constructor(origin: Origin, pool: SocketPool) {
    this.#pool = pool
    const { hostname: host, port } = origin
    this.#socket = origin.secure
      ? connectTls({ host, port, servername: host, ALPNProtocols: ['http/1.1'] })
      : connectPlain({ host, port })
    this.#socket.setNoDelay(true)
    this.#socket.once(origin.secure ? 'secureConnect' : 'connect', () => this.#onConnect())
    this.#socket.on('data', (bytes: Buffer) => this.#onData(bytes))
    this.#socket.on('end', () => this.#onEnd())
    this.#socket.on('error', (error) => (this.#failure = error))
    this.#socket.on('close', () => this.#onClose())
  }

  get usable(): boolean {
    return Date.now() < this.#usableUntilMs && !this.#socket.destroyed
  }

  start(exchange: Exchange): void {
    this.#exchange = exchange
    if (!this.#connected) {
      this.#timer = setTimeout(
        () => this.fail(new TransportFailure(false, `no connection within ${connectMaxMs} ms`)),
        Math.min(connectMaxMs, exchange.timeoutMs),
      )
      return
    }
    this.#socket.ref()
    this.#write(exchange)
  }

  /** Ends the connection and rejects the call on it. */
  fail(reason: unknown): void {
    const exchange = this.#take()
    this.#socket.destroy()
    exchange?.reject(reason)
  }

  /** Ends the connection because the caller gave up on this call. */
  abandon(exchange: Exchange, reason: unknown): void {
    if (this.#exchange === exchange) this.fail(reason)
  }

  #write(exchange: Exchange): void {
    this.#timer = setTimeout(
      () => this.fail(new TransportFailure(true, `no answer within ${exchange.timeoutMs} ms`)),
      exchange.timeoutMs,
    )
    this.#socket.write(exchange.bytes)
  }

  #take(): Exchange | undefined {
    clearTimeout(this.#timer)
    const exchange = this.#exchange
    this.#exchange = undefined
    return exchange
  }

  #onConnect(): void {
    this.#connected = true
    clearTimeout(this.#timer)
    if (this.#exchange !== undefined) this.#write(this.#exchange)
  }

  #onData(bytes: Buffer): void {
    if (this.#exchange === undefined) {
      this.#socket.destroy()
      return
    }
    try {
      const answer = this.#reader.push(bytes)
      if (answer !== undefined) this.#finish(answer, answer.reusable, answer.keepAliveMs)
    } catch (error) {
      this.fail(new TransportFailure(true, error instanceof Error ? error.message : String(error), error))
    }
  }

  #finish(answer: WireAnswer, reusable: boolean, keepAliveMs: number | undefined): void {
    const exchange = this.#take()
    if (reusable) {
      this.#reader = new AnswerReader()
      this.#usableUntilMs = Date.now() + (keepAliveMs === undefined ? idleDefaultMs : keepAliveMs - leaveBeforeMs)
      if (!this.#pool.release(this)) this.#socket.unref()
    } else this.#socket.destroy()
    exchange?.resolve(answer)
  }

  #onEnd(): void {
    const answer = this.#reader.end()
    if (answer !== undefined && this.#exchange !== undefined) this.#finish(answer, false, undefined)
    this.#socket.destroy()
  }

  #onClose(): void {
    const exchange = this.#take()
    const says = this.#failure === undefined ? 'the connection was closed' : messageOf(this.#failure)
    exchange?.reject(new TransportFailure(this.#connected, says, this.#failure))
    this.#pool.forget(this)
  }
}

/** Connections to one server, at most `maxConnections`; further calls wait in line. */
export class SocketPool {
  readonly #origin: Origin
  readonly #maxConnections: number
  readonly #all = new Set<Connection>()
  // The one used last is the one least likely to be closed by the server.
  readonly #idle: Connection[] = []
  readonly #waiting = new Set<Exchange>()

  constructor(origin: Origin, maxConnections: number) {
    this.#origin = origin
    this.#maxConnections = maxConnections
  }

  /** Sends the call, now or in its turn. */
  run(exchange: Exchange, signal: AbortSignal | undefined): void {
    if (signal !== undefined) exchange = this.#abortable(exchange, signal)
    const connection = this.#get()
    if (connection === undefined) this.#waiting.add(exchange)
    else connection.start(exchange)
  }

  /** Takes the connection back; true when it was given to a call in line. */
  release(connection: Connection): boolean {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#idle.push(connection)
      return false
    }
    this.#waiting.delete(next)
    connection.start(next)
    return true
  }

  forget(connection: Connection): void {
    this.#all.delete(connection)
    const at = this.#idle.indexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    const [next] = this.#waiting
    if (next === undefined || this.#all.size >= this.#maxConnections) return
    this.#waiting.delete(next)
    this.#open().start(next)
  }

  close(): void {
    for (const exchange of this.#waiting) exchange.reject(new TransportFailure(false, 'the client was closed'))
    this.#waiting.clear()
    for (const connection of this.#all) connection.fail(new TransportFailure(true, 'the client was closed'))
  }

  #get(): Connection | undefined {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.usable) return idle
      idle.fail(undefined)
    }
    return this.#all.size < this.#maxConnections ? this.#open() : undefined
  }

  #open(): Connection {
    const connection = new Connection(this.#origin, this)
    this.#all.add(connection)
    return connection
  }

  #abortable(inner: Exchange, signal: AbortSignal): Exchange {
    const onAbort = (): void => {
      if (this.#waiting.delete(outer)) outer.reject(signal.reason)
      else for (const connection of this.#all) connection.abandon(outer, signal.reason)
    }
    const outer: Exchange = {
      bytes: inner.bytes,
      timeoutMs: inner.timeoutMs,
      resolve: (answer) => {
        signal.removeEventListener('abort', onAbort)
        inner.resolve(answer)
      },
      reject: (reason) => {
        signal.removeEventListener('abort', onAbort)
        inner.reject(reason)
      },
    }
    signal.addEventListener('abort', onAbort, { once: true })
    return outer
  }
}
