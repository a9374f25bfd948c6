// The envelope of every answer (contract 1.3), and what failures become in it (1.4).
import type { Refusal } from '@oncejob/protocol'
import { WireError } from './call.ts'

/** JSON text of a success. It has no `code`: strict old consumers do not know that field. */
export const success = (data: unknown): string => JSON.stringify({ success: true, data: data ?? null, message: null })

/** JSON text of a successful /authApp, the one success with a `code`. */
export const authenticated = (data: unknown): string =>
  JSON.stringify({ success: true, data, message: null, code: null })

/** JSON text of a failure. */
export const failure = ({ javaClass, message, code }: WireError): string =>
  JSON.stringify({
    success: false,
    data: null,
    message: javaClass === null ? message : `${javaClass}: ${message}`,
    code,
  })

/** JSON text of a rejected token. */
export const rejection = ({ message, code }: WireError): string => JSON.stringify({ success: false, message, code })

/** How this server says no to the caller of an unknown address; without `success`, since no call was understood. */
export const notFound = (path: string): string => JSON.stringify({ status: 404, error: 'Not Found', path })

/** What the native API makes of an error; undefined: a bug. */
export type RefusalOf = (error: unknown) => Refusal | undefined

export interface Failed {
  readonly error: WireError
  /** Worth a look by the operator. */
  readonly kind: 'refused' | 'outage' | 'bug'
  /** The body was not read to its end. */
  readonly tooLarge?: boolean
}

/** What an error means on this wire. */
export const failedOf = (error: unknown, requestId: string, refusalOf: RefusalOf): Failed => {
  if (error instanceof WireError) return { error, kind: 'refused' }
  const refusal = refusalOf(error)
  if (refusal === undefined) {
    const says = `something broke inside the server; its log has the cause under the request id ${requestId}`
    return { error: new WireError('PowerJobException', says), kind: 'bug' }
  }
  if (refusal.code === 'DATABASE_UNAVAILABLE') {
    const says =
      'the database can not be reached or is too busy; what became of this call is not known, look before sending it again'
    return { error: new WireError('PowerJobException', says), kind: 'outage' }
  }
  if (refusal.code === 'MEDIA_TYPE_UNSUPPORTED')
    return {
      error: new WireError('HttpMediaTypeNotSupportedException', 'the Content-Type can not be read'),
      kind: 'refused',
    }
  const tooLarge = refusal.code === 'BODY_TOO_LARGE'
  return { error: new WireError('PowerJobException', refusal.message), kind: 'refused', tooLarge }
}
