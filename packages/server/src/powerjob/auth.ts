// Who calls: passwords become tokens (/authApp, /assert), and each call's token is checked in the order of contract 2.4.
import type { IncomingHttpHeaders } from 'node:http'
import { briefly } from '../kernel/briefly.ts'
import type { Clock } from '../kernel/clock.ts'
import type { Random } from '../kernel/random.ts'
import type { Queries } from '../storage/db.ts'
import { findWireApp, findWireAppById, signingKey, type WireApp } from '../storage/wire-apps.ts'
import { WireError } from './call.ts'
import { createPasswords, md5Of } from './passwords.ts'
import { readToken, signToken, type Claims } from './tokens.ts'

/** A call that is rejected for its token: nothing was executed, and the client may come back with another one. */
export class Rejected extends WireError {}

/** Who calls, and with which token (null: without one that is ours). */
export interface Caller {
  readonly app: WireApp
  readonly jti: string | null
}

export interface Issued extends Caller {
  readonly token: string
  readonly jti: string
}

export interface Presented {
  /** Empty when there is none. */
  readonly appId: string
  readonly token: string
}

// clients put these words when they have no value
const none = new Set(['null', 'undefined'])
const headerOf = (headers: IncomingHttpHeaders, name: string): string => {
  const value = headers[name]
  return typeof value === 'string' && !none.has(value) ? value.trim() : ''
}

/** The two headers of a 5.x client. */
export const presentedOf = (headers: IncomingHttpHeaders): Presented => ({
  appId: headerOf(headers, 'x-powerjob-app-id'),
  token: headerOf(headers, 'x-powerjob-access-token'),
})

/** What a call without a token is told. */
export const tokenMissing = ({ appId }: Presented): Rejected =>
  appId === ''
    ? new Rejected(null, 'INVALID_REQUEST:lack_of_appId_in_header', '-300')
    : new Rejected(null, 'OPEN_API_AUTH_FAILED:token_is_empty', '-1002')

const noApp = (): WireError => new WireError('PowerJobException', 'INVALID_APP:can_not_find_app', '-402')

export interface AuthNeeds {
  readonly db: Queries
  readonly clock: Clock
  readonly random: Random
  /** How long a token is good for. */
  readonly tokenSeconds: number
}

const textOf = (body: unknown, name: string): string | undefined => {
  const value: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, name) : undefined
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** The MD5 of a password that came as MD5 or in clear text. @throws WireError for another way of encryption */
const md5Sent = (password: string, encryptType: string): string => {
  const type = encryptType.toLowerCase()
  if (type === 'md5') return password
  if (type === '' || type === 'none') return md5Of(password)
  throw new WireError(null, `INVALID_REQUEST:unknown_encryptType:${encryptType}`, '-300')
}

/** Apps as the database has them, each asked for at most once a second. */
const createApps = ({ db, clock }: AuthNeeds) => {
  const byName = briefly(clock, async (name: string): Promise<WireApp> => {
    const app = name.includes('\0') ? undefined : await findWireApp(db, name)
    if (app === undefined) throw new WireError(null, `INVALID_APP:${name}`, '-402')
    return app
  })
  const byId = briefly(clock, async (id: number): Promise<WireApp> => {
    const app = Number.isSafeInteger(id) ? await findWireAppById(db, id) : undefined
    if (app === undefined) throw noApp()
    return app
  })
  return {
    byName,
    byId,
    forget: (): void => {
      byName.forget()
      byId.forget()
    },
  }
}

type Apps = ReturnType<typeof createApps>

/** Checks a password against the app as it is remembered, and before it says no, as it is now. */
const createDoor = (needs: AuthNeeds, apps: Apps) => {
  const verdictOf = createPasswords(needs.clock, needs.random)
  const judge = async (app: WireApp, md5: string, peer: string): Promise<'right' | 'wrong' | 'too-many'> => {
    const { id: appId, passwordVersion: version, passwordHash: stored } = app
    return stored === null ? 'wrong' : verdictOf({ appId, version, stored, md5, peer })
  }
  /** @throws WireError INCORRECT_PASSWORD */
  return async (app: WireApp, md5: string, peer: string): Promise<WireApp> => {
    let verdict = await judge(app, md5, peer)
    if (verdict === 'right') return app
    const now = await findWireAppById(needs.db, app.id)
    if (now !== undefined && now.passwordVersion !== app.passwordVersion) {
      apps.forget()
      verdict = await judge(now, md5, peer)
      if (verdict === 'right') return now
    }
    const says = verdict === 'too-many' ? ':too many wrong passwords, wait some seconds' : ''
    throw new WireError(null, `INCORRECT_PASSWORD${says}`, '-400')
  }
}

/** The same failure with the class that PowerJob's handlers of forms put in front. */
const asException = (error: unknown): unknown =>
  error instanceof WireError && error.javaClass === null
    ? new WireError('PowerJobException', error.message, error.code)
    : error

/** The key that signs tokens, asked for once. */
const createSigning = ({ db, random }: AuthNeeds): (() => Promise<Uint8Array>) => {
  let key: Promise<Uint8Array> | undefined
  return () => {
    key ??= signingKey(db, random.bytes(32)).catch((error: unknown) => {
      // asked for again by the next call
      key = undefined
      throw error
    })
    return key
  }
}

/** The app that a token is for, if the token is still good for it. @throws Rejected */
const createOwner =
  (apps: Apps) =>
  async ({ appId, version }: Claims): Promise<WireApp> => {
    let app: WireApp
    try {
      app = await apps.byId.get(appId)
      // issued by a server that has heard of a change before this one
      if (version > app.passwordVersion) {
        apps.forget()
        app = await apps.byId.get(appId)
      }
    } catch (error) {
      // translated
      if (error instanceof WireError) throw new Rejected(null, error.message, error.code)
      throw error
    }
    if (version !== app.passwordVersion || app.passwordHash === null)
      throw new Rejected(null, 'INCORRECT_PASSWORD', '-400')
    return app
  }

/** Creates the checks of one server; tokens of other servers with the same database are good here too. */
export const createAuth = (needs: AuthNeeds) => {
  const { clock, random, tokenSeconds } = needs
  const apps = createApps(needs)
  const admit = createDoor(needs, apps)
  const ownerOf = createOwner(apps)
  const signing = createSigning(needs)

  const issue = async (app: WireApp): Promise<Issued> => {
    const jti = Buffer.from(random.bytes(16)).toString('base64url')
    const exp = Math.floor(clock.now() / 1000) + tokenSeconds
    const token = signToken({ appId: app.id, version: app.passwordVersion, jti, exp }, await signing())
    return { app, jti, token }
  }

  return {
    /** /authApp. @throws WireError with the texts of contract 6.1 */
    authenticate: async (body: unknown, peer: string): Promise<Issued> => {
      const name = textOf(body, 'appName') ?? ''
      const app = await apps.byName.get(name)
      const password = textOf(body, 'encryptedPassword')
      if (password === undefined) throw new WireError(null, 'the password is missing', '-500')
      return issue(await admit(app, md5Sent(password, textOf(body, 'encryptType') ?? ''), peer))
    },
    /** /assert: the id of the app. @throws WireError with the texts of contract 6.1 */
    assert: async (fields: ReadonlyMap<string, string>, peer: string): Promise<WireApp> => {
      try {
        const app = await apps.byName.get(fields.get('appName') ?? '')
        const password = fields.get('password') ?? ''
        // clients 4.x leave it out for an app without one
        if (password === '' && app.passwordHash === null) return app
        if (password === '') throw new WireError('NullPointerException', 'the password is missing')
        return await admit(app, md5Sent(password, fields.get('encryptType') ?? ''), peer)
      } catch (error) {
        // translated
        throw asException(error)
      }
    },
    /** Checks the token of a call. @throws Rejected */
    check: async (presented: Presented): Promise<Caller> => {
      const { appId, token } = presented
      if (appId === '' || token === '') throw tokenMissing(presented)
      const read = readToken(token, await signing(), clock.now())
      if (read.kind === 'broken') throw new Rejected(null, `INVALID_TOKEN:${read.says}`, '-401')
      if (read.kind === 'expired') {
        const says = `the token is past its expiry, ${read.claims.exp} s after 1970`
        throw new Rejected(null, `TOKEN_EXPIRED:${says}`, '-403')
      }
      const { claims } = read
      if (appId !== String(claims.appId))
        throw new Rejected(null, 'INVALID_REQUEST:Inconsistent_appId_from_token_and_header', '-300')
      return { app: await ownerOf(claims), jti: claims.jti }
    },
    /** Name of the presented token if we have issued it, however old it is; null otherwise. */
    jtiOf: async ({ token }: Presented): Promise<string | null> => {
      if (token === '') return null
      const read = readToken(token, await signing(), clock.now())
      return read.kind === 'broken' ? null : read.claims.jti
    },
    /** The app with this id. @throws WireError INVALID_APP */
    appOf: (id: number): WireApp | Promise<WireApp> => apps.byId.get(id),
    /** Forgets what it knows of apps, so that a change made here counts at once. */
    forget: apps.forget,
  }
}

export type Auth = ReturnType<typeof createAuth>
