// Ask for runs, and steer them.
import {
  JobRunInput,
  Refusal,
  RunBatchCreated,
  RunBatchInput,
  RunChanged,
  RunCreated,
  RunInput,
  type ErrorCode,
  type RunAction,
} from '@oncejob/protocol'
import type { RunsApi, Submission } from '../../dispatch/api.ts'
import {
  appIdOf,
  invalid,
  pathOf,
  principalOf,
  readId,
  readJobRef,
  readTime,
  requestKeyOf,
  type HttpApp,
  type RoutePlugin,
} from '../types.ts'

const tags = ['Runs']
const submitProblems: readonly ErrorCode[] = ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS', 'RUN_LIMIT']

interface Wish {
  readonly appId: number
  readonly job: number | string
  readonly requestKey: string | null
  /** JSON pointer to the input within the body. */
  readonly at: string
}

const submissionOf = ({ appId, job, requestKey, at }: Wish, input: JobRunInput): Submission => {
  if (input.delayMs !== undefined && input.runAt !== undefined) {
    throw invalid(`${at}/delayMs`, 'can not be used together with runAt; send one of the two')
  }
  // PostgreSQL has no such texts, so no job is named like that
  if (typeof job === 'string' && job.includes('\0'))
    throw new Refusal('JOB_NOT_FOUND', 'No job has U+0000 in its name.')
  return {
    appId,
    job,
    params: input.params === undefined || input.params === null ? null : JSON.stringify(input.params),
    delayMs: input.delayMs ?? null,
    runAtMs: readTime(input.runAt, `${at}/runAt`),
    priority: input.priority ?? null,
    queueTimeoutMs: input.queueTimeoutMs ?? null,
    requestKey,
  }
}

const submitRoutes = (app: HttpApp, runs: RunsApi): void => {
  app.post(
    '/api/v1/runs',
    {
      config: { access: 'app', hot: true, problems: submitProblems },
      schema: { summary: 'Ask for one run of a job', tags, body: RunInput, response: { 201: RunCreated } },
    },
    async (request, reply) => {
      const { body } = request
      const wish = { appId: appIdOf(request), job: body.job, requestKey: requestKeyOf(request), at: '' }
      const id = await runs.submit(submissionOf(wish, body))
      return reply.code(201).header('location', `/api/v1/runs/${id}`).send({ id })
    },
  )
  app.post(
    '/api/v1/runs/batch',
    {
      config: { access: 'app', hot: true, problems: submitProblems },
      schema: {
        summary: 'Ask for many runs: all are made or none',
        tags,
        body: RunBatchInput,
        response: { 201: RunBatchCreated },
      },
    },
    async (request, reply) => {
      const appId = appIdOf(request)
      const requestKey = requestKeyOf(request)
      const submissions = request.body.runs.map((input, i) =>
        submissionOf({ appId, job: input.job, requestKey, at: `/runs/${i}` }, input),
      )
      const ids = await runs.submitMany(submissions)
      return reply.code(201).send({ ids })
    },
  )
  app.post(
    '/api/v1/jobs/:job/runs',
    {
      config: { access: 'app', hot: true, problems: submitProblems },
      schema: {
        summary: 'Ask for one run of this job (id or name)',
        tags,
        params: pathOf('job'),
        body: JobRunInput,
        response: { 201: RunCreated },
      },
    },
    async (request, reply) => {
      const wish = {
        appId: appIdOf(request),
        job: readJobRef(request.params.job),
        requestKey: requestKeyOf(request),
        at: '',
      }
      const id = await runs.submit(submissionOf(wish, request.body))
      return reply.code(201).header('location', `/api/v1/runs/${id}`).send({ id })
    },
  )
}

const actions: Readonly<Record<RunAction, { readonly summary: string; readonly problems: readonly ErrorCode[] }>> = {
  cancel: { summary: 'End a waiting run as canceled', problems: ['RUN_RUNNING', 'RUN_ENDED'] },
  stop: {
    summary: 'End a run: cancel it when it waits, ask its worker to stop it when it runs',
    problems: ['RUN_ENDED'],
  },
  retry: {
    summary: 'Let an ended run wait again; its earlier attempts stay in the history',
    problems: ['RUN_NOT_ENDED'],
  },
}

const actionRoute = (app: HttpApp, runs: RunsApi, action: RunAction): void => {
  app.post(
    `/api/v1/runs/:id/${action}`,
    {
      config: { access: 'app', problems: ['RUN_NOT_FOUND', ...actions[action].problems] },
      schema: { summary: actions[action].summary, tags, params: pathOf('id'), response: { 200: RunChanged } },
    },
    async (request) => {
      requestKeyOf(request)
      return runs[action](appIdOf(request), readId(request.params.id, 'RUN_NOT_FOUND'), principalOf(request).name)
    },
  )
}

export const runWriteRoutes =
  (runs: RunsApi): RoutePlugin =>
  (app) => {
    submitRoutes(app, runs)
    actionRoute(app, runs, 'cancel')
    actionRoute(app, runs, 'stop')
    actionRoute(app, runs, 'retry')
  }
