// The services of an HTTP server under test: those given, joined to transactions the plain way.
import type { RunsApi } from '../../dispatch/api.ts'
import type { Clock } from '../../kernel/clock.ts'
import { systemRandom } from '../../kernel/random.ts'
import { createRequestKeys, type RequestKeys } from '../../requests/keys.ts'
import { createJobsService } from '../../scheduling/jobs-service.ts'
import { createWorkflowsService } from '../../scheduling/workflows-service.ts'
import type { Db } from '../../storage/db.ts'
import { joinedTo } from '../../storage/joined.ts'
import type { JoinServices, Services } from '../services.ts'

export interface TestServices {
  readonly services: Services
  readonly join: JoinServices
  readonly keys: RequestKeys
}

/** Services over a real database; runs are what the test says. */
export const testServices = (db: Db, runs: RunsApi, clock: Clock): TestServices => {
  const hints = { jobChanged: () => undefined }
  const services: Services = {
    db,
    runs,
    jobs: createJobsService({ db, hints }),
    workflows: createWorkflowsService({ db }),
  }
  return {
    services,
    join: (tx) => {
      const joined = joinedTo(db, tx)
      return {
        db: joined,
        runs,
        jobs: createJobsService({ db: joined, hints }),
        workflows: createWorkflowsService({ db: joined }),
      }
    },
    keys: createRequestKeys({ db, clock, random: systemRandom }, { windowMs: 72 * 3_600_000 }),
  }
}

/** Keys that are always new, for tests whose database is a fake. */
export const forgetfulKeys = (db: Db): RequestKeys => ({
  windowMs: 72 * 3_600_000,
  recall: async () => undefined,
  once: async (_key, work) => ({ answer: await work(db), replayOf: undefined }),
})
