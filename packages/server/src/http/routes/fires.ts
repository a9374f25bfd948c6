// The fire history: what became of every planned occurrence, and what Java workers repeat by themselves.
import { Type } from 'typebox'
import {
  Fire,
  Refusal,
  fireKinds,
  fireOutcomes,
  pageOf,
  pageQuery,
  type FireKind,
  type FireOutcome,
  type Page,
} from '@oncejob/protocol'
import { resolveJobOfHistory } from '../../scheduling/jobs-service.ts'
import type { Queries } from '../../storage/db.ts'
import { fireKeyOf, listFiresOfApp, listFiresOfJob, type FireKey } from '../../storage/fires-read.ts'
import { readCursor } from '../cursor.ts'
import { parseTime } from '../time.ts'
import { listName, pageFrom, searchText } from '../paging.ts'
import { appIdOf, pathOf, queryOf, type RoutePlugin } from '../types.ts'

const tags = ['Jobs']
const fields = {
  ...pageQuery,
  outcome: Type.Optional(Type.Enum(fireOutcomes, { description: 'Sub-runs are fired' })),
  kind: Type.Optional(
    Type.Enum(fireKinds, {
      description: 'fire: planned occurrences; sub-run: what Java workers repeat within a long run; default both',
    }),
  ),
}

interface Wish {
  readonly appId: number
  readonly job: string | undefined
  readonly kind: FireKind | undefined
  readonly outcome: FireOutcome | undefined
  readonly limit: number
  readonly cursor: string | undefined
}

const keyIn = (list: string, cursor: string | undefined): FireKey | undefined => {
  const keys = readCursor(list, cursor, ['string', 'number', 'number', 'number', 'number'])
  if (keys !== undefined && parseTime(keys[0]) === undefined) {
    throw new Refusal('CURSOR_INVALID', 'Take the cursor from `next` of the page before.')
  }
  return keys
}

const pageOfFires = async (db: Queries, { appId, job, limit, cursor, ...narrow }: Wish): Promise<Page<Fire>> => {
  const jobId = job === undefined ? undefined : await resolveJobOfHistory(db, appId, job)
  const list = listName('fires', { appId, jobId, ...narrow })
  const listing = { ...narrow, before: keyIn(list, cursor), limit: limit + 1 }
  const found =
    jobId === undefined ? await listFiresOfApp(db, appId, listing) : await listFiresOfJob(db, jobId, listing)
  return pageFrom(list, found, limit, fireKeyOf)
}

export const fireRoutes =
  (db: Queries): RoutePlugin =>
  (app) => {
    app.get(
      '/api/v1/jobs/:job/fires',
      {
        config: { access: 'app', problems: ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS', 'CURSOR_INVALID'] },
        schema: {
          summary: 'Fires and sub-runs of a job, newest first',
          tags,
          params: pathOf('job'),
          querystring: queryOf(fields),
          response: { 200: pageOf(Fire) },
        },
      },
      (request) => {
        const { limit = 50, cursor, outcome, kind } = request.query
        return pageOfFires(db, { appId: appIdOf(request), job: request.params.job, kind, outcome, limit, cursor })
      },
    )
    app.get(
      '/api/v1/fires',
      {
        config: { access: 'app', problems: ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS', 'CURSOR_INVALID'] },
        schema: {
          summary: 'Fires and sub-runs of the app, newest first',
          tags,
          querystring: queryOf({
            ...fields,
            job: Type.Optional(Type.String({ ...searchText, description: 'Id or name' })),
          }),
          response: { 200: pageOf(Fire) },
        },
      },
      (request) => {
        const { limit = 50, cursor, outcome, kind, job } = request.query
        return pageOfFires(db, { appId: appIdOf(request), job, kind, outcome, limit, cursor })
      },
    )
  }
