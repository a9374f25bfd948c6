// Sends calls through a fetch that the user gives: for proxies, private certificates, instrumentation.
import { TransportFailure, type Origin, type Transport, type WireRequest } from './transport.ts'

/** The part of fetch that is used; the global one fits. */
export type FetchLike = (url: string, init: RequestInit) => Promise<Response>

// fetch tells only by the cause's code whether a connection was ever made.
const neverConnected = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])

const codeOf = (error: unknown): unknown =>
  error instanceof Error && error.cause instanceof Error && 'code' in error.cause ? error.cause.code : undefined

const failureOf = (error: unknown, request: WireRequest): unknown => {
  if (request.signal?.aborted) return request.signal.reason
  const says =
    error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.message) : String(error)
  return new TransportFailure(!neverConnected.has(String(codeOf(error))), says, error)
}

const fetchWith = async (
  fetch: FetchLike,
  origin: Origin,
  request: WireRequest,
  signal: AbortSignal,
): Promise<Response> =>
  fetch(`${origin.url}${request.path}`, {
    method: request.method,
    headers: { ...request.headers },
    signal,
    redirect: 'manual',
    ...(request.body === undefined ? {} : { body: request.body }),
  })

/** A transport that sends everything through `fetch`. */
export const createFetchTransport = (fetch: FetchLike): Transport => ({
  async send(origin, request) {
    request.signal?.throwIfAborted()
    const limit = AbortSignal.timeout(request.timeoutMs)
    try {
      const signal = request.signal === undefined ? limit : AbortSignal.any([limit, request.signal])
      // fetch does not tell when it writes: from here on it may have.
      request.onLeave?.()
      const answer = await fetchWith(fetch, origin, request, signal)
      const text = await answer.text()
      return { status: answer.status, text, header: (name) => answer.headers.get(name) ?? undefined }
    } catch (error) {
      throw failureOf(error, request)
    }
  },
  async stream(origin, request) {
    request.signal?.throwIfAborted()
    const ending = new AbortController()
    const signal = request.signal === undefined ? ending.signal : AbortSignal.any([ending.signal, request.signal])
    const silence = setTimeout(() => ending.abort(new Error(`silent for ${request.timeoutMs} ms`)), request.timeoutMs)
    try {
      const answer = await fetchWith(fetch, origin, request, signal)
      return {
        status: answer.status,
        header: (name) => answer.headers.get(name) ?? undefined,
        chunks: textOf(answer, request, silence),
        async [Symbol.asyncDispose]() {
          clearTimeout(silence)
          ending.abort()
        },
      }
    } catch (error) {
      clearTimeout(silence)
      throw failureOf(error, request)
    }
  },
  close() {},
})

async function* textOf(answer: Response, request: WireRequest, silence: NodeJS.Timeout): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  try {
    for await (const chunk of answer.body ?? []) {
      silence.refresh()
      yield decoder.decode(chunk, { stream: true })
    }
  } catch (error) {
    throw failureOf(error, request)
  }
}
