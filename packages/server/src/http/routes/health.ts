// Whether the server lives and can work, and its numbers for Prometheus.
import { Type } from 'typebox'
import { Health } from '@oncejob/protocol'
import type { Registry } from 'prom-client'
import type { RoutePlugin, Waits } from '../types.ts'

export interface HealthDeps {
  readonly version: string
  readonly registry: Registry
  readonly ready: () => Promise<string | undefined>
}

const tags = ['Operations']

export const healthRoutes =
  ({ version, registry, ready }: HealthDeps, waits: Waits): RoutePlugin =>
  (app) => {
    app.route({
      method: ['GET', 'HEAD'],
      url: '/health/live',
      config: { access: 'open' },
      schema: { summary: 'The process answers', tags, response: { 200: Health } },
      handler: () => ({ status: 'ok' as const, version }),
    })
    app.route({
      method: ['GET', 'HEAD'],
      url: '/health/ready',
      config: { access: 'open' },
      schema: {
        summary: 'The server can take work: its database answers and it is not shutting down',
        tags,
        response: { 200: Health, 503: Health },
      },
      handler: async (_request, reply) => {
        const reason = waits.stopping ? 'shutting down' : await ready()
        if (reason === undefined) return { status: 'ok' as const, version }
        return reply.code(503).send({ status: 'unavailable' as const, version, detail: reason })
      },
    })
    app.get(
      '/metrics',
      {
        config: { access: 'any' },
        schema: {
          summary: 'Metrics in the text format of Prometheus',
          tags,
          produces: ['text/plain'],
          response: { 200: Type.String() },
        },
      },
      async (_request, reply) => {
        const text = await registry.metrics()
        return reply.type(registry.contentType).serializer(String).send(text)
      },
    )
  }
