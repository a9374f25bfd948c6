// What is written down of a request once it is answered: a duration for everyone, a line in the log for changes by people.
import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { Histogram, type Registry } from 'prom-client'
import { readRequestKey } from '@oncejob/protocol'
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'

// from a call that meets an idle database to a long poll
const durationSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Enough of the hash to find the same key again; the key itself may be somebody's business. */
const hashOfKey = (request: FastifyRequest): string | undefined => {
  const header = request.headers['idempotency-key']
  const key = typeof header === 'string' ? readRequestKey(header) : undefined
  return key === undefined ? undefined : createHash('sha256').update(key).digest('hex').slice(0, 16)
}

type Answered = (request: FastifyRequest, reply: FastifyReply) => void

/** Where the answers of one route are written down. */
export const observer = (deps: { readonly clock: Clock; readonly log: Log; readonly registry: Registry }) => {
  const durations = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'How long requests took, by route and class of status.',
    labelNames: ['method', 'route', 'status'],
    buckets: durationSeconds,
    registers: [deps.registry],
  })
  const timesOf = (method: string, route: string): ((statusCode: number, tookMs: number) => void) => {
    const labels = ['0xx', '1xx', '2xx', '3xx', '4xx', '5xx'].map((status) => ({ method, route, status }))
    return (statusCode, tookMs) => durations.observe(labels[Math.floor(statusCode / 100)] ?? {}, tookMs / 1000)
  }
  const logged = (route: string, request: FastifyRequest, reply: FastifyReply, tookMs: number): void => {
    const facts = {
      method: request.method,
      route,
      status: reply.statusCode,
      tookMs: Math.round(tookMs),
      actor: request.principal?.name,
      requestId: request.id,
      requestKeyHash: hashOfKey(request),
    }
    deps.log.info(facts, 'request answered')
  }
  return {
    /** @returns what to call with every answered request of the route */
    ofRoute: (route: RouteOptions): Answered => {
      const times = new Map([route.method].flat().map((method) => [method, timesOf(method, route.url)]))
      const isHot = route.config?.hot === true
      return (request, reply) => {
        const { method } = request
        const tookMs = deps.clock.monotonic() - request.startedAtMs
        times.get(method)?.(reply.statusCode, tookMs)
        if (!isHot && method !== 'GET' && method !== 'HEAD') logged(route.url, request, reply, tookMs)
      }
    },
  }
}
