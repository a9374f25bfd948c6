// For people whose workers are Java's: the containers that these load, and a look into the runs that they have.
import type { IncomingMessage } from 'node:http'
import { Type } from 'typebox'
import {
  Container,
  ContainerDeployed,
  ContainerDetail,
  ContainerName,
  JavaRunDetail,
  JavaTaskFilters,
  Refusal,
  pageOf,
  pageQuery,
  type Container as ContainerView,
} from '@oncejob/protocol'
import type { Containers } from '../../powerjob/worker/containers.ts'
import type { JavaDetails } from '../../powerjob/worker/detail.ts'
import { appendAudit } from '../../storage/audit-log.ts'
import {
  adoptJar,
  deleteContainer,
  findContainer,
  jobsOfContainer,
  listContainers,
  noteDeployed,
  type ArrivedJar,
  type ContainerRow,
} from '../../storage/containers.ts'
import type { Db, Queries } from '../../storage/db.ts'
import { readCursor } from '../cursor.ts'
import { listName, pageFrom } from '../paging.ts'
import { afterward, servicesOf } from '../services.ts'
import { appIdOf, Nothing, pathOf, principalOf, queryOf, readId, type HttpApp, type RoutePlugin } from '../types.ts'
import { compileSchema } from '../validation.ts'

export interface JavaRoutesNeeds {
  readonly db: Db
  readonly containers: Containers
  readonly details: JavaDetails
}

const tags = ['Containers']
const mediaTypes = ['application/java-archive', 'application/octet-stream']

const viewOf = ({ createdAt, updatedAt, deployedAt, ...same }: ContainerRow): ContainerView => ({
  ...same,
  createdAt: createdAt.toISOString(),
  updatedAt: updatedAt.toISOString(),
  deployedAt: deployedAt?.toISOString() ?? null,
})

const found = async (db: Queries, appId: number, id: number): Promise<ContainerRow> => {
  const container = await findContainer(db, appId, id)
  if (container === undefined)
    throw new Refusal('CONTAINER_NOT_FOUND', `This app has no container ${id}; see "oncejob containers".`)
  return container
}

const readContainerId = (text: string): number => readId(text, 'CONTAINER_NOT_FOUND')

const readRoutes = (app: HttpApp, { db, containers }: JavaRoutesNeeds): void => {
  app.get(
    '/api/v1/containers',
    {
      config: { access: 'app', problems: ['CURSOR_INVALID'] },
      schema: {
        summary: 'List the containers of Java workers',
        tags,
        querystring: queryOf(pageQuery),
        response: { 200: pageOf(Container) },
      },
    },
    async (request) => {
      const appId = appIdOf(request)
      const { limit = 50, cursor } = request.query
      const list = listName('containers', { appId })
      const [after = 0] = readCursor(list, cursor, ['number']) ?? []
      const rows = await listContainers(db, appId, after, limit + 1)
      return pageFrom(list, rows.map(viewOf), limit, ({ id }) => [id])
    },
  )
  app.get(
    '/api/v1/containers/:id',
    {
      config: { access: 'app', problems: ['CONTAINER_NOT_FOUND'] },
      schema: {
        summary: 'One container, and which Java workers have loaded it',
        tags,
        params: pathOf('id'),
        response: { 200: ContainerDetail },
      },
    },
    async (request) => {
      const appId = appIdOf(request)
      const container = await found(db, appId, readContainerId(request.params.id))
      return { ...viewOf(container), workers: await containers.holders(appId, container) }
    },
  )
}

/** What a request key stands for is the jar, and not the place where it was put on its way in. */
const fingerprintOf = async (body: unknown): Promise<unknown> =>
  typeof body === 'object' && body !== null && 'sha256' in body ? { sha256: body.sha256 } : body

const uploadRoute = (app: HttpApp, containers: Containers): void => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(mediaTypes, (_request: unknown, payload: IncomingMessage) => containers.receive(payload))
  app.post(
    '/api/v1/containers',
    {
      config: { access: 'app', atomic: true, fingerprintBody: fingerprintOf },
      schema: {
        summary: 'Store a jar as the container of a name',
        description:
          'The body is the jar. A container that exists gets it as its new version; the same jar once more changes nothing. Workers are not told: deploy it.',
        tags,
        consumes: mediaTypes,
        querystring: queryOf({ name: ContainerName }),
        body: Type.Unsafe<ArrivedJar>({ type: 'string', format: 'binary' }),
        response: { 200: Container, 201: Container },
      },
      // the body was read as it came, and is no value that a schema could judge
      validatorCompiler: (route) => (route.httpPart === 'body' ? () => true : compileSchema(route)),
    },
    async (request, reply) => {
      const appId = appIdOf(request)
      const { db } = servicesOf(request)
      const { name } = request.query
      const { id, made, changed } = await adoptJar(db, appId, name, request.body)
      if (changed)
        await appendAudit(db, {
          actor: principalOf(request).name,
          appId,
          action: made ? 'container.create' : 'container.update',
          target: `container/${id}`,
          detail: { name, version: request.body.version, size: request.body.size },
        })
      void reply.code(made ? 201 : 200).header('location', `/api/v1/containers/${id}`)
      return viewOf(await found(db, appId, id))
    },
  )
}

const changeRoutes = (app: HttpApp, { containers }: JavaRoutesNeeds): void => {
  app.post(
    '/api/v1/containers/:id/deploy',
    {
      config: { access: 'app', atomic: true, problems: ['CONTAINER_NOT_FOUND'] },
      schema: {
        summary: 'Tell the live Java workers to load a container',
        description: 'Answered before they have: what they have loaded is said by their heartbeats, see the container.',
        tags,
        params: pathOf('id'),
        response: { 202: ContainerDeployed },
      },
    },
    async (request, reply) => {
      const appId = appIdOf(request)
      const { db } = servicesOf(request)
      const container = await found(db, appId, readContainerId(request.params.id))
      const telling = await containers.deploy(db, appId, container)
      await noteDeployed(db, container.id)
      await appendAudit(db, {
        actor: principalOf(request).name,
        appId,
        action: 'container.deploy',
        target: `container/${container.id}`,
        detail: { version: container.version, workers: telling.addresses.length },
      })
      afterward(request, () => telling.send())
      void reply.code(202)
      return { id: container.id, version: container.version, workers: [...telling.addresses] }
    },
  )
  app.delete(
    '/api/v1/containers/:id',
    {
      config: { access: 'app', atomic: true, problems: ['CONTAINER_NOT_FOUND', 'CONTAINER_IN_USE'] },
      schema: {
        summary: 'Delete a container, and tell the Java workers to drop it',
        tags,
        params: pathOf('id'),
        response: { 204: Nothing },
      },
    },
    async (request, reply) => {
      const appId = appIdOf(request)
      const { db } = servicesOf(request)
      const { id, name } = await found(db, appId, readContainerId(request.params.id))
      const jobs = await jobsOfContainer(db, appId, id, 5)
      if (jobs.length > 0)
        throw new Refusal('CONTAINER_IN_USE', `Jobs use it: ${jobs.join(', ')}. Change or delete them first.`, { jobs })
      const telling = await containers.destroy(db, appId, id)
      await deleteContainer(db, appId, id)
      await appendAudit(db, {
        actor: principalOf(request).name,
        appId,
        action: 'container.delete',
        target: `container/${id}`,
        detail: { name },
      })
      afterward(request, () => telling.send())
      void reply.code(204)
      return null
    },
  )
}

const detailRoute = (app: HttpApp, { details }: JavaRoutesNeeds): void => {
  app.get(
    '/api/v1/runs/:id/powerjob',
    {
      config: { access: 'app', problems: ['RUN_NOT_FOUND'] },
      schema: {
        summary: 'What a Java worker says of a run: its tasks and sub-runs',
        description:
          'Asks the worker while it has the run (at most 5 s), otherwise shows what it has told before. 404 also for a run that no Java worker has had.',
        tags: ['Runs'],
        params: pathOf('id'),
        querystring: queryOf({
          tasks: Type.Optional(
            Type.Enum(JavaTaskFilters, { default: 'all', description: 'Which tasks to list, at most ten' }),
          ),
        }),
        response: { 200: JavaRunDetail },
      },
    },
    async (request) => {
      const runId = readId(request.params.id, 'RUN_NOT_FOUND')
      const detail = await details.of(appIdOf(request), runId, request.query.tasks ?? 'all')
      if (detail === undefined)
        throw new Refusal('RUN_NOT_FOUND', `No Java worker has, or had last, a run ${runId} of this app.`)
      return detail
    },
  )
}

export const javaRoutes =
  (needs: JavaRoutesNeeds): RoutePlugin =>
  (app) => {
    readRoutes(app, needs)
    changeRoutes(app, needs)
    detailRoute(app, needs)
    // a scope of its own: only there a body is anything but JSON
    void app.register(async (scope: HttpApp) => uploadRoute(scope, needs.containers))
  }
