// Forgets what is older than the retention: whole partitions of ended runs, their logs, then the fires that named them.
import { DatabaseError } from '../kernel/errors.ts'
import type { Clock, Millis } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import type { Db, Queries } from '../storage/db.ts'
import { deleteEffectsBelow } from '../storage/effects.ts'
import { deleteToldBelow } from '../storage/java-attempts.ts'
import { deleteLogsBelow } from '../storage/logs.ts'
import {
  deleteDefaultFires,
  deleteEndedSessions,
  dropFireMonth,
  dropRunPartition,
  isMonthOver,
  isRangeOver,
  listOldFireMonths,
  listRunPartitions,
  lockPartitions,
  type IdRange,
} from '../storage/partitions.ts'
import { deleteDeadServers } from '../storage/servers.ts'

export interface RetentionOptions {
  /** Ended runs and what belongs to them are kept for so many days. */
  readonly retentionDays: number
  /** Rows that one statement deletes; it bounds how long anyone waits for it. */
  readonly batchRows?: number
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
  readonly sessions: number
  readonly servers: number
}

const lockWaitMs = 250
const lockNotAvailable = '55P03'
// A bound for one round; the next goes on.
const maxBatches = 200
const sliceIds = 500_000

/** Drops in a transaction of its own; false when someone is using the table, then the next round tries again. */
const dropped = async (db: Db, drop: (tx: Queries) => Promise<boolean>): Promise<boolean> => {
  try {
    return await db.transaction(async (tx) => {
      await lockPartitions(tx, lockWaitMs)
      return drop(tx)
    })
  } catch (error) {
    // bounded: the next round tries again
    if (error instanceof DatabaseError && error.sqlState === lockNotAvailable) return false
    throw error
  }
}

const inBatches = async (limit: number, deleteSome: (limit: number) => Promise<number>): Promise<number> => {
  let total = 0
  for (let batch = 0; batch < maxBatches; batch += 1) {
    const deleted = await deleteSome(limit)
    total += deleted
    if (deleted < limit) break
  }
  return total
}

/** Looks at a partition by slices: one statement over sixteen million runs could outlast the patience of a session. */
const isOver = async (db: Db, range: IdRange, days: number): Promise<boolean> => {
  for (let from = range.from; from < range.to; from += sliceIds) {
    if (!(await isRangeOver(db, { from, to: Math.min(range.to, from + sliceIds) }, days))) return false
  }
  return true
}

/** Drops from the oldest on and stops at the first partition that is still needed, so kept ids have no gap. */
const dropRuns = async (db: Db, days: number): Promise<number> => {
  let count = 0
  for (const range of await listRunPartitions(db)) {
    if (!(await isOver(db, range, days))) break
    const done = await dropped(db, async (tx) => {
      const [oldest] = await listRunPartitions(tx)
      // another server may have been faster
      return oldest?.from === range.from && dropRunPartition(tx, range)
    })
    if (!done) break
    count += 1
  }
  return count
}

const dropMonths = async (db: Db, days: number, oldestRunId: number): Promise<number> => {
  let count = 0
  for (const month of await listOldFireMonths(db, days)) {
    if (!(await isMonthOver(db, month, oldestRunId))) continue
    const done = await dropped(db, async (tx) => {
      if (!(await listOldFireMonths(tx, days)).some(({ name }) => name === month.name)) return false
      await dropFireMonth(tx, month)
      return true
    })
    if (done) count += 1
  }
  return count
}

/**
 * One round. Runs go before their fires: a kept run always has its fire (I2), and the audit knows
 * that the runs below the oldest partition were dropped. Several servers may do it at once.
 */
export const sweep = async (db: Db, options: RetentionOptions): Promise<Swept> => {
  const { retentionDays: days, batchRows = 2_000 } = options
  const runPartitions = await dropRuns(db, days)
  const oldestRunId = (await listRunPartitions(db))[0]?.from ?? 1
  return {
    runPartitions,
    logs: await inBatches(batchRows, (limit) => deleteLogsBelow(db, oldestRunId, limit)),
    effects: await inBatches(batchRows, (limit) => deleteEffectsBelow(db, oldestRunId, limit)),
    told: await inBatches(batchRows, (limit) => deleteToldBelow(db, oldestRunId, limit)),
    fires: await inBatches(batchRows, (limit) => deleteDefaultFires(db, days, oldestRunId, limit)),
    sessions: await inBatches(batchRows, (limit) => deleteEndedSessions(db, days, limit)),
    servers: await deleteDeadServers(db),
    // last, because it may take long: it reads every fire of the month
    fireMonths: await dropMonths(db, days, oldestRunId),
  }
}

/** Sweeps every `everyMs` (an hour). */
export const createRetentionDuty = (
  needs: { readonly db: Db; readonly clock: Clock; readonly log: Log },
  options: RetentionOptions,
  everyMs: Millis = 3_600_000,
): Duty => {
  const { db, clock, log } = needs
  return duty({
    name: 'retention',
    clock,
    log,
    everyMs,
    runOnce: async () => {
      const swept = await sweep(db, options)
      if (Object.values(swept).some((count) => count > 0)) log.info({ ...swept }, 'old records removed')
    },
  })
}
