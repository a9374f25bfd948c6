// Makes partitions before they are needed: a run whose id has no partition could not be stored.
import { DatabaseError } from '../kernel/errors.ts'
import type { Clock, Millis } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import type { Db, Queries } from '../storage/db.ts'
import {
  createFireMonth,
  createRunPartition,
  fillTimeMs,
  listRunPartitions,
  lockPartitions,
  missingFireMonths,
  nextRunId,
  type IdRange,
} from '../storage/partitions.ts'

const smallestRange = 1_000_000
const largestRange = 16_000_000
const wholeAhead = 2
const quickFillMs = 6 * 3_600_000
// Whoever waits for a table's lock makes all writers wait: better to come again.
const lockWaitMs = 250
const lockNotAvailable = '55P03'
const checkViolation = '23514'

/** The error says that someone else had the table or the partition's rows: come again later. */
const passing = (error: unknown): boolean =>
  error instanceof DatabaseError && [lockNotAvailable, checkViolation].includes(error.sqlState)

/** The ranges to make so that two whole ones lie ahead of the next id; a table that fills within hours gets larger ones. */
export const missingRanges = (
  existing: readonly IdRange[],
  nextId: number,
  lastFillMs: number | undefined,
): IdRange[] => {
  const last = existing.at(-1)
  const size = last === undefined ? smallestRange : last.to - last.from
  const wanted = lastFillMs !== undefined && lastFillMs < quickFillMs ? size * 2 : size
  const step = Math.min(largestRange, Math.max(smallestRange, wanted))
  const made: IdRange[] = []
  let end = Math.max(last?.to ?? 1, 1)
  for (let ahead = existing.filter((range) => range.from > nextId).length; ahead < wholeAhead;) {
    const range = { from: end, to: end + step }
    made.push(range)
    end = range.to
    if (range.from > nextId) ahead += 1
  }
  return made
}

/** The range that was filled last; undefined when it was dropped: the one in use then fills for longer than runs are kept. */
export const lastFilled = (existing: readonly IdRange[], nextId: number): IdRange | undefined => {
  const at = existing.findLastIndex((range) => range.to <= nextId)
  const next = existing[at + 1]
  // one before a gap is older, and says nothing about today
  return next === undefined || next.from === existing[at]?.to ? existing[at] : undefined
}

const makeRunPartitions = async (tx: Queries): Promise<IdRange[]> => {
  const existing = await listRunPartitions(tx)
  const nextId = await nextRunId(tx)
  const filled = lastFilled(existing, nextId)
  const lastFillMs = filled === undefined ? undefined : await fillTimeMs(tx, filled)
  const ranges = missingRanges(existing, nextId, lastFillMs)
  for (const range of ranges) await createRunPartition(tx, range)
  return ranges
}

const makeFireMonths = async (tx: Queries): Promise<string[]> => {
  const months = await missingFireMonths(tx)
  for (const month of months) await createFireMonth(tx, month)
  return months.map(({ name }) => name)
}

export interface Ensured {
  /** Names of the tables that were made. */
  readonly made: string[]
  /** Something was in the way: call again soon. */
  readonly again: boolean
}

/**
 * Makes what is missing: two whole partitions of runs ahead of the next id, and the months of fires up to three ahead.
 * Call it at the start before anything writes, and again and again. Servers may call it at once; nobody waits for long.
 */
export const ensurePartitions = async (db: Db): Promise<Ensured> => {
  const made: string[] = []
  let again = false
  const attempt = async (make: (tx: Queries) => Promise<string[]>): Promise<void> => {
    try {
      const names = await db.transaction(async (tx) => {
        await lockPartitions(tx, lockWaitMs)
        return make(tx)
      })
      made.push(...names)
    } catch (error) {
      // bounded: the caller comes again
      if (!passing(error)) throw error
      again = true
    }
  }
  // look first without the lock: nearly always nothing is missing
  if (missingRanges(await listRunPartitions(db), await nextRunId(db), undefined).length > 0) {
    await attempt(async (tx) => (await makeRunPartitions(tx)).map(({ from }) => `run_${from}`))
  }
  if ((await missingFireMonths(db)).length > 0) await attempt(makeFireMonths)
  return { made, again }
}

/** Ensures partitions at the start, before `start` resolves, and every `everyMs` (20 s) after. */
export const createPartitionDuty = (
  needs: { readonly db: Db; readonly clock: Clock; readonly log: Log },
  everyMs: Millis = 20_000,
): Duty => {
  const { db, clock, log } = needs
  const runOnce = async (): Promise<Millis | undefined> => {
    const { made, again } = await ensurePartitions(db)
    if (made.length > 0) log.info({ made }, 'partitions made')
    return again ? 1_000 : undefined
  }
  const rounds = duty({ name: 'partitions', clock, log, everyMs, runOnce })
  return {
    ...rounds,
    start: async () => {
      await runOnce()
      await rounds.start()
    },
  }
}
