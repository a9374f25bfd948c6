// Takes attempts away from their workers, batch by batch: what the duties do that end what nobody else ends.
import type { Random } from '../kernel/random.ts'
import type { Ending } from '../runs/settle.ts'
import type { Db, Queries } from '../storage/db.ts'
import type { TakenRow } from '../storage/settle.ts'
import type { Following } from './following.ts'
import type { Metrics } from './metrics.ts'
import { settleTaken } from './settling.ts'

/** What taking attempts away needs. */
export interface TakingNeeds {
  readonly db: Db
  readonly random: Random
  readonly metrics: Metrics
  readonly following: Following
}

// bounds the work of one transaction
const batch = 500

/**
 * Takes attempts and settles them with this ending, until none is left to take.
 * @param take at most `limit` of them, in the transaction
 * @param tell of one batch, once it is committed
 */
export const takeAll = async (
  { db, random, metrics, following }: TakingNeeds,
  take: (tx: Queries, limit: number) => Promise<TakenRow[]>,
  ending: Ending,
  tell: (taken: readonly TakenRow[]) => void,
): Promise<void> => {
  for (;;) {
    const { taken, settled } = await db.transaction(async (tx) => {
      const taken = await take(tx, batch)
      return { taken, settled: await settleTaken(tx, taken, () => ending, random) }
    })
    if (taken.length > 0) {
      metrics.attemptsEnded(ending.outcome, taken.length)
      if (ending.outcome === 'lost') metrics.leasesLost(taken.length)
      tell(taken)
      following.settled(settled)
    }
    if (taken.length < batch) return
  }
}
