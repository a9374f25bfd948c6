// Reads request bodies: JSON in UTF-8 and nothing else, judged on the bytes.
import { isUtf8 } from 'node:buffer'
import { Refusal } from '@oncejob/protocol'
import type { HttpApp } from './types.ts'

/** Longest body in bytes. */
export const bodyLimitBytes = 16 * 1024 * 1024

const parse = (bytes: Buffer): unknown => {
  // a decoder that replaces bad bytes would store something else than was sent
  if (!isUtf8(bytes)) throw new Refusal('BODY_UNREADABLE', 'The body has bytes that are not UTF-8.')
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    // translated
    throw new Refusal(
      'BODY_UNREADABLE',
      `The body is not JSON: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

/** Makes `application/json` the only media type; an empty body counts as none. */
export const acceptJson = (app: HttpApp): void => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    if (body.length === 0) return done(null, undefined)
    try {
      done(null, parse(Buffer.isBuffer(body) ? body : Buffer.from(body)))
    } catch (error) {
      // handed on: Fastify gives it to the error handler
      done(error instanceof Error ? error : new Error(String(error)))
    }
  })
}
