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
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Submission } from '../../dispatch/api.ts'
import { dateOf, type Clock } from '../../kernel/clock.ts'
import type { RequestKeys } from '../../requests/keys.ts'
import type { RequestKey } from '../../storage/request-keys.ts'
import { demandKey, keyOf, replay, tellKey } from '../keyed.ts'
import { servicesOf } from '../services.ts'
import {
  appIdOf,
  invalid,
  pathOf,
  principalOf,
  readId,
  readJobRef,
  readTime,
  type HttpApp,
  type RoutePlugin,
} from '../types.ts'

const tags = ['Runs']
const submitProblems: readonly ErrorCode[] = ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS', 'RUN_LIMIT']

interface Wish {
  readonly appId: number
  readonly job: number | string
  readonly key: RequestKey | null
  /** The statement that makes the run takes the key too. */
  readonly keyed: boolean
  /** JSON pointer to the input within the body. */
  readonly at: string
}

const submissionOf = ({ appId, job, key, keyed, at }: Wish, input: JobRunInput): Submission => {
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
    requestKey: key?.key ?? null,
    keyed: keyed ? key : null,
  }
}

/** Asks for one run. With a key the run, the key and the answer are one statement, grouped with those of other callers. */
const submitOne =
  (keys: RequestKeys, clock: Clock) =>
  async (
    request: FastifyRequest,
    reply: FastifyReply,
    job: number | string,
    input: JobRunInput,
  ): Promise<{ id: number } | undefined> => {
    const key = keyOf(request)
    demandKey(request, key)
    const submission = submissionOf({ appId: appIdOf(request), job, key, keyed: true, at: '' }, input)
    const made = await servicesOf(request).runs.submit(submission)
    if (key !== null) {
      const replayOf = made.replayOf ?? undefined
      const expiresAt = dateOf(clock.now() + keys.windowMs).toISOString()
      tellKey(reply, key, replayOf, expiresAt)
      if (replayOf !== undefined) {
        // sent as it was kept: nothing is left to be serialized
        void replay(reply, replayOf)
        return undefined
      }
    }
    void reply.code(201).header('location', `/api/v1/runs/${made.id}`)
    return { id: made.id }
  }

const submitRoutes = (app: HttpApp, submit: ReturnType<typeof submitOne>): void => {
  app.post(
    '/api/v1/runs',
    {
      config: { access: 'app', hot: true, keyed: 'statement', problems: submitProblems },
      schema: { summary: 'Ask for one run of a job', tags, body: RunInput, response: { 201: RunCreated } },
    },
    (request, reply) => submit(request, reply, request.body.job, request.body),
  )
  app.post(
    '/api/v1/jobs/:job/runs',
    {
      config: { access: 'app', hot: true, keyed: 'statement', problems: submitProblems },
      schema: {
        summary: 'Ask for one run of this job (id or name)',
        tags,
        params: pathOf('job'),
        body: JobRunInput,
        response: { 201: RunCreated },
      },
    },
    (request, reply) => submit(request, reply, readJobRef(request.params.job), request.body),
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
      const key = keyOf(request)
      const submissions = request.body.runs.map((input, i) =>
        submissionOf({ appId, job: input.job, key, keyed: false, at: `/runs/${i}` }, input),
      )
      const ids = await servicesOf(request).runs.submitMany(submissions)
      void reply.code(201)
      return { ids }
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

const actionRoute = (app: HttpApp, action: RunAction): void => {
  app.post(
    `/api/v1/runs/:id/${action}`,
    {
      config: { access: 'app', problems: ['RUN_NOT_FOUND', ...actions[action].problems] },
      schema: { summary: actions[action].summary, tags, params: pathOf('id'), response: { 200: RunChanged } },
    },
    async (request) => {
      return servicesOf(request).runs[action](
        appIdOf(request),
        readId(request.params.id, 'RUN_NOT_FOUND'),
        principalOf(request).name,
      )
    },
  )
}

export const runWriteRoutes =
  (keys: RequestKeys, clock: Clock): RoutePlugin =>
  (app) => {
    submitRoutes(app, submitOne(keys, clock))
    actionRoute(app, 'cancel')
    actionRoute(app, 'stop')
    actionRoute(app, 'retry')
  }
