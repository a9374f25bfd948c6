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
import { createIntake, newRun, plain, type Intake, type SubmitNeeds } from './intake.ts'
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
const createAlone = ({ db, hub, metrics, keys }: SubmitNeeds) => {
  /** One run in a transaction of its own; with a request key the key and the answer are part of it. */
  const makeAlone = async (
    key: RequestKey | null,
    wish: RunKeyWish | null,
    make: (tx: Queries, after: After) => Promise<KeyedRun>,
  ): Promise<Submitted> => {
    const after: After = []
    if (key === null) {
      const made = await db.transaction((tx) => make(tx, after))
      for (const tell of after) await tell()
      return { ...made, replayOf: null }
    }
    const { answer, replayOf } = await keys.once(key, async (tx) => answerOf(await make(tx, after), wish !== null))
    for (const tell of after) await tell()
    return submittedOf(answer, replayOf ?? null)
  }
  const decideAlone = async (run: NewRun): Promise<Submitted> => {
    const made = await makeAlone(run.keyed, null, async (tx, after) => plain(await insertDecided(tx, hub, run, after)))
    metrics.submitted(1, 0)
    return made
  }
  /** The run that an earlier call with the same key has made. */
  const recalled = async (run: NewRun): Promise<Submitted | undefined> => {
    const known = run.keyed === null ? undefined : await keys.recall(run.keyed)
    if (known !== undefined) metrics.duplicatesRefused('request_replayed')
    return known === undefined ? undefined : submittedOf(known, known)
  }
  return { makeAlone, decideAlone, recalled }
}
type Alone = ReturnType<typeof createAlone>

/** Single calls with a run key. */
const createKeyed = ({ names, resolve, runKeys }: Intake, { makeAlone, recalled }: Alone) => {
  const submitWithKey = async (submission: Submission, wish: RunKeyWish): Promise<Submitted> => {
    for (let tries = 0; ; tries += 1) {
      const run = await resolve(submission)
      if (run instanceof Refusal) {
        // the job may be gone since the first call, which is answered as it was
        const before = submission.keyed === null ? undefined : await recalled(newRun(submission, 0))
        if (before !== undefined) return before
        throw run
      }
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
  const { names, resolve, insert, announce } = intake
  const alone = createAlone(needs)
  const { decideAlone, recalled } = alone
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
      const run = await resolve(submission)
      if (run instanceof Refusal) {
        // the job may be gone since the first call, which is answered as it was
        const before = submission.keyed === null ? undefined : await recalled(newRun(submission, 0))
        if (before !== undefined) return before
        throw run
      }
      const row = await submitTogether(run)
      if (row === 'twin') {
        // the other one of the same key is decided by now and this one is its repeat, unless the other was refused; looking
        // first keeps a storm of repeats from going round in batches that decide one of them each
        const repeated = await recalled(run)
        if (repeated !== undefined) return repeated
        continue
      }
      if (row !== undefined) return row.id === null ? decideAlone(run) : { ...plain(row.id), replayOf: null }
      const before = await recalled(run)
      if (before !== undefined) return before
      if (typeof submission.job === 'number' || tries > 0) throw noSuchJob(submission.job)
      names.forget(submission.appId, submission.job)
      tries += 1
    }
  }
  return submit
}

/** Creates the two calls that make runs, and the promotion of blocked ones that others use too. */
export const createSubmitter = (needs: SubmitNeeds) => {
  const intake = createIntake(needs)
  return { submit: createSingle(needs, intake), submitMany: createBatch(needs, intake), promote: intake.promote }
}
