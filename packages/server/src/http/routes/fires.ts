// The fire ledger: what became of every planned occurrence.
import { Type } from 'typebox'
import { Fire, Refusal, fireOutcomes, pageOf, pageQuery, type FireOutcome, type Page } from '@oncejob/protocol'
import { resolveJobOfHistory } from '../../scheduling/jobs-service.ts'
import type { Queries } from '../../storage/db.ts'
import { listFiresOfApp, listFiresOfJob, type FireKey } from '../../storage/fires-read.ts'
import { readCursor } from '../cursor.ts'
import { parseTime } from '../time.ts'
import { listName, pageFrom, searchText } from '../paging.ts'
import { appIdOf, pathOf, queryOf, type RoutePlugin } from '../types.ts'

const tags = ['Jobs']
const fields = { ...pageQuery, outcome: Type.Optional(Type.Enum(fireOutcomes)) }

interface Wish {
  readonly appId: number
  readonly job: string | undefined
  readonly outcome: FireOutcome | undefined
  readonly limit: number
  readonly cursor: string | undefined
}

const keyIn = (list: string, cursor: string | undefined): FireKey | undefined => {
  const keys = readCursor(list, cursor, ['string', 'number'])
  if (keys === undefined) return undefined
  const [fireAt, jobId] = keys
  if (parseTime(fireAt) === undefined) {
    throw new Refusal('CURSOR_INVALID', 'Take the cursor from `next` of the page before.')
  }
  return { fireAt, jobId }
}

const pageOfFires = async (db: Queries, { appId, job, outcome, limit, cursor }: Wish): Promise<Page<Fire>> => {
  const jobId = job === undefined ? undefined : await resolveJobOfHistory(db, appId, job)
  const list = listName('fires', { appId, jobId, outcome })
  const listing = { outcome, before: keyIn(list, cursor), limit: limit + 1 }
  const found =
    jobId === undefined ? await listFiresOfApp(db, appId, listing) : await listFiresOfJob(db, jobId, listing)
  return pageFrom(list, found, limit, (fire) => [fire.fireAt, fire.jobId])
}

export const fireRoutes =
  (db: Queries): RoutePlugin =>
  (app) => {
    app.get(
      '/api/v1/jobs/:job/fires',
      {
        config: { access: 'app', problems: ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS', 'CURSOR_INVALID'] },
        schema: {
          summary: 'Fires of a job, newest first',
          tags,
          params: pathOf('job'),
          querystring: queryOf(fields),
          response: { 200: pageOf(Fire) },
        },
      },
      (request) => {
        const { limit = 50, cursor, outcome } = request.query
        return pageOfFires(db, { appId: appIdOf(request), job: request.params.job, outcome, limit, cursor })
      },
    )
    app.get(
      '/api/v1/fires',
      {
        config: { access: 'app', problems: ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS', 'CURSOR_INVALID'] },
        schema: {
          summary: 'Fires of the app, newest first',
          tags,
          querystring: queryOf({
            ...fields,
            job: Type.Optional(Type.String({ ...searchText, description: 'Id or name' })),
          }),
          response: { 200: pageOf(Fire) },
        },
      },
      (request) => {
        const { limit = 50, cursor, outcome, job } = request.query
        return pageOfFires(db, { appId: appIdOf(request), job, outcome, limit, cursor })
      },
    )
  }
