// Which app a call is for: that of its token, and it must be the one that the call names.
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { WireApp } from '../storage/wire-apps.ts'
import { presentedOf, tokenMissing, type Auth, type Caller, type Presented } from './auth.ts'
import { WireError, type Endpoint, type WireServices } from './call.ts'
import { readFields, readJson } from './input.ts'
import { notALong } from './jackson.ts'

/** A request as far as it concerns who calls and what for. */
export interface Sent {
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer | undefined
}

export const sentOf = ({ url, headers, body }: FastifyRequest): Sent => ({
  url,
  headers,
  body: Buffer.isBuffer(body) ? body : undefined,
})

export interface Input {
  readonly fields: ReadonlyMap<string, string>
  readonly body: unknown
}

/** Fields and body of a call. @throws WireError */
export const inputOf = ({ path, accepts, app }: Endpoint, { url, headers, body }: Sent): Input => {
  const contentType = headers['content-type'] ?? ''
  if (accepts === 'form') return { fields: readFields(url, contentType, body), body: undefined }
  const shape = app === 'first-element' ? 'array' : 'object'
  return { fields: readFields(url, '', undefined), body: readJson(path, contentType, body, shape) }
}

const idOf = (text: string): number => {
  if (!/^-?\d{1,19}$/.test(text)) throw notALong(text)
  return Number(text)
}

/** An id in a JSON body: a number or its digits; null and absent are the same. */
const idIn = (value: unknown, name: string): number | undefined => {
  const id: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
  if (id === undefined || id === null || id === '') return undefined
  if (typeof id === 'number' && Number.isInteger(id)) return id
  if (typeof id === 'string' && /^-?\d{1,19}$/.test(id)) return Number(id)
  throw new WireError('HttpMessageNotReadableException', `JSON parse error: ${name} must be a whole number`)
}

/** The app that a call names, wherever it may; undefined when it names none. @throws WireError */
const namedIn = ({ accepts, app }: Endpoint, { fields, body }: Input): number | undefined => {
  if (accepts === 'form') {
    const text = fields.get('appId') ?? ''
    return text === '' ? undefined : idOf(text)
  }
  if (app !== 'first-element') return idIn(body, app)
  const elements: readonly unknown[] = Array.isArray(body) ? body : []
  const [first, ...others] = elements.flatMap((element) => idIn(element, 'appId') ?? [])
  if (others.some((other) => other !== first))
    throw new WireError('PowerJobException', 'node list must are in the same app')
  return first
}

const unnamed = ({ app, accepts }: Endpoint): WireError =>
  accepts === 'form'
    ? new WireError('NullPointerException', 'appId is missing')
    : new WireError('PowerJobException', `${app === 'appIdEq' ? app : 'appId'} can't be empty`)

/** The app of the token, if the call is for it. */
const sameApp = (endpoint: Endpoint, input: Input, app: WireApp): void => {
  const named = namedIn(endpoint, input)
  if (named === app.id) return
  if (named !== undefined) {
    const says = `Permission Denied! the call is for the app ${named}, its token is for the app ${app.id}`
    throw new WireError('PowerJobException', says, '-300')
  }
  // saveJob and its like say in their own order what is missing
  if (endpoint.owner === undefined && (endpoint.accepts === 'form' || endpoint.app === 'appIdEq'))
    throw unnamed(endpoint)
}

export interface Identified extends Caller {
  readonly input: Input
}

export interface CallerNeeds {
  readonly auth: Auth
  readonly services: WireServices
  /** Tokens are checked. */
  readonly checked: boolean
}

/**
 * Finds out who calls. The token comes first, so that who has none learns nothing about the rest.
 * @throws Rejected for the token; WireError for the call
 */
export const identify = async (needs: CallerNeeds, endpoint: Endpoint, sent: Sent): Promise<Identified> => {
  const { auth, checked } = needs
  const presented = presentedOf(sent.headers)
  if (checked && presented.token !== '') {
    const caller = await auth.check(presented)
    const input = inputOf(endpoint, sent)
    sameApp(endpoint, input, caller.app)
    return { ...caller, input }
  }
  if (checked) return withoutToken(needs, endpoint, sent, presented)
  const input = inputOf(endpoint, sent)
  const app = await named(needs, endpoint, input)
  return { app, jti: await auth.jtiOf(presented), input }
}

/** The app that the call names, or that owns what it names. @throws WireError */
const named = async ({ auth, services }: CallerNeeds, endpoint: Endpoint, input: Input): Promise<WireApp> => {
  const id = namedIn(endpoint, input) ?? (await endpoint.owner?.(input.fields, services))
  if (id === undefined) throw unnamed(endpoint)
  return auth.appOf(id)
}

const withoutToken = async (
  needs: CallerNeeds,
  endpoint: Endpoint,
  sent: Sent,
  presented: Presented,
): Promise<Identified> => {
  let input: Input, app: WireApp
  try {
    input = inputOf(endpoint, sent)
    app = await named(needs, endpoint, input)
  } catch (error) {
    // translated: nobody without a token learns which apps there are
    throw error instanceof WireError ? tokenMissing(presented) : error
  }
  if (!app.tokenless) throw tokenMissing(presented)
  return { app, jti: null, input }
}
