// Who calls: reads the token of a request, looks it up, and decides whether the route is for it.
import type { FastifyRequest } from 'fastify'
import { Refusal, type App } from '@oncejob/protocol'
import { briefly } from '../kernel/briefly.ts'
import type { Clock } from '../kernel/clock.ts'
import { findApp } from '../storage/apps.ts'
import type { Queries } from '../storage/db.ts'
import { findToken } from '../storage/tokens.ts'
import { hashToken } from './admin-token.ts'
import type { Access, Principal } from './types.ts'

export interface Auth {
  /**
   * Sets `principal` and `appId` of the request, at once when the token was seen a moment ago.
   * @throws Refusal TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, ADMIN_ONLY, READ_ONLY, APP_REQUIRED, APP_NOT_FOUND
   */
  admit(request: FastifyRequest, access: Access): void | Promise<void>
  /** Forgets what it knows, so that a change of tokens or apps made here counts at once. */
  forget(): void
}

const readCredentials = (header: string): { readonly token: string; readonly basic: boolean } | undefined => {
  const [, scheme = '', rest = ''] = /^(bearer|basic) +(\S+) *$/i.exec(header) ?? []
  if (scheme === '') return undefined
  if (scheme.toLowerCase() === 'bearer') return { token: rest, basic: false }
  const pair = Buffer.from(rest, 'base64').toString()
  const colon = pair.indexOf(':')
  return colon < 0 ? undefined : { token: pair.slice(colon + 1), basic: true }
}

const isReading = (method: string): boolean => method === 'GET' || method === 'HEAD'

// A browser adds remembered Basic credentials to forms of other sites as well.
const isForged = (request: FastifyRequest, basic: boolean): boolean => {
  const site = request.headers['sec-fetch-site']
  return basic && !isReading(request.method) && site !== undefined && site !== 'same-origin' && site !== 'none'
}

const tokenOf = (request: FastifyRequest): string => {
  const header = request.headers.authorization
  if (header === undefined) throw new Refusal('TOKEN_MISSING', 'Send the header Authorization: Bearer <token>.')
  const credentials = readCredentials(header)
  if (credentials === undefined) {
    throw new Refusal(
      'TOKEN_INVALID',
      'The Authorization header must be Bearer <token>, or Basic with the token as password.',
    )
  }
  if (isForged(request, credentials.basic)) {
    throw new Refusal(
      'TOKEN_MISSING',
      'Basic credentials are not taken for changes that another site asks for; send the token as Bearer.',
    )
  }
  return credentials.token
}

const demand = (principal: Principal, access: Access, method: string): void => {
  if (access === 'admin' && principal.scope !== 'admin') throw new Refusal('ADMIN_ONLY', 'Use an admin token for this.')
  if (principal.scope === 'read' && !isReading(method))
    throw new Refusal('READ_ONLY', 'Use a token with the scope app for this.')
}

const appNameOf = (request: FastifyRequest): string | undefined => {
  const { query } = request
  const name: unknown = typeof query === 'object' && query !== null && 'app' in query ? query.app : undefined
  return typeof name === 'string' ? name : undefined
}

const unknownApp = (name: string): Refusal =>
  new Refusal('APP_NOT_FOUND', `There is no app named ${JSON.stringify(name)}.`)

/** Looks tokens up in the database, each at most once a second. */
export const createAuth = (db: Queries, clock: Clock): Auth => {
  const principals = briefly(clock, async (token: string): Promise<Principal> => {
    const found = await findToken(db, hashToken(token))
    if (found === undefined)
      throw new Refusal('TOKEN_INVALID', 'The token is not known, or was revoked. Ask for a new one.')
    if (found.expired) throw new Refusal('TOKEN_EXPIRED', 'The token is past its expiry. Ask for a new one.')
    const { expired: _, ...principal } = found
    return principal
  })
  const apps = briefly(clock, async (name: string): Promise<App> => {
    const app = name.includes('\0') ? undefined : await findApp(db, name)
    if (app === undefined) throw unknownApp(name)
    return app
  })
  const meant = (request: FastifyRequest, app: App): void => {
    request.appId = app.id
    request.keyRequired = app.requireRequestKeys
  }

  const setApp = (request: FastifyRequest, principal: Principal, access: Access): void | Promise<void> => {
    const named = appNameOf(request)
    if (principal.appId !== null) {
      if (named !== undefined && named !== principal.app) throw unknownApp(named)
      request.appId = principal.appId
      request.keyRequired = principal.keysRequired
      return
    }
    if (named === undefined) {
      if (access === 'app') throw new Refusal('APP_REQUIRED', 'Add ?app=<name of the app> to the address.')
      return
    }
    const app = apps.get(named)
    return app instanceof Promise ? app.then((found) => meant(request, found)) : meant(request, app)
  }

  const welcome = (request: FastifyRequest, principal: Principal, access: Access): void | Promise<void> => {
    request.principal = principal
    demand(principal, access, request.method)
    return setApp(request, principal, access)
  }

  return {
    admit: (request, access) => {
      if (access === 'open') return
      const principal = principals.get(tokenOf(request))
      return principal instanceof Promise
        ? principal.then((found) => welcome(request, found, access))
        : welcome(request, principal, access)
    },
    forget: () => {
      principals.forget()
      apps.forget()
    },
  }
}
