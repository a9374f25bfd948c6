// Forgets what is older than the retention: whole partitions of ended runs, their logs, then the fires that named them.
import { DatabaseError } from '../kernel/errors.ts'
import type { Clock, Millis } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import type { Db, Queries } from '../storage/db.ts'
import { deleteEffects } from '../storage/effects.ts'
import { deleteTold } from '../storage/java-attempts.ts'
import { deleteLogs } from '../storage/logs.ts'
import {
  countBlocks,
  deleteDefaultFires,
  deleteEndedSessions,
  dropFireMonth,
  dropRunPartition,
  findKeptFire,
  findLateRun,
  hasOpenRun,
  isPast,
  listDroppedIds,
  listOldFireMonths,
  listRunPartitions,
  lockPartitions,
  momentOf,
  type IdRange,
} from '../storage/partitions.ts'
import { deleteDeadServers } from '../storage/servers.ts'
import { deleteOldSubRuns, jobsWithSubRuns } from '../storage/sub-runs.ts'

export interface RetentionOptions {
  /** Ended runs and what belongs to them are kept for so many days. */
  readonly retentionDays: number
  /** Rows that one statement deletes; it bounds how long anyone waits for it. */
  readonly batchRows?: number
  /** Of the executions that Java workers repeat within one long run, so many of each job are kept at most. */
  readonly mostSubRuns?: number
}

/** How much one round has removed. */
export interface Swept {
  readonly runPartitions: number
  readonly fireMonths: number
  readonly fires: number
  readonly logs: number
  readonly effects: number
  /** What Java workers told of their attempts. */
  readonly told: number
  /** Executions within long runs, which may be open for years. */
  readonly subRuns: number
  readonly sessions: number
  readonly servers: number
  /** A bound was reached, and more can go: call again soon. */
  readonly again: boolean
}

/** By partition or month: a run that kept it when it was looked at last. Most often it still does, and one look tells. */
export type Holders = Map<string, number>

const lockWaitMs = 250
const lockNotAvailable = '55P03'
// Bounds for one round; the next goes on.
const maxBatches = 200
const maxSlices = 200
// One statement over a whole partition could outlast the patience of a session.
const sliceIds = 100_000
const sliceBlocks = 10_000
const againMs = 60_000

/** One round: what it may use, and what it has found out. */
interface Round {
  readonly db: Db
  readonly days: number
  readonly batchRows: number
  readonly holders: Holders
  readonly stopping: AbortSignal | undefined
  slices: number
  again: boolean
}

/** Drops in a transaction of its own; when someone is using the table the next round tries again. */
const dropping = async (db: Db, drop: (tx: Queries) => Promise<boolean>): Promise<'dropped' | 'kept' | 'in use'> => {
  try {
    return await db.transaction(async (tx) => {
      await lockPartitions(tx, lockWaitMs)
      return (await drop(tx)) ? 'dropped' : 'kept'
    })
  } catch (error) {
    // bounded: the next round tries again
    if (error instanceof DatabaseError && error.sqlState === lockNotAvailable) return 'in use'
    throw error
  }
}

/** Deletes what there is in one place after the other, in batches, until the bound for one round is reached, or it is to stop. */
const inBatches = async <P>(
  round: Round,
  places: readonly P[],
  deleteSome: (place: P, limit: number) => Promise<number>,
): Promise<number> => {
  let total = 0
  let batches = 0
  for (const place of places) {
    for (;;) {
      if (batches === maxBatches || round.stopping?.aborted === true) {
        round.again = true
        return total
      }
      const deleted = await deleteSome(place, round.batchRows)
      total += deleted
      // a place where nothing is left costs one look, and counts for nothing
      if (deleted < round.batchRows) break
      batches += 1
    }
  }
  return total
}

/** Looks at a table slice by slice; false when a run was found that keeps it, and when the round may not look further. */
const isOver = async (
  round: Round,
  table: { readonly name: string; readonly whole: IdRange; readonly step: number },
  findHolder: (slice: IdRange) => Promise<number | undefined>,
): Promise<boolean> => {
  const { whole, step } = table
  for (let from = whole.from; from < whole.to; from += step) {
    if (round.slices === 0 || round.stopping?.aborted === true) {
      round.again = true
      return false
    }
    round.slices -= 1
    const holder = await findHolder({ from, to: Math.min(whole.to, from + step) })
    if (holder !== undefined) {
      round.holders.set(table.name, holder)
      return false
    }
  }
  round.holders.delete(table.name)
  return true
}

const nameOf = ({ from }: IdRange): string => `run_${from}`

/** What two looks into indexes tell: nearly every old partition is kept by an open run, or by the same one as before. */
const isStillHeld = async ({ db, days, holders }: Round, range: IdRange): Promise<boolean> => {
  if (await hasOpenRun(db, range)) return true
  const holder = holders.get(nameOf(range))
  return holder !== undefined && (await findLateRun(db, { from: holder, to: holder + 1 }, days)) !== undefined
}

/** Drops the partitions in which every run ended long ago, whatever became of older ones. */
const dropRuns = async (round: Round): Promise<number> => {
  const { db, days } = round
  let count = 0
  for (const range of await listRunPartitions(db)) {
    // nor are later ones: ids grow with time
    if (!(await isPast(db, range.to, days))) break
    if (await isStillHeld(round, range)) continue
    const since = await momentOf(db)
    const table = { name: nameOf(range), whole: range, step: sliceIds }
    if (!(await isOver(round, table, (slice) => findLateRun(db, slice, days)))) continue
    const done = await dropping(db, async (tx) => {
      // another server may have been faster
      const there = (await listRunPartitions(tx)).some(({ from }) => from === range.from)
      return there && dropRunPartition(tx, range, since)
    })
    // and would be for the next one, too
    if (done === 'in use') break
    if (done === 'dropped') count += 1
  }
  return count
}

const dropMonths = async (round: Round, gone: readonly IdRange[]): Promise<number> => {
  const { db, days, holders } = round
  let count = 0
  for (const month of await listOldFireMonths(db, days)) {
    const holder = holders.get(month.name)
    if (holder !== undefined && !gone.some(({ from, to }) => from <= holder && holder < to)) continue
    const since = await momentOf(db)
    const table = { name: month.name, whole: { from: 0, to: await countBlocks(db, month) }, step: sliceBlocks }
    if (!(await isOver(round, table, (slice) => findKeptFire(db, month, slice, gone)))) continue
    const done = await dropping(db, async (tx) => {
      const there = (await listOldFireMonths(tx, days)).some(({ name }) => name === month.name)
      return there && dropFireMonth(tx, month, since)
    })
    if (done === 'dropped') count += 1
  }
  return count
}

/**
 * One round. Runs go before their fires: a kept run always has its fire (I2), and the audit knows which ids were dropped.
 * Several servers may do it at once.
 * @param stopping ends the round early
 */
export const sweep = async (
  db: Db,
  options: RetentionOptions,
  holders: Holders = new Map(),
  stopping?: AbortSignal,
): Promise<Swept> => {
  const { retentionDays: days, batchRows = 2_000, mostSubRuns: keep = 10_000 } = options
  const round: Round = { db, days, batchRows, holders, stopping, slices: maxSlices, again: false }
  const runPartitions = await dropRuns(round)
  // all of them each time: a round may have been cut short, here or at another server
  const gone = await listDroppedIds(db)
  const counts = {
    runPartitions,
    logs: await inBatches(round, gone, (range, limit) => deleteLogs(db, range, limit)),
    effects: await inBatches(round, gone, (range, limit) => deleteEffects(db, range, limit)),
    told: await inBatches(round, gone, (range, limit) => deleteTold(db, range, limit)),
    subRuns: await inBatches(round, await jobsWithSubRuns(db), ({ id: jobId }, limit) =>
      deleteOldSubRuns(db, { jobId, days, keep, limit }),
    ),
    fires: await inBatches(round, [gone], (ranges, limit) => deleteDefaultFires(db, days, ranges, limit)),
    sessions: await inBatches(round, [days], (age, limit) => deleteEndedSessions(db, age, limit)),
    servers: await deleteDeadServers(db),
    // last, because it may take long: it reads every fire of the month
    fireMonths: await dropMonths(round, gone),
  }
  return { ...counts, again: round.again }
}

/** Sweeps every `everyMs` (an hour), and sooner while more can go than one round may remove. */
export const createRetentionDuty = (
  needs: { readonly db: Db; readonly clock: Clock; readonly log: Log },
  options: RetentionOptions,
  everyMs: Millis = 3_600_000,
): Duty => {
  const { db, clock, log } = needs
  const holders: Holders = new Map()
  return duty({
    name: 'retention',
    clock,
    log,
    everyMs,
    runOnce: async (stopping) => {
      const { again, ...counts } = await sweep(db, options, holders, stopping)
      if (Object.values(counts).some((count) => count > 0)) log.info(counts, 'old records removed')
      return again ? againMs : undefined
    },
  })
}
