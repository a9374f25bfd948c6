// Tokens of an app: list, make (the secret is shown once), revoke.
import { Refusal, Token, TokenInput, TokenWithSecret, type App } from '@oncejob/protocol'
import { Type } from 'typebox'
import { invariant } from '../../kernel/errors.ts'
import type { Random } from '../../kernel/random.ts'
import { findApp } from '../../storage/apps.ts'
import { appendAudit } from '../../storage/audit-log.ts'
import type { Db, Queries } from '../../storage/db.ts'
import { insertToken, listTokens, revokeToken } from '../../storage/tokens.ts'
import { hashToken, makeToken } from '../admin-token.ts'
import type { Auth } from '../auth.ts'
import { Nothing, pathOf, principalOf, readId, readTime, type HttpApp, type RoutePlugin } from '../types.ts'
import { afterward, servicesOf } from '../services.ts'
import { noApp } from './apps.ts'

const Tokens = Type.Object({ items: Type.Array(Token) })
const tags = ['Tenancy']

const appNamed = async (db: Queries, name: string): Promise<App> => {
  const found = await findApp(db, name)
  if (found === undefined) throw noApp(name)
  return found
}

const listRoute = (app: HttpApp, db: Db): void => {
  app.get(
    '/api/v1/apps/:app/tokens',
    {
      config: { access: 'admin', problems: ['APP_NOT_FOUND'] },
      schema: {
        summary: 'The tokens of an app, without their secrets',
        tags,
        params: pathOf('app'),
        response: { 200: Tokens },
      },
    },
    async (request) => {
      const { id } = await appNamed(db, request.params.app)
      return { items: await listTokens(db, id) }
    },
  )
}

const createRoute = (app: HttpApp, random: Random): void => {
  app.post(
    '/api/v1/apps/:app/tokens',
    {
      config: { secret: 'token', access: 'admin', problems: ['APP_NOT_FOUND'] },
      schema: {
        summary: 'Make a token; its secret is in this answer and nowhere else',
        tags,
        params: pathOf('app'),
        body: TokenInput,
        response: { 201: TokenWithSecret },
      },
    },
    async (request, reply) => {
      const { name, scope = 'app', expiresAt } = request.body
      const expiresAtMs = readTime(expiresAt, '/expiresAt')
      const secret = makeToken(random)
      const made = await servicesOf(request).db.transaction(async (tx) => {
        const owner = await appNamed(tx, request.params.app)
        const token = await insertToken(tx, {
          appId: owner.id,
          app: owner.name,
          name,
          scope,
          hash: hashToken(secret),
          expiresAtMs,
        })
        invariant(token !== undefined, 'an insert returns its row')
        await appendAudit(tx, {
          actor: principalOf(request).name,
          appId: owner.id,
          action: 'token.create',
          target: `token/${token.id}`,
          detail: { name, scope, expiresAt: token.expiresAt },
        })
        return token
      })
      void reply.code(201).header('cache-control', 'no-store')
      return { ...made, token: secret }
    },
  )
}

const revokeRoute = (app: HttpApp, auth: Auth): void => {
  app.delete(
    '/api/v1/apps/:app/tokens/:id',
    {
      config: { access: 'admin', problems: ['APP_NOT_FOUND', 'TOKEN_NOT_FOUND'] },
      schema: { summary: 'Revoke a token', tags, params: pathOf('app', 'id'), response: { 204: Nothing } },
    },
    async (request, reply) => {
      const tokenId = readId(request.params.id, 'TOKEN_NOT_FOUND')
      await servicesOf(request).db.transaction(async (tx) => {
        const owner = await appNamed(tx, request.params.app)
        const name = await revokeToken(tx, owner.id, tokenId)
        if (name === undefined) throw new Refusal('TOKEN_NOT_FOUND', `The app ${owner.name} has no token ${tokenId}.`)
        await appendAudit(tx, {
          actor: principalOf(request).name,
          appId: owner.id,
          action: 'token.revoke',
          target: `token/${tokenId}`,
          detail: { name },
        })
      })
      afterward(request, () => auth.forget())
      void reply.code(204)
      return null
    },
  )
}

export const tokenRoutes =
  (db: Db, random: Random, auth: Auth): RoutePlugin =>
  (app) => {
    listRoute(app, db)
    createRoute(app, random)
    revokeRoute(app, auth)
  }
