// Runs that look like one call sent twice: for finding what happened before anything protected against it.
import { Type } from 'typebox'
import { SuspectedRepeats } from '@oncejob/protocol'
import type { Db } from '../../storage/db.ts'
import { countCalled, findSuspected } from '../../storage/suspected.ts'
import { appIdOf, queryOf, type RoutePlugin } from '../types.ts'

// bounds the look, whatever the app has made
const runsMax = 100_000
const pairsMax = 500

export const suspectedRoutes =
  (db: Db): RoutePlugin =>
  (app) => {
    app.get(
      '/api/v1/suspected-repeats',
      {
        config: { access: 'app' },
        schema: {
          summary: 'Runs that look like one call sent twice',
          description: `Equal calls (job and params) shortly one after the other, in pairs, newest first, at most ${pairsMax}; of the newest ${runsMax} runs made by calls. A loop that means its calls looks the same.`,
          tags: ['Runs'],
          querystring: queryOf({
            hours: Type.Optional(
              Type.Integer({ minimum: 1, maximum: 720, description: 'Runs made since so long ago; default 24' }),
            ),
            withinMs: Type.Optional(
              Type.Integer({
                minimum: 1,
                maximum: 60_000,
                description: 'Calls further apart are not suspected; default 5000',
              }),
            ),
          }),
          response: { 200: SuspectedRepeats },
        },
      },
      async (request) => {
        const { hours = 24, withinMs = 5_000 } = request.query
        const look = { appId: appIdOf(request), hours, withinMs, runs: runsMax, limit: pairsMax }
        const rows = await findSuspected(db, look)
        return {
          examined: await countCalled(db, look),
          items: rows.map((row) => ({
            jobId: row.job_id,
            jobName: row.job_name,
            runId: row.run_id,
            repeatRunId: row.repeat_run_id,
            createdAt: row.created_at.toISOString(),
            gapMs: row.gap_ms,
          })),
        }
      },
    )
  }
