// Run logs over HTTP: workers append, readers page or follow as server-sent events.
import { Readable } from 'node:stream'
import { Type } from 'typebox'
import { LogPage, WorkerLogInput } from '@oncejob/protocol'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { LogEvent, Logs } from '../../logs/service.ts'
import { appIdOf, pathOf, queryOf, readId, signalOf, type RoutePlugin } from '../types.ts'

export interface LogRoutesNeeds {
  readonly logs: Logs
  readonly clock: Clock
  readonly log: Log
}

// Below the idle time of usual proxies.
const heartbeatMs: Millis = 15_000
const lastLine = 2_147_483_647

const After = Type.Optional(
  Type.Integer({ minimum: 0, maximum: lastLine, default: 0, description: 'Only lines with a number above this' }),
)

/** The number in a Last-Event-ID header; undefined when there is none that we could have sent. */
const lastEventId = (header: string | string[] | undefined): number | undefined =>
  typeof header === 'string' && /^\d{1,9}$/.test(header) ? Number(header) : undefined

const eventText = (event: LogEvent): string =>
  'end' in event
    ? `event: end\ndata: ${JSON.stringify({ state: event.end })}\n\n`
    : `id: ${event.seq}\nevent: line\ndata: ${JSON.stringify(event)}\n\n`

/** The events of a run's log as text, with a comment whenever nothing was said for 15 s. */
export async function* eventStream(
  needs: { readonly clock: Clock; readonly log: Log },
  events: AsyncIterable<LogEvent>,
): AsyncGenerator<string> {
  // at once, so that the reader sees the answer begin
  yield ': following\n\n'
  const iterator = events[Symbol.asyncIterator]()
  try {
    for (let next = iterator.next(); ;) {
      const heard = new AbortController()
      const silence = needs.clock.sleep(heartbeatMs, heard.signal).then(() => undefined)
      const event = await Promise.race([next, silence])
      heard.abort()
      if (event === undefined) yield ': still here\n\n'
      else if (event.done === true) return
      else {
        yield eventText(event.value)
        next = iterator.next()
      }
    }
  } catch (error) {
    // translated: the answer has begun, so it can only end; without the event `end` the reader comes again
    needs.log.warn({ err: error }, 'log stream broken off')
  } finally {
    await iterator.return?.()
  }
}

export const logRoutes =
  (needs: LogRoutesNeeds): RoutePlugin =>
  (app) => {
    const { logs } = needs
    app.post(
      '/api/v1/worker/logs',
      {
        config: { access: 'app', hot: true, keyed: 'none' },
        schema: {
          summary: 'Append lines to the logs of runs',
          description:
            'Lines of unknown leases are ignored and not counted. Lines beyond a log’s bounds are dropped, and the log says so.',
          tags: ['worker'],
          querystring: queryOf({}),
          body: WorkerLogInput,
          response: { 202: Type.Object({ accepted: Type.Integer() }) },
        },
      },
      async (request, reply) => {
        const { accepted } = await logs.append(appIdOf(request), request.body)
        return reply.code(202).send({ accepted })
      },
    )
    app.get(
      '/api/v1/runs/:id/logs',
      {
        config: { access: 'app', problems: ['RUN_NOT_FOUND'] },
        schema: {
          summary: 'Read the log of a run by page',
          tags: ['runs'],
          params: pathOf('id'),
          querystring: queryOf({
            after: After,
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 200 })),
          }),
          response: { 200: LogPage },
        },
      },
      (request) => {
        const { after = 0, limit = 200 } = request.query
        return logs.page(appIdOf(request), readId(request.params.id, 'RUN_NOT_FOUND'), after, limit)
      },
    )
    app.get(
      '/api/v1/runs/:id/logs/stream',
      {
        config: { access: 'app', problems: ['RUN_NOT_FOUND'] },
        schema: {
          summary: 'Follow the log of a run as server-sent events',
          description:
            'Events `line` (id = number of the line, data = the line) and last `end` with the state of the run. Honours Last-Event-ID.',
          tags: ['runs'],
          params: pathOf('id'),
          querystring: queryOf({ after: After }),
        },
      },
      async (request, reply) => {
        const appId = appIdOf(request)
        const runId = readId(request.params.id, 'RUN_NOT_FOUND')
        const after = lastEventId(request.headers['last-event-id']) ?? request.query.after ?? 0
        // an unknown run is a problem document, so ask before the stream begins
        await logs.page(appId, runId, after, 1)
        const events = eventStream(needs, logs.follow(appId, runId, after, signalOf(request)))
        return reply
          .header('content-type', 'text/event-stream; charset=utf-8')
          .header('cache-control', 'no-cache, no-transform')
          .header('x-accel-buffering', 'no')
          .send(Readable.from(events, { objectMode: false }))
      },
    )
  }
