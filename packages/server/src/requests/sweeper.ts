// Forgets request keys whose window is over. Every server does it, in small batches.
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import type { Db } from '../storage/db.ts'
import { sweepKeys } from '../storage/request-keys.ts'

const batch = 5_000

/** Creates the duty; it sweeps every minute. */
export const createKeySweeper = (needs: { readonly db: Db; readonly clock: Clock; readonly log: Log }): Duty =>
  duty({
    name: 'request keys',
    clock: needs.clock,
    log: needs.log,
    everyMs: 60_000,
    runOnce: async () => {
      let swept = 0
      for (;;) {
        const count = await sweepKeys(needs.db, batch)
        swept += count
        if (count < batch) break
      }
      if (swept > 0) needs.log.info({ keys: swept }, 'request keys forgotten')
    },
  })
