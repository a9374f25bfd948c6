// Batches of runs: all are made or none, in one transaction.
import { Refusal } from '@oncejob/protocol'
import type { Queries } from '../storage/db.ts'
import { lockJobs } from '../storage/limits.ts'
import { pointKeys } from '../storage/run-keys.ts'
import type { NewRun } from '../storage/submit.ts'
import type { Submission, SubmittedMany } from './api.ts'
import type { Hub } from './hub.ts'
import { plain, type Intake, type SubmitNeeds } from './intake.ts'
import { noSuchJob } from './job-names.ts'
import { insertDecided, type After } from './overlap.ts'
import { cleanedUp, planKeyed, type KeyedRun, type KeyedWish } from './run-keys.ts'

/** The refusal of one item of a batch: nothing of the batch was made. */
const ofItem = (index: number, refusal: Refusal): Refusal =>
  new Refusal(refusal.code, `/runs/${index}: ${refusal.message}`, { ...refusal.facts, index })

const withPlace = async <T>(place: number, work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    // translated: it names the place
    throw error instanceof Refusal ? ofItem(place, error) : error
  }
}

/** Makes runs together, and then those whose job lets its overlap policy decide. Keyed by the place in the batch. */
const createTogether = (hub: Hub, { names, insert, announce }: Intake) => {
  const makeTogether = async (
    tx: Queries,
    runs: ReadonlyMap<number, NewRun>,
    lockToo: readonly number[],
    after: After,
  ) => {
    const [places, wanted] = [[...runs.keys()], [...runs.values()]]
    const rows = wanted.length === 0 ? [] : await insert(tx, wanted)
    const byOrd = new Map(rows.map((row) => [row.ord, row]))
    // in one order, whatever that of the batch: two batches never wait for each other
    const undecided = rows.filter((row) => row.id === null).map((row) => row.job_id)
    if (undecided.length + lockToo.length > 0) await lockJobs(tx, [...undecided, ...lockToo])
    const ids = new Map<number, number>()
    for (const [ord, run] of wanted.entries()) {
      const [row, place] = [byOrd.get(ord), places[ord] ?? ord]
      if (row === undefined) {
        if (run.name !== null) names.forget(run.appId, run.name)
        throw ofItem(place, noSuchJob(run.name ?? run.jobId))
      }
      ids.set(place, row.id ?? (await withPlace(place, () => insertDecided(tx, hub, run, after))))
    }
    after.push(() => announce(wanted, rows))
    return ids
  }
  return makeTogether
}

/** Batches: all runs or none, in one transaction. */
export const createBatch = ({ db, hub }: SubmitNeeds, intake: Intake) => {
  const { names, resolve, runKeys } = intake
  const makeTogether = createTogether(hub, intake)
  const resolveAll = async (submissions: readonly Submission[]): Promise<NewRun[]> => {
    const runs: NewRun[] = []
    for (const [i, submission] of submissions.entries()) {
      const run = await resolve(submission)
      if (run instanceof Refusal) throw ofItem(i, run)
      runs.push(run)
    }
    return runs
  }
  const makeAll = async (
    tx: Queries,
    runs: readonly NewRun[],
    keyed: ReadonlyMap<number, KeyedWish>,
    after: After,
  ): Promise<Map<number, KeyedRun>> => {
    if (keyed.size === 0) {
      const ids = await makeTogether(tx, new Map(runs.entries()), [], after)
      return new Map([...ids].map(([place, id]) => [place, plain(id)]))
    }
    const refuse = (place: number, refusal: Refusal): Refusal => {
      const name = runs[place]?.name ?? null
      if (refusal.code === 'JOB_NOT_FOUND' && name !== null) names.forget(runs[place]?.appId ?? 0, name)
      return ofItem(place, refusal)
    }
    const plan = await planKeyed(tx, keyed, { keys: runKeys, refuse })
    return cleanedUp(tx, plan.fresh, async () => {
      const together = new Map([...runs.entries()].filter(([place]) => !keyed.has(place) || plan.together.has(place)))
      const ids = await makeTogether(tx, together, plan.jobIds, after)
      const points = [...plan.together].flatMap(([place, point]) => {
        const runId = ids.get(place)
        return runId === undefined ? [] : [{ ...point, runId }]
      })
      if (points.length > 0) await pointKeys(tx, points)
      const made = new Map([...plan.answers, ...[...ids].map(([place, id]) => [place, plain(id)] as const)])
      for (const place of plan.oneByOne) {
        const asked = keyed.get(place)
        if (asked !== undefined) made.set(place, await withPlace(place, () => runKeys.submitHeld(tx, asked, after)))
      }
      return made
    })
  }
  const submitMany = async (submissions: readonly Submission[]): Promise<SubmittedMany> => {
    const runs = await resolveAll(submissions)
    const keyed = new Map<number, KeyedWish>()
    for (const [place, run] of runs.entries()) {
      const wish = submissions[place]?.runKey ?? null
      if (wish !== null) keyed.set(place, { run, wish })
    }
    const after: After = []
    const made = await db.transaction((tx) => makeAll(tx, runs, keyed, after))
    for (const tell of after) await tell()
    const inOrder = runs.flatMap((_, place) => made.get(place) ?? [])
    return {
      ids: inOrder.map((one) => one.id),
      deduplicated: keyed.size === 0 ? null : inOrder.filter((one) => one.deduplicated).map((one) => one.id),
    }
  }
  return submitMany
}
