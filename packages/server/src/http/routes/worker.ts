// The worker protocol: open a session, poll for runs, report results, leave.
import { PollAnswer, PollInput, ReportAnswer, ReportInput, SessionInput, SessionOpened } from '@oncejob/protocol'
import type { SessionsApi } from '../../dispatch/api.ts'
import { appIdOf, Nothing, pathOf, readId, requestKeyOf, signalOf, type RoutePlugin } from '../types.ts'

const tags = ['Worker protocol']

export const workerRoutes =
  (sessions: SessionsApi): RoutePlugin =>
  (app) => {
    app.post(
      '/api/v1/worker/sessions',
      {
        config: { access: 'app', keyed: 'none' },
        schema: {
          summary: 'Open a session: the worker is there',
          tags,
          body: SessionInput,
          response: { 201: SessionOpened },
        },
      },
      async (request, reply) => {
        requestKeyOf(request)
        const opened = await sessions.open(appIdOf(request), request.body)
        return reply.code(201).send(opened)
      },
    )
    app.post(
      '/api/v1/worker/sessions/:id/poll',
      {
        config: { access: 'app', hot: true, keyed: 'none', problems: ['WORKER_NOT_FOUND', 'SESSION_ENDED'] },
        schema: {
          summary: 'One long poll: renews the session and its leases, brings runs and stop orders',
          tags,
          params: pathOf('id'),
          body: PollInput,
          response: { 200: PollAnswer },
        },
      },
      (request) =>
        sessions.poll(appIdOf(request), readId(request.params.id, 'WORKER_NOT_FOUND'), request.body, signalOf(request)),
    )
    app.post(
      '/api/v1/worker/reports',
      {
        // each report has an identity of its own: its lease
        config: { access: 'app', hot: true, keyed: 'none' },
        schema: {
          summary: 'Report finished attempts; each is answered by itself, and needs no live session',
          tags,
          body: ReportInput,
          response: { 200: ReportAnswer },
        },
      },
      (request) => sessions.report(appIdOf(request), request.body),
    )
    app.delete(
      '/api/v1/worker/sessions/:id',
      {
        config: { access: 'app', keyed: 'none', problems: ['WORKER_NOT_FOUND'] },
        schema: {
          summary: 'Leave: what the worker still holds is taken back at once',
          tags,
          params: pathOf('id'),
          response: { 204: Nothing },
        },
      },
      async (request, reply) => {
        requestKeyOf(request)
        await sessions.leave(appIdOf(request), readId(request.params.id, 'WORKER_NOT_FOUND'))
        return reply.code(204).send(null)
      },
    )
  }
