// Answers what is not HTTP, or was not complete in time: before Fastify sees a request at all.
import type { Socket } from 'node:net'
import { errors, Refusal } from '@oncejob/protocol'
import { problemOf, problemType } from './problems.ts'

const refusalOf = (code: string | undefined): Refusal => {
  // never 408: clients repeat such a request by themselves, and not all of them with the same request key
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new Refusal('BODY_UNREADABLE', 'The request was not complete in time.')
  if (code === 'HPE_HEADER_OVERFLOW') return new Refusal('REQUEST_INVALID', 'The headers are too long.')
  return new Refusal('REQUEST_INVALID', 'This is not HTTP.')
}

/** Tells the other side what is wrong, if it still listens, and hangs up. */
export const answerBrokenHttp = (
  error: Error & { readonly code?: string },
  socket: Socket,
  requestId: string,
): void => {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy()
    return
  }
  const refusal = refusalOf(error.code)
  const body = JSON.stringify(problemOf(refusal, requestId))
  socket.end(
    [
      `HTTP/1.1 ${errors[refusal.code].status} Bad Request`,
      `Content-Type: ${problemType}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      `X-Request-Id: ${requestId}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  )
}
