// What a run key stands for, and freeing it: of one job, or with scope app of the whole app.
import { Type } from 'typebox'
import { RunKeyReset, RunKeyState, type ErrorCode } from '@oncejob/protocol'
import type { FastifyRequest } from 'fastify'
import type { RunKeyRef } from '../../dispatch/api.ts'
import { resolveJobOfHistory } from '../../scheduling/jobs-service.ts'
import { servicesOf } from '../services.ts'
import { appIdOf, pathOf, principalOf, queryOf, type HttpApp, type RoutePlugin } from '../types.ts'

const tags = ['Runs']
const forceQuery = queryOf({
  force: Type.Optional(
    Type.Boolean({
      default: false,
      description: 'Also when its run is open: that is canceled, or asked to stop and waited for by the next run',
    }),
  ),
})

interface Place {
  readonly path: string
  readonly names: readonly ('job' | 'key')[]
  readonly of: string
  readonly problems: readonly ErrorCode[]
  readonly refOf: (request: FastifyRequest, params: { job?: string; key: string }) => Promise<RunKeyRef>
}

const places: readonly Place[] = [
  {
    path: '/api/v1/jobs/:job/run-keys/:key',
    names: ['job', 'key'],
    of: 'of this job',
    problems: ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS'],
    refOf: async (request, { job = '', key }) => {
      const appId = appIdOf(request)
      return { appId, jobId: await resolveJobOfHistory(servicesOf(request).db, appId, job), key }
    },
  },
  {
    path: '/api/v1/run-keys/:key',
    names: ['key'],
    of: 'with scope app',
    problems: [],
    refOf: async (request, { key }) => ({ appId: appIdOf(request), jobId: 0, key }),
  },
]

const routesOf = (app: HttpApp, { path, names, of, problems, refOf }: Place): void => {
  app.get(
    path,
    {
      config: { access: 'app', problems: [...problems, 'RUN_KEY_NOT_FOUND'] },
      schema: {
        summary: `What a run key ${of} stands for`,
        tags,
        params: pathOf(...names),
        response: { 200: RunKeyState },
      },
    },
    async (request) => servicesOf(request).runs.runKey(await refOf(request, request.params)),
  )
  app.delete(
    path,
    {
      config: { access: 'app', problems: [...problems, 'RUN_KEY_NOT_FOUND', 'RUN_KEY_CONFLICT'] },
      schema: {
        summary: `Free a run key ${of}: the next call with it makes a run`,
        tags,
        params: pathOf(...names),
        querystring: forceQuery,
        response: { 200: RunKeyReset },
      },
    },
    async (request) =>
      servicesOf(request).runs.resetRunKey(await refOf(request, request.params), {
        force: request.query.force ?? false,
        actor: principalOf(request).name,
      }),
  )
}

export const runKeyRoutes: RoutePlugin = (app) => {
  for (const place of places) routesOf(app, place)
}
