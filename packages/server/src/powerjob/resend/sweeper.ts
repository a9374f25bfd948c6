// Forgets evidence that is too old to count. Every server does it, in small batches.
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { duty, type Duty } from '../../kernel/service.ts'
import type { Db } from '../../storage/db.ts'
import { sweepAttempts, sweepPaths, sweepTokens } from '../../storage/resend-sweeps.ts'
import type { Ledger } from './ledger.ts'
import type { TokenUses } from './token-uses.ts'

const batch = 2_000
const everyMs: Millis = 5_000
const pathsEveryMs: Millis = 3_600_000

/** Removes batches until one is not full. */
const sweepAll = async (sweep: (limit: number) => Promise<number>): Promise<void> => {
  for (;;) if ((await sweep(batch)) < batch) return
}

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly ledger: Pick<Ledger, 'flush'>
  readonly tokens: Pick<TokenUses, 'refresh'>
}

/** Creates the duty; it also learns what other servers have seen, and writes what could not be written before. */
export const createResendSweeper = ({ db, clock, log, ledger, tokens }: Needs): Duty => {
  let pathsMs = -Infinity
  return duty({
    name: 'resends',
    clock,
    log,
    everyMs,
    runOnce: async () => {
      await ledger.flush()
      await tokens.refresh()
      await sweepAll((limit) => sweepAttempts(db, limit))
      await sweepAll((limit) => sweepTokens(db, limit))
      if (clock.monotonic() - pathsMs < pathsEveryMs) return
      await sweepPaths(db)
      pathsMs = clock.monotonic()
    },
  })
}
