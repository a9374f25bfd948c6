// Apps: list, make, look, change, remove.
import { App, AppInput, AppPatch, Refusal } from '@oncejob/protocol'
import { Type } from 'typebox'
import { deleteApp, findApp, insertApp, listApps, updateApp } from '../../storage/apps.ts'
import { appendAudit } from '../../storage/audit-log.ts'
import type { Db } from '../../storage/db.ts'
import type { Random } from '../../kernel/random.ts'
import { fingerprintPassword, hashPassword } from '../../powerjob/passwords.ts'
import { flawOfNetworks } from '../../powerjob/worker/networks.ts'
import { afterward, servicesOf } from '../services.ts'
import { Nothing, invalid, pathOf, principalOf, type HttpApp, type RoutePlugin } from '../types.ts'

export interface AppNeeds {
  readonly db: Db
  readonly random: Random
  /** What is remembered of apps is out of date. */
  readonly forget: () => void
}

const Apps = Type.Object({ items: Type.Array(App) })
const tags = ['Tenancy']

/** The refusal for a name that no app has. */
export const noApp = (name: string): Refusal =>
  new Refusal('APP_NOT_FOUND', `There is no app named ${JSON.stringify(name)}.`)
const noNamespace = (name: string): Refusal =>
  new Refusal('NAMESPACE_NOT_FOUND', `There is no namespace named ${JSON.stringify(name)}; make it first.`)

const readRoutes = (app: HttpApp, db: Db): void => {
  app.get(
    '/api/v1/apps',
    { config: { access: 'admin' }, schema: { summary: 'All apps', tags, response: { 200: Apps } } },
    async () => ({ items: await listApps(db) }),
  )
  app.get(
    '/api/v1/apps/:app',
    {
      config: { access: 'any', problems: ['APP_NOT_FOUND'] },
      schema: {
        summary: 'One app; a token of an app sees its own',
        tags,
        params: pathOf('app'),
        response: { 200: App },
      },
    },
    async (request) => {
      const { app: name } = request.params
      const principal = principalOf(request)
      const visible = principal.scope === 'admin' || principal.app === name
      const found = visible ? await findApp(db, name) : undefined
      if (found === undefined) throw noApp(name)
      return found
    },
  )
}

const checkNetworks = (networks: readonly string[] = []): void => {
  const flaw = flawOfNetworks(networks)
  if (flaw !== undefined) throw invalid('/powerjob/workerNetworks', flaw)
}

/** Never stands in an audit entry: only that there was one. */
const withoutPassword = <T extends { password?: string | null }>(
  input: T,
): Omit<T, 'password'> & { password?: string } => {
  const { password, ...rest } = input
  return password === undefined ? rest : { ...rest, password: password === null ? 'removed' : 'set' }
}

/** Bodies as the fingerprint of a request key takes them: guessing a password from it is as slow as from the stored hash. */
const slowBody = async (body: unknown, key: string): Promise<unknown> => {
  if (typeof body !== 'object' || body === null || !('password' in body) || typeof body.password !== 'string')
    return body
  return { ...body, password: await fingerprintPassword(body.password, key) }
}

const createRoute = (app: HttpApp, { random }: AppNeeds): void => {
  app.post(
    '/api/v1/apps',
    {
      config: { access: 'admin', problems: ['NAME_TAKEN', 'NAMESPACE_NOT_FOUND'], fingerprintBody: slowBody },
      schema: { summary: 'Make an app', tags, body: AppInput, response: { 201: App } },
    },
    async (request, reply) => {
      const { password, ...rest } = request.body
      checkNetworks(rest.powerjob?.workerNetworks)
      const input = { ...rest, namespace: rest.namespace ?? 'default' }
      const passwordHash = password === undefined ? null : await hashPassword(password, random)
      const made = await servicesOf(request).db.transaction(async (tx) => {
        const outcome = await insertApp(tx, input, passwordHash)
        if (outcome === 'name-taken') throw new Refusal('NAME_TAKEN', `There is an app named ${input.name} already.`)
        if (outcome === 'no-namespace') throw noNamespace(input.namespace)
        await appendAudit(tx, {
          actor: principalOf(request).name,
          appId: outcome.id,
          action: 'app.create',
          target: `app/${outcome.name}`,
          detail: {
            namespace: outcome.namespace,
            title: outcome.title,
            ...(password === undefined ? {} : { password: 'set' }),
            ...(rest.powerjob === undefined ? {} : { powerjob: rest.powerjob }),
          },
        })
        return outcome
      })
      void reply.code(201).header('location', `/api/v1/apps/${encodeURIComponent(made.name)}`)
      return made
    },
  )
}

const changeRoute = (app: HttpApp, { random, forget }: AppNeeds): void => {
  app.patch(
    '/api/v1/apps/:app',
    {
      config: { access: 'admin', problems: ['APP_NOT_FOUND', 'NAMESPACE_NOT_FOUND'], fingerprintBody: slowBody },
      schema: {
        summary: 'Change title, namespace, password or switches of an app',
        tags,
        params: pathOf('app'),
        body: AppPatch,
        response: { 200: App },
      },
    },
    async (request) => {
      const { app: name } = request.params
      const { password, ...patch } = request.body
      checkNetworks(patch.powerjob?.workerNetworks)
      const passwordHash = typeof password === 'string' ? await hashPassword(password, random) : password
      const changed = await servicesOf(request).db.transaction(async (tx) => {
        const outcome = await updateApp(tx, name, patch, passwordHash)
        if (outcome === 'unknown') throw noApp(name)
        if (outcome === 'no-namespace') throw noNamespace(patch.namespace ?? '')
        await appendAudit(tx, {
          actor: principalOf(request).name,
          appId: outcome.id,
          action: 'app.update',
          target: `app/${name}`,
          detail: withoutPassword(request.body),
        })
        return outcome
      })
      afterward(request, forget)
      return changed
    },
  )
}

const removeRoute = (app: HttpApp, { forget }: AppNeeds): void => {
  app.delete(
    '/api/v1/apps/:app',
    {
      config: { access: 'admin', problems: ['APP_NOT_FOUND', 'NOT_EMPTY'] },
      schema: {
        summary: 'Remove an app that has no jobs and no workflows, together with its tokens',
        tags,
        params: pathOf('app'),
        response: { 204: Nothing },
      },
    },
    async (request, reply) => {
      const { app: name } = request.params
      await servicesOf(request).db.transaction(async (tx) => {
        const found = await findApp(tx, name)
        const outcome = found === undefined ? 'unknown' : await deleteApp(tx, name)
        if (found === undefined || outcome === 'unknown') throw noApp(name)
        if (outcome === 'not-empty')
          throw new Refusal(
            'NOT_EMPTY',
            'It still has jobs, workflows, or runs that have not ended: remove the jobs and workflows, wait for the runs.',
          )
        await appendAudit(tx, {
          actor: principalOf(request).name,
          appId: found.id,
          action: 'app.delete',
          target: `app/${name}`,
          detail: null,
        })
      })
      afterward(request, forget)
      void reply.code(204)
      return null
    },
  )
}

export const appRoutes =
  (needs: AppNeeds): RoutePlugin =>
  (app) => {
    readRoutes(app, needs.db)
    createRoute(app, needs)
    changeRoute(app, needs)
    removeRoute(app, needs)
  }
