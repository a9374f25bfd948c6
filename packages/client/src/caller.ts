// Makes one call succeed if it safely can: request key, tries, fail-over between servers, backoff, errors.
import { makeRequestKey, readRequestKey, type Page } from '@oncejob/protocol'
import { judge, type Read, type Try } from './answers.ts'
import {
  queryText,
  type Call,
  type CallOptions,
  type Caller,
  type CallerOptions,
  type Paged,
  type QueryValue,
} from './call.ts'
import { OnceJobError, OutcomeUnknown, ServerUnreachable } from './errors.ts'
import { pauseFor } from './pause.ts'
import { policy } from './policy.ts'
import { createTokenKeeper, type Tokens } from './tokens.ts'
import { TransportFailure, type Origin, type WireRequest } from './transport.ts'

// A server that asks for more patience than this gets the error instead of a caller who seems to hang.
const retryAfterMaxMs = 60_000

const readNothing = (): void => undefined
const readText = (text: string): string => text

const wantsNewToken = (error: unknown): boolean => error instanceof OnceJobError && error.retry === 'after-auth'

const keyOf = (call: Call): string | undefined => {
  if (call.kind === 'read') return undefined
  const key = call.options?.requestKey
  if (key === undefined) return makeRequestKey()
  if (readRequestKey(key) !== key) throw new TypeError(`not a request key: ${JSON.stringify(key)}`)
  return key
}

/** Whether a try of a mutation may have been executed. */
interface Doubt {
  open: boolean
}

const requestOf = (call: Call, token: string, requestKey: string | undefined, timeoutMs: number): WireRequest => {
  const headers: Record<string, string> = { Authorization: `Bearer ${token}`, Accept: 'application/json' }
  if (call.body !== undefined) headers['Content-Type'] = 'application/json'
  if (call.raw !== undefined) headers['Content-Type'] = call.raw.type
  if (requestKey !== undefined) headers['Idempotency-Key'] = requestKey
  if (call.ifMatch !== undefined) headers['If-Match'] = call.ifMatch
  if (call.lastEventId !== undefined) headers['Last-Event-ID'] = call.lastEventId
  return {
    method: call.method,
    path: call.query === undefined ? call.path : call.path + queryText(call.query),
    headers,
    timeoutMs: (call.options?.timeoutMs ?? timeoutMs) + (call.waitMs ?? 0),
    signal: call.options?.signal,
    slow: call.waitMs !== undefined,
    ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    ...(call.raw === undefined ? {} : { body: call.raw.bytes }),
  }
}

/** The servers of a client. Sticky: the one that answered last is asked first. */
class Servers {
  readonly #origins: readonly Origin[]
  #at = 0

  constructor(origins: readonly Origin[]) {
    this.#origins = origins
  }

  get count(): number {
    return this.#origins.length
  }

  get current(): Origin {
    const origin = this.#origins[this.#at]
    if (origin === undefined) throw new TypeError('a client needs the url of a server')
    return origin
  }

  /** Goes on to the next, unless another call has done so already. */
  leave(origin: Origin): void {
    if (this.current === origin) this.#at = (this.#at + 1) % this.#origins.length
  }

  unreachable(cause: unknown): ServerUnreachable {
    return new ServerUnreachable(
      this.#origins.map(({ url }) => url),
      cause,
    )
  }
}

class Sender {
  readonly #options: CallerOptions
  readonly #servers: Servers
  readonly #tokens: Tokens

  constructor(options: CallerOptions) {
    this.#options = options
    this.#servers = new Servers(options.origins)
    this.#tokens = createTokenKeeper(options.token)
  }

  /**
   * Makes the call as often as the policy table allows. A mutation that fails while a try of it may have been executed
   * rejects with OutcomeUnknown, whatever it was that ended the tries: their number, the caller's signal, a proxy.
   */
  async send<T>(call: Call, read: Read<T>): Promise<T> {
    const requestKey = keyOf(call)
    if (requestKey === undefined) return this.#tryAll(call, undefined, read, { open: false })
    const doubt = { open: false }
    try {
      return await this.#tryAll(call, requestKey, read, doubt)
    } catch (error) {
      if (!doubt.open) throw error
      throw new OutcomeUnknown(`${call.method} ${call.path}`, requestKey, error)
    }
  }

  /** Tries until the policy table, the rounds or the caller say that it is enough. */
  async #tryAll<T>(call: Call, requestKey: string | undefined, read: Read<T>, doubt: Doubt): Promise<T> {
    const triesMax = this.#options.retry.rounds * this.#servers.count
    let renewed = false
    let retryAfterMs = 0
    for (let tries = 1; ; tries += 1) {
      const origin = this.#servers.current
      const outcome = await this.#tryOnce(origin, call, requestKey, read, doubt)
      if (outcome.end === 'good') return outcome.value
      const row = policy[outcome.end]
      if (row.doubt !== 'keeps') doubt.open = row.doubt === 'raises'
      if (!renewed && this.#tokens.renewable && wantsNewToken(outcome.error)) {
        renewed = true
        this.#tokens.drop()
        continue
      }
      if (row[call.kind] === 'reject') throw outcome.error
      this.#servers.leave(origin)
      retryAfterMs = Math.max(retryAfterMs, outcome.retryAfterMs)
      // Another server may be well: wait only when all of them have been asked.
      if (tries % this.#servers.count !== 0) continue
      if (tries >= triesMax || retryAfterMs > retryAfterMaxMs) throw this.#failureOf(outcome.error)
      await this.#pauseAfterRound(tries / this.#servers.count, retryAfterMs, call.options?.signal)
      retryAfterMs = 0
    }
  }

  async openStream(call: Call, silenceMs: number): ReturnType<Caller['openStream']> {
    const request = requestOf(call, await this.#tokens.get(), undefined, this.#options.timeoutMs)
    const headers = { ...request.headers, Accept: 'text/event-stream' }
    return this.#options.transport.stream(this.#servers.current, { ...request, headers, timeoutMs: silenceMs })
  }

  streamFailed(error: unknown): void {
    const passes =
      error instanceof TransportFailure ||
      (error instanceof OnceJobError && (error.retry === 'same-key' || error.status >= 500))
    if (!passes) throw error
    this.#servers.leave(this.#servers.current)
  }

  async #tryOnce<T>(
    origin: Origin,
    call: Call,
    requestKey: string | undefined,
    read: Read<T>,
    doubt: Doubt,
  ): Promise<Try<T>> {
    // Awaited only when it must be: this is on the path of every submit.
    const held = this.#tokens.get()
    const token = typeof held === 'string' ? held : await held
    const request = requestOf(call, token, requestKey, this.#options.timeoutMs)
    let left = false
    const onLeave = (): void => void (left = true)
    try {
      return judge(call, await this.#options.transport.send(origin, { ...request, onLeave }), read)
    } catch (error) {
      // Only what the network does is judged; a given-up call and a bug go to the caller as they are.
      if (error instanceof TransportFailure)
        return { end: error.sent ? 'no-answer' : 'not-sent', error, retryAfterMs: 0 }
      if (left) doubt.open = true
      throw error
    }
  }

  /** Full jitter, so that the callers of a server that was away do not come back all at once. */
  #pauseAfterRound(round: number, retryAfterMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { baseMs, maxMs } = this.#options.retry
    return pauseFor(Math.max(retryAfterMs, Math.random() * Math.min(maxMs, baseMs * 2 ** (round - 1))), signal)
  }

  #failureOf(error: unknown): unknown {
    return error instanceof TransportFailure ? this.#servers.unreachable(error) : error
  }
}

async function* itemsOf<T>(page: (cursor?: string) => Promise<Page<T>>): AsyncGenerator<T, void> {
  let cursor: string | undefined
  do {
    const { items, next } = await page(cursor)
    yield* items
    cursor = next ?? undefined
  } while (cursor !== undefined)
}

/** The one place that sends calls. */
export const createCaller = (options: CallerOptions): Caller => {
  const sender = new Sender(options)
  const json = <T>(call: Call): Promise<T> => sender.send<T>(call, JSON.parse)
  return {
    json,
    done: (call) => sender.send(call, readNothing),
    text: (call) => sender.send(call, readText),
    list: <T>(path: string, query: Readonly<Record<string, QueryValue>>, callOptions?: CallOptions): Paged<T> => {
      const page = (cursor?: string): Promise<Page<T>> =>
        json({
          kind: 'read',
          method: 'GET',
          path,
          query: cursor === undefined ? query : { ...query, cursor },
          options: callOptions,
        })
      return { page, [Symbol.asyncIterator]: () => itemsOf(page) }
    },
    openStream: (call, silenceMs) => sender.openStream(call, silenceMs),
    streamFailed: (error) => sender.streamFailed(error),
  }
}
