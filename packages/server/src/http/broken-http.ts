// Answers what is not HTTP, or was not complete in time: before Fastify sees a request at all.
import type { Socket } from 'node:net'
import { errors, Refusal } from '@oncejob/protocol'
import { passedHeader } from '../powerjob/addresses.ts'
import { WireError } from '../powerjob/call.ts'
import { failure } from '../powerjob/envelope.ts'
import { problemOf, problemType } from './problems.ts'

const refusalOf = (code: string | undefined): Refusal => {
  // never 408: clients repeat such a request by themselves, and not all of them with the same request key
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new Refusal('BODY_UNREADABLE', 'The request was not complete in time.')
  if (code === 'HPE_HEADER_OVERFLOW') return new Refusal('REQUEST_INVALID', 'The headers are too long.')
  return new Refusal('REQUEST_INVALID', 'This is not HTTP.')
}

// connections that PowerJob's clients have used
const openApiSockets = new WeakSet<Socket>()
/** Notes that a connection is one of a PowerJob client, for what may come on it that is no HTTP. */
export const noteOpenApi = (socket: Socket): void => void openApiSockets.add(socket)

interface HttpError extends Error {
  readonly code?: string
  readonly rawPacket?: unknown
}

/** Whether a broken request is for the wire of PowerJob's clients, as far as that can be known. */
const isForOpenApi = ({ rawPacket }: HttpError, socket: Socket, openApi: Mine | undefined): boolean => {
  if (openApi === undefined) return false
  const start = Buffer.isBuffer(rawPacket) ? rawPacket.subarray(0, 2_048).toString('latin1') : ''
  const [, url] = /^[A-Z]+ (\S+)/.exec(start) ?? []
  return url === undefined ? openApiSockets.has(socket) : openApi.isMine(url)
}

interface Mine {
  isMine(url: string): boolean
}

/** Tells the other side what is wrong, if it still listens, and hangs up. */
export const answerBrokenHttp = (
  error: HttpError,
  socket: Socket,
  requestId: string,
  openApi: Mine | undefined,
): void => {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy()
    return
  }
  const refusal = refusalOf(error.code)
  const forOpenApi = isForOpenApi(error, socket, openApi)
  const body = forOpenApi
    ? failure(new WireError('PowerJobException', refusal.message))
    : JSON.stringify(problemOf(refusal, requestId))
  socket.end(
    [
      `HTTP/1.1 ${errors[refusal.code].status} Bad Request`,
      ...(forOpenApi ? [`${passedHeader}: true`] : []),
      `Content-Type: ${forOpenApi ? 'application/json' : problemType}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      `X-Request-Id: ${requestId}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  )
}
