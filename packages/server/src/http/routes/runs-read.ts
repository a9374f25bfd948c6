// Runs as people and waiting callers read them: lists, one run with why it waits, its attempts.
import { Type } from 'typebox'
import {
  Attempt,
  Refusal,
  Run,
  RunDetail,
  isEnded,
  pageOf,
  pageQuery,
  runStates,
  runTriggers,
  type RunState,
} from '@oncejob/protocol'
import type { RunsApi } from '../../dispatch/api.ts'
import { whyWaiting } from '../../runs/why.ts'
import { resolveJobOfHistory } from '../../scheduling/jobs-service.ts'
import type { Queries } from '../../storage/db.ts'
import { getRun, listAttempts, listRuns } from '../../storage/runs-read.ts'
import { waitingOf } from '../../storage/waiting-read.ts'
import { readCursor } from '../cursor.ts'
import { listName, pageFrom, searchText } from '../paging.ts'
import {
  appIdOf,
  invalid,
  pathOf,
  queryOf,
  readId,
  readTime,
  signalOf,
  type HttpApp,
  type RoutePlugin,
} from '../types.ts'

export interface RunReadNeeds {
  readonly db: Queries
  readonly runs: Pick<RunsApi, 'waitForEnd'>
}

const tags = ['Runs']
const listFields = {
  ...pageQuery,
  job: Type.Optional(Type.String({ ...searchText, description: 'Id or name' })),
  state: Type.Optional(
    Type.String({ maxLength: 255, description: `One or more of ${runStates.join(', ')}, with commas between` }),
  ),
  trigger: Type.Optional(Type.Enum(runTriggers)),
  from: Type.Optional(Type.String({ maxLength: 40, description: 'Made at or after this time (RFC 3339)' })),
  to: Type.Optional(Type.String({ maxLength: 40, description: 'Made at or before this time (RFC 3339)' })),
  requestKey: Type.Optional(Type.String(searchText)),
  key: Type.Optional(Type.String({ ...searchText, description: 'Run key' })),
}

const isState = (text: string): text is RunState => runStates.some((state) => state === text)

const readStates = (text: string | undefined): RunState[] => {
  const parts = (text ?? '').split(',').flatMap((part) => (part.trim() === '' ? [] : [part.trim()]))
  const unknown = parts.find((part) => !isState(part))
  if (unknown !== undefined) throw invalid('?state', `"${unknown}" is no state; there are ${runStates.join(', ')}`)
  return parts.filter(isState)
}

const known = async (db: Queries, appId: number, runId: number): Promise<Run> => {
  const run = await getRun(db, appId, runId)
  if (run === undefined) throw new Refusal('RUN_NOT_FOUND', `No run of this app has the id ${runId}.`)
  return run
}

/** The run with its attempts, and with the reasons when it waits. */
const detailOf = async (db: Queries, appId: number, run: Run): Promise<RunDetail> => {
  const attemptHistory = run.attempts === 0 ? [] : await listAttempts(db, run.id)
  // it may have moved on since it was read: then there is nothing to explain
  const waiting = run.state === 'waiting' || run.state === 'unknown' ? await waitingOf(db, appId, run.id) : undefined
  return { ...run, attemptHistory, why: waiting === undefined ? [] : whyWaiting(waiting) }
}

const listRoute = (app: HttpApp, db: Queries): void => {
  app.get(
    '/api/v1/runs',
    {
      config: { access: 'app', problems: ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS', 'CURSOR_INVALID'] },
      schema: {
        summary: 'List runs, newest first',
        tags,
        querystring: queryOf(listFields),
        response: { 200: pageOf(Run) },
      },
    },
    async (request) => {
      const appId = appIdOf(request)
      const { limit = 50, cursor, job, trigger, requestKey, key } = request.query
      const states = readStates(request.query.state)
      const fromMs = readTime(request.query.from, '?from') ?? undefined
      const toMs = readTime(request.query.to, '?to') ?? undefined
      const jobId = job === undefined ? undefined : await resolveJobOfHistory(db, appId, job)
      const filter = { appId, jobId, states: states.toSorted(), trigger, fromMs, toMs, requestKey, key }
      const list = listName('runs', filter)
      const [beforeId] = readCursor(list, cursor, ['number']) ?? []
      const found = await listRuns(db, { ...filter, beforeId, limit: limit + 1 })
      return pageFrom(list, found, limit, (run) => [run.id])
    },
  )
}

export const runReadRoutes =
  ({ db, runs }: RunReadNeeds): RoutePlugin =>
  (app) => {
    listRoute(app, db)
    app.get(
      '/api/v1/runs/:id',
      {
        // callers wait for the end of their runs here
        config: { access: 'app', hot: true, problems: ['RUN_NOT_FOUND'] },
        schema: {
          summary: 'One run with its attempts, and why it waits',
          description:
            'With `waitMs` it is answered as soon as the run has ended, or after that time with the state that it has then.',
          tags,
          params: pathOf('id'),
          querystring: queryOf({ waitMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 30_000, default: 0 })) }),
          response: { 200: RunDetail },
        },
      },
      async (request) => {
        const appId = appIdOf(request)
        const runId = readId(request.params.id, 'RUN_NOT_FOUND')
        const { waitMs = 0 } = request.query
        const run = await known(db, appId, runId)
        if (waitMs === 0 || isEnded(run.state)) return detailOf(db, appId, run)
        await runs.waitForEnd(runId, waitMs, signalOf(request))
        return detailOf(db, appId, await known(db, appId, runId))
      },
    )
    app.get(
      '/api/v1/runs/:id/attempts',
      {
        config: { access: 'app', problems: ['RUN_NOT_FOUND'] },
        schema: {
          summary: 'Every attempt of a run in order, the live one last',
          tags,
          params: pathOf('id'),
          response: { 200: Type.Object({ items: Type.Array(Attempt) }) },
        },
      },
      async (request) => {
        const run = await known(db, appIdOf(request), readId(request.params.id, 'RUN_NOT_FOUND'))
        return { items: await listAttempts(db, run.id) }
      },
    )
  }
