// What this server knows of workers and routes: read again every second, used only to choose; the claim decides.
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Duty } from '../kernel/service.ts'
import {
  choosesAmongAll,
  eligibleSessions,
  mayRun,
  suitableSessions,
  type RouteFacts,
  type SessionFacts,
} from '../runs/eligibility.ts'
import type { Db } from '../storage/db.ts'
import { allRoutes } from '../storage/routes.ts'
import { liveSessions, type SessionRow } from '../storage/sessions.ts'

export interface KnownSession extends SessionFacts {
  readonly appId: number
  readonly draining: boolean
}

export interface Directory {
  readonly duty: Duty
  session(id: number): KnownSession | undefined
  /** Adds or changes a session at once, without waiting for the next reading. */
  put(session: KnownSession): void
  remove(sessionId: number): void
  /** The routes of its app that a session may execute. */
  routesFor(session: KnownSession): RouteFacts[]
  /** The sessions of an app that suit the runs of a route; draining ones are left out unless they are wanted. */
  suitable(appId: number, routeId: number, draining?: boolean): KnownSession[]
  /** False: nothing can be said of a route, for it was made since the last reading. */
  knows(appId: number, routeId: number): boolean
  /** The Java workers of all apps. */
  javaSessions(): KnownSession[]
  /** Reads routes and sessions now. */
  refresh(): Promise<void>
}

export const sessionOf = (row: SessionRow): KnownSession => ({
  id: row.id,
  appId: row.app_id,
  name: row.name,
  address: row.address,
  processors: row.processors,
  labels: row.labels,
  metrics: row.metrics,
  slots: row.slots,
  running: row.running,
  draining: row.draining,
  java: row.java,
})

/** Creates the directory and the duty that keeps it fresh. */
export const createDirectory = (needs: { readonly db: Db; readonly clock: Clock; readonly log: Log }): Directory => {
  const { db, clock, log } = needs
  let routes = new Map<number, RouteFacts[]>()
  let sessions = new Map<number, KnownSession>()
  // answers of routesFor, until something changes
  let cache = new Map<number, RouteFacts[]>()

  const refresh = async (): Promise<void> => {
    const [routeRows, sessionRows] = await Promise.all([allRoutes(db), liveSessions(db)])
    routes = Map.groupBy(routeRows, (route) => route.appId)
    sessions = new Map(sessionRows.map((row) => [row.id, sessionOf(row)]))
    cache = new Map()
  }
  const ofApp = (appId: number, draining: boolean): KnownSession[] =>
    [...sessions.values()].filter((session) => session.appId === appId && (draining || !session.draining))
  const compute = (session: KnownSession): RouteFacts[] => {
    const able = (routes.get(session.appId) ?? []).filter((route) => mayRun(route, session))
    // only few routes need to know the others
    return able.filter((route) => {
      if (!choosesAmongAll(route)) return true
      return eligibleSessions(route, ofApp(session.appId, false)).some((other) => other.id === session.id)
    })
  }
  return {
    duty: duty({ name: 'directory', clock, log, everyMs: 1000, runOnce: refresh }),
    refresh,
    session: (id) => sessions.get(id),
    put: (session) => {
      sessions.set(session.id, session)
      cache.clear()
    },
    suitable: (appId, routeId, draining = false) => {
      const route = routes.get(appId)?.find(({ id }) => id === routeId)
      return route === undefined ? [] : suitableSessions(route, ofApp(appId, draining))
    },
    knows: (appId, routeId) => routes.get(appId)?.some(({ id }) => id === routeId) === true,
    javaSessions: () => [...sessions.values()].filter(({ java }) => java),
    remove: (sessionId) => {
      if (sessions.delete(sessionId)) cache.clear()
    },
    routesFor: (session) => {
      const known = cache.get(session.id)
      if (known !== undefined) return known
      const able = compute(session)
      cache.set(session.id, able)
      return able
    },
  }
}
