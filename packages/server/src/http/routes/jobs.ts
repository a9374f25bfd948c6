// Jobs: made, changed with If-Match, switched, copied, listed, taken from one place to another as a file.
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import {
  CopyInput,
  ImportResult,
  JobExport,
  JobInput,
  JobPatch,
  JobView,
  Refusal,
  pageOf,
  pageQuery,
  type ErrorCode,
} from '@oncejob/protocol'
import type { Caller, Expected, JobsService } from '../../scheduling/jobs-service.ts'
import { jobView, type StoredJob } from '../../storage/jobs.ts'
import { jobKeyOf, jobSorts, type JobKey, type JobSort } from '../../storage/jobs-list.ts'
import { readCursor } from '../cursor.ts'
import { parseTime } from '../time.ts'
import { listName, pageFrom, searchText } from '../paging.ts'
import {
  appIdOf,
  pathOf,
  principalOf,
  queryOf,
  requestKeyOf,
  type HttpApp,
  type QueryOf,
  type RoutePlugin,
} from '../types.ts'
import { servicesOf } from '../services.ts'

const tags = ['Jobs']
const path = pathOf('job')
const found: readonly ErrorCode[] = ['JOB_NOT_FOUND', 'NAME_AMBIGUOUS']
const written: readonly ErrorCode[] = ['NAME_TAKEN', 'JOB_INVALID', 'SCHEDULE_INVALID']
const versioned: readonly ErrorCode[] = [...found, 'VERSION_REQUIRED', 'VERSION_CONFLICT']

const filterFields = {
  q: Type.Optional(Type.String({ ...searchText, description: 'Occurs in name, description, tag or processor' })),
  name: Type.Optional(Type.String(searchText)),
  enabled: Type.Optional(Type.Boolean()),
  tag: Type.Optional(Type.String(searchText)),
  processor: Type.Optional(Type.String(searchText)),
  kind: Type.Optional(
    Type.Enum(['none', 'cron', 'fixed-rate', 'fixed-delay', 'daily', 'once'], { description: 'Kind of trigger' }),
  ),
}
const listFields = {
  ...filterFields,
  ...pageQuery,
  // it may hold a name
  cursor: Type.Optional(Type.String({ maxLength: 2000 })),
  sort: Type.Optional(Type.Enum(jobSorts, { default: 'id', description: 'A minus sign: descending' })),
}

/** The entity tag of a job: changes with every change of the job. */
const etagOf = (job: StoredJob): string => `"job-${job.id}-v${job.version}"`

/** @throws Refusal VERSION_REQUIRED */
const expectedOf = (request: FastifyRequest): Expected => {
  const header = request.headers['if-match']?.trim()
  if (header === undefined || header === '') {
    throw new Refusal(
      'VERSION_REQUIRED',
      'Send If-Match with the ETag of the job as you read it, or * to overwrite whatever is there.',
    )
  }
  if (header === '*') return '*'
  // proxies that compress make a tag weak
  const [, jobId, version] = /^(?:W\/)?"job-(\d{1,15})-v(\d{1,10})"$/.exec(header) ?? []
  // what is no tag of ours is a tag of nothing that is there
  return { jobId: Number(jobId ?? 0), version: Number(version ?? 0) }
}

const callerOf = (request: FastifyRequest): Caller => {
  requestKeyOf(request)
  return { appId: appIdOf(request), actor: principalOf(request).name }
}

const keyIn = (sort: JobSort, list: string, cursor: string | undefined): JobKey | undefined => {
  if (sort === 'id' || sort === '-id') {
    const keys = readCursor(list, cursor, ['number'])
    return keys === undefined ? undefined : { value: null, id: keys[0] }
  }
  // only a next fire can be missing; a time that is none would be the database's error
  const keys = readCursor(list, cursor, [sort === 'nextFireAt' ? 'string?' : 'string', 'number'])
  if (keys === undefined) return undefined
  const [value, id] = keys
  const isTime = value === null || parseTime(value) !== undefined
  const fits = sort === 'name' || sort === '-name' ? value?.includes('\0') === false : isTime
  if (!fits) throw new Refusal('CURSOR_INVALID', 'Take the cursor from `next` of the page before.')
  return { value, id }
}

const cursorKeys = (sort: JobSort, job: StoredJob): readonly (string | number | null)[] => {
  const { value, id } = jobKeyOf(sort, job)
  return sort === 'id' || sort === '-id' ? [id] : [value, id]
}

const filterOf = ({ q, name, enabled, tag, processor, kind }: QueryOf<typeof filterFields>) => ({
  q,
  name,
  enabled,
  tag,
  processor,
  kind,
})

const listRoutes = (app: HttpApp, jobs: JobsService): void => {
  app.get(
    '/api/v1/jobs',
    {
      config: { access: 'app', problems: ['CURSOR_INVALID'] },
      schema: { summary: 'List jobs', tags, querystring: queryOf(listFields), response: { 200: pageOf(JobView) } },
    },
    async (request) => {
      const appId = appIdOf(request)
      const { limit = 50, cursor, sort = 'id' } = request.query
      const filter = filterOf(request.query)
      const list = listName(`jobs:${sort}`, { appId, ...filter })
      const jobsFound = await jobs.list(appId, { filter, sort, after: keyIn(sort, list, cursor), limit: limit + 1 })
      const { items, next } = pageFrom(list, jobsFound, limit, (job) => cursorKeys(sort, job))
      return { items: items.map(jobView), next }
    },
  )
  app.get(
    '/api/v1/jobs/export',
    {
      config: { access: 'app' },
      schema: {
        summary: 'All jobs that match as a file, at most 1,000',
        tags,
        querystring: queryOf(filterFields),
        response: { 200: JobExport },
      },
    },
    (request) => jobs.export(appIdOf(request), filterOf(request.query)),
  )
  app.post(
    '/api/v1/jobs/import',
    {
      config: { access: 'app', problems: written },
      schema: {
        summary: 'Create and replace jobs by name: all of them or none; a repeat changes nothing',
        tags,
        body: JobExport,
        response: { 200: ImportResult },
      },
    },
    (request) => servicesOf(request).jobs.import(callerOf(request), request.body),
  )
}

const creationRoutes = (app: HttpApp): void => {
  app.post(
    '/api/v1/jobs',
    {
      config: { access: 'app', problems: written },
      schema: { summary: 'Create a job', tags, body: JobInput, response: { 201: JobView } },
    },
    async (request, reply) => {
      const job = await servicesOf(request).jobs.create(callerOf(request), request.body)
      void reply.code(201).header('location', `/api/v1/jobs/${job.id}`).header('etag', etagOf(job))
      return jobView(job)
    },
  )
  app.post(
    '/api/v1/jobs/:job/copy',
    {
      config: { access: 'app', problems: [...found, ...written] },
      schema: {
        summary: 'Copy a job; the copy is disabled unless it says otherwise',
        tags,
        params: path,
        body: CopyInput,
        response: { 201: JobView },
      },
    },
    async (request, reply) => {
      const job = await servicesOf(request).jobs.copy(callerOf(request), request.params.job, request.body)
      void reply.code(201).header('location', `/api/v1/jobs/${job.id}`).header('etag', etagOf(job))
      return jobView(job)
    },
  )
}

const changeRoutes = (app: HttpApp, jobs: JobsService): void => {
  app.get(
    '/api/v1/jobs/:job',
    {
      config: { access: 'app', problems: found },
      schema: { summary: 'Read a job by id or name', tags, params: path, response: { 200: JobView } },
    },
    async (request, reply) => {
      const job = await jobs.get(appIdOf(request), request.params.job)
      void reply.header('etag', etagOf(job))
      return jobView(job)
    },
  )
  app.put(
    '/api/v1/jobs/:job',
    {
      config: { access: 'app', problems: [...versioned, ...written] },
      schema: {
        summary: 'Replace a job; what is left out takes its default',
        tags,
        params: path,
        body: JobInput,
        response: { 200: JobView },
      },
    },
    async (request, reply) => {
      const job = await servicesOf(request).jobs.replace(
        callerOf(request),
        request.params.job,
        expectedOf(request),
        request.body,
      )
      void reply.header('etag', etagOf(job))
      return jobView(job)
    },
  )
  app.patch(
    '/api/v1/jobs/:job',
    {
      config: { access: 'app', problems: [...versioned, ...written] },
      schema: {
        summary: 'Change some fields of a job; what is left out stays',
        tags,
        params: path,
        body: JobPatch,
        response: { 200: JobView },
      },
    },
    async (request, reply) => {
      const job = await servicesOf(request).jobs.patch(
        callerOf(request),
        request.params.job,
        expectedOf(request),
        request.body,
      )
      void reply.header('etag', etagOf(job))
      return jobView(job)
    },
  )
}

const removeRoute = (app: HttpApp): void => {
  app.delete(
    '/api/v1/jobs/:job',
    {
      config: { access: 'app', problems: versioned },
      schema: {
        summary: 'Delete a job',
        description:
          'Its schedule stops and its name is free at once. Runs that were asked for before still execute; cancel or stop them ' +
          'if they shall not. Its runs and fires stay readable by its id.',
        tags,
        params: path,
        response: { 204: Type.Null({ description: 'No content' }) },
      },
    },
    async (request, reply) => {
      await servicesOf(request).jobs.remove(callerOf(request), request.params.job, expectedOf(request))
      void reply.code(204)
      return null
    },
  )
}

const switchRoute = (app: HttpApp, action: 'enable' | 'disable', summary: string): void => {
  app.post(
    `/api/v1/jobs/:job/${action}`,
    { config: { access: 'app', problems: found }, schema: { summary, tags, params: path, response: { 200: JobView } } },
    async (request, reply) => {
      const job = await servicesOf(request).jobs.setEnabled(callerOf(request), request.params.job, action === 'enable')
      void reply.header('etag', etagOf(job))
      return jobView(job)
    },
  )
}

export const jobRoutes =
  (jobs: JobsService): RoutePlugin =>
  (app) => {
    listRoutes(app, jobs)
    creationRoutes(app)
    changeRoutes(app, jobs)
    removeRoute(app)
    switchRoute(
      app,
      'enable',
      'Let the schedule of a job fire, from now on; fires that were due meanwhile are not made up for',
    )
    switchRoute(app, 'disable', 'Let the schedule of a job rest; it can still be run by call')
  }
