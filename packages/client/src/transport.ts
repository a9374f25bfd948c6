// What a call needs of the network; undici-transport.ts and fetch-transport.ts give it.

/** One server address, taken apart once. */
export interface Origin {
  /** As the user wrote it, without a slash at the end; names the server in errors. */
  readonly url: string
  readonly secure: boolean
  readonly hostname: string
  readonly port: number
  /** Value of the Host header. */
  readonly host: string
  /** Path before /api, empty unless a proxy adds one. */
  readonly basePath: string
}

export interface WireRequest {
  readonly method: string
  /** Path and query. */
  readonly path: string
  /** Printable ASCII only; checked where they are made. */
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** Bounds the time to get a connection, and from sending to the end of the answer; for a stream, the silence. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
  /** The server holds the answer back on purpose: must not keep others from being sent. */
  readonly slow?: boolean
  /** Called right before the first byte may leave. */
  readonly onLeave?: () => void
}

export interface WireAnswer {
  readonly status: number
  readonly text: string
  header(name: string): string | undefined
}

export interface WireStream extends AsyncDisposable {
  readonly status: number
  header(name: string): string | undefined
  readonly chunks: AsyncIterable<string>
}

/** Sends calls. Both methods reject with TransportFailure, or with the reason of an aborted signal. */
export interface Transport {
  send(origin: Origin, request: WireRequest): Promise<WireAnswer>
  stream(origin: Origin, request: WireRequest): Promise<WireStream>
  /** Ends every connection; calls under way fail. */
  close(): void
}

/** No whole answer came. `sent` is false only when no byte can have reached a server. */
export class TransportFailure extends Error {
  override readonly name = 'TransportFailure'
  readonly sent: boolean

  constructor(sent: boolean, says: string, cause?: unknown) {
    super(says, { cause })
    this.sent = sent
  }
}

/**
 * Reads a server address. Throws TypeError when it is not an http(s) URL.
 */
export const originOf = (text: string): Origin => {
  if (!URL.canParse(text)) throw new TypeError(`not a server URL: "${text}"`)
  const url = new URL(text)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new TypeError(`not an http(s) URL: "${text}"`)
  const secure = url.protocol === 'https:'
  return {
    url: text.replace(/\/+$/, ''),
    secure,
    hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (secure ? 443 : 80) : Number(url.port),
    host: url.host,
    basePath: url.pathname.replace(/\/+$/, ''),
  }
}
