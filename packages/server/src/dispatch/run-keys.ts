// Runs with a run key (I8): under the key's lock decides whether a call makes a run, and makes it, maybe behind another one.
import { Refusal } from '@oncejob/protocol'
import { invariant } from '../kernel/errors.ts'
import { decideKey, inputHashOf, standingOf, type KeyDecision, type RunKeyWish } from '../runs/run-key.ts'
import type { Db, Queries } from '../storage/db.ts'
import { insertLimitedRun, limitOf, lockJobs } from '../storage/limits.ts'
import {
  dropUnpointed,
  followEnd,
  insertBehind,
  jobsThere,
  lockKeys,
  nameOfKey,
  pointKeys,
  readKeys,
  takeKeys,
  type KeyId,
  type KeyPoint,
  type KeyReading,
} from '../storage/run-keys.ts'
import { endWaiting } from '../storage/steer.ts'
import type { NewRun } from '../storage/submit.ts'
import { putAside, tellAside, type Aside } from './aside.ts'
import type { Hub } from './hub.ts'
import { noSuchJob } from './job-names.ts'
import { letGo } from './letting-go.ts'
import type { Metrics } from './metrics.ts'
import { applyLimit, type After } from './overlap.ts'

/** What a call with a run key came to. */
export interface KeyedRun {
  readonly id: number
  /** The key had this run already; nothing was made. */
  readonly deduplicated: boolean
  /** The run of the key that gives way to this one. */
  readonly replaces: number | null
  /** The run of the key whose end this one waits for, by the caller's wish. */
  readonly after: number | null
}

/** A run that is asked for, with its key. */
export interface KeyedWish {
  readonly run: NewRun
  readonly wish: RunKeyWish
}

type Making = Extract<KeyDecision, { kind: 'make' }>

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly metrics: Metrics
  /** Makes a run that waits for no other one. @throws Refusal JOB_NOT_FOUND, RUN_LIMIT */
  readonly insertNow: (tx: Queries, run: NewRun, after: After) => Promise<number>
}

const keyIdOf = ({ run, wish }: KeyedWish): KeyId => ({
  appId: run.appId,
  jobId: wish.scope === 'app' ? 0 : run.jobId,
  key: wish.key,
})
const hashOf = ({ run, wish }: KeyedWish): string => inputHashOf(run.params, wish.scope === 'app' ? run.jobId : null)

const replacedError = JSON.stringify({ code: 'REPLACED', message: 'A newer run of its run key replaced this one.' })

/** The refusal of a key whose run stands in the way. */
export const keyConflict = (key: string, existing: { runId: number; state: string; inputHash: string }): Refusal =>
  new Refusal(
    'RUN_KEY_CONFLICT',
    `The key "${key}" has run ${existing.runId} already, which is ${existing.state}. Look at that run, or choose another policy for the key.`,
    { existingRunId: existing.runId, existingState: existing.state, existingInputHash: existing.inputHash },
  )

const refusalOf = (key: string, { code, existing }: Extract<KeyDecision, { kind: 'refuse' }>): Refusal =>
  code === 'RUN_KEY_CONFLICT'
    ? keyConflict(key, existing)
    : new Refusal(
        code,
        `The key "${key}" stands for run ${existing.runId}, which was asked for with other params. Use another key for other work, or onInputMismatch "ignore".`,
        { existingRunId: existing.runId, existingState: existing.state, existingInputHash: existing.inputHash },
      )

// the sweeper or a reset may take a row between the two statements; more often than this it does not happen
const maxRounds = 20

/** Takes or locks the rows of these distinct keys, in one order; the answer has those that were free. */
export const holdKeys = async (tx: Queries, ids: readonly KeyId[]): Promise<KeyId[]> => {
  const fresh: KeyId[] = []
  let missing = ids
  for (let round = 0; round < maxRounds; round += 1) {
    const taken = await takeKeys(tx, missing)
    fresh.push(...taken)
    const known = new Set(taken.map(nameOfKey))
    if (known.size < missing.length) {
      const others = missing.filter((id) => !known.has(nameOfKey(id)))
      for (const id of await lockKeys(tx, others)) known.add(nameOfKey(id))
    }
    missing = missing.filter((id) => !known.has(nameOfKey(id)))
    if (missing.length === 0) return fresh
  }
  throw new Error('invariant broken: the row of a run key goes again and again')
}

/** Rows made for keys that got no run must not stay, even when the transaction goes on. */
export const cleanedUp = async <T>(tx: Queries, fresh: readonly KeyId[], work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    // after any other failure the transaction is lost anyway
    if (error instanceof Refusal && fresh.length > 0) await dropUnpointed(tx, fresh)
    throw error
  }
}

/** A run that starts after the end of another one. The job is locked. */
const makeBehind = async (
  tx: Queries,
  { run, behind, hub, after }: { run: NewRun; behind: number; hub: Hub; after: After },
): Promise<number> => {
  // the run that it waits for has ended by then: it is not counted
  const limit = await limitOf(tx, run.appId, run.jobId, behind)
  if (limit === undefined) throw noSuchJob(run.jobId)
  const isDue = (run.delayMs ?? 0) === 0 && run.runAtMs === null
  const error = isDue ? await applyLimit(tx, { jobId: run.jobId, limit, hub, after }) : null
  if (error !== null) return insertLimitedRun(tx, run, error)
  const id = await insertBehind(tx, run, behind)
  if (id === undefined) throw noSuchJob(run.jobId)
  await followEnd(tx, behind)
  return id
}

/** Thrown when the former waiter of a key has begun meanwhile: the decision is to be made again. */
class Moved extends Error {}

/** Ends or stops the runs that give way. Policy `after` only takes a waiter's place: one that runs is left alone. */
const putAllAside = async (tx: Queries, appId: number, making: Making): Promise<Map<number, Aside>> => {
  const asides = new Map<number, Aside>()
  for (const { runId } of making.aside) {
    if (making.replaces !== null) {
      asides.set(runId, await putAside(tx, appId, runId, replacedError))
      continue
    }
    const [gone] = await endWaiting(tx, [runId], 'canceled', replacedError)
    if (gone === undefined) throw new Moved()
    asides.set(runId, { open: false, session: null, freedJob: gone.job_id })
  }
  return asides
}

/** Creates the part of the submitter that knows run keys. Everything happens in the caller's transaction. */
export const createRunKeys = ({ db, hub, metrics, insertNow }: Needs) => {
  const carryOut = async (
    tx: Queries,
    asked: KeyedWish,
    making: Making,
    { jobIds, after }: { readonly jobIds: readonly number[]; readonly after: After },
  ): Promise<KeyedRun> => {
    const { run, wish } = asked
    const involved = making.aside.length > 0 || making.behind !== null
    // keys first, then jobs, then runs: in this order everywhere
    if (involved) await lockJobs(tx, [run.jobId, ...jobIds])
    const asides = await putAllAside(tx, run.appId, making)
    const before = making.behind ?? making.aside.find(({ runId }) => asides.get(runId)?.open === true) ?? null
    const id =
      before === null
        ? await insertNow(tx, run, after)
        : await makeBehind(tx, { run, behind: before.runId, hub, after })
    await pointKeys(tx, [{ id: keyIdOf(asked), runId: id, inputHash: hashOf(asked), before, ttlMs: wish.ttlMs }])
    if (involved) {
      const freed = [...asides.values()].flatMap(({ freedJob }) => freedJob ?? [])
      after.push(() => {
        if (freed.length > 0) metrics.runsEnded('canceled', freed.length)
        tellAside(hub, asides)
        return letGo({ db, hub }, before === null ? [] : [before.runId], freed)
      })
    }
    return { id, deduplicated: false, replaces: making.replaces, after: making.behind?.runId ?? null }
  }
  const answered = (asked: KeyedWish, decision: Exclude<KeyDecision, Making>): KeyedRun => {
    if (decision.kind === 'refuse') throw refusalOf(asked.wish.key, decision)
    metrics.duplicatesRefused('run_key')
    return { id: decision.runId, deduplicated: true, replaces: null, after: null }
  }
  const decided = (asked: KeyedWish, reading: KeyReading | undefined): KeyDecision =>
    decideKey(standingOf(reading), asked.wish, hashOf(asked))

  /** Decides and acts; the key is held. */
  const submitHeld = async (tx: Queries, asked: KeyedWish, after: After): Promise<KeyedRun> => {
    for (let round = 0; round < maxRounds; round += 1) {
      const [reading] = await readKeys(tx, [keyIdOf(asked)])
      invariant(reading !== undefined, 'the row of a held key is there')
      const decision = decided(asked, reading.runId === 0 ? undefined : reading)
      if (decision.kind !== 'make') return answered(asked, decision)
      try {
        return await carryOut(tx, asked, decision, { jobIds: reading.jobIds, after })
      } catch (error) {
        // translated: the key stands for something else by now
        if (!(error instanceof Moved)) throw error
      }
    }
    throw new Error('invariant broken: the run of a held key moves again and again')
  }

  const submitOne = async (tx: Queries, asked: KeyedWish, after: After): Promise<KeyedRun> => {
    const { run } = asked
    if (!(await jobsThere(tx, [run])).has(0)) throw noSuchJob(run.name ?? run.jobId)
    const id = keyIdOf(asked)
    if ((await takeKeys(tx, [id])).length > 0) {
      const making: Making = { kind: 'make', aside: [], behind: null, replaces: null }
      return cleanedUp(tx, [id], () => carryOut(tx, asked, making, { jobIds: [], after }))
    }
    // most repeats only want to be told the run: they need no lock
    const [seen] = await readKeys(tx, [id])
    const decision = decided(asked, seen)
    if (seen !== undefined && decision.kind !== 'make') return answered(asked, decision)
    const fresh = await holdKeys(tx, [id])
    return cleanedUp(tx, fresh, () => submitHeld(tx, asked, after))
  }
  return { submitOne, submitHeld, answered, decided }
}

export type RunKeys = ReturnType<typeof createRunKeys>

/** What a batch does with its runs that have a key; `place` is the place in the batch. */
export interface KeyedPlan {
  readonly answers: Map<number, KeyedRun>
  /** To be made together with the runs without a key, and then pointed at. */
  readonly together: Map<number, Omit<KeyPoint, 'runId'>>
  /** To be decided one after the other, after those. */
  readonly oneByOne: number[]
  /** Jobs of runs that these may put aside. */
  readonly jobIds: number[]
  readonly fresh: KeyId[]
}

/** Holds all keys of a batch and decides what can be decided at once. `refuse` names the place in a refusal. */
export const planKeyed = async (
  tx: Queries,
  items: ReadonlyMap<number, KeyedWish>,
  { keys, refuse }: { readonly keys: RunKeys; readonly refuse: (place: number, refusal: Refusal) => Refusal },
): Promise<KeyedPlan> => {
  const entries = [...items]
  const there = await jobsThere(
    tx,
    entries.map(([, { run }]) => run),
  )
  const gone = entries.find((_, i) => !there.has(i))
  if (gone !== undefined) throw refuse(gone[0], noSuchJob(gone[1].run.name ?? gone[1].run.jobId))
  const ids = new Map(entries.map(([, asked]) => [nameOfKey(keyIdOf(asked)), keyIdOf(asked)]))
  const fresh = await holdKeys(tx, [...ids.values()])
  const readings = new Map((await readKeys(tx, [...ids.values()])).map((reading) => [nameOfKey(reading.id), reading]))
  const plan: KeyedPlan = { answers: new Map(), together: new Map(), oneByOne: [], jobIds: [], fresh }
  const seen = new Set<string>()
  for (const [place, asked] of entries) {
    const id = keyIdOf(asked)
    const name = nameOfKey(id)
    const reading = readings.get(name)
    const decision = keys.decided(asked, reading?.runId === 0 ? undefined : reading)
    // the same key again: what it stands for is known when the ones before are made
    if (seen.has(name) || (decision.kind === 'make' && (decision.aside.length > 0 || decision.behind !== null))) {
      plan.oneByOne.push(place)
      plan.jobIds.push(asked.run.jobId, ...(reading?.jobIds ?? []))
    } else if (decision.kind === 'make') {
      plan.together.set(place, { id, inputHash: hashOf(asked), before: null, ttlMs: asked.wish.ttlMs })
    } else {
      try {
        plan.answers.set(place, keys.answered(asked, decision))
      } catch (error) {
        // translated: it names the place
        if (error instanceof Refusal) await dropUnpointed(tx, fresh)
        throw error instanceof Refusal ? refuse(place, error) : error
      }
    }
    seen.add(name)
  }
  return plan
}
