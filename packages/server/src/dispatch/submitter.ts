// Takes calls for runs: groups them, resolves job names, and lets the overlap policy decide where a limit is reached.
import { Refusal } from '@oncejob/protocol'
import { invariant } from '../kernel/errors.ts'
import { batcher } from '../kernel/batch.ts'
import type { Clock } from '../kernel/clock.ts'
import type { Db, Queries } from '../storage/db.ts'
import { insertLimitedRun, limitOf, lockJobs, openLimitedRuns, promoteBlocked } from '../storage/limits.ts'
import type { RequestKey, StoredAnswer } from '../storage/request-keys.ts'
import { endWaiting, requestStop } from '../storage/steer.ts'
import { insertRuns, type NewRun, type SubmittedRow } from '../storage/submit.ts'
import { checkAge, type RequestKeys } from '../requests/keys.ts'
import type { Submission, Submitted } from './api.ts'
import type { Hub } from './hub.ts'
import { createJobNames, noSuchJob } from './job-names.ts'
import type { Metrics } from './metrics.ts'

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly clock: Clock
  readonly metrics: Metrics
  readonly keys: RequestKeys
}

type Answer = { readonly id: number } | { readonly refusal: Refusal }

const replacedError = JSON.stringify({ code: 'REPLACED', message: 'A newer run of the job replaced this one.' })
export const limitError = (limit: number): string =>
  JSON.stringify({ code: 'RUN_LIMIT', message: `The job allows ${limit} runs at once, and they were all taken.` })

/**
 * Makes way for a new run of a job with policy replace: waiting runs are canceled, running ones asked to stop.
 * Call it under lockJobs. Returns the sessions that must hear of it, and the runs that ended.
 */
export const makeWay = async (tx: Queries, jobId: number): Promise<{ sessions: number[]; ended: number[] }> => {
  const ids = (await openLimitedRuns(tx, jobId)).map((row) => row.run_id)
  if (ids.length === 0) return { sessions: [], ended: [] }
  const ended = await endWaiting(tx, ids, 'canceled', replacedError)
  const stopped = await requestStop(tx, ids)
  return { sessions: stopped.map((row) => row.session_id), ended: ended.map((row) => row.run_id) }
}

/** The refusal of one item of a batch: nothing of the batch was made. */
const ofItem = (index: number, refusal: Refusal): Refusal =>
  new Refusal(refusal.code, `/runs/${index}: ${refusal.message}`, { ...refusal.facts, index })

const newRun = (submission: Submission, jobId: number): NewRun => {
  const { appId, job, params, delayMs, runAtMs, priority, queueTimeoutMs, requestKey, keyed } = submission
  return {
    appId,
    jobId,
    name: typeof job === 'string' ? job : null,
    params,
    delayMs,
    runAtMs,
    priority,
    queueTimeoutMs,
    requestKey,
    keyed,
  }
}

/** One run of a job whose policy is skip, fail or replace, decided under the job's lock. What it collects in `after` is told after the commit. */
const decide = async (tx: Queries, hub: Hub, run: NewRun, after: (() => void)[]): Promise<Answer> => {
  await lockJobs(tx, [run.jobId])
  const limit = await limitOf(tx, run.appId, run.jobId)
  if (limit === undefined) return { refusal: noSuchJob(run.jobId) }
  const full = limit.run_limit > 0 && limit.open >= limit.run_limit
  if (full && limit.overlap === 'skip') {
    const says = `The job allows ${limit.run_limit} runs at once and ${limit.open} are open; it skips what comes on top.`
    return { refusal: new Refusal('RUN_LIMIT', says, { limit: limit.run_limit, open: limit.open }) }
  }
  if (full && limit.overlap === 'replace') {
    const way = await makeWay(tx, run.jobId)
    after.push(() => hub.tell({ sessions: way.sessions, ended: way.ended }))
  }
  const id = await insertLimitedRun(tx, run, full && limit.overlap === 'fail' ? limitError(limit.run_limit) : null)
  await promoteBlocked(tx, [run.jobId])
  after.push(() => hub.tell({ ready: [run.appId] }))
  return { id }
}

/** What single calls and batches share: finding the job, writing, telling. */
const createIntake = (needs: Needs) => {
  const { db, hub, clock, metrics, keys } = needs
  const names = createJobNames(db)

  const resolve = async (submission: Submission): Promise<NewRun | Refusal> => {
    const { appId, job } = submission
    const jobId = typeof job === 'number' ? job : await names.find(appId, job)
    return typeof jobId === 'number' ? newRun(submission, jobId) : jobId
  }
  const promote = (jobIds: readonly number[]): Promise<{ app_id: number }[]> =>
    db.transaction(async (tx) => {
      await lockJobs(tx, jobIds)
      return promoteBlocked(tx, jobIds)
    })
  /** After the commit: wakes whoever should look, and lets runs of jobs with a limit into free slots. */
  const announce = async (runs: readonly NewRun[], rows: readonly SubmittedRow[]): Promise<void> => {
    const apps = new Set<number>()
    const blocked = new Set<number>()
    let later = false
    for (const row of rows) {
      const appId = runs[row.ord]?.appId
      if (row.at === 'ready' && appId !== undefined) apps.add(appId)
      if (row.at === 'blocked') blocked.add(row.job_id)
      later ||= row.at === 'later'
    }
    if (later) hub.tell({ later: true })
    if (blocked.size > 0) for (const row of await promote([...blocked])) apps.add(row.app_id)
    if (apps.size > 0) hub.tell({ ready: [...apps] })
  }
  const insert = async (queries: Queries, runs: readonly NewRun[]): Promise<SubmittedRow[]> => {
    const startedMs = clock.monotonic()
    const rows = await insertRuns(queries, runs, keys.windowMs)
    metrics.submitted(rows.length, clock.monotonic() - startedMs)
    return rows
  }
  return { names, resolve, promote, announce, insert }
}

type Intake = ReturnType<typeof createIntake>

/** The place of each run's first key in a list; a key that stands there twice is the same call sent twice at once. */
const firstOfEachKey = (runs: readonly NewRun[]): Set<NewRun> => {
  const seen = new Set<string>()
  return new Set(
    runs.filter(({ keyed }) => {
      if (keyed === null) return true
      const name = `${keyed.appId} ${keyed.key}`
      return !seen.has(name) && seen.add(name)
    }),
  )
}

const runIdOf = (known: StoredAnswer): number => {
  const body: unknown = JSON.parse(known.body ?? 'null')
  const id = typeof body === 'object' && body !== null && 'id' in body ? body.id : undefined
  invariant(typeof id === 'number', 'the kept answer of a call for a run has the id of the run')
  return id
}

/** Single calls: grouped into one statement with those that come at the same moment. */
const createSingle = ({ db, hub, clock, metrics, keys }: Needs, { names, resolve, insert, announce }: Intake) => {
  const submitTogether = batcher<NewRun, SubmittedRow | 'twin' | undefined>({
    maxSize: 1000,
    run: async (runs) => {
      const first = firstOfEachKey(runs)
      const distinct = runs.filter((run) => first.has(run))
      const rows = await insert(db, distinct)
      await announce(distinct, rows)
      const made = new Map(rows.map((row) => [distinct[row.ord], row]))
      return runs.map((run) => (first.has(run) ? made.get(run) : 'twin'))
    },
  })
  const decideAlone = async (run: NewRun): Promise<Submitted> => {
    const after: (() => void)[] = []
    const decideIn = async (tx: Queries): Promise<number> => {
      const answer = await decide(tx, hub, run, after)
      if ('refusal' in answer) throw answer.refusal
      return answer.id
    }
    const made = await (run.keyed === null
      ? db.transaction(decideIn).then((id) => ({ id, replayOf: null }))
      : onceDecided(run.keyed, decideIn))
    after.forEach((tell) => tell())
    metrics.submitted(1, 0)
    return made
  }
  const onceDecided = async (key: RequestKey, decideIn: (tx: Queries) => Promise<number>): Promise<Submitted> => {
    const { answer, replayOf } = await keys.once(key, async (tx) => {
      const id = await decideIn(tx)
      const headers = { location: `/api/v1/runs/${id}`, 'content-type': 'application/json; charset=utf-8' }
      return { status: 201, headers: JSON.stringify(headers), body: JSON.stringify({ id }) }
    })
    return { id: runIdOf(answer), replayOf: replayOf ?? null }
  }
  /** The run that an earlier call with the same key has made. */
  const recalled = async (run: NewRun): Promise<Submitted | undefined> => {
    const known = run.keyed === null ? undefined : await keys.recall(run.keyed)
    if (known !== undefined) metrics.duplicatesRefused('request_replayed')
    return known === undefined ? undefined : { id: runIdOf(known), replayOf: known }
  }
  const submit = async (submission: Submission): Promise<Submitted> => {
    if (submission.keyed !== null) checkAge(submission.keyed.key, clock.now(), keys.windowMs)
    // twice: a cached name may have moved to another job since
    let tries = 0
    for (;;) {
      const run = await resolve(submission)
      if (run instanceof Refusal) {
        // the job may be gone since the first call, which is answered as it was
        const before = submission.keyed === null ? undefined : await recalled(newRun(submission, 0))
        if (before !== undefined) return before
        throw run
      }
      const row = await submitTogether(run)
      // the other one of the same key is decided first, then this one is its repeat
      if (row === 'twin') continue
      if (row !== undefined) return row.id === null ? decideAlone(run) : { id: row.id, replayOf: null }
      const before = await recalled(run)
      if (before !== undefined) return before
      if (typeof submission.job === 'number' || tries > 0) throw noSuchJob(submission.job)
      names.forget(submission.appId, submission.job)
      tries += 1
    }
  }
  return submit
}

/** Batches: all runs or none, in one transaction. */
const createBatch = ({ db, hub }: Needs, { names, resolve, insert, announce }: Intake) => {
  const resolveAll = async (submissions: readonly Submission[]): Promise<NewRun[]> => {
    const runs: NewRun[] = []
    for (const [i, submission] of submissions.entries()) {
      const run = await resolve(submission)
      if (run instanceof Refusal) throw ofItem(i, run)
      runs.push(run)
    }
    return runs
  }
  const submitMany = async (submissions: readonly Submission[]): Promise<number[]> => {
    const runs = await resolveAll(submissions)
    const after: (() => void)[] = []
    const { ids, rows } = await db.transaction(async (tx) => {
      const rows = await insert(tx, runs)
      const byOrd = new Map(rows.map((row) => [row.ord, row]))
      const ids: number[] = []
      for (const [i, run] of runs.entries()) {
        const row = byOrd.get(i)
        if (row === undefined) {
          if (run.name !== null) names.forget(run.appId, run.name)
          throw ofItem(i, noSuchJob(submissions[i]?.job ?? run.jobId))
        }
        const answer: Answer = row.id === null ? await decide(tx, hub, run, after) : { id: row.id }
        if ('refusal' in answer) throw ofItem(i, answer.refusal)
        ids.push(answer.id)
      }
      return { ids, rows }
    })
    after.forEach((tell) => tell())
    await announce(runs, rows)
    return ids
  }
  return submitMany
}

/** Creates the two calls that make runs, and the promotion of blocked ones that others use too. */
export const createSubmitter = (needs: Needs) => {
  const intake = createIntake(needs)
  return { submit: createSingle(needs, intake), submitMany: createBatch(needs, intake), promote: intake.promote }
}
