// Tells operators that calls come twice, and because of whom.
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { Db } from '../../storage/db.ts'
import { findWireAppById } from '../../storage/wire-apps.ts'
import type { PathFacts } from '../resends-api.ts'

const onceMs: Millis = 60_000
const pathsMax = 10_000

/** Creates the warning; each path is told of at most once a minute. */
export const createProxyWarning = ({
  db,
  clock,
  log,
}: {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
}) => {
  const told = new Map<string, Millis>()
  /** @param pathKey of `route` */
  return async (route: PathFacts, pathKey: string): Promise<void> => {
    const nowMs = clock.monotonic()
    const lastMs = told.get(pathKey)
    if (lastMs !== undefined && nowMs - lastMs < onceMs) return
    if (told.size >= pathsMax) told.clear()
    told.set(pathKey, nowMs)
    const app = await findWireAppById(db, route.appId).then(
      (found) => found?.name,
      // the warning is more than its name
      () => undefined,
    )
    const { via, peer, host, httpVersion } = route
    const facts = { app: app ?? route.appId, proxy: via === '' ? peer : via, peer, host, httpVersion }
    log.warn(
      facts,
      'PowerJob clients send every call twice: their proxy drops or rewrites the header X-POWERJOB-AUTH-PASSED',
    )
  }
}

export type ProxyWarning = ReturnType<typeof createProxyWarning>
