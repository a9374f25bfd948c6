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
import type { Submission, Submitted } from '../../dispatch/api.ts'
import { createdOf, headOf } from '../../dispatch/created.ts'
import { dateOf, type Clock } from '../../kernel/clock.ts'
import { jsonText } from '../../kernel/json.ts'
import type { RequestKeys } from '../../requests/keys.ts'
import { wishOf } from '../../runs/run-key.ts'
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
/** What a call for a run can be refused for. */
export const submitProblems: readonly ErrorCode[] = [
  'JOB_NOT_FOUND',
  'NAME_AMBIGUOUS',
  'RUN_LIMIT',
  'RUN_KEY_CONFLICT',
  'RUN_KEY_INPUT_MISMATCH',
]

interface Wish {
  readonly appId: number
  readonly job: number | string
  readonly key: RequestKey | null
  /** The statement that makes the run takes the key too. */
  readonly keyed: boolean
  /** JSON pointer to the input within the body. */
  readonly at: string
}

/** The run that a caller asks for. @throws Refusal REQUEST_INVALID, JOB_NOT_FOUND */
export const submissionOf = ({ appId, job, key, keyed, at }: Wish, input: JobRunInput): Submission => {
  if (input.delayMs !== undefined && input.runAt !== undefined) {
    throw invalid(`${at}/delayMs`, 'can not be used together with runAt; send one of the two')
  }
  if (input.keyPolicy !== undefined && input.key === undefined) {
    throw invalid(`${at}/keyPolicy`, 'says what to do with a run key, and there is none; add key, or leave it out')
  }
  // PostgreSQL has no such texts, so no job is named like that
  if (typeof job === 'string' && job.includes('\0'))
    throw new Refusal('JOB_NOT_FOUND', 'No job has U+0000 in its name.')
  return {
    appId,
    job,
    params: jsonText(input.params),
    delayMs: input.delayMs ?? null,
    runAtMs: readTime(input.runAt, `${at}/runAt`),
    priority: input.priority ?? null,
    queueTimeoutMs: input.queueTimeoutMs ?? null,
    requestKey: key?.key ?? null,
    keyed: keyed ? key : null,
    runKey: input.key === undefined ? null : wishOf(input.key, input.keyPolicy),
  }
}

/** Head and body of the answer to a call with a run key. */
export const sendMade = (reply: FastifyReply, made: Submitted): RunCreated => {
  const { status, headers } = headOf(made)
  void reply.code(status).headers(headers)
  return createdOf(made, true)
}

/** Asks for one run. With a key the run, the key and the answer are one statement, grouped with those of other callers. */
const submitOne =
  (keys: RequestKeys, clock: Clock) =>
  async (
    request: FastifyRequest,
    reply: FastifyReply,
    job: number | string,
    input: JobRunInput,
  ): Promise<RunCreated | undefined> => {
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
    if (submission.runKey === null) {
      void reply.code(201).header('location', `/api/v1/runs/${made.id}`)
      return { id: made.id }
    }
    return sendMade(reply, made)
  }

const submitRoutes = (app: HttpApp, submit: ReturnType<typeof submitOne>): void => {
  app.post(
    '/api/v1/runs',
    {
      config: { access: 'app', hot: true, keyed: 'statement', problems: submitProblems },
      schema: {
        summary: 'Ask for one run of a job',
        tags,
        body: RunInput,
        response: { 200: RunCreated, 201: RunCreated },
      },
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
        response: { 200: RunCreated, 201: RunCreated },
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
      const { ids, deduplicated } = await servicesOf(request).runs.submitMany(submissions)
      void reply.code(201)
      return { ids, ...(deduplicated === null ? {} : { deduplicated }) }
    },
  )
}

// resolve has a body, and is in decisions.ts
type PlainAction = Exclude<RunAction, 'resolve'>
const actions: Readonly<Record<PlainAction, { readonly summary: string; readonly problems: readonly ErrorCode[] }>> = {
  cancel: {
    summary: 'End a waiting run as canceled, one of unknown outcome as stopped',
    problems: ['RUN_RUNNING', 'RUN_ENDED'],
  },
  stop: {
    summary:
      'End a run: cancel it when it waits, ask its worker to stop it when it runs, stop it when its outcome is unknown',
    problems: ['RUN_ENDED'],
  },
  retry: {
    summary: 'Let an ended run wait again; its earlier attempts stay in the history',
    problems: ['RUN_NOT_ENDED', 'RUN_KEY_CONFLICT'],
  },
}

const actionRoute = (app: HttpApp, action: PlainAction): void => {
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
