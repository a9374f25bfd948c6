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

export const healthRoutes =
  ({ version, registry, ready }: HealthDeps, waits: Waits): RoutePlugin =>
  (app) => {
    app.get(
      '/health/live',
      {
        config: { access: 'open' },
        exposeHeadRoute: true,
        schema: { summary: 'The process answers', tags: ['Operations'], response: { 200: Health } },
      },
      () => ({ status: 'ok' as const, version }),
    )
    app.get(
      '/health/ready',
      {
        config: { access: 'open' },
        exposeHeadRoute: true,
        schema: {
          summary: 'The server can take work: its database answers and it is not shutting down',
          tags: ['Operations'],
          response: { 200: Health, 503: Health },
        },
      },
      async (_request, reply) => {
        const reason = waits.stopping ? 'shutting down' : await ready()
        if (reason === undefined) return { status: 'ok' as const, version }
        return reply.code(503).send({ status: 'unavailable' as const, version, detail: reason })
      },
    )
    app.get(
      '/metrics',
      {
        config: { access: 'any' },
        schema: {
          summary: 'Metrics in the text format of Prometheus',
          tags: ['Operations'],
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
