// Stories that use every route that takes a request key, each on things of its own, and what must be in the database after them.
import { seededRandom, type SeededRandom } from '@oncejob/testkit'
import { below } from './chance.ts'
import type { Asked, Body, Callers } from './keyed-calls.ts'
import { until } from './until.ts'

/** As the table of runs has it: an open run is in one of the small tables. */
type RunState = 'open' | 'canceled' | 'succeeded'

/** What the calls of all stories must have left behind, and nothing else. */
export class Expected {
  /** `action target` of each entry of the audit trail. */
  readonly audit: string[] = []
  /** Runs, by id. */
  readonly runs = new Map<number, RunState>()
  /** Runs of each job that were asked for, whoever asked. */
  readonly runsOfJob = new Map<number, number>()
  /** Jobs by id, as they must be in the end. */
  readonly jobs = new Map<number, { name: string; version: number; enabled: boolean; deleted: boolean }>()
  readonly namespaces = new Set<string>()
  /** Titles of apps by name. */
  readonly apps = new Map<string, string>()
  /** Names of containers by id. */
  readonly containers = new Map<number, string>()
  /** Tokens by id: whether they were revoked. */
  readonly tokens = new Map<number, boolean>()

  ran(jobId: number, runId: number, state: RunState = 'open'): void {
    this.runs.set(runId, state)
    this.runsOfJob.set(jobId, (this.runsOfJob.get(jobId) ?? 0) + 1)
  }
}

interface Scene {
  readonly callers: Callers
  readonly expected: Expected
  readonly random: SeededRandom
  /** Makes names unique. */
  readonly name: string
  /** Told to its end; else chance decides. */
  readonly whole: boolean
}

type Make = (asked: Asked) => Promise<Body>

const makerOf = ({ callers, random }: Scene): Make => {
  let step = 0
  return (asked) => {
    step += 1
    return callers.make(asked, seededRandom(`${random.seed} ${step}`))
  }
}

const idOf = (made: { readonly id?: number } | undefined): number => {
  if (made?.id === undefined) throw new Error(`an answer without an id: ${JSON.stringify(made)}`)
  return made.id
}

// Nobody executes what the stories ask for: its runs wait where the stories leave them.
/** A job from its creation to its end: made, replaced, changed, switched, copied, run in every way, deleted. */
const lifeOfJob = async (scene: Scene): Promise<void> => {
  const { expected, random, name, whole } = scene
  const make = makerOf(scene)
  const job = await make({
    route: 'POST /api/v1/jobs',
    path: '/api/v1/jobs',
    json: { name, processor: 'idle', params: { story: name } },
    wants: 201,
  })
  const id = idOf(job)
  const state = { name, version: 1, enabled: true, deleted: false }
  expected.jobs.set(id, state)
  expected.audit.push(`job.create job/${id}`)
  await make({
    route: 'POST /api/v1/jobs',
    path: '/api/v1/jobs',
    json: { name, processor: 'other' },
    wants: 'NAME_TAKEN',
  })
  const edited = (action: string, enabled: boolean): void => {
    expected.audit.push(`${action} job/${id}`)
    state.version += 1
    state.enabled = enabled
  }
  const etag = (): string => `"job-${id}-v${state.version}"`
  // a switch that was thrown back meanwhile must not be thrown again by a late repeat
  for (const enabled of [false, true, ...(random.next() < 0.5 ? [false] : [])]) {
    const action = enabled ? 'enable' : 'disable'
    await make({ route: `POST /api/v1/jobs/{job}/${action}`, path: `/api/v1/jobs/${name}/${action}`, wants: 200 })
    edited(`job.${action}`, enabled)
  }
  const { version } = state
  await make({
    route: 'PUT /api/v1/jobs/{job}',
    path: `/api/v1/jobs/${id}`,
    json: { name, processor: 'idle', priority: below(random, 100), description: `put ${name}` },
    ifMatch: etag(),
    wants: 200,
  })
  edited('job.update', true)
  await make({
    route: 'PATCH /api/v1/jobs/{job}',
    path: `/api/v1/jobs/${id}`,
    json: { priority: 100 + below(random, 100) },
    ifMatch: random.next() < 0.5 ? '*' : etag(),
    wants: 200,
  })
  edited('job.update', true)
  await make({
    route: 'PATCH /api/v1/jobs/{job}',
    path: `/api/v1/jobs/${id}`,
    json: { priority: 300 },
    ifMatch: `"job-${id}-v${version}"`,
    wants: 'VERSION_CONFLICT',
  })
  const copy = await make({
    route: 'POST /api/v1/jobs/{job}/copy',
    path: `/api/v1/jobs/${id}/copy`,
    json: {},
    wants: 201,
  })
  expected.jobs.set(idOf(copy), { name: `${name} (copy)`, version: 1, enabled: false, deleted: false })
  expected.audit.push(`job.copy job/${idOf(copy)}`)
  await runInEveryWay(scene, make, id)
  if (whole || random.next() < 0.5) {
    await make({ route: 'DELETE /api/v1/jobs/{job}', path: `/api/v1/jobs/${id}`, ifMatch: etag(), wants: 204 })
    expected.audit.push(`job.delete job/${id}`)
    state.deleted = true
    state.version += 1
  }
}

const runInEveryWay = async ({ expected, random, name }: Scene, make: Make, jobId: number): Promise<void> => {
  // not due for long: the runs wait where they are
  const later = random.next() < 0.5 ? {} : { delayMs: 3_600_000 }
  const one = await make({
    route: 'POST /api/v1/runs',
    path: '/api/v1/runs',
    json: { job: random.next() < 0.5 ? jobId : name, params: { of: name }, ...later },
    wants: 201,
  })
  expected.ran(jobId, idOf(one))
  const other = await make({
    route: 'POST /api/v1/jobs/{job}/runs',
    path: `/api/v1/jobs/${jobId}/runs`,
    json: later,
    wants: 201,
  })
  expected.ran(jobId, idOf(other))
  const { ids } = await make({
    route: 'POST /api/v1/runs/batch',
    path: '/api/v1/runs/batch',
    json: { runs: Array.from({ length: 1 + below(random, 4) }, () => ({ job: jobId, ...later })) },
    wants: 201,
  })
  for (const id of ids ?? []) expected.ran(jobId, id)
  await make({
    route: 'POST /api/v1/runs',
    path: '/api/v1/runs',
    json: { job: `nobody ${name}` },
    wants: 'JOB_NOT_FOUND',
  })
}

/** A run that is canceled, asked for again, stopped and asked for again. */
const lifeOfRun = async (scene: Scene): Promise<void> => {
  const { expected, random, name } = scene
  const make = makerOf(scene)
  const saved = await make({
    route: 'POST /api/v1/jobs:run',
    path: '/api/v1/jobs:run',
    json: { job: { name, processor: 'idle', maxConcurrentRuns: below(random, 2) }, run: { params: { of: name } } },
    wants: 201,
  })
  const [jobId, runId] = [idOf(saved.job), idOf(saved.run)]
  const state = { name, version: 1, enabled: true, deleted: false }
  expected.jobs.set(jobId, state)
  expected.audit.push(`job.create job/${jobId}`)
  const act = async (action: 'cancel' | 'stop' | 'retry', wants: number | string = 200): Promise<void> => {
    await make({ route: `POST /api/v1/runs/{id}/${action}`, path: `/api/v1/runs/${runId}/${action}`, wants })
    // a waiting run that is stopped is canceled
    if (wants === 200) expected.audit.push(`${action === 'retry' ? 'run.retry' : 'run.cancel'} run/${runId}`)
  }
  await act('retry', 'RUN_NOT_ENDED')
  await act(random.next() < 0.5 ? 'cancel' : 'stop')
  await act('retry')
  await act('stop')
  await act('retry')
  await act('cancel')
  const stays = random.next() < 0.5
  if (stays) await act('retry')
  expected.ran(jobId, runId, stays ? 'open' : 'canceled')
  const again = await make({
    route: 'POST /api/v1/jobs:run',
    path: '/api/v1/jobs:run',
    json: { job: { name, processor: 'idle', priority: 5 } },
    wants: 201,
  })
  state.version += 1
  expected.audit.push(`job.update job/${jobId}`)
  expected.ran(jobId, idOf(again.run))
  const file = { format: 'oncejob.jobs/1', jobs: [{ name: `${name}-file`, processor: 'idle' }] }
  const imported = await make({
    route: 'POST /api/v1/jobs/import',
    path: '/api/v1/jobs/import',
    json: file,
    wants: 200,
  })
  const importedId = idOf(imported.jobs?.[0])
  expected.jobs.set(importedId, { name: `${name}-file`, version: 1, enabled: true, deleted: false })
  expected.audit.push(`job.import job/${importedId}`)
}

/** Business keys of runs: the second call for one gets the run of the first, until the key is freed. */
const lifeOfRunKey = async (scene: Scene): Promise<void> => {
  const { expected, random, name } = scene
  const make = makerOf(scene)
  const jobId = idOf(
    await make({ route: 'POST /api/v1/jobs', path: '/api/v1/jobs', json: { name, processor: 'idle' }, wants: 201 }),
  )
  expected.jobs.set(jobId, { name, version: 1, enabled: true, deleted: false })
  expected.audit.push(`job.create job/${jobId}`)
  for (const scope of ['job', 'app'] as const) {
    const key = `${name} ${scope}`
    const ask = (wants: number) =>
      make({
        route: 'POST /api/v1/runs',
        path: '/api/v1/runs',
        json: { job: jobId, key, keyPolicy: { scope }, params: { of: name } },
        wants,
      })
    const first = idOf(await ask(201))
    const again = idOf(await ask(200))
    if (again !== first) throw new Error(`run key "${key}" has runs ${first} and ${again}`)
    const place = scope === 'job' ? `jobs/{job}/run-keys/{key}` : 'run-keys/{key}'
    const path = `/api/v1/${place.replace('{job}', String(jobId)).replace('{key}', encodeURIComponent(key))}`
    await make({ route: `DELETE /api/v1/${place}`, path, wants: 'RUN_KEY_CONFLICT' })
    await make({ route: `DELETE /api/v1/${place}`, path: `${path}?force=true`, wants: 200 })
    expected.audit.push(scope === 'job' ? `run-key.reset job/${jobId}/run-key` : 'run-key.reset run-key')
    expected.ran(jobId, first, 'canceled')
    // the key is free; late repeats of the calls above still mean the first run
    if (random.next() < 0.5) expected.ran(jobId, idOf(await ask(201)))
  }
}

/**
 * Lets a run be begun by a worker that says what it is about to do and then leaves without a word.
 * @returns whether it came to say it: its session may be over before, when servers are away for long
 */
const loseAttempt = async ({ callers, random, name }: Scene, runId: number): Promise<boolean> => {
  const worker = { name, processors: [name], slots: 1 }
  const sessions = '/api/v1/worker/sessions'
  let saidIt = false
  await until(`run ${runId} to be unknown`, async () => {
    const { state } = await callers.ask({ route: 'GET run', path: `/api/v1/runs/${runId}` }, random)
    if (state !== 'waiting') return state === 'unknown'
    const { sessionId } = await callers.ask({ route: 'POST session', path: sessions, json: worker }, random)
    const path = `${sessions}/${sessionId}`
    const poll = { free: 1, held: [], waitMs: 2_000 }
    const { runs = [] } = await callers.ask({ route: 'POST poll', path: `${path}/poll`, json: poll }, random, [410])
    const mine = runs.find((run) => run.runId === runId)
    if (mine !== undefined) {
      const effect = { runId, lease: mine.lease, name: 'charge' }
      const begin = { route: 'POST begin', path: '/api/v1/worker/effects/begin', json: effect }
      saidIt = (await callers.ask(begin, random, [409])).state !== undefined
    }
    await callers.ask({ route: 'DELETE session', path }, random, [404, 410])
    return false
  })
  return saidIt
}

/** A run that is executed at most once, whose worker is lost: people say what became of it, and of its effect. */
const lifeOfDoubt = async (scene: Scene): Promise<void> => {
  const { expected, name } = scene
  const make = makerOf(scene)
  const job = { name, processor: name, guarantee: 'at-most-once' }
  const jobId = idOf(await make({ route: 'POST /api/v1/jobs', path: '/api/v1/jobs', json: job, wants: 201 }))
  expected.jobs.set(jobId, { name, version: 1, enabled: true, deleted: false })
  expected.audit.push(`job.create job/${jobId}`)
  const runId = idOf(await make({ route: 'POST /api/v1/runs', path: '/api/v1/runs', json: { job: jobId }, wants: 201 }))
  const resolve = (json: object, wants: number | string) =>
    make({ route: 'POST /api/v1/runs/{id}/resolve', path: `/api/v1/runs/${runId}/resolve`, json, wants })
  await resolve({ as: 'succeeded', result: 1 }, 'RUN_NOT_UNKNOWN')
  if (await loseAttempt(scene, runId)) {
    await make({
      route: 'POST /api/v1/runs/{id}/effects/{name}/resolve',
      path: `/api/v1/runs/${runId}/effects/charge/resolve`,
      json: { done: true, outcome: { of: name } },
      wants: 200,
    })
    expected.audit.push(`effect.resolve run/${runId}`)
  }
  await resolve({ as: 'succeeded', result: 1 }, 200)
  expected.audit.push(`run.resolve run/${runId}`)
  expected.ran(jobId, runId, 'succeeded')
}

/** A container of Java workers: a jar, its next version, deployed and deleted. */
const lifeOfContainer = async (scene: Scene): Promise<void> => {
  const { expected, random, name, whole } = scene
  const make = makerOf(scene)
  const route = 'POST /api/v1/containers'
  const path = `/api/v1/containers?name=${name}`
  const id = idOf(await make({ route, path, jar: `first ${name}`, wants: 201 }))
  expected.audit.push(`container.create container/${id}`)
  await make({ route, path, jar: `second ${name}`, wants: 200 })
  expected.audit.push(`container.update container/${id}`)
  await make({ route: `${route}/{id}/deploy`, path: `/api/v1/containers/${id}/deploy`, wants: 202 })
  expected.audit.push(`container.deploy container/${id}`)
  if (whole || random.next() < 0.5) {
    await make({ route: 'DELETE /api/v1/containers/{id}', path: `/api/v1/containers/${id}`, wants: 204 })
    expected.audit.push(`container.delete container/${id}`)
  } else expected.containers.set(id, name)
}

/** A tenant: namespace, app and tokens, made, changed and removed. */
const lifeOfTenant = async (scene: Scene): Promise<void> => {
  const { expected, random, name, whole } = scene
  const make = makerOf(scene)
  const admin = true
  await make({ route: 'POST /api/v1/namespaces', path: '/api/v1/namespaces', json: { name }, admin, wants: 201 })
  expected.audit.push(`namespace.create namespace/${name}`)
  await make({
    route: 'POST /api/v1/apps',
    path: '/api/v1/apps',
    json: { name, namespace: name },
    admin,
    wants: 201,
  })
  expected.audit.push(`app.create app/${name}`)
  for (const title of ['one', 'other']) {
    await make({ route: 'PATCH /api/v1/apps/{app}', path: `/api/v1/apps/${name}`, json: { title }, admin, wants: 200 })
    expected.audit.push(`app.update app/${name}`)
  }
  const token = await make({
    route: 'POST /api/v1/apps/{app}/tokens',
    path: `/api/v1/apps/${name}/tokens`,
    json: { name: 'token' },
    admin,
    secret: 'token',
    wants: 201,
  })
  expected.audit.push(`token.create token/${idOf(token)}`)
  expected.tokens.set(idOf(token), false)
  const isRevoked = whole || random.next() < 0.7
  if (isRevoked) {
    await make({
      route: 'DELETE /api/v1/apps/{app}/tokens/{id}',
      path: `/api/v1/apps/${name}/tokens/${idOf(token)}`,
      admin,
      wants: 204,
    })
    expected.audit.push(`token.revoke token/${idOf(token)}`)
    expected.tokens.set(idOf(token), true)
  }
  await make({
    route: 'DELETE /api/v1/namespaces/{name}',
    path: `/api/v1/namespaces/${name}`,
    admin,
    wants: 'NOT_EMPTY',
  })
  await leave(scene, make, idOf(token))
}

const leave = async ({ expected, random, name, whole }: Scene, make: Make, tokenId: number): Promise<void> => {
  // every third stays as it is
  const goes = whole || random.next() < 0.67
  if (!goes) {
    expected.namespaces.add(name)
    expected.apps.set(name, 'other')
    return
  }
  await make({ route: 'DELETE /api/v1/apps/{app}', path: `/api/v1/apps/${name}`, admin: true, wants: 204 })
  expected.audit.push(`app.delete app/${name}`)
  expected.tokens.delete(tokenId)
  await make({
    route: 'DELETE /api/v1/namespaces/{name}',
    path: `/api/v1/namespaces/${name}`,
    admin: true,
    wants: 204,
  })
  expected.audit.push(`namespace.delete namespace/${name}`)
}

const stories = [lifeOfJob, lifeOfRun, lifeOfTenant, lifeOfRunKey, lifeOfDoubt, lifeOfContainer]

/** Plays one story. `index` chooses which, and its seed; the first of each are told to their end. */
export const playStory = async (
  callers: Callers,
  expected: Expected,
  { seed, index }: { readonly seed: string; readonly index: number },
): Promise<void> => {
  const story = stories[index % stories.length] ?? lifeOfJob
  const name = `${story.name}-${index}`
  await story({ callers, expected, random: seededRandom(`${seed} ${name}`), name, whole: index < stories.length })
}

/** How many stories it takes to meet every route. */
export const storyCount = stories.length
