// Workers: who is there, and what they carry.
import { Type } from 'typebox'
import { Refusal, Worker, pageOf, pageQuery } from '@oncejob/protocol'
import type { Queries } from '../../storage/db.ts'
import { listWorkers, workerById } from '../../storage/workers-read.ts'
import { readCursor } from '../cursor.ts'
import { listName, pageFrom } from '../paging.ts'
import { appIdOf, pathOf, queryOf, readId, type RoutePlugin } from '../types.ts'

const tags = ['Workers']
const fields = {
  ...pageQuery,
  state: Type.Optional(Type.Enum(['live', 'all'], { default: 'live', description: 'live: the session has not ended' })),
}

export const workerReadRoutes =
  (db: Queries): RoutePlugin =>
  (app) => {
    app.get(
      '/api/v1/workers',
      {
        config: { access: 'app', problems: ['CURSOR_INVALID'] },
        schema: {
          summary: 'List worker sessions, newest first',
          tags,
          querystring: queryOf(fields),
          response: { 200: pageOf(Worker) },
        },
      },
      async (request) => {
        const appId = appIdOf(request)
        const { limit = 50, cursor, state = 'live' } = request.query
        const list = listName('workers', { appId, state })
        const [beforeId] = readCursor(list, cursor, ['number']) ?? []
        const found = await listWorkers(db, appId, { state, beforeId, limit: limit + 1 })
        return pageFrom(list, found, limit, (worker) => [worker.sessionId])
      },
    )
    app.get(
      '/api/v1/workers/:sessionId',
      {
        config: { access: 'app', problems: ['WORKER_NOT_FOUND'] },
        schema: { summary: 'One worker session', tags, params: pathOf('sessionId'), response: { 200: Worker } },
      },
      async (request) => {
        const sessionId = readId(request.params.sessionId, 'WORKER_NOT_FOUND')
        const worker = await workerById(db, appIdOf(request), sessionId)
        if (worker === undefined)
          throw new Refusal('WORKER_NOT_FOUND', `No worker session of this app has the id ${sessionId}.`)
        return worker
      },
    )
  }
