// What was switched off of the protection of this wire is said aloud at every start.
import type { Log } from '../kernel/log.ts'
import type { Queries } from '../storage/db.ts'
import { listLooseApps } from '../storage/wire-apps.ts'

/** Writes one warning for each switch that is off. */
export const warnOfSwitches = async (db: Queries, log: Log, auth: boolean): Promise<void> => {
  if (!auth) log.warn({ setting: 'ONCEJOB_POWERJOB_AUTH' }, 'openapi calls are taken without a token')
  for (const { name: app, tokenless, collapse } of await listLooseApps(db)) {
    if (tokenless && auth) log.warn({ app, switch: 'tokenless' }, 'openapi calls of an app are taken without a token')
    if (collapse === 'off')
      log.warn({ app, switch: 'collapse' }, 'calls that clients of an app send again are executed')
  }
}
