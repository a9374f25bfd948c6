// The servers the worker may talk to: sticks to one while it answers, goes on to the next when it does not.
import { Outage, ServerRefused } from './errors.ts'
import { isRecord } from './json.ts'
import type { Log } from './log.ts'
import type { Exchange, RawAnswer, Transport } from './transport.ts'

export interface ServersNeeds {
  readonly transport: Transport
  readonly log: Log
  /** Called when nobody answers any more, and when somebody answers again. */
  readonly reachable: (yes: boolean, server: string, error: string) => void
}

/** Statuses by which something in between says "later", not "no". */
const busyStatuses: ReadonlySet<number> = new Set([408, 425, 429])

const detailOf = (body: unknown, text: string): string => {
  if (!isRecord(body)) return text.slice(0, 300)
  const said = body['detail'] ?? body['title']
  const detail = typeof said === 'string' ? said : text.slice(0, 300)
  return 'issues' in body ? `${detail} ${JSON.stringify(body['issues']).slice(0, 2000)}` : detail
}

const parse = (text: string): unknown => {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    // A proxy's page, or a cut answer: judged by its status.
    return undefined
  }
}

/** Reads addresses; throws a TypeError that names the one that is none. */
export const readAddresses = (urls: readonly string[]): URL[] => {
  if (urls.length === 0) throw new TypeError('url or urls must name a server')
  return urls.map((text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url === undefined || !/^https?:$/.test(url.protocol)) throw new TypeError(`"${text}" is not an http(s) address`)
    return url
  })
}

export class Servers {
  readonly #needs: ServersNeeds
  readonly #servers: readonly URL[]
  readonly #query: string
  #current = 0
  #failures = 0

  /** @param app needed with an admin token only */
  constructor(servers: readonly URL[], app: string | undefined, needs: ServersNeeds) {
    this.#servers = servers
    this.#query = app === undefined ? '' : `?app=${encodeURIComponent(app)}`
    this.#needs = needs
  }

  /** Address of the server that is asked next. */
  get current(): string {
    return this.#at(this.#current).href.replace(/\/$/, '')
  }

  get count(): number {
    return this.#servers.length
  }

  /**
   * One call of the native API to the current server.
   * @param exchange its path is below /api/v1/worker
   * @returns the parsed body
   * @throws ServerRefused when it says no, Outage when there is no usable answer (the next call then asks the next server)
   */
  async call(exchange: Exchange): Promise<unknown> {
    const asked = this.#current
    let answer: RawAnswer
    try {
      answer = await this.#needs.transport.send(this.#at(asked), {
        ...exchange,
        path: `/api/v1/worker${exchange.path}${this.#query}`,
      })
    } catch (error) {
      if (exchange.signal?.aborted === true) throw error
      const message = error instanceof Error ? error.message : String(error)
      throw this.#failed(asked, new Outage(message, 0, error))
    }
    const body = parse(answer.text)
    if (answer.status >= 500 || busyStatuses.has(answer.status))
      throw this.#failed(asked, new Outage(detailOf(body, answer.text), answer.status))
    this.#answered()
    if (answer.status >= 200 && answer.status < 300) return body
    const code = isRecord(body) && typeof body['code'] === 'string' ? body['code'] : `HTTP_${answer.status}`
    throw new ServerRefused(answer.status, code, detailOf(body, answer.text))
  }

  #at(index: number): URL {
    const server = this.#servers[index % this.#servers.length]
    if (server === undefined) throw new Error('there is no server')
    return server
  }

  #failed(asked: number, outage: Outage): Outage {
    const server = this.#at(asked).href
    this.#needs.log.debug({ server, error: outage.message }, 'server did not answer')
    // Several calls may fail together; only the first of them moves on.
    if (this.#current !== asked) return outage
    this.#current = (asked + 1) % this.#servers.length
    this.#failures += 1
    if (this.#failures === this.#servers.length) this.#needs.reachable(false, server, outage.message)
    return outage
  }

  #answered(): void {
    const wasAway = this.#failures >= this.#servers.length
    this.#failures = 0
    if (wasAway) this.#needs.reachable(true, this.current, '')
  }
}
