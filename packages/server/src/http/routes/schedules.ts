// What a schedule would do, before a job has it.
import { Preview, PreviewInput } from '@oncejob/protocol'
import { fullSchedule, timeText, timingOfView } from '../../runs/schedule-codec.ts'
import type { Queries } from '../../storage/db.ts'
import { databaseNowMs } from '../../storage/schedules-config.ts'
import { preview } from '../../timing/timing.ts'
import { readTime, type RoutePlugin } from '../types.ts'

export const scheduleRoutes =
  (db: Queries): RoutePlugin =>
  (app) => {
    app.post(
      '/api/v1/schedules/preview',
      {
        config: { access: 'any', keyed: 'none', problems: ['SCHEDULE_INVALID'] },
        schema: {
          summary: 'The next fires of a schedule',
          description:
            'Counted from now, or from `from`. A fixed delay shows its first fire only: the others depend on how long the runs take. Jitter is not shown.',
          tags: ['Jobs'],
          body: PreviewInput,
          response: { 200: Preview },
        },
      },
      async (request) => {
        const { schedule, count = 10, from } = request.body
        const fromMs = readTime(from, '/from') ?? (await databaseNowMs(db))
        const timing = timingOfView(fullSchedule(schedule))
        // the moment itself counts, as it does for a job that is made at it
        return { fires: preview(timing, fromMs - 1, count, fromMs).map(timeText) }
      },
    )
  }
