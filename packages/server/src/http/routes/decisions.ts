// Decisions about what nobody knows: runs of unknown outcome, and the effects of a run with what became of them.
import {
  EffectChanged,
  EffectResolution,
  Refusal,
  RunChanged,
  RunEffect,
  RunResolution,
  pageOf,
  pageQuery,
} from '@oncejob/protocol'
import type { Queries } from '../../storage/db.ts'
import { listEffects } from '../../storage/effects.ts'
import { runState } from '../../storage/steer.ts'
import { readCursor } from '../cursor.ts'
import { listName, pageFrom } from '../paging.ts'
import { servicesOf } from '../services.ts'
import { parseTime } from '../time.ts'
import { appIdOf, invalid, pathOf, principalOf, queryOf, readId, type HttpApp, type RoutePlugin } from '../types.ts'

const tags = ['Runs']

const resolveRunRoute = (app: HttpApp): void => {
  app.post(
    '/api/v1/runs/:id/resolve',
    {
      config: { access: 'app', problems: ['RUN_NOT_FOUND', 'RUN_NOT_UNKNOWN', 'BODY_TOO_LARGE'] },
      schema: {
        summary: 'Say what became of a run of unknown outcome',
        description:
          'It ends as succeeded or failed, or waits for another attempt (retry). The same decision once more changes nothing.',
        tags,
        params: pathOf('id'),
        body: RunResolution,
        response: { 200: RunChanged },
      },
    },
    (request) => {
      const { as, result, message } = request.body
      if (result !== undefined && as !== 'succeeded') throw invalid('/result', 'goes with as: succeeded only')
      if (message !== undefined && as !== 'failed') throw invalid('/message', 'goes with as: failed only')
      return servicesOf(request).runs.resolve(
        appIdOf(request),
        readId(request.params.id, 'RUN_NOT_FOUND'),
        request.body,
        principalOf(request).name,
      )
    },
  )
}

const listRoute = (app: HttpApp, db: Queries): void => {
  app.get(
    '/api/v1/runs/:id/effects',
    {
      config: { access: 'app', problems: ['RUN_NOT_FOUND', 'CURSOR_INVALID'] },
      schema: {
        summary: 'What the attempts of a run did with ctx.once, in the order in which it was begun',
        tags,
        params: pathOf('id'),
        querystring: queryOf(pageQuery),
        response: { 200: pageOf(RunEffect) },
      },
    },
    async (request) => {
      const runId = readId(request.params.id, 'RUN_NOT_FOUND')
      const { limit = 50, cursor } = request.query
      if ((await runState(db, appIdOf(request), runId)) === undefined)
        throw new Refusal('RUN_NOT_FOUND', `No run of this app has the id ${runId}.`)
      const list = listName('effects', { runId })
      const [startedMs, name] = readCursor(list, cursor, ['number', 'string']) ?? []
      const after = startedMs === undefined || name === undefined ? undefined : { startedMs, name }
      const found = await listEffects(db, runId, after, limit + 1)
      return pageFrom(list, found, limit, (effect) => [parseTime(effect.startedAt) ?? 0, effect.name])
    },
  )
}

const resolveEffectRoute = (app: HttpApp): void => {
  app.post(
    '/api/v1/runs/:id/effects/:name/resolve',
    {
      config: {
        access: 'app',
        problems: ['RUN_NOT_FOUND', 'RUN_RUNNING', 'EFFECT_NOT_FOUND', 'EFFECT_DONE', 'EFFECT_OUTCOME_TOO_LARGE'],
      },
      schema: {
        summary: 'Say whether an effect happened',
        description:
          'done: the next attempt gets the outcome and does not execute it. Not done: the next attempt executes it. Only while no attempt has the run.',
        tags,
        params: pathOf('id', 'name'),
        body: EffectResolution,
        response: { 200: EffectChanged },
      },
    },
    (request) => {
      const { done, outcome } = request.body
      if (outcome !== undefined && !done) throw invalid('/outcome', 'goes with done: true only')
      const { name } = request.params
      // what a text of PostgreSQL can not hold is no name
      if (name.includes('\0')) throw new Refusal('EFFECT_NOT_FOUND', 'No effect has U+0000 in its name.')
      return servicesOf(request).runs.resolveEffect(
        {
          appId: appIdOf(request),
          runId: readId(request.params.id, 'RUN_NOT_FOUND'),
          name,
          actor: principalOf(request).name,
        },
        request.body,
      )
    },
  )
}

export const decisionRoutes =
  (db: Queries): RoutePlugin =>
  (app) => {
    resolveRunRoute(app)
    listRoute(app, db)
    resolveEffectRoute(app)
  }
