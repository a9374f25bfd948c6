// Save a job and start one run of it: both or neither, however often the call is sent.
import { SaveAndRunInput, SavedAndRun, type ErrorCode } from '@oncejob/protocol'
import { createdOf, headOf } from '../../dispatch/created.ts'
import { keyOf } from '../keyed.ts'
import { servicesOf } from '../services.ts'
import { appIdOf, principalOf, type RoutePlugin } from '../types.ts'
import { submissionOf, submitProblems } from './runs-write.ts'

const problems: readonly ErrorCode[] = [...submitProblems, 'JOB_INVALID', 'SCHEDULE_INVALID', 'NAME_TAKEN']

export const saveAndRunRoute: RoutePlugin = (app) => {
  app.post(
    // a colon of the address itself is written twice
    '/api/v1/jobs::run',
    {
      config: { access: 'app', atomic: true, problems },
      schema: {
        summary: 'Create or replace a job by its name and start one run of it, in one transaction',
        tags: ['Jobs'],
        body: SaveAndRunInput,
        response: { 201: SavedAndRun },
      },
    },
    async (request, reply) => {
      const appId = appIdOf(request)
      const key = keyOf(request)
      const { job: input, run: asked = {} } = request.body
      const { jobs, runs } = servicesOf(request)
      const { job, outcome } = await jobs.save({ appId, actor: principalOf(request).name }, input)
      // by its id: the run is of the job that was saved, whatever else has its name
      const submission = submissionOf({ appId, job: job.id, key, keyed: false, at: '/run' }, asked)
      const run = await runs.submit(submission)
      // a run that its key had already: nothing was made but the job
      void reply.code(201).headers(headOf(run).headers)
      return {
        job: { id: job.id, name: job.definition.name, version: job.version, outcome },
        run: createdOf(run, submission.runKey !== null),
      }
    },
  )
}
