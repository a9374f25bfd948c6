// Namespaces: list, make, remove.
import { Namespace, NamespaceInput, Refusal } from '@oncejob/protocol'
import { Type } from 'typebox'
import { appendAudit } from '../../storage/audit-log.ts'
import type { Db } from '../../storage/db.ts'
import { deleteNamespace, insertNamespace, listNamespaces } from '../../storage/namespaces.ts'
import { Nothing, pathOf, principalOf, type RoutePlugin } from '../types.ts'
import { servicesOf } from '../services.ts'

const Namespaces = Type.Object({ items: Type.Array(Namespace) })

export const namespaceRoutes =
  (db: Db): RoutePlugin =>
  (app) => {
    app.get(
      '/api/v1/namespaces',
      {
        config: { access: 'admin' },
        schema: { summary: 'All namespaces', tags: ['Tenancy'], response: { 200: Namespaces } },
      },
      async () => ({ items: await listNamespaces(db) }),
    )
    app.post(
      '/api/v1/namespaces',
      {
        config: { access: 'admin', problems: ['NAME_TAKEN'] },
        schema: { summary: 'Make a namespace', tags: ['Tenancy'], body: NamespaceInput, response: { 201: Namespace } },
      },
      async (request, reply) => {
        const input = request.body
        const made = await servicesOf(request).db.transaction(async (tx) => {
          const namespace = await insertNamespace(tx, input)
          if (namespace === undefined)
            throw new Refusal('NAME_TAKEN', `There is a namespace named ${input.name} already.`)
          await appendAudit(tx, {
            actor: principalOf(request).name,
            appId: null,
            action: 'namespace.create',
            target: `namespace/${namespace.name}`,
            detail: { title: namespace.title },
          })
          return namespace
        })
        void reply.code(201)
        return made
      },
    )
    app.delete(
      '/api/v1/namespaces/:name',
      {
        config: { access: 'admin', problems: ['NAMESPACE_NOT_FOUND', 'NOT_EMPTY'] },
        schema: {
          summary: 'Remove an empty namespace',
          tags: ['Tenancy'],
          params: pathOf('name'),
          response: { 204: Nothing },
        },
      },
      async (request, reply) => {
        const { name } = request.params
        await servicesOf(request).db.transaction(async (tx) => {
          const outcome = await deleteNamespace(tx, name)
          if (outcome === 'unknown') throw new Refusal('NAMESPACE_NOT_FOUND', `There is no namespace named ${name}.`)
          if (outcome === 'not-empty')
            throw new Refusal('NOT_EMPTY', 'It still has apps: remove them, or move them to another namespace.')
          await appendAudit(tx, {
            actor: principalOf(request).name,
            appId: null,
            action: 'namespace.delete',
            target: `namespace/${name}`,
            detail: null,
          })
        })
        void reply.code(204)
        return null
      },
    )
  }
