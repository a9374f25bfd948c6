// Takes calls for runs: groups them, resolves job names, and lets overlap policies and run keys decide where they must.
import { Refusal } from '@oncejob/protocol'
import { batcher } from '../kernel/batch.ts'
import type { RunKeyWish } from '../runs/run-key.ts'
import type { Queries } from '../storage/db.ts'
import type { RequestKey } from '../storage/request-keys.ts'
import type { NewRun, SubmittedRow } from '../storage/submit.ts'
import { checkAge } from '../requests/keys.ts'
import type { Submission, Submitted } from './api.ts'
import { answerOf, submittedOf } from './created.ts'
import { createIntake, plain, type Intake, type SubmitNeeds } from './intake.ts'
import { noSuchJob } from './job-names.ts'
import { insertDecided, type After } from './overlap.ts'
import type { KeyedRun, KeyedWish } from './run-keys.ts'
import { createBatch } from './submit-batch.ts'

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

/** Single calls in a transaction of their own. */
const createAlone = ({ db, hub, metrics, keys }: SubmitNeeds, { resolve }: Intake) => {
  /** One run in a transaction of its own; with a request key the key and the answer are part of it. */
  const makeAlone = async (
    key: RequestKey | null,
    wish: RunKeyWish | null,
    make: (tx: Queries, after: After) => Promise<KeyedRun>,
  ): Promise<Submitted> => {
    const after: After = []
    let made: Submitted
    if (key === null) made = { ...(await db.transaction((tx) => make(tx, after))), replayOf: null }
    else {
      const { answer, replayOf } = await keys.once(key, async (tx) => answerOf(await make(tx, after), wish !== null))
      made = submittedOf(answer, replayOf ?? null)
    }
    for (const tell of after) await tell()
    return made
  }
  const decideAlone = async (run: NewRun): Promise<Submitted> => {
    const made = await makeAlone(run.keyed, null, async (tx, after) => plain(await insertDecided(tx, hub, run, after)))
    metrics.submitted(1, 0)
    return made
  }
  /** The run that an earlier call with the same key has made. */
  const recalled = async (key: RequestKey | null): Promise<Submitted | undefined> => {
    const known = key === null ? undefined : await keys.recall(key)
    if (known !== undefined) metrics.duplicatesRefused('request_replayed')
    return known === undefined ? undefined : submittedOf(known, known)
  }
  /** The run that is asked for, or what the first call with its request key came to: the job may be gone since. */
  const resolved = async (submission: Submission): Promise<{ run: NewRun; before?: never } | { before: Submitted }> => {
    const run = await resolve(submission)
    if (!(run instanceof Refusal)) return { run }
    const before = await recalled(submission.keyed)
    if (before === undefined) throw run
    return { before }
  }
  return { makeAlone, decideAlone, recalled, resolved }
}
type Alone = ReturnType<typeof createAlone>

/** Single calls with a run key. */
const createKeyed = ({ names, runKeys }: Intake, { makeAlone, resolved }: Alone) => {
  const submitWithKey = async (submission: Submission, wish: RunKeyWish): Promise<Submitted> => {
    for (let tries = 0; ; tries += 1) {
      const found = await resolved(submission)
      if (found.before !== undefined) return found.before
      const { run } = found
      // the request key is taken by the transaction around the run
      const asked: KeyedWish = { run: { ...run, keyed: null }, wish }
      try {
        return await makeAlone(run.keyed, wish, (tx, after) => runKeys.submitOne(tx, asked, after))
      } catch (error) {
        // a cached name may have moved to another job since; nothing was written then
        const moved = error instanceof Refusal && error.code === 'JOB_NOT_FOUND' && tries === 0
        if (!moved || typeof submission.job === 'number') throw error
        names.forget(submission.appId, submission.job)
      }
    }
  }
  return submitWithKey
}

/** Single calls: grouped into one statement with those that come at the same moment. */
const createSingle = (needs: SubmitNeeds, intake: Intake) => {
  const { db, clock, keys } = needs
  const { names, insert, announce } = intake
  const alone = createAlone(needs, intake)
  const { decideAlone, recalled, resolved } = alone
  const submitWithKey = createKeyed(intake, alone)
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
  const submit = async (submission: Submission): Promise<Submitted> => {
    if (submission.runKey !== null) return submitWithKey(submission, submission.runKey)
    if (submission.keyed !== null) checkAge(submission.keyed.key, clock.now(), keys.windowMs)
    // twice: a cached name may have moved to another job since
    let tries = 0
    for (;;) {
      const found = await resolved(submission)
      if (found.before !== undefined) return found.before
      const { run } = found
      const row = await submitTogether(run)
      if (row === 'twin') {
        // the other one of the same key is decided by now and this one is its repeat, unless the other was refused; looking
        // first keeps a storm of repeats from going round in batches that decide one of them each
        const repeated = await recalled(run.keyed)
        if (repeated !== undefined) return repeated
        continue
      }
      if (row !== undefined) return row.id === null ? decideAlone(run) : { ...plain(row.id), replayOf: null }
      const before = await recalled(run.keyed)
      if (before !== undefined) return before
      if (typeof submission.job === 'number' || tries > 0) throw noSuchJob(submission.job)
      names.forget(submission.appId, submission.job)
      tries += 1
    }
  }
  return submit
}

/** Creates the two calls that make runs. */
export const createSubmitter = (needs: SubmitNeeds) => {
  const intake = createIntake(needs)
  return { submit: createSingle(needs, intake), submitMany: createBatch(needs, intake) }
}
